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
        "head_labels.weights": tiny, "head_labels.size": 128, "head_labels.fps": 3, "labels.head_clips": 1,
        "motions.label_seconds": 1.0, "avatar.resolution": 96, "training.steps": 6, "training.resolution": 96,
        "preview.height": 64, "losses.perceptual.start": 2,
    }  # fmt: skip
    options = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    command = ["build", "--sample", "portrait", "-o", "a.avatar", "--preset", "draft", "--body-labels", "none"]
    result = CliRunner().invoke(app, [*command, "--head-labels", "liveportrait", "--json", *options])
    assert result.exit_code == 0, result.stderr
    manifest = json.loads(result.stdout)["manifest"]
    assert manifest["components"]["head_labels"]["name"] == "liveportrait"
    assert "body_labels" not in manifest["components"]
    ((name, facts),) = manifest["labels"].items()
    assert name.startswith("head-")
    assert {"mean_mm", "lost", "agreement", "doubted"} == set(facts["drift"])
    assert manifest["licenses"]["labels/liveportrait"]["commercial"] is True
    # A generator of heads makes no bodies: said before anything is generated.
    wrong = CliRunner().invoke(app, [*command[:-1], "liveportrait", "--set", f"body_labels.weights={tiny}"])
    assert wrong.exit_code == 2
    assert "generates head labels, not body labels" in wrong.stderr
