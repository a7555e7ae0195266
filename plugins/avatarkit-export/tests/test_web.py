"""The web page: what it carries gives the avatar back, and it asks nobody for anything."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarkit.animation import place
from avatarkit.errors import ConfigError, InputError, PluginError
from avatarkit.interfaces import AvatarModel, Context, Posed, Subject
from avatarkit.motion.files import save_motion
from avatarkit.registry import Registry
from avatarkit.testing import tiny_motion
from avatarkit.types.body import BodyParams

SOURCES = Path(__file__).parent.parent / "web"
TYPES = {"u8": np.uint8, "u16": np.uint16, "i16": np.int16, "u32": np.uint32, "f32": np.float32}


def write(registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, path: Path, **options: Any) -> str:
    exporter = registry.get("exporter", "web").create(options, context)
    exporter.write(avatar, subject.params, path, consent="Ada: <yes> & no", name="Ada & Co", camera=subject.camera)
    return (path if path.is_file() else path / "index.html").read_text(encoding="utf-8")


def carried(page: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Head and arrays of a page."""
    found = re.search('id="avatar-data">([A-Za-z0-9+/=]+)<', page)
    assert found
    data = gzip.decompress(base64.b64decode(found[1]))
    length = int.from_bytes(data[:4], "little")
    head = json.loads(data[4 : 4 + length])
    arrays = {
        name: np.frombuffer(data, TYPES[a["type"]], a["count"], 4 + length + a["offset"]) for name, a in head["arrays"].items()
    }
    return head, arrays


@pytest.fixture(scope="module")
def page(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, tmp_path_factory: pytest.TempPathFactory
) -> str:
    return write(registry, context, subject, avatar, tmp_path_factory.mktemp("web") / "ada.html")


def halves(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array.view(np.float16).astype(np.float32))


