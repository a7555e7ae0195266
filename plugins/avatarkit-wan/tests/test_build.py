"""From a real photo to an avatar by the command line, with tiny random networks: only the weights differ from a real build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avatarkit_cli.main import app


@pytest.mark.slow
def test_a_build_with_these_labels(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "body_labels.weights": tiny, "body_labels.short": 64, "body_labels.long": 96, "body_labels.fps": 5,
        "body_labels.steps": 2, "body_labels.segment": 9, "body_labels.prompt": "moves", "labels.body_clips": 1,
        "motions.label_seconds": 1.0, "avatar.resolution": 96, "training.steps": 6, "training.resolution": 96,
        "preview.height": 64, "losses.perceptual.start": 2,
    }  # fmt: skip
    options = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    command = ["build", "--sample", "portrait", "-o", "a.avatar", "--preset", "draft", "--head-labels", "none"]
    result = CliRunner().invoke(app, [*command, "--body-labels", "wan", "--json", *options])
    assert result.exit_code == 0, result.stderr
    manifest = json.loads(result.stdout)["manifest"]
    assert manifest["components"]["body_labels"]["name"] == "wan"
    ((name, facts),) = manifest["labels"].items()
    assert name.startswith("body-")
    assert {"mean_mm", "lost", "agreement", "doubted"} == set(facts["drift"])
    assert manifest["licenses"]["labels/wan"]["commercial"] is True
