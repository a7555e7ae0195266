"""Measuring an avatar against the clip of its photo: a synthetic person who steps aside, and pictures of known distance."""

from __future__ import annotations

import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from avatarkit.animation import load
from avatarkit.evaluation import losses_to
from avatarkit.io.image import load_png
from avatarkit.io.video import VideoWriter
from avatarkit.metrics import METRICS, compare, mean_scores, windows
from avatarkit.registry import Registry
from avatarkit.testing import ReferenceRenderer, TinyBody, tiny_subject
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh
from avatarkit_cli.main import app

PLUGIN = Path(__file__).with_name("tiny_plugin.py")
SLOTS = ("matting", "keypoints", "body", "tracker", "motions", "avatar", "perceptual", "renderer")
RECIPE = (
    "\n".join(f'[{slot}]\nuse = "tiny"' for slot in SLOTS)
    + """
[losses.rgb]
use = "tiny"
weight = 1.0
[labels]
body_clips = 0
head_clips = 0
[training]
steps = 6
resolution = 64
[preview]
height = 32
seconds = 0.4
fps = 5
motion = "tiny"
"""
)


def write_clip(path: Path, steps: tuple[float | None, ...], size: int = 64) -> None:
    """The tiny person, so many meters to the side in each frame, before a green wall; None = darkness."""
    subject, body, renderer = tiny_subject(size=size), TinyBody(), ReferenceRenderer()
    with VideoWriter(path, size, size, 5) as video:
        for step in steps:
            image = np.full((size, size, 3), (26, 128, 51) if step is not None else 0, np.uint8)
            if step is not None:
                moved = subject.params.translation + torch.tensor([step, 0.0, 0.0])
                mesh = Mesh(body.vertices(replace(subject.params, translation=moved).batched())[0], body.faces)
                drawn = renderer.meshes.render(mesh, subject.camera)
                color = torch.tensor([200.0, 60.0, 60.0]) * (0.5 + drawn.barycentric[..., :1] / 2)
                mask = drawn.mask[..., None].detach()
                image = (color * mask + torch.from_numpy(image) * (1 - mask)).round().to(torch.uint8).numpy()
            video.write(image)


