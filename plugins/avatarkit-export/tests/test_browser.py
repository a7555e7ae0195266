"""The files in programs of others: headless Chromium, three.js with Spark, @pixiv/three-vrm, TalkingHead, Khronos' validator.

They need node, Chromium and ``npm ci`` in ``plugins/avatarkit-export/web``; where one is missing they are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from avatarkit.animation import place
from avatarkit.interfaces import AvatarModel, Context, Subject
from avatarkit.registry import Registry
from avatarkit.testing import tiny_motion
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import orbit

WEB = Path(__file__).parent.parent / "web"
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (WEB / "node_modules").is_dir(),
    reason="needs node, and npm ci in plugins/avatarkit-export/web",
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
pytestmark = [needs_node, pytest.mark.slow]


def node(script: str, *arguments: str, job: dict[str, Any] | None = None) -> dict[str, Any]:
    run = subprocess.run(
        ["node", str(WEB / "test" / script), *arguments], input=json.dumps(job), capture_output=True, text=True, check=False,
        timeout=280, cwd=WEB, env={**os.environ, "CHROMIUM": CHROMIUM or ""},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def psnr(picture: Path, ours: torch.Tensor) -> float:
    theirs = torch.from_numpy(np.asarray(Image.open(picture).convert("RGB"), dtype=np.float32) / 255)
    return float(-10 * (theirs - ours.clamp(0, 1)).square().mean().log10())


@needs_browser
def test_the_page_draws_and_moves_the_avatar_as_we_do(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    page, body = tmp_path / "ada.html", context.get("body")
    exporter = registry.get("exporter", "web").create({"controls": True, "fps": 120.0}, context)
    center = subject.params.translation
    exporter.write(avatar, subject.params, page, camera=subject.camera, center=center)
    other = {k: getattr(params, k).flatten().tolist() for k in ("root", "translation", "joints", "expression")}
    slider = "[aria-label='Jaw open']"
    job = {
        "address": page.as_uri(), "width": 420, "height": 300,
        "steps": [
            ["eval", "window.avatarkitReady"],
            ["picture", str(tmp_path / "still.png"), 128, 128],
            ["eval", "window.avatarkit.turn(30, 10)"],
            ["picture", str(tmp_path / "side.png"), 128, 128],
            ["eval", f"window.avatarkit.stand({json.dumps(other)}); window.avatarkit.turn(0)"],
            ["picture", str(tmp_path / "posed.png"), 128, 128],
            ["eval", "window.avatarkit.play('tiny'); window.avatarkit.pause(); window.avatarkit.seek(0.2)"],
            ["picture", str(tmp_path / "motion.png"), 128, 128],
            ["eval", "window.avatarkit.vertices()"],
            ["set", slider, "1"],
            ["picture", str(tmp_path / "jaw.png"), 64, 64],
            ["eval", "window.avatarkit.vertices()"],
            ["set", "[aria-label='Head: turn']", "40"],
            ["picture", str(tmp_path / "head.png"), 64, 64],
            ["eval", "window.avatarkit.vertices()"],
            ["eval", "window.avatarkit.show('mesh'); document.querySelector('#message').hidden"],
            ["picture", str(tmp_path / "mesh.png"), 64, 64],
            ["click", "#reset"],
            ["eval", f'document.querySelector("{slider}").value'],
        ],
    }  # fmt: skip
    done = node("run.js", job=job)
    assert done["errors"] == []
    assert done["requests"] == []
    draw = context.get("renderer").gaussians.render
    motion = tiny_motion()
    at = place(motion, subject.params, body)[round(0.2 * motion.fps)]
    white = torch.ones(3)
    with torch.no_grad():
        front = subject.camera
        shots = {
            "still": draw(avatar.pose(subject.params).gaussians, front, white).rgb,
            "side": draw(avatar.pose(subject.params).gaussians, orbit(front, center, 30, 10), white).rgb,
            "posed": draw(avatar.pose(params).gaussians, front, white).rgb,
            "motion": draw(avatar.pose(at).gaussians, front, white).rgb,
        }
        mesh = avatar.pose(at).mesh
    for name, ours in shots.items():
        assert (ours < 0.9).any(), name  # somebody is in the picture
        assert psnr(tmp_path / f"{name}.png", ours) >= 30, name
    assert psnr(tmp_path / "side.png", shots["still"]) < 30  # the camera did turn
    assert mesh is not None
    before, jaw, head = (np.array(done["result"][k]).reshape(-1, 3) for k in (8, 11, 14))
    assert np.abs(before - mesh.vertices.detach().numpy()).max() < 1e-3
    weights = replace(at, expression=torch.tensor([1.0, float(at.expression[1])]))
    opened = body.vertices(weights, avatar.pose(at).fields["dT"].detach())[0]
    assert np.abs(jaw - opened.detach().numpy()).max() < 1e-3 < np.abs(jaw - before).max()
    assert np.abs(head - jaw).max() > 0.03
    assert np.asarray(Image.open(tmp_path / "mesh.png").convert("L")).min() < 200
    assert done["result"][15] is True
    assert done["result"][18] == "0"


@needs_browser
def test_the_page_turns_ellipsoids_and_harmonics_as_we_do(
    registry: Registry, context: Context, subject: Subject, rich: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    page, center = tmp_path / "rich.html", subject.params.translation
    exporter = registry.get("exporter", "web").create({"motions": "none"}, context)
    exporter.write(rich, subject.params, page, camera=subject.camera, center=center)
    params = replace(params, root=torch.tensor([0.3, 0.9, -0.2]))
    other = {k: getattr(params, k).flatten().tolist() for k in ("root", "translation", "joints", "expression")}
    steps: list[list[Any]] = [["eval", "window.avatarkitReady"], ["eval", f"window.avatarkit.stand({json.dumps(other)})"]]
    for yaw in (0, 40):
        steps += [["eval", f"window.avatarkit.turn({yaw})"], ["picture", str(tmp_path / f"{yaw}.png"), 128, 128]]
    done = node("run.js", job={"address": page.as_uri(), "width": 420, "height": 300, "steps": steps})
    assert done["errors"] == []
    draw, white = context.get("renderer").gaussians.render, torch.ones(3)
    g = rich.pose(params).gaussians.map(torch.Tensor.detach)
    for yaw in (0, 40):
        camera = orbit(subject.camera, center, yaw)
        ours = psnr(tmp_path / f"{yaw}.png", draw(g, camera, white).rgb)
        assert ours >= 30
        before = rich.pose(subject.params).gaussians.map(torch.Tensor.detach)
        for name in ("rotations", "sh"):
            still = replace(g, **{name: getattr(before, name)})
            assert psnr(tmp_path / f"{yaw}.png", draw(still, camera, white).rgb) < ours - 3, (name, ours)


def test_the_validator_finds_no_error(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    made = {}
    for name, options in (("mesh", {"texture": 64}), ("splats", {"splats": True})):
        path = tmp_path / f"{name}.glb"
        registry.get("exporter", "glb").create(options, context).write(avatar, params, path)
        made[name] = str(path)
    body = registry.get("body", "anny").create({}, Context())
    anny = replace(Context(), get=lambda slot, name=None: body)
    made["vrm"] = str(tmp_path / "doll.vrm")
    registry.get("exporter", "vrm").create({"texture": 64}, anny).write(doll(body), body.neutral(), Path(made["vrm"]))
    made["players"] = str(tmp_path / "players.glb")
    players = registry.get("exporter", "glb").create({"texture": 64, "motion": "none", "bones": "mixamo"}, anny)
    players.write(doll(body), body.neutral(), Path(made["players"]))
    found = node("validate.js", *made.values())
    for name in ("mesh", "vrm"):
        assert found[made[name]] == {"errors": 0, "warnings": 0, "messages": []}, name
    (message,) = found[made["players"]]["messages"]  # players look for the mesh below the node Armature
    assert message.startswith("NODE_SKINNED_MESH_NON_ROOT") and found[made["players"]]["errors"] == 0
    # This validator is older than KHR_gaussian_splatting and knows no attributes with an extension's name in front.
    unknown = found[made["splats"]]["messages"]
    assert len(unknown) == 4
    assert all(m.startswith("MESH_PRIMITIVE_INVALID_ATTRIBUTE") and "KHR_gaussian_splatting:" in m for m in unknown)


@needs_browser
def test_a_sound_opens_the_mouth(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, tmp_path: Path
) -> None:
    """Chromium's fake microphone beeps once a second."""
    page = tmp_path / "ada.html"
    exporter = registry.get("exporter", "web").create({"motions": "none"}, context)
    exporter.write(avatar, subject.params, page, camera=subject.camera)
    moves = """(async () => {
        const before = window.avatarkit.vertices();
        for (let i = 0; i < 400; i++) {
            await new Promise((done) => setTimeout(done, 25));
            const now = window.avatarkit.vertices();
            const most = Math.max(...now.map((v, k) => Math.abs(v - before[k])));
            if (most > 1e-3) return most;
        }
        return 0;
    })()"""
    press, pressed = ["click", "#microphone"], ["eval", "document.getElementById('microphone').getAttribute('aria-pressed')"]
    steps = [["eval", "window.avatarkitReady"], press, ["eval", moves], pressed, press, pressed]
    done = node("run.js", job={"address": page.as_uri(), "width": 160, "height": 160, "steps": steps})
    assert done["errors"] == done["requests"] == []
    assert done["result"][2] > 1e-3
    assert (done["result"][3], done["result"][5]) == ("true", "false")


