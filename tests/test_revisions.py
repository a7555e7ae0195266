"""Cache keys tell the truth: they hold a revision of all code that a stage runs, and results move only with it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from avatarkit.config import SLOTS
from avatarkit.pipeline.stages import RUNS, core_revisions
from avatarkit.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "avatarkit"
SLOTS_OF = {  # stage -> slots whose components it runs, besides the losses
    "tracking": ("matting", "keypoints", "body", "tracker"),
    "motions": ("body", "motions"),
    "body-labels": ("body", "body_labels", "renderer", "keypoints", "tracker"),
    "head-labels": ("body", "head_labels", "renderer", "keypoints", "tracker"),
    "avatar": ("body", "renderer", "avatar"),
}
HAVE = {p.parent.name for p in CORE.glob("*/__init__.py") if "REVISION = " in p.read_text(encoding="utf-8")}
HAVE |= {p.stem for p in CORE.glob("*.py") if "\nREVISION = " in p.read_text(encoding="utf-8")}


def _imports(folder: Path) -> set[str]:
    """Packages of the core that the files of a folder, or one file, import when they run."""
    found = set()
    for file in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        if "tests" in file.parts:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
        types_only = {id(node) for guard in guards for node in ast.walk(guard)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avatarkit.") and id(node) not in types_only:
                found.add(str(node.module).split(".")[1])
    return found


@pytest.mark.parametrize("stage", SLOTS_OF)
def test_the_key_of_a_stage_holds_every_package_that_its_components_run(stage: str) -> None:
    registry = Registry.load()
    kinds = {SLOTS[slot] for slot in SLOTS_OF[stage]} | ({"loss"} if stage == "avatar" else set())
    bundled = {c.target.partition(".")[0] for c in registry.all_components() if c.kind in kinds and c.bundled}
    folders = [path for path in ROOT.glob("plugins/*/avatarkit_*") if path.name in bundled]
    assert len(folders) == len(bundled)
    # Which of a plugin's modules a component runs is not told apart; exporters share packages with nothing that is built.
    runs = set().union(*(_imports(folder) for folder in folders)) & HAVE
    assert runs <= set(RUNS[stage]), f"RUNS[{stage!r}] lacks {sorted(runs - set(RUNS[stage]))}"


def test_every_package_with_results_has_a_revision_that_some_key_holds() -> None:
    assert set().union(*RUNS.values()) == HAVE
    for name in HAVE:
        (revision,) = core_revisions([name]).values()
        assert isinstance(revision, int)
        assert revision >= 1
