"""The table of ablations: each row is a valid recipe that changes what it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from avatarkit.config import Recipe

FILE = Path(__file__).parents[1] / "benchmarks/ablations.py"


@pytest.fixture(scope="module")
def ablations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablations", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablations"] = module
    spec.loader.exec_module(module)
    return module


def test_every_row_is_a_recipe_of_its_own(ablations: ModuleType) -> None:
    tables = {row: Recipe.load("draft", settings=changes).tables for row, changes in ablations.ROWS.items()}
    texts = [str(t) for t in tables.values()]
    assert len(set(texts)) == len(texts)
    weights = {loss.name: loss.weight for loss in Recipe.load("draft", settings=ablations.ROWS["labels by L1"]).losses}
    assert "perceptual" not in weights and weights["label-l1"] == 0.2
    left = Recipe.load("draft", settings=ablations.ROWS["weights left to right"]).losses
    assert {loss.name: loss.weight for loss in left} == {
        "normal": 1e-2, "mesh-mask": 1e-1, "consistency": 1e2, "laplacian": 2e-1, "perceptual": 8e-1, "rgb": 1e-1, "ssim": 4e-1,
    }  # fmt: skip


def _result(psnr: float) -> dict[str, Any]:
    face = {"psnr": psnr - 1, "ssim": 0.8, "lpips": 0.2}
    scores = {"psnr": psnr, "ssim": 0.9, "lpips": 0.1, "regions": {"face": face}}
    return {"perceptual": "lpips-vgg", "methods": {"avatar": scores}}


def test_table_shows_means_and_differences(ablations: ModuleType) -> None:
    found = {
        "full": {"a": _result(30.0), "b": _result(32.0)},
        "no labels": {"a": _result(29.0), "b": _result(32.0)},
        "straying labels": {"a": _result(28.0), "b": _result(28.0)},
        "straying, not re-tracked": {"a": _result(27.0), "b": _result(27.0)},
    }
    lines = ablations.table(found).splitlines()
    assert lines[0] == "| row | PSNR | SSIM | lpips-vgg | face PSNR | face SSIM | face lpips-vgg |"
    assert lines[2].startswith("| full | 31.00 | 0.9000 | 0.1000 | 30.00 |")
    assert lines[3].startswith("| no labels | 30.50 (-0.50) | 0.9000 (+0.0000) |")
    assert lines[5].startswith("| straying, not re-tracked | 27.00 (-1.00) |")