def _rigidly_moved(a: dict[str, np.ndarray], A: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """What the page's shader makes of the Gaussians that grow outside the surface: blended dual quaternions, x y z w."""
    joints = a["seed_joints"].reshape(-1, 4).astype(np.int64)
    if not len(joints):
        return rest[:0]
    shares = a["seed_weights"].reshape(-1, 4) / 65535.0
    M = A.double().reshape(-1, 3, 4).numpy()
    real = Rotation.from_matrix(M[..., :3])
    q, t = real.as_quat(), M[..., 3]
    dual = 0.5 * np.concatenate([q[:, 3:] * t + np.cross(t, q[:, :3]), -(t * q[:, :3]).sum(1, keepdims=True)], 1)
    sign = np.where((q[joints] * q[joints[:, :1]]).sum(-1) < 0, -1.0, 1.0)
    r, d = (((sign * shares)[..., None] * x[joints]).sum(1) for x in (q, dual))
    d, r = d / np.linalg.norm(r, axis=1, keepdims=True), r / np.linalg.norm(r, axis=1, keepdims=True)
    p = rest[-len(joints) :].double().numpy()
    turned = p + 2 * np.cross(r[:, :3], np.cross(r[:, :3], p) + r[:, 3:] * p)
    return torch.tensor(turned + 2 * (r[:, 3:] * d[:, :3] - d[:, 3:] * r[:, :3] + np.cross(r[:, :3], d[:, :3]))).float()


def test_the_page_carries_the_avatar(page: str, context: Context, avatar: AvatarModel, params: BodyParams) -> None:
    """Posed as the page does it: transforms and expressions at the vertices, blended at the corners of each Gaussian."""
    head, a = carried(page)
    body = context.get("body")
    V, N, E = len(a["template"]) // 3, len(a["splat_opacity"]), len(head["expressions"])
    rest = torch.tensor(a["template"]).reshape(V, 3)
    for e in range(E):
        s = slice(a["expression_start"][e], a["expression_start"][e + 1])
        delta = torch.tensor(a["expression_delta"].reshape(-1, 3)[s] * a["expression_step"][e])
        rest = rest.index_add(0, torch.tensor(a["expression_vertex"][s].astype(np.int64)), delta * params.expression[e])
    skeleton = body.skeleton(params.shape)
    assert np.allclose(a["joint_positions"].reshape(-1, 3), skeleton.positions)
    p = params.batched()
    A = body.joint_transforms(skeleton, p.root, p.translation, p.joints)[0, :, :3].reshape(-1, 12)
    K = head["influences"]
    weights = torch.tensor(a["skin_weights"].astype(np.float32)).reshape(V, K)
    weights = weights / weights.sum(1, keepdim=True)
    blended = (A[torch.tensor(a["skin_joints"].astype(np.int64)).reshape(V, K)] * weights[..., None]).sum(1)
    corners = torch.tensor(a["splat_corners"].astype(np.int64)).reshape(3, N).T
    first = torch.tensor(a["splat_weights"].astype(np.float32) / 65535).reshape(2, N).T
    barycentric = torch.cat([first, 1 - first.sum(1, keepdim=True)], 1)[..., None]
    T = (rest[corners] * barycentric).sum(1) + halves(a["splat_offset"]).reshape(3, N).T
    M = (blended[corners] * barycentric).sum(1).reshape(N, 3, 4)
    means = (M[..., :3] @ T[..., None])[..., 0] + M[..., 3]
    means = torch.cat([means[: N - len(a["seed_joints"]) // 4], _rigidly_moved(a, A, T)])
    ours = avatar.pose(params).gaussians
    assert (means - ours.means).norm(dim=1).max() < 2e-4
    still = replace(params, expression=torch.zeros(E), root=torch.zeros(3), joints=torch.zeros_like(params.joints))
    assert torch.allclose(halves(a["splat_scale"]), avatar.pose(still).gaussians.scales.detach(), rtol=2e-3)
    colors = torch.tensor(a["splat_color"].astype(np.float32) / 255).reshape(3, N).T
    assert torch.allclose(colors, ours.colors.detach().clamp(0, 1), atol=0.5 / 255 + 1e-6)
    assert torch.allclose(halves(a["splat_opacity"]), ours.opacities, atol=1e-3)


def test_the_page_carries_ellipsoids_and_harmonics(
    registry: Registry, context: Context, subject: Subject, rich: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    _, a = carried(write(registry, context, subject, rich, tmp_path / "rich.html", motions="none"))
    still = replace(params, expression=0 * params.expression, root=torch.zeros(3), joints=torch.zeros_like(params.joints))
    ours = rich.pose(still).gaussians
    N = len(ours)
    assert torch.allclose(halves(a["splat_scale"]).reshape(3, N).T, ours.scales, rtol=2e-3)
    turned = halves(a["splat_rotation"]).reshape(4, N).T[:, [3, 0, 1, 2]]
    assert torch.allclose((turned * ours.rotations).sum(1).abs(), torch.ones(N), atol=1e-3)
    assert torch.allclose(halves(a["splat_sh"]).reshape(15, 3, N).permute(2, 0, 1), ours.sh, atol=1e-3)


def test_the_page_carries_motions_as_the_person_plays_them(page: str, context: Context, subject: Subject) -> None:
    head, a = carried(page)
    assert [(m["name"], m["loop"]) for m in head["motions"]] == [("tiny", False)]
    motion = tiny_motion()
    world = place(motion, subject.params, context.get("body"))[:: max(1, round(motion.fps / 15))]
    assert head["motions"][0]["frames"] == world.batch_shape[0]
    turns = torch.cat([world.root[:, None], world.joints[:, 1:]], 1)
    found = torch.zeros_like(turns)
    joints = a["motion0_joints"].astype(np.int64)
    found[:, joints] = torch.tensor(a["motion0_turns"].reshape(len(turns), -1, 3) * (np.pi / 32767)).float()
    assert torch.allclose(found, turns, atol=1e-4)
    faces = torch.zeros_like(world.expression)
    faces[:, a["motion0_faces"].astype(np.int64)] = torch.tensor(a["motion0_expression"] / 255).float().reshape(len(turns), -1)
    assert torch.allclose(faces, world.expression.clamp(0, 1), atol=0.5 / 255 + 1e-6)
    assert np.allclose(a["motion0_translation"].reshape(-1, 3), world.translation)


def test_the_page_asks_nobody_and_says_what_it_is(page: str) -> None:
    shown = re.sub('id="(avatar-data|engine)">[^<]*<', "><", page)
    notices = shown[shown.index("<pre>") : shown.index("</pre>")]
    assert not re.findall(r"(?:src|href)=\"(?!data:)", shown)
    assert "http" not in shown.replace(notices, "").replace("http-equiv", "")
    assert "default-src 'none'" in shown and "connect-src" not in shown
    assert "<title>Ada &amp; Co - avatarkit</title>" in shown
    assert "Consent: Ada: &lt;yes&gt; &amp; no." in shown
    for library in ("three 0.", "@sparkjsdev/spark 2.", "fflate 0."):
        assert library in notices
    assert notices.count("Permission is hereby granted") == 3
    assert not re.search("@[A-Z_]+@", shown)


def test_the_program_was_built_from_these_sources() -> None:
    built = json.loads(files("avatarkit_export").joinpath("page", "build.json").read_text(encoding="utf-8"))
    sha256 = hashlib.sha256()
    for name in ["package.json", "vite.config.js", *sorted(f"src/{p.name}" for p in (SOURCES / "src").iterdir())]:
        sha256.update(name.encode() + b"\0" + (SOURCES / name).read_bytes() + b"\0")
    assert built["sources"] == sha256.hexdigest(), "run npm ci && npm run build in plugins/avatarkit-export/web"
    wanted = json.loads((SOURCES / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert (built["three"], built["spark"]) == (wanted["three"], wanted["@sparkjsdev/spark"])


def test_a_folder_gets_a_page_and_the_notices(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, tmp_path: Path
) -> None:
    save_motion(tiny_motion(), context.get("body"), tmp_path / "dance.npz")
    danced = write(registry, context, subject, avatar, tmp_path / "dance.html", motions=f"talk-1,{tmp_path / 'dance.npz'}")
    assert len(carried(danced)[0]["motions"]) == 2
    text = write(registry, context, subject, avatar, tmp_path / "ada", motions="none", autoplay=False, controls=True)
    assert sorted(p.name for p in (tmp_path / "ada").glob("[!.]*")) == ["NOTICES.txt", "index.html"]
    assert carried(text)[0]["motions"] == []
    assert '<body class="panel">' in text


def test_what_cannot_be_written_is_one_sentence(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="is a file; name a folder or a file that ends in .html"):
        write(registry, context, subject, avatar, tmp_path / "file")
    with pytest.raises(InputError, match="no built-in motion 'fly'"):
        write(registry, context, subject, avatar, tmp_path / "b.html", motions="talk-1, fly")
    with pytest.raises(ConfigError, match="'fps' of exporter 'web' must be 1 to 120, not 0"):
        registry.get("exporter", "web").create({"fps": 0.0}, context)

    class Loose:
        def pose(self, params: BodyParams) -> Posed:
            return Posed(avatar.pose(params).gaussians)

        def state(self) -> dict[str, torch.Tensor]:
            return {}

    with pytest.raises(PluginError, match="Export it with --to ply or --to spz."):
        registry.get("exporter", "web").create({}, context).write(Loose(), params, tmp_path / "b.html")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

class Elements(HTMLParser):
    """Elements of a page, with their attributes' names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attributes)))


def test_no_text_becomes_an_element(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, hostile_page: str, tmp_path: Path
) -> None:
    fine = write(registry, context, subject, avatar, tmp_path / "fine.html")
    assert Elements(hostile_page).found == Elements(fine).found
    assert not {"\x1b", "\x00", "\u202e", "\u2028"} & set(hostile_page)
    assert "script-src 'sha256-" in hostile_page and "'unsafe-inline'" not in hostile_page


def test_motions_may_be_a_list_whose_names_hold_commas(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, tmp_path: Path
) -> None:
    path = tmp_path / "one, two.npz"
    save_motion(tiny_motion(), context.get("body"), path)
    text = write(registry, context, subject, avatar, tmp_path / "a.html", motions=("all", str(path)))
    assert len(carried(text)[0]["motions"]) == 2


def test_other_files_carry_hostile_text_on_one_line(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, hostile: str, tmp_path: Path
) -> None:
    consent = hostile + "\nend_header\nelement vertex 9\udc80"
    for name in ("ply", "spz", "glb"):
        options = {"texture": 64} if name == "glb" else {}
        exporter = registry.get("exporter", name).create(options, context)
        exporter.write(avatar, params, tmp_path / f"a.{name}", consent=consent)
    ply = (tmp_path / "a.ply").read_bytes()
    lines = ply[: ply.index(b"\nend_header\n")].decode("ascii").split("\n")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"] and lines[2].startswith("comment synthetic")
    assert lines[3].startswith("element vertex ") and len([line for line in lines if line.startswith("element")]) == 1
    assert all(line.isprintable() for line in lines)
    data = (tmp_path / "a.glb").read_bytes()
    document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    assert document["asset"]["extras"]["consent"].isprintable()
    spz = (tmp_path / "a.spz").read_bytes()
    comment = spz[10 : spz.index(b"\0", 10)].decode("ascii")
    assert comment.isprintable() and gzip.decompress(spz)[:4] == b"NGSP"