@contextmanager
def serving(page: str) -> Iterator[str]:
    """The address of a page with the headers of ``avatarkit view``."""
    from avatarkit_cli.page_server import PageServer

    server = PageServer(0)
    server.page = page.encode()
    with server.running() as address:
        yield address


def page_of(registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, path: Path) -> Path:
    exporter = registry.get("exporter", "web").create({"motions": "none"}, context)
    exporter.write(avatar, subject.params, path, camera=subject.camera)
    return path


WAIT = "new Promise((done) => setTimeout(done, %d))"


@needs_browser
def test_the_avatar_speaks_visemes_and_looks_at_points(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, tmp_path: Path
) -> None:
    page = page_of(registry, context, subject, avatar, tmp_path / "ada.html")
    said = "[{name: 'aa', start: 0, end: 3}, {name: 'ou', start: 3, end: 3.1, strength: 0.5}]"
    failed = "window.avatarkit.speak(%s).then(() => 'said', (error) => error.message)"
    shown = "window.avatarkit.picture(16, 16).then(() => window.avatarkit.vertices())"
    steps = [
        ["eval", "window.avatarkitReady"],
        ["eval", shown],
        ["eval", f"window.said = window.avatarkit.speak({said}).then(() => 'over'); {WAIT % 700}"],
        ["eval", "window.avatarkit.talking()"],
        ["eval", shown],
        ["eval", "window.said"],
        ["eval", WAIT % 1200],
        ["eval", shown],
        ["eval", "window.avatarkit.talking().active"],
        ["eval", f"window.avatarkit.look(1, 0); {WAIT % 1200}"],
        ["eval", shown],
        ["eval", f"window.avatarkit.look(null); {WAIT % 1200}"],
        ["eval", shown],
        ["eval", failed % "[{name: 'aah', start: 0, end: 1}]"],
        ["eval", failed % "[{name: 'aa', start: 1, end: 0}]"],
        ["eval", failed % "new ArrayBuffer(8)"],
        ["eval", failed % "'hello'"],
    ]
    done = node("run.js", job={"address": page.as_uri(), "width": 160, "height": 160, "steps": steps})
    assert done["errors"] == done["requests"] == []
    result = done["result"]
    still, open_, after, away, back = (np.array(result[k]).reshape(-1, 3) for k in (1, 4, 7, 10, 12))
    assert np.abs(open_ - still).max() > 5e-3
    assert result[3]["viseme"] == "aa"
    assert result[3]["weights"]["aa"] > 0.95 > 0.05 > result[3]["weights"]["ou"]
    assert result[5] == "over"
    assert result[8] is False
    assert np.abs(after - still).max() < 1e-4
    assert np.abs(back - still).max() < 1e-4
    assert np.abs(away - still).max() > (5e-3 if any(g.name == "neck" for g in context.get("body").pose_groups) else -1)
    assert "there is no viseme" in result[13]
    assert "start and end" in result[14]
    assert "no sound that the browser can read" in result[15]
    assert "no voice of its own" in result[16]


