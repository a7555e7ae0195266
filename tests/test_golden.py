"""What the stages of a build make moves only when a revision does; see docs/how.md, "Stages and the cache".

A synthetic dressed person is built with few steps, and a short summary of each tensor is compared with ``golden/dressed.json``.
``python tests/test_golden.py`` renews that file.
"""

from __future__ import annotations

import copy
import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.pipeline.build import build
from avatarkit.storage.stage_cache import load_tensors
from avatarkit.testing.dressed import DressedPerson
from avatarkit.testing.truth import truth_registry

GOLDEN = Path(__file__).parent / "golden" / "dressed.json"
RENEW = "Then run `python tests/test_golden.py` and commit tests/golden/dressed.json."
TOLERANCE = 0.03  # of a tensor's spread; a processor without vector instructions moves it by 0.022
TOLERANCE_AVATAR = 0.1  # the same of the stage ``avatar``: there last bits decide over whole Gaussians, which moved it by 0.051
SMALL = 0.01  # least spread: radians, meters, parts of a color
PIECES = 16  # of a tensor
SETTINGS = (
    "tracker.pose_iterations=6", "tracker.shape_rounds=1", "tracker.detail_rounds=1", "labels.body_clips=1",
    "labels.head_clips=1", "body_labels.frames=2", "head_labels.frames=2", "body_labels.height=96", "head_labels.height=96",
    "avatar.resolution=128", "avatar.photo_factor=1", "training.steps=4", "training.resolution=96", "preview.seconds=0.1",
    "preview.height=48",
)  # fmt: skip


def made(folder: Path) -> dict[str, Any]:
    """Build the person in ``folder``; return stage -> inputs, revisions and summaries of its tensors."""
    registry = truth_registry()
    components = Components(Recipe.load("instant"), registry, "cpu")
    person = DressedPerson("skirt", components.get("body"), components.get("renderer").meshes)
    photo = person.write_photo(folder / "photo")
    slots = {"matting": "truth", "keypoints": "truth"}
    folders = [f"{slot}.folder={photo.parent.as_posix()}" for slot in slots]
    recipe = Recipe.load("draft", None, slots, [*SETTINGS, *folders])
    build(photo, folder / "avatar", recipe=recipe, registry=registry, device="cpu")
    return dict(sorted(_stages(folder / "avatar" / "cache")))


