"""The plugins that the documentation shows: they keep their promises and work in a real build, chosen by flag."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import avatarkit
from avatarkit.io.image import save_png
from avatarkit.registry import Registry
from avatarkit.storage.stage_cache import load_tensors
from avatarkit.testing import Material, check_component, tiny_subject
from avatarkit.testing.method import memory_registry, tiny_build
from avatarkit_cli.main import app

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
TINY = Path(__file__).with_name("tiny_plugin.py")
USES = {
    "vertex_colors": ("labels", "vertex-colors", ["--body-labels", "vertex-colors", "--set", "body_labels.frames=2"]),
    "no_glare": ("loss", "no-glare", ["--set", "losses.glare.use=no-glare", "--set", "losses.glare.weight=0.1"]),
    "steady": ("tracker", "steady", ["--tracker", "steady", "--set", "tracker.base=tiny"]),
    "facets": ("avatar", "facets", ["--avatar", "facets"]),
    "flakes": ("avatar", "flakes", ["--avatar", "flakes"]),
}
RECIPE = """
[matting]
use = "tiny"
[keypoints]
use = "tiny"
[body]
use = "tiny"
[tracker]
use = "tiny"
[motions]
use = "tiny"
[body_labels]
use = "tiny"
[avatar]
use = "tiny"
[renderer]
use = "tiny"
[losses.rgb]
use = "tiny"
weight = 1.0
[labels]
body_clips = 1
head_clips = 0
[training]
steps = 6
resolution = 32
[preview]
height = 32
seconds = 0.4
fps = 5
motion = "tiny"
"""


@pytest.mark.parametrize("name", USES)
def test_an_example_works_in_a_build_by_flag(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVATARKIT_PLUGINS", "")
    save_png(tmp_path / "ada.png", tiny_subject().photo.image)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    arguments = ["build", "ada.png", "--recipe", "tiny.toml", "--plugin", str(TINY), "--plugin", str(EXAMPLES / f"{name}.py")]
    result = CliRunner().invoke(app, [*arguments, *USES[name][2], "--json"])
    assert result.exit_code == 0, result.output
    manifest = json.loads(result.stdout)["manifest"]
    kind, component, _ = USES[name]
    assert component in json.dumps(manifest["recipe"])
    tensors = load_tensors(tmp_path / "ada.avatar" / "avatar.safetensors")
    if kind == "avatar":
        assert {"facets": "avatar.lift", "flakes": "avatar.shine"}[name] in tensors
    if kind == "labels":
        (clip,) = (tmp_path / "ada.avatar" / "cache").glob("body-labels-0*/clip.safetensors")
        frames = load_tensors(clip)["frames"]
        assert frames.shape[0] == 2
        assert frames.float().std() > 10  # colors of the photo, not a gray shape


@pytest.mark.parametrize("name", USES)
def test_an_example_keeps_its_promises(name: str) -> None:
    kind, component, _ = USES[name]
    registry = Registry.load([EXAMPLES / f"{name}.py"], environ={"AVATARKIT_PLUGINS": ""})
    options = {"base": "tiny"} if kind == "tracker" else {}
    findings = check_component(registry.get(kind, component), Material(size=48), options)
    assert [(f.check, f.detail) for f in findings if f.state == "failed"] == []
    assert sum(f.state == "passed" for f in findings) >= 7


def test_labels_show_the_photos_colors_where_nothing_moves() -> None:
    registry = Registry.load([EXAMPLES / "vertex_colors.py"], environ={"AVATARKIT_PLUGINS": ""})
    material = Material()
    generator = registry.get("labels", "vertex-colors").create({}, material.context)
    clip = generator.generate(material.subject, material.motion, 0)  # its first frame is the rest pose
    inside = (clip.alpha[0] == 255) & (clip.confidence[0] > 250)
    error = (clip.frames[0].float() / 255 - material.photo.image).abs().mean(-1)[inside]
    assert int(inside.sum()) > 100
    assert float(error.median()) < 0.06


def test_steady_smooths() -> None:
    sys.modules.pop("steady", None)
    registry = Registry.load([EXAMPLES / "steady.py"], environ={"AVATARKIT_PLUGINS": ""})
    tracker = registry.get("tracker", "steady").create({"base": "tiny", "strength": 1.0}, Material().context)
    values = torch.tensor([[0.0], [3.0], [0.0]])
    assert tracker.smooth(values)[:, 0].tolist() == [1.5, 0.0, 1.5]


def test_the_command_says_what_an_avatar_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = avatarkit.load(tiny_build(tmp_path), registry=memory_registry())
    monkeypatch.setattr(avatarkit, "load", lambda path: made)
    monkeypatch.syspath_prepend(EXAMPLES)
    cli = typer.Typer()
    importlib.import_module("count").register_commands(cli)
    result = CliRunner().invoke(cli, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"[\d,]+ Gaussians, \d clips of labels, built in \d+ s\n", result.stdout)