def run(folder: Path, *arguments: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AVATARKIT_PLUGINS", "")
        return CliRunner().invoke(app, ["evaluate", *arguments, "--plugin", str(PLUGIN)])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("measured")
    (folder / "tiny.toml").write_text(RECIPE)
    write_clip(folder / "aside.mp4", (0.0, None, 0.1, 0.3))
    result = run(folder, "aside.mp4", "-o", "report", "--recipe", "tiny.toml", "--json")
    assert result.exit_code == 0, result.stderr
    return folder, json.loads(result.stdout)


def test_result_has_the_promised_layout(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, data = measured
    result = data["clips"]["aside.mp4"]
    assert result["perceptual"] == "tiny-rgb"
    assert set(result["methods"]) == set(data["mean"]) == {"avatar", "still", "mesh"}
    for scores in result["methods"].values():
        assert {*METRICS, "regions"} == set(scores)
    clip = result["clip"]
    assert (clip["frames"], clip["photo_frame"], clip["compared"], clip["detected"]) == (4, 0, [2, 3], 0.75)
    assert 0.5 < clip["mask_iou"] <= 1
    assert [f["frame"] for f in result["frames"]] == [2, 3]
    assert json.loads((folder / "report/results.json").read_text()) == data
    assert json.loads((folder / "report/result.json").read_text()) == result
    rows = load_png(folder / "report/comparison.png")
    assert rows.shape == (2 * clip["compared_size"][1], 4 * clip["compared_size"][0], 3)


def test_the_avatar_follows_a_person_who_steps_aside(measured: tuple[Path, dict[str, Any]]) -> None:
    methods = measured[1]["clips"]["aside.mp4"]["methods"]
    assert methods["avatar"]["psnr"] > methods["still"]["psnr"] + 1
    assert methods["mesh"]["psnr"] > methods["still"]["psnr"] + 1
    frames = measured[1]["clips"]["aside.mp4"]["frames"]
    still = [f["still"]["mse"] for f in frames]
    assert still == sorted(still)  # ever farther from where the photo was taken


def test_a_second_run_takes_all_from_the_store_and_a_lost_frame_is_made_again(
    measured: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(measured[0], tmp_path / "copy")
    arguments = ("aside.mp4", "-o", "report", "--recipe", "tiny.toml", "--json")
    monkeypatch.setenv("TINY_DIES_AT", "detect_video:1")  # would kill this process
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("report/cache/*/stage.json")}
    assert json.loads(run(folder, *arguments).stdout)["clips"] == measured[1]["clips"]
    assert {p: p.stat().st_mtime_ns for p in folder.glob("report/cache/*/stage.json")} == kept
    lost = next(folder.glob("report/cache/avatar-00003-*"))
    shutil.rmtree(lost)
    assert json.loads(run(folder, *arguments).stdout)["clips"] == measured[1]["clips"]
    assert (lost / "scores.json").is_file()


def test_another_frame_can_be_the_photo(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = measured
    result = run(
        folder, "aside.mp4", "-o", "third", "--recipe", "tiny.toml", "--photo-frame", "3", "--frames", "1", "--json"
    )
    assert result.exit_code == 0, result.stderr
    clip = json.loads(result.stdout)["clips"]["aside.mp4"]["clip"]
    assert (clip["photo_frame"], clip["compared"]) == (3, [0])


def test_a_folder_is_measured_clip_by_clip_and_a_bad_one_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips/a.mp4", (0.0, 0.1))
    write_clip(tmp_path / "clips/b.mp4", (None, None, None))
    (tmp_path / "clips/c.mp4").write_bytes(b"")
    result = run(tmp_path, "clips", "-o", "report", "--recipe", "tiny.toml", "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert list(data["clips"]) == ["a.mp4"]
    assert data["mean"]["avatar"]["psnr"] == data["clips"]["a.mp4"]["methods"]["avatar"]["psnr"]
    assert data["failed"]["b.mp4"].startswith("Frame 0 of b.mp4 cannot be used as the photo: The picture shows no person.")
    assert "is empty" in data["failed"]["c.mp4"]
    shown = run(tmp_path, "clips", "-o", "report", "--recipe", "tiny.toml").stdout
    assert "a.mp4" in shown and "b.mp4: not measured." in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one.mp4"], "No person could be tracked in one.mp4"),
        (["one.mp4", "--photo-frame", "7"], "one.mp4 has no frame 7"),
        (["wall.mp4"], "Choose another frame with --photo-frame N"),
        (["text.mp4"], "text.mp4 is not a video that can be read"),
    ],
)
def test_bad_clips_are_one_sentence(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    write_clip(tmp_path / "one.mp4", (0.0, None))
    write_clip(tmp_path / "wall.mp4", (None, 0.0))
    (tmp_path / "text.mp4").write_text("not a video\n" * 40)
    result = run(tmp_path, *arguments, "-o", "report", "--recipe", "tiny.toml")
    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.stderr


def test_one_motion_on_several_people_side_by_side(
    measured: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setenv("AVATARKIT_PLUGINS", "")
    panels = importlib.import_module("cross_identity").panels
    ada = load(measured[0] / "report/person.avatar", Registry.load([PLUGIN]))
    wide = replace(ada, photo_camera=replace(ada.photo_camera, width=2 * ada.photo_camera.width))
    motion = ada.components.get("motions").motion("tiny")
    rows = list(panels([ada, wide], motion, 32, motion.fps))
    assert [tuple(picture.shape) for picture in rows[0]] == [(32, 32, 3), (32, 64, 3)]
    assert len(rows) == len(motion) and not torch.equal(rows[0][0], rows[-1][0])


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().amax((1, 2, 3))


def test_scores_are_what_the_definitions_say() -> None:
    g = torch.Generator().manual_seed(0)
    truth = 0.5 + 0.25 * (torch.rand(40, 48, 3, generator=g) - 0.5)
    images = {"same": truth, "off": truth + 0.1}
    scores = compare(images, truth, {"face": [(0, 0, 24, 24)], "hands": []}, distance)
    off = scores["off"]
    assert off["mse"] == pytest.approx(0.01, rel=1e-4) and off["l1"] == pytest.approx(0.1, rel=1e-4)
    assert off["psnr"] == pytest.approx(20, abs=1e-3) and off["lpips"] == pytest.approx(0.1, rel=1e-4)
    assert 0.5 < off["ssim"] < 1
    assert scores["same"]["psnr"] == 100 and scores["same"]["ssim"] == pytest.approx(1)
    means = mean_scores([off, scores["same"]])
    assert means["psnr"] == pytest.approx(60, abs=1e-3)
    assert means["regions"]["face"]["windows"] == 2 and "hands" not in means["regions"]
    assert losses_to({"avatar": off, "still": scores["same"], "mesh": off}) == [
        f"{m} in {k}" for m in ("still", "mesh") for k in ("psnr", "ssim", "lpips")
    ]


def test_windows_lie_around_landmarks_and_inside_the_picture() -> None:
    points = {"face478": np.array([[100.0, 60.0], [140.0, 100.0]]), "hand21_left": np.array([[10.0, 10.0], [14.0, 14.0]])}
    found = windows(Keypoints(200, 200, points, {}), (50, 0, 200, 150), (75, 75))
    assert found == {"face": [(22, 27, 48, 53)], "hands": []}


def test_png_comes_back(tmp_path: Path) -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 10
    Image.fromarray(image).save(tmp_path / "a.png")
    assert torch.equal((load_png(tmp_path / "a.png") * 255).round().to(torch.uint8), torch.from_numpy(image))
