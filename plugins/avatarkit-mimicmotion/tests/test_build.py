"""From a real photo to an avatar by the command line, with tiny random networks: only the weights differ from a real build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avatarkit_cli.main import app


@pytest.mark.slow
def test_a_build_with_these_labels(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "body_labels.checkpoint": tiny[0], "body_labels.base": tiny[1], "body_labels.resolution": 64,
        "body_labels.steps": 2, "body_labels.fps": 5, "body_labels.tile_size": 6, "body_labels.tile_overlap": 2,
        "labels.body_clips": 1, "labels.head_clips": 1, "head_labels.frames": 2, "motions.label_seconds": 1.0,
        "avatar.resolution": 96, "training.steps": 6, "training.resolution": 96, "preview.height": 64,
        "losses.perceptual.start": 2,
    }  # fmt: skip
    options = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    command = ["build", "--sample", "portrait", "-o", "a.avatar", "--preset", "draft", "--body-labels", "mimicmotion"]
    result = CliRunner().invoke(app, [*command, "--json", *options])
    assert result.exit_code == 0, result.stderr
    manifest = json.loads(result.stdout)["manifest"]
    assert manifest["components"]["body_labels"]["name"] == "mimicmotion"
    assert manifest["components"]["head_labels"]["name"] == "reproject"  # body and head from different generators
    (body,) = (facts for name, facts in manifest["labels"].items() if name.startswith("body-"))
    assert {"mean_mm", "lost", "agreement", "doubted"} == set(body["drift"])  # it was tracked again
    assert manifest["licenses"]["labels/mimicmotion"]["commercial"] is False
    assert (tmp_path / "a.avatar" / "avatar.safetensors").is_file()
    # The same again takes every stage from the store, the clip too.
    again = json.loads(CliRunner().invoke(app, [*command, "--json", *options]).stdout)["manifest"]
    assert all(stage["reused"] for name, stage in again["stages"].items() if name != "preview")