VOWEL = """
    const rate = 48000, sound = new AudioBuffer({ length: 1.4 * rate, sampleRate: rate }), samples = sound.getChannelData(0);
    for (let i = 0.5 * rate; i < 1.1 * rate; i++) {
        for (let k = 1; k < 30; k++) {
            const f = 120 * k, gain = 1 / (1 + ((f - 750) / 120) ** 2) + 0.6 / (1 + ((f - 1200) / 150) ** 2) + 0.05 / k;
            samples[i] += 0.2 * gain * Math.sin((2 * Math.PI * f * i) / rate);
        }
    }
"""


@needs_browser
@pytest.mark.parametrize("served", [False, True])
def test_from_sound_to_shape_it_takes_less_than_120_milliseconds(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, tmp_path: Path, served: bool
) -> None:
    """Half a second of silence, then a vowel; the mouth is looked at as often as the browser can, by the clock of the sound.

    Served by ``avatarkit view``, the page hears on the audio thread; opened as a file, on the main thread.
    """
    page = page_of(registry, context, subject, avatar, tmp_path / "ada.html")
    measure = """(async () => {
        %s
        const open = () => Object.entries(window.avatarkit.talking().weights).reduce((s, [n, w]) => s + (n === "sil" ? 0 : w), 0);
        await %s;
        const over = window.avatarkit.speak(sound), seen = [];
        let ended = false;
        over.finally(() => { ended = true; });
        while (!ended && seen.length < 5000) {
            const { active, seconds, milliseconds, level } = window.avatarkit.talking();
            if (active) seen.push([seconds, open(), milliseconds, level]);
            await new Promise((done) => setTimeout(done, 2));
        }
        await over;
        return seen;
    })()"""
    steps = [["eval", "window.avatarkitReady"], *[["eval", measure % (VOWEL, WAIT % 500)]] * 6]
    with serving(page.read_text(encoding="utf-8")) if served else nullcontext(page.as_uri()) as address:
        done = node("run.js", job={"address": address, "width": 160, "height": 160, "steps": steps})
    assert done["errors"] == done["requests"] == []
    latencies, busy = [], []
    for seen in (np.array(rows).reshape(-1, 4) for rows in done["result"][1:]):
        seconds, opening, milliseconds, level = seen.T
        busy.append(float(np.median(milliseconds)))
        open_at = seconds[opening > 0.5].min(initial=9.0)
        while_waiting = seconds[(seconds > 0.4) & (seconds <= open_at)]
        if np.diff(while_waiting, prepend=0.4).max(initial=0.0) > 0.1 or open_at == 9.0:
            continue  # the browser stood still, as on a machine that has other work
        assert opening[seconds < 0.5].max() < 0.05  # silence is a shut mouth
        assert level.max() > 0.3
        latencies.append(open_at - 0.5)
    print(f"latencies {latencies} s, main thread {busy} ms")
    assert latencies, "the browser stood still"
    assert float(np.median(latencies)) <= 0.12
    assert float(np.median(busy)) <= 2.0


