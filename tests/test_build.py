"""From a photo to an avatar that moves, through the command line, with a synthetic person and no installed plugin."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from avatarkit.animation import load
from avatarkit.components import Components
from avatarkit.io.audio import has_sound
from avatarkit.io.image import save_png
from avatarkit.io.video import VideoWriter
from avatarkit.registry import Registry
from avatarkit.storage.bundle import read_bundle
from avatarkit.testing import tiny_subject
from avatarkit_cli.main import app

PLUGIN = Path(__file__).with_name("tiny_plugin.py")
WALL = np.array([26.0, 128.0, 51.0])  # sRGB, behind the tiny person
SLOTS = ("matting", "keypoints", "body", "tracker", "motions", "body-labels", "head-labels", "avatar", "renderer")
RECIPE = (
    "\n".join(f'[{slot.replace("-", "_")}]\nuse = "tiny"' for slot in SLOTS)
    + """
[losses.rgb]
use = "tiny"
weight = 1.0
on = ["photo"]
[labels]
body_clips = 1
head_clips = 1
[training]
steps = 9
photo_share = 0.9
resolution = 32
checkpoint_every = 3
[preview]
height = 32
seconds = 0.4
fps = 5
motion = "tiny"
"""
)


def run(folder: Path, *arguments: str) -> Result:
    """The command in this process, started in ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AVATARKIT_PLUGINS", "")
        return CliRunner().invoke(app, [*arguments, "--plugin", str(PLUGIN)])


def run_alone(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "avatarkit_cli.main", *arguments, "--plugin", str(PLUGIN)],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "AVATARKIT_PLUGINS": "", "OMP_NUM_THREADS": "1", **environ},
    )  # fmt: skip


BUILD = ("build", "ada.png", "--recipe", "tiny.toml")


def prepare(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    save_png(folder / "ada.png", tiny_subject(size=64).photo.image)
    (folder / "tiny.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished avatar; tests that change it work on a copy of their own."""
    folder = prepare(tmp_path_factory.mktemp("built"))
    result = run_alone(folder, *BUILD, "--consent", "Ada agreed.", "--json")
    assert result.returncode == 0, result.stderr
    (folder / "built.json").write_text(result.stdout)
    (folder / "log.txt").write_text(result.stderr)
    return folder


def reused(manifest: Mapping[str, Any]) -> dict[str, bool]:
    return {name: stage["reused"] for name, stage in manifest["stages"].items()}


def test_a_build_writes_what_it_promises(built: Path) -> None:
    folder = built / "ada.avatar"
    manifest = read_bundle(folder).manifest
    assert json.loads((built / "built.json").read_text()) == {"avatar": "ada.avatar", "manifest": manifest}
    assert {"avatar.safetensors", "manifest.json", "preview.png", "preview.mp4", "report.html", "cache"} == {
        p.name for p in folder.iterdir()
    }
    assert manifest["consent"] == "Ada agreed."
    assert manifest["recipe"]["training"]["steps"] == 9
    assert manifest["licenses"]["body/tiny"]["code"] == "MIT"
    assert manifest["warnings"] == ["This person is synthetic."]
    assert len(manifest["inputs"]["photo"]) == 64
    assert not any(reused(manifest).values())
    assert all(s["seconds"] >= 0 and s["peak_memory_mb"] > 0 for s in manifest["stages"].values())
    texts = (folder / "manifest.json").read_text() + (folder / "report.html").read_text()
    assert str(built) not in texts
    report = (folder / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)|url\((?!data:)|@[A-Z]+@", report)
    for text in ("Photo and avatar", "In motion", "From other sides", "This person is synthetic.", "Ada agreed.", "Training"):
        assert text in report
    assert sorted(p.name for p in built.iterdir()) == ["ada.avatar", "ada.png", "built.json", "log.txt", "tiny.toml"]


def test_a_build_without_a_terminal_says_one_line_per_stage(built: Path) -> None:
    lines = (built / "log.txt").read_text().splitlines()
    stages = [line.split(" ... ")[0] for line in lines if " ... " in line]
    assert stages == ["tracking", "motions", "body-labels", "head-labels", "avatar", "preview"]


def test_without_losses_a_build_keeps_body_and_renderer_and_torch_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[tuple[str, ...]] = []
    threads: list[int] = []

    def close(self: Components, *slots: str) -> None:
        released.append(slots)
        threads.append(torch.get_num_threads())

    monkeypatch.setattr(Components, "close", close)
    folder = prepare(tmp_path)
    plain = RECIPE.replace('[losses.rgb]\nuse = "tiny"\nweight = 1.0\non = ["photo"]\n', "").replace("steps = 9", "steps = 0")
    (folder / "tiny.toml").write_text(plain)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = run(folder, *BUILD, "--body-labels", "none", "--head-labels", "none")
        assert result.exit_code == 0, result.stderr
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert released and not {"body", "renderer", "avatar"} & {slot for slots in released for slot in slots}
    assert all(released)  # no slots would mean all of them
    assert set(threads) == {1}


def test_the_avatar_learnt_the_photo(built: Path) -> None:
    result = run(built, "render", "ada.avatar", "-o", "../front.png", "--background", "#1a8033")
    assert result.exit_code == 0, result.stderr
    picture, photo = read(built.parent / "front.png"), read(built / "ada.png")
    person = np.abs(photo - WALL).sum(-1) > 5
    gray = np.full(3, 127.0)
    assert np.abs(picture - photo)[person].mean() < 0.7 * np.abs(gray - photo)[person].mean()


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float32)


def copy(built: Path, folder: Path) -> Path:
    shutil.copytree(built, folder, dirs_exist_ok=True)
    return folder


@pytest.mark.slow
def test_an_unchanged_build_takes_everything_from_the_cache(built: Path, tmp_path: Path) -> None:
    folder = copy(built, tmp_path)
    before = (folder / "ada.avatar" / "avatar.safetensors").read_bytes()
    result = run(folder, *BUILD, "--json")
    assert result.exit_code == 0, result.stderr
    assert all(reused(json.loads(result.stdout)["manifest"]).values())
    assert (folder / "ada.avatar" / "avatar.safetensors").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "again"),
    [
        (["--set", "training.steps=4"], {"avatar", "preview"}),
        (["--from", "avatar"], {"avatar", "preview"}),
        (["--set", "preview.seconds=1.0"], {"preview"}),
    ],
)
def test_only_what_changed_is_made_again(built: Path, tmp_path: Path, arguments: list[str], again: set[str]) -> None:
    folder = copy(built, tmp_path)
    result = run(folder, *BUILD, *arguments, "--json", "--verbose")
    assert result.exit_code == 0, result.stderr
    made = {name for name, kept in reused(json.loads(result.stdout)["manifest"]).items() if not kept}
    assert made == again


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["fit:1", "generate:2", "pose:5", "pose:11"])
def test_a_killed_build_goes_on_and_gives_the_same_avatar_bit_for_bit(built: Path, tmp_path: Path, moment: str) -> None:
    folder = prepare(tmp_path / "killed")
    killed = run_alone(folder, *BUILD, TINY_DIES_AT=moment)
    assert killed.returncode == -9
    assert not (folder / "ada.avatar").exists()
    result = run(folder, *BUILD, "--json")
    assert result.exit_code == 0, result.stderr
    kept = [name for name, was in reused(json.loads(result.stdout)["manifest"]).items() if was]
    assert bool(kept) == (not moment.startswith("fit"))
    whole = (built / "ada.avatar" / "avatar.safetensors").read_bytes()
    assert (folder / "ada.avatar" / "avatar.safetensors").read_bytes() == whole
    assert sorted(p.name for p in folder.iterdir()) == ["ada.avatar", "ada.png", "tiny.toml"]