def _stages(cache: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for record in cache.glob("*/stage.json"):
        parts = json.loads(record.read_text(encoding="utf-8"))["parts"]
        tensors = {n: t for file in record.parent.glob("*.safetensors") for n, t in load_tensors(file).items()}
        if tensors:
            yield (
                parts["stage"],
                {
                    "inputs": sorted(parts["inputs"]),
                    "revisions": dict(sorted(_revisions(parts["config"]))),
                    "summary": {name: _summary(tensors[name]) for name in sorted(tensors)},
                },
            )


def _revisions(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield component or package of the core, and its revision, as a stage's key holds them."""
    for chosen in (*config["slots"].values(), *config.get("losses", {}).values()):
        yield chosen["use"], chosen["revision"]
    for package, revision in config["core"].items():
        yield f"avatarkit.{package}", revision


def _summary(tensor: torch.Tensor) -> list[float]:
    """Return number of rows, standard deviation, and the means of up to ``PIECES`` pieces in order."""
    values = tensor.double().flatten()
    numbers = [len(tensor) if tensor.ndim else 1, values.std(correction=0) if len(values) else 0.0]
    numbers += [piece.mean() for piece in values.chunk(PIECES) if len(piece)]
    return [float(f"{float(v):.4g}") for v in numbers]


def _moved(old: list[float], new: list[float]) -> float:
    """Return how far a summary moved, in tensor spreads; infinite for another size."""
    if len(old) != len(new) or abs(new[0] - old[0]) > TOLERANCE * old[0]:
        return math.inf
    return max(abs(a - b) for a, b in zip(old[1:], new[1:], strict=True)) / max(old[1], SMALL)


def complaints(golden: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with new results beside the recorded ones, in sentences."""
    if set(golden) != set(found):
        return [f"The stages are {', '.join(found)} now, not {', '.join(golden)}. {RENEW}"]
    raised = {name for name, old in golden.items() if old["revisions"] != found[name]["revisions"]}
    said = []
    for name, old in golden.items():
        far = {
            t: _moved(old["summary"].get(t, []), found[name]["summary"].get(t, []))
            for t in {*old["summary"], *found[name]["summary"]}
        }
        most = TOLERANCE_AVATAR if name == "avatar" else TOLERANCE
        moved = [f"{t} by {far[t]:.2g} of its spread" for t in sorted(far, key=far.__getitem__)[::-1] if far[t] > most]
        above = {name, *old["inputs"], *(i for stage in old["inputs"] if stage in golden for i in golden[stage]["inputs"])}
        if moved and not above & raised:
            said.append(
                f"The stage {name} gives other results ({', '.join(moved[:3])}), but no revision moved: users would keep stale "
                f"results. Raise the revision of what you changed ({', '.join(old['revisions'])}). {RENEW}"
            )
    if raised and not said:
        said.append(f"Revisions of the stages {', '.join(sorted(raised))} moved, and the record is older. {RENEW}")
    return said


@pytest.mark.slow
def test_results_move_only_with_a_revision(tmp_path: Path) -> None:
    assert not complaints(json.loads(GOLDEN.read_text(encoding="utf-8")), made(tmp_path))


SHIFTED = {"avatar": {"dX": [99.0, 1.0, -0.3, 0.4]}}


@pytest.fixture
def record() -> dict[str, Any]:
    return {
        "tracking": {"inputs": ["photo"], "revisions": {"exavatar": 3}, "summary": {"pose": [9.0, 0.1, 0.4, 0.6]}},
        "avatar": {"inputs": ["tracking"], "revisions": {"coupled-gs": 4}, "summary": {"dX": [99.0, 1.0, -0.3, 0.3]}},
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"avatar": {"dX": [99.0, 1.001, -0.3, 0.301]}}, None),  # the last bits of another machine
        (
            {"avatar": {"dX": [99.0, 0.1, 1.0, -1.0, 1.0]}},
            "The stage avatar gives other results .*dX .*no revision moved.*coupled-gs",
        ),
        ({"avatar": {"dX": [150.0, 1.0, -0.3, 0.3]}}, "The stage avatar gives other results"),
        ({"avatar": {}}, "The stage avatar gives other results"),
        (
            {**SHIFTED, "raise": "avatar"},
            "Revisions of the stages avatar moved.*python tests",
        ),
        ({**SHIFTED, "raise": "tracking"}, "Revisions of the stages tracking moved"),
        ({"tracking": {"pose": [9.0, 0.1, 0.4, 0.9]}, "raise": "avatar"}, "The stage tracking gives other results"),
        ({"raise": "tracking"}, "Revisions of the stages tracking moved"),
    ],
)
def test_a_summary_may_move_only_with_a_revision_of_its_stage(
    record: dict[str, Any], change: dict[str, Any], expected: str | None
) -> None:
    found = copy.deepcopy(record)
    for name, summary in change.items():
        if name == "raise":
            found[summary]["revisions"] = {"x": 99}
        else:
            found[name]["summary"] = summary
    said = complaints(record, found)
    assert len(said) == (expected is not None)
    assert expected is None or re.search(expected, said[0])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        text = json.dumps(made(Path(scratch)), indent=1)
    text = re.sub(r"\[[^][]*\]", lambda found: " ".join(found[0].split()), text)  # a list a line
    GOLDEN.write_text(text + "\n", encoding="utf-8")
    print(f"{GOLDEN} is renewed: commit it together with the raised revision.")