@needs_browser
def test_another_page_makes_the_avatar_talk(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, tmp_path: Path
) -> None:
    """The example of the documentation, with a microphone that it may not ask for."""
    page_of(registry, context, subject, avatar, tmp_path / "ada.html")
    example = shutil.copy(WEB.parents[2] / "docs/examples/talking-page.html", tmp_path)
    status = "document.querySelector('#status').value"
    until = f"(async () => {{ for (let i = 0; i < 400 && %s !== '%s'; i++) await {WAIT % 25}; return %s; }})()"
    steps = [
        ["eval", until % (status, "ready", status)],
        ["click", "#greet"],
        ["eval", until % (status, "said", status)],
        ["eval", "ask('speak', [{name: 'x', start: 0, end: 1}]).then(() => 'done', (error) => error.message)"],
        ["eval", f"Promise.race([ask('listen').then(() => 'listens'), {WAIT % 500}.then(() => 'no answer')])"],
    ]
    done = node("run.js", job={"address": Path(example).as_uri(), "width": 500, "height": 640, "steps": steps})
    assert done["errors"] == []
    assert done["result"][0] == "ready"
    assert done["result"][2] == "said"
    assert "there is no viseme" in done["result"][3]
    assert done["result"][4] == "no answer"


@needs_browser
def test_three_vrm_plays_an_expression_and_moves_a_bone(registry: Registry, tmp_path: Path) -> None:
    body = registry.get("body", "anny").create({}, Context())
    context = replace(Context(), get=lambda slot, name=None: body)
    path = tmp_path / "doll.vrm"
    registry.get("exporter", "vrm").create({"texture": 64}, context).write(doll(body), body.neutral(), path)
    done = node("vrm.js", str(path))
    assert done["errors"] == []
    result = done["result"]
    assert result["expressions"] >= 52
    assert 0.01 < result["aa"]["largest"] < 0.05
    assert 100 < result["aa"]["moved"] < 0.3 * result["aa"]["of"]
    assert 0.03 < result["head"]["largest"] < 0.2
    assert 1000 < result["head"]["moved"] < 0.6 * result["head"]["of"]