def test_an_animation_is_a_film(built: Path) -> None:
    result = run(
        built,
        "animate",
        "ada.avatar",
        "-o",
        "../film.mp4",
        "--motion",
        "tiny",
        "--fps",
        "10",
        "--size",
        "64x48",
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert (data["frames"], data["width"], data["height"]) == (2, 64, 48)
    with av.open(str(built.parent / "film.mp4")) as film:
        frames = [f.to_ndarray(format="gray").astype(np.float32) for f in film.decode(video=0)]
    assert [f.shape for f in frames] == [(48, 64)] * 2
    assert np.abs(frames[0] - frames[-1]).mean() > 0.1


def test_a_motion_tracked_in_a_photo_is_a_file_that_plays(built: Path) -> None:
    tracked = run(built, "track", "ada.png", "-o", "../pose.npz", "--overlay", "../over.png", "--recipe", "tiny.toml")
    assert tracked.exit_code == 0, tracked.stderr
    with Image.open(built.parent / "over.png") as over:
        assert over.size == (64, 64)
    rendered = run(
        built, "render", "ada.avatar", "-o", "../posed.png", "--pose", "../pose.npz", "--background", "transparent"
    )
    assert rendered.exit_code == 0, rendered.stderr
    with Image.open(built.parent / "posed.png") as posed:
        assert posed.mode == "RGBA"


def test_an_avatar_is_exported_in_a_pose_with_the_consent_of_its_manifest(built: Path) -> None:
    export = ("export", "ada.avatar", "--to", "tiny", "--json", "-o")
    first = run(built, *export, "../ada.json", "--set", "title=Ada")
    assert first.exit_code == 0, first.stderr
    size = (built.parent / "ada.json").stat().st_size
    assert json.loads(first.stdout) == {"output": "../ada.json", "format": "tiny", "bytes": size}
    written = json.loads((built.parent / "ada.json").read_text())
    assert (written["title"], written["consent"]) == ("Ada", "Ada agreed.")
    assert run(built, *export, "../start.json", "--pose", "tiny").exit_code == 0
    assert run(built, *export, "../end.json", "--pose", "tiny@9").exit_code == 0
    start, end = (json.loads((built.parent / f"{name}.json").read_text()) for name in ("start", "end"))
    assert start["title"] == "nobody"
    assert start["hand"] == pytest.approx(written["hand"], abs=1e-4)
    assert end["hand"][1] > start["hand"][1] + 0.1


def test_an_avatar_shows_itself_in_a_notebook(built: Path) -> None:
    avatar = load(built / "ada.avatar", Registry.load([PLUGIN], environ={"AVATARKIT_PLUGINS": ""}))
    assert re.fullmatch(r"<avatar ada: \d+ Gaussians, built with tiny by avatarkit [\d.]+>", repr(avatar))
    side = avatar.picture(yaw=20, height=48)
    assert (side.size, side.mode) == ((48, 48), "RGBA")
    rendered = (avatar.render(yaw=20, height=48) * 255).round().numpy()
    assert (np.asarray(side) == rendered).all()
    shown = Image.open(io.BytesIO(avatar._repr_png_()))
    assert (shown.size, np.asarray(shown).std() > 1) == ((320, 320), True)
    card = avatar._repr_html_()
    assert card.count("data:image/png;base64,") == card.count("alt=") == 3
    assert "Ada agreed." in card and "This person is synthetic." in card


def test_a_motion_is_tracked_in_a_video_and_played(built: Path) -> None:
    film = run(built, "animate", "ada.avatar", "-o", "../drive.mp4", "--fps", "5")
    assert film.exit_code == 0, film.stderr
    played = run(built, "animate", "ada.avatar", "-o", "../driven.mp4", "--video", "../drive.mp4", "--json")
    assert played.exit_code == 0, played.stderr
    assert json.loads(played.stdout)["frames"] == 1
    assert not has_sound(built.parent / "driven.mp4")
    tracked = run(
        built,
        "track",
        "../drive.mp4",
        "-o",
        "../drive.npz",
        "--overlay",
        "../drive-over.mp4",
        "--recipe",
        "tiny.toml",
        "--json",
    )
    assert tracked.exit_code == 0, tracked.stderr
    assert json.loads(tracked.stdout)["frames"] == 1


def test_the_sound_of_a_driving_video_goes_along_unless_it_shall_not(built: Path) -> None:
    beep = (8000 * np.sin(np.arange(16_000) * 0.2)).astype("<i2")
    with wave.open(str(built.parent / "beep.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(beep.tobytes())
    image = np.asarray(Image.open(built / "ada.png").convert("RGB"))
    with VideoWriter(built.parent / "loud.mp4", 64, 64, 5, audio=built.parent / "beep.wav") as video:
        for _ in range(3):
            video.write(image)
    for options, sounds in (((), True), (("--no-sound",), False)):
        film = run(built, "animate", "ada.avatar", "-o", "../driven.mp4", "--video", "../loud.mp4", *options)
        assert film.exit_code == 0, film.stderr
        assert has_sound(built.parent / "driven.mp4") == sounds



@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["animate", "ada.avatar", "-o", "../x.mp4", "--motion", "dance"], "There is no motion 'dance'."),
        (["animate", "ada.avatar", "-o", "../x.xyz"], "Videos cannot be written as .xyz"),
        (["animate", "ada.avatar", "-o", "../x.mp4", "--background", "transparent"], "cannot be transparent"),
        (["animate", "ada.avatar", "-o", "../x.mp4", "--background", "bleu"], "is not a color"),
        (["animate", "ada.avatar", "-o", "../x.mp4", "--camera", "behind"], "There is no camera 'behind'"),
        (["animate", "ada.avatar", "-o", "../x.mp4", "--camera", "none.json"], "is no camera file"),
        (["animate", "ada.avatar", "-o", "../x.mp4", "--video", "none.mp4"], "There is no video none.mp4"),
        (["render", "ada.avatar", "-o", "../x.png", "--pose", "tiny@soon"], "the part after @ must be a number of seconds"),
        (["export", "ada.avatar", "--to", "tiny", "-o", "../x", "--pose", "dance"], "There is no motion 'dance'."),
        (["export", "ada.avatar", "--to", "tiny", "-o", "../x", "--set", "titel=x"], "Did you mean 'title'?"),
        (["export", "ada.avatar", "--to", "ply", "-o", "../x"], "of the kind exporter. Installed: tiny."),
        (["build", "ada.png", "--recipe", "tiny.toml", "--from", "avtar"], "There is no stage 'avtar'"),
        (["build", "ada.png", "--recipe", "tiny.toml", "-o", ".."], "cannot be the name of an output"),
    ],
)
def test_wrong_wishes_are_one_sentence_and_leave_nothing(built: Path, arguments: list[str], message: str) -> None:
    before = sorted(built.parent.rglob("*"))
    result = run(built, *arguments)
    assert result.exit_code == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(built.parent.rglob("*")) == before


def test_an_empty_picture_leaves_no_half_avatar(tmp_path: Path) -> None:
    prepare(tmp_path)
    Image.new("RGB", (64, 64), "gray").save(tmp_path / "ada.png")
    result = run(tmp_path, *BUILD)
    assert result.exit_code == 2
    assert "The picture shows no person." in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ada.png", "tiny.toml"]


def test_a_dry_run_does_nothing(tmp_path: Path) -> None:
    prepare(tmp_path)
    result = run(tmp_path, *BUILD, "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["ready"] is True
    assert "tiny" in run(tmp_path, *BUILD, "--dry-run").stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ada.png", "tiny.toml"]
