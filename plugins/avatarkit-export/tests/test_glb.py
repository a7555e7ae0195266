"""The GLB file: read by a library that is not ours, and moved as the format says."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from PIL import Image

from avatarkit.errors import ConfigError, InputError, PluginError
from avatarkit.interfaces import AvatarModel, Context, Posed, Subject
from avatarkit.motion.files import read_motion
from avatarkit.motion.visemes import viseme_actions
from avatarkit.registry import Registry
from avatarkit.testing import tiny_motion
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.mesh import Mesh
from avatarkit.types.speech import VISEMES
from avatarkit_export.bake import bake_texture

TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
OCULUS = [f"viseme_{n}" for n in ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U")]
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Reader:
    """Accessors and joints of a file, as the glTF 2.0 specification reads them."""

    def __init__(self, path: Path) -> None:
        self.gltf = pygltflib.GLTF2().load(str(path))
        self.blob = self.gltf.binary_blob()

    def view(self, number: int, dtype: type, count: int, width: int) -> np.ndarray:
        v = self.gltf.bufferViews[number]
        return np.frombuffer(self.blob, dtype, count * width, v.byteOffset).reshape(count, width)

    def accessor(self, number: int) -> np.ndarray:
        a = self.gltf.accessors[number]
        dtype, width = TYPES[a.componentType], WIDTH[a.type]
        if a.bufferView is not None:
            return self.view(a.bufferView, dtype, a.count, width)
        out = np.zeros((a.count, width), dtype)
        s = a.sparse
        index = self.view(s.indices.bufferView, TYPES[s.indices.componentType], s.count, 1)[:, 0]
        out[index] = self.view(s.values.bufferView, dtype, s.count, width)
        return out

    def attribute(self, name: str) -> np.ndarray:
        return self.accessor(getattr(self.gltf.meshes[0].primitives[0].attributes, name))

    def pose(self, weights: np.ndarray, rotations: dict[int, np.ndarray], translations: dict[int, np.ndarray]) -> np.ndarray:
        """Vertices with morph weights and node transforms."""
        at = self.attribute("POSITION").astype(np.float64)
        for target, w in zip(self.gltf.meshes[0].primitives[0].targets, weights, strict=True):
            at = at + w * self.accessor(target["POSITION"])
        world: dict[int, np.ndarray] = {}

        def walk(number: int, above: np.ndarray) -> None:
            node = self.gltf.nodes[number]
            local = trimesh.transformations.quaternion_matrix(np.roll(rotations.get(number, node.rotation or [0, 0, 0, 1]), 1))
            local[:3, 3] = translations.get(number, node.translation or [0, 0, 0])
            world[number] = above @ local
            for child in node.children or ():
                walk(child, world[number])

        for number in self.gltf.scenes[0].nodes:
            walk(number, np.eye(4))
        skin = self.gltf.skins[0]
        inverse = self.accessor(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        matrices = np.stack([world[j] for j in skin.joints]) @ inverse
        out = np.zeros_like(at)
        for k in range(4):
            A = matrices[self.attribute("JOINTS_0")[:, k]]
            moved = (A[:, :3, :3] @ at[..., None])[..., 0] + A[:, :3, 3]
            out += self.attribute("WEIGHTS_0")[:, k : k + 1] * moved
        return out


@pytest.fixture(scope="module")
def offsets(avatar: AvatarModel, params: BodyParams) -> torch.Tensor:
    with torch.no_grad():
        avatar.dT[:, 1] += torch.linspace(0, 0.01, len(avatar.dT))  # type: ignore[attr-defined]
    return avatar.pose(params).fields["dT"].detach()


@pytest.fixture(scope="module")
def path(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, offsets: torch.Tensor,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    file = tmp_path_factory.mktemp("glb") / "tiny.glb"
    registry.get("exporter", "glb").create({"texture": 128}, context).write(avatar, params, file, consent="Ada: yes")
    return file


def ground(context: Context, params: BodyParams, offsets: torch.Tensor) -> float:
    body = context.get("body")
    return -float((body.rest(params.shape, torch.zeros(1, 2))[0] + offsets)[:, 1].min())


def sources(reader: Reader, context: Context) -> np.ndarray:
    """Body vertex of each vertex: the corners of equal triangles."""
    faces = reader.accessor(reader.gltf.meshes[0].primitives[0].indices).reshape(-1, 3)
    source = np.full(len(reader.attribute("POSITION")), -1)
    source[faces] = context.get("body").faces.numpy()
    assert (source >= 0).all()
    return source


def test_rest_shapes_and_weights_are_ours(path: Path, context: Context, params: BodyParams, offsets: torch.Tensor) -> None:
    reader, body = Reader(path), context.get("body")
    source = sources(reader, context)
    lift = np.array([0, ground(context, params, offsets), 0])
    rest = body.rest(params.shape, torch.zeros(1, 2))[0].numpy()
    got = reader.attribute("POSITION")
    assert np.allclose(got, rest[source] + offsets.numpy()[source] + lift, atol=1e-6)
    assert got[:, 1].min() == pytest.approx(0, abs=1e-6)
    mesh = reader.gltf.meshes[0]
    assert mesh.extras["targetNames"] == [*body.expression_names, *OCULUS]
    for i, target in enumerate(mesh.primitives[0].targets[:2]):
        delta = body.rest(params.shape, torch.eye(2)[i : i + 1])[0].numpy() - rest
        assert np.abs(delta).max() > 0.01
        assert np.allclose(reader.accessor(target["POSITION"]), delta[source], atol=2e-6)
    dense = np.zeros((len(source), len(body.joint_names)))
    np.add.at(dense, (np.arange(len(source))[:, None], reader.attribute("JOINTS_0")), reader.attribute("WEIGHTS_0"))
    expected = torch.zeros(len(rest), len(body.joint_names))
    expected = expected.scatter_add(1, body.skinning_indices, body.skinning_weights).numpy()
    assert np.allclose(dense, expected[source], atol=1e-6)
    assert [reader.gltf.nodes[j].name for j in reader.gltf.skins[0].joints] == list(body.joint_names)
    assert np.allclose(np.linalg.norm(reader.attribute("NORMAL"), axis=1), 1, atol=1e-5)


def test_visemes_are_the_mouth_shapes_of_speech(path: Path, context: Context, params: BodyParams) -> None:
    reader, body = Reader(path), context.get("body")
    source = sources(reader, context)
    rest = body.rest(params.shape, torch.zeros(1, 2))[0].numpy()
    targets = dict(zip(OCULUS, reader.gltf.meshes[0].primitives[0].targets[2:], strict=True))
    for viseme, name in zip(VISEMES, OCULUS, strict=True):
        actions = viseme_actions()[viseme]
        weights = torch.tensor([[actions.get("jawOpen", 0.0), actions.get("mouthSmileLeft", 0.0)]])
        expected = (body.rest(params.shape, weights)[0].numpy() - rest)[source]
        assert np.allclose(reader.accessor(targets[name]["POSITION"]), expected, atol=2e-6), name
    most = {name: np.abs(reader.accessor(target["POSITION"])).max() for name, target in targets.items()}
    assert most["viseme_sil"] == most["viseme_PP"] == 0 < most["viseme_U"] < most["viseme_I"] < most["viseme_aa"]


def test_the_clip_moves_the_file_as_the_body_model_moves(
    path: Path, context: Context, params: BodyParams, offsets: torch.Tensor
) -> None:
    reader, body, motion = Reader(path), context.get("body"), tiny_motion()
    source = sources(reader, context)
    lift = np.array([0, ground(context, params, offsets), 0])
    clip = reader.gltf.animations[0]
    root = reader.gltf.skins[0].joints[0]
    positions = body.skeleton(params.shape).positions
    for frame in (0, 3):
        tracks: dict[str, dict[int, np.ndarray]] = {"rotation": {}, "translation": {}, "weights": {}}
        for channel in clip.channels:
            values = reader.accessor(clip.samplers[channel.sampler].output)
            tracks[channel.target.path][channel.target.node] = values.reshape(len(motion), -1)[frame]
        assert set(tracks["translation"]) == {root}
        got = reader.pose(next(iter(tracks["weights"].values())), tracks["rotation"], tracks["translation"])
        p = motion.params[frame]
        p = replace(p, shape=params.shape, translation=p.translation + positions[0])
        assert np.allclose(got, body.vertices(p, offsets)[0].numpy()[source] + lift, atol=1e-5)
    times = reader.accessor(clip.samplers[0].input)[:, 0]
    assert np.allclose(times, np.arange(len(motion)) / motion.fps)


def test_the_texture_has_the_colors_of_the_gaussians(
    path: Path, context: Context, avatar: AvatarModel, params: BodyParams
) -> None:
    mesh = trimesh.load(path, force="mesh", process=False)
    reader = Reader(path)
    view = reader.gltf.bufferViews[reader.gltf.images[0].bufferView]
    picture = Image.open(io.BytesIO(reader.blob[view.byteOffset : view.byteOffset + view.byteLength]))
    assert picture.size == (128, 128)
    pixels = np.asarray(picture) / 255
    uv = reader.attribute("TEXCOORD_0")
    at = np.clip((uv * 128).astype(int), 0, 127)
    found = pixels[at[:, 1], at[:, 0]]
    posed = avatar.pose(params)
    source = posed.mesh.vertices.detach()[torch.from_numpy(sources(reader, context))]
    near = torch.cdist(source, posed.gaussians.means.detach()).argmin(1)
    expected = posed.gaussians.colors.detach()[near].clamp(0, 1).numpy()
    assert expected.std(0).min() > 0.03
    assert np.abs(found - expected).mean() < 0.03
    assert len(mesh.faces) == len(reader.accessor(reader.gltf.meshes[0].primitives[0].indices)) // 3


def test_the_file_says_what_it_is(path: Path) -> None:
    asset = pygltflib.GLTF2().load(str(path)).asset
    assert asset.extras == {"provenance": "synthetic, made with avatarkit", "consent": "Ada: yes"}


class Cloud:
    """An avatar with Gaussians and a mesh of its own, or none."""

    def __init__(self, avatar: AvatarModel, mesh: Mesh | None) -> None:
        self.avatar, self.mesh = avatar, mesh

    def pose(self, params: BodyParams) -> Posed:
        return Posed(self.avatar.pose(params).gaussians, self.mesh)

    def state(self) -> dict[str, torch.Tensor]:
        return {}


def test_an_avatar_that_keeps_no_binding_is_baked_by_distance(context: Context, avatar: AvatarModel, params: BodyParams) -> None:
    posed = avatar.pose(params)
    by_binding = bake_texture(avatar, context.get("body"), params, 96)
    by_distance = bake_texture(Cloud(avatar, posed.mesh), context.get("body"), params, 96)
    assert by_binding.reshape(-1, 3).std(0).min() > 0.03
    assert (by_binding - by_distance).abs().mean() < 0.03


def test_what_cannot_be_written_is_one_sentence(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    make = registry.get("exporter", "glb").create
    with pytest.raises(PluginError, match="Cloud has no mesh on the body model 'tiny'"):
        make({}, context).write(Cloud(avatar, None), params, tmp_path / "a.glb")
    with pytest.raises(InputError, match="name it a.glb"):
        make({}, context).write(avatar, params, tmp_path / "a.gltf")
    with pytest.raises(InputError, match="no built-in motion 'dance'"):
        make({"motion": "dance", "texture": 64}, context).write(avatar, params, tmp_path / "a.glb")
    with pytest.raises(ConfigError, match="'texture' of exporter 'glb' must be 64 to 8192, not 3"):
        make({"texture": 3}, context)
    assert not list(tmp_path.iterdir())


def test_without_a_clip_the_file_has_none(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    exporter = registry.get("exporter", "glb").create({"motion": "none", "texture": 64}, context)
    exporter.write(avatar, params, tmp_path / "a.glb")
    assert not pygltflib.GLTF2().load(str(tmp_path / "a.glb")).animations


def test_the_clip_of_the_file_is_read_as_the_motion_that_it_was(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    body, motion = context.get("body"), context.get("motions").motion("talk-1")
    path = tmp_path / "tiny.glb"
    registry.get("exporter", "glb").create({"motion": "talk"}, context).write(avatar, params, path)
    back = read_motion(path, body)
    assert back.fps == pytest.approx(motion.fps)

    def bones(m: Motion) -> torch.Tensor:
        skeleton = body.skeleton(m.params.shape)
        A = body.joint_transforms(skeleton, m.params.root, m.params.translation, m.params.joints)
        at = (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]
        return torch.nn.functional.normalize(at[:, 1:] - at[:, list(body.parents[1:])], dim=-1)

    assert (bones(back) - bones(motion)).norm(dim=-1).max() < 0.02
    path_apart = (back.params.translation - motion.params.translation + motion.params.translation[0]).norm(dim=-1)
    assert path_apart.max() < 0.01
    torch.testing.assert_close(back.params.expression, motion.params.expression, atol=1e-5, rtol=0)


def test_a_textured_mesh_comes_back_texel_by_texel(
    registry: Registry, context: Context, subject: Subject, params: BodyParams, tmp_path: Path
) -> None:
    avatar = registry.get("avatar", "textured-mesh").create({"resolution": 128}, context)
    avatar.create(subject, [])
    path = tmp_path / "mesh.glb"
    registry.get("exporter", "glb").create({"motion": "none"}, context).write(avatar, params, path)
    reader = Reader(path)
    image = reader.gltf.images[0]
    view = reader.gltf.bufferViews[image.bufferView]
    pixels = np.asarray(Image.open(io.BytesIO(reader.blob[view.byteOffset :][: view.byteLength])))
    posed = avatar.pose(params)
    assert image.mimeType == "image/png"
    assert np.array_equal(pixels, (posed.mesh.texture.rgb.detach() * 255).round().byte().numpy())
    uv = reader.attribute("TEXCOORD_0")
    ours = torch.tensor([0.0, 1.0]) + torch.tensor([1.0, -1.0]) * context.get("body").uv
    assert torch.cdist(torch.tensor(uv), ours, compute_mode="donot_use_mm_for_euclid_dist").amin(1).max() < 1e-6


@pytest.mark.parametrize("made", ["textured-mesh", "coupled-gs", "cloud"])
def test_what_cannot_hold_an_avatar_names_a_format_that_can(
    made: str, registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    class Cloud:
        """Gaussians and nothing else."""

        pose = staticmethod(lambda params: Posed(avatar.pose(params).gaussians))
        state = dict

    exported: Any = Cloud() if made == "cloud" else avatar
    if made == "textured-mesh":
        exported = registry.get("avatar", made).create({"resolution": 64}, context)
        exported.create(subject, [])
    worked, advised = set(), set()
    for name in ("glb", "ply", "spz", "vrm", "web"):
        options = {"motion": "none"} if name == "glb" else {"motions": "none"} if name == "web" else {}
        path = tmp_path / ("a.html" if name == "web" else f"a.{name}")
        try:
            registry.get("exporter", name).create(options, context).write(exported, params, path)
            worked.add(name)
        except (InputError, PluginError) as error:
            advised.add(" ".join(re.findall(r"--to (\w+)", str(error))))
    assert len(worked) >= 1
    assert advised <= {" ".join(name for name in ("glb", "vrm", "ply", "spz", "web") if name in worked)}
    if made == "textured-mesh":
        splats = registry.get("exporter", "glb").create({"splats": True}, context)
        with pytest.raises(InputError, match="no Gaussians. Leave out splats=true"):
            splats.write(exported, params, tmp_path / "b.glb")


def test_splats_carry_ellipsoids_and_harmonics(
    registry: Registry, context: Context, rich: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    path = tmp_path / "rich.glb"
    registry.get("exporter", "glb").create({"splats": True}, context).write(rich, params, path)
    reader, g = Reader(path), rich.pose(params).gaussians.map(torch.Tensor.detach)
    found = {name.partition(":")[2]: reader.accessor(at) for name, at in splat_attributes(path).items()}
    assert np.allclose(found["ROTATION"], g.rotations[:, [1, 2, 3, 0]], atol=1e-6)
    assert np.allclose(found["SCALE"], g.scales, rtol=1e-5)
    names = [f"SH_DEGREE_{n}_COEF_{k}" for n in (1, 2, 3) for k in range(2 * n + 1)]
    assert np.allclose(np.stack([found[name] for name in names], 1), g.sh, atol=1e-6)


def splat_attributes(path: Path) -> dict[str, int]:
    """Number of the accessor of each attribute of an extension; pygltflib leaves them out."""
    data = path.read_bytes()
    document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    return {k: v for k, v in document["meshes"][0]["primitives"][0]["attributes"].items() if ":" in k}