@needs_browser
def test_talking_head_speaks_visemes_and_the_mouth_moves(registry: Registry, tmp_path: Path) -> None:
    body = registry.get("body", "anny").create({}, Context())
    context = replace(Context(), get=lambda slot, name=None: body)
    path = tmp_path / "doll.glb"
    exporter = registry.get("exporter", "glb").create({"texture": 64, "motion": "none", "bones": "mixamo"}, context)
    exporter.write(doll(body), body.neutral(), path)
    done = node("talkinghead.js", str(path))
    assert done["errors"] == []
    bones, spoken = done["result"]["bones"], done["result"]["spoken"]
    for side, x in (("Left", 1), ("Right", -1)):  # it stands as the player's own characters do
        shoulder, hand = bones[f"{side}Arm"], bones[f"{side}Hand"]
        assert x * (shoulder[0] - bones["Hips"][0]) > 0.05
        assert 0.3 < shoulder[1] - hand[1] < 0.8
        assert abs(hand[2] - shoulder[2]) < 0.25
    assert 0.5 < bones["Head"][1] - bones["Hips"][1] < 0.9 < bones["Hips"][1] - bones["LeftFoot"][1] + 0.2
    assert 0.005 < spoken["aa"]["largest"] < 0.05
    assert 50 < spoken["aa"]["moved"] < 0.3 * spoken["aa"]["of"]
    assert spoken["PP"]["largest"] > 1e-3
    assert spoken["U"]["largest"] > 1e-3
    assert spoken["sil"]["largest"] == 0


def doll(body: Any) -> Any:
    from avatarkit.interfaces import Posed
    from avatarkit.types.gaussians import Gaussians
    from avatarkit.types.mesh import Mesh

    class Doll:
        """The bare body model with a Gaussian on each vertex."""

        def pose(self, params: BodyParams) -> Posed:
            vertices = body.vertices(params)[0]
            one = torch.ones(len(vertices))
            gaussians = Gaussians(vertices, 0.01 * one, torch.full_like(vertices, 0.5), one)
            return Posed(gaussians, Mesh(vertices, body.faces), {"dT": torch.zeros_like(vertices)})

        def state(self) -> dict[str, torch.Tensor]:
            return {}

    return Doll()


@needs_browser
def test_hostile_names_run_nothing_and_the_viewer_serves_the_page(hostile_page: str) -> None:
    """Over HTTP, with the headers of ``avatarkit view``; an inline script and a handler put into the page do not run either."""
    inject = "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=window.owned=2>');" + (
        "const s = document.createElement('script'); s.textContent = 'window.owned = 3'; document.body.append(s);"
        "await new Promise((done) => setTimeout(done, 300));"
    )
    steps = [
        ["eval", "window.avatarkitReady"],
        ["eval", "window.owned ?? 'none'"],
        ["eval", "[...document.querySelectorAll('#motion option')].length"],
        ["eval", "document.title"],
        ["eval", f"(async () => {{ {inject} return window.owned ?? 'none' }})()"],
    ]
    with serving(hostile_page) as address:
        done = node("run.js", job={"address": address, "width": 160, "height": 160, "steps": steps})
    assert done["result"][1] == done["result"][4] == "none"
    assert done["result"][2] == 2
    assert "<script>" in done["result"][3]
    assert all("Content Security Policy" in error for error in done["errors"])  # of what the test put in
