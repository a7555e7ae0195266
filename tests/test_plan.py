"""Plans: everything that a build needs is looked up before any of it starts."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from avatarkit.config import SLOTS, Recipe
from avatarkit.errors import (
    ConfigError,
    InputError,
    MissingDependency,
    MissingDevice,
    MissingRequirement,
    MissingWeights,
    PluginError,
    StoreError,
)
from avatarkit.pipeline.plan import Plan, PlanStep, plan
from avatarkit.registry import KINDS, Registry
from avatarkit.registry.requirements import Requirement

PLUGIN = """
    from dataclasses import dataclass
    from avatarkit.hookspecs import License, Needs, hookimpl

    @dataclass(frozen=True)
    class Config:
        checkpoint: str = ""
        size: int = 3

"""
for hook in KINDS.values():
    PLUGIN += f"""
    @hookimpl
    def {hook}(register):
        register("fine", target="plan_plugin:Config", config="plan_plugin:Config", license=License("MIT"))
        register("module", target="plan_plugin:Config", needs=Needs(modules=("no_such_module",)), extra="heavy")
        register("weights", target="plan_plugin:Config", config="plan_plugin:Config", needs=Needs(weights=("big",)))
        register("device", target="plan_plugin:Config", needs=Needs(device="cuda"))
        register("able", target="plan_plugin:Config", features=("anisotropic", "sh"))
        register("wide", target="plan_plugin:Config", features=("sh",))
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "plan_plugin.py"
    file.write_text(textwrap.dedent(PLUGIN))
    monkeypatch.delitem(sys.modules, "plan_plugin", raising=False)
    return Registry.load([file], environ={"AVATARKIT_PLUGINS": ""})


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "ada.jpg"
    path.write_bytes(b"not looked at")
    return path


def recipe(**uses: str) -> Recipe:
    filled = {slot: "fine" for slot in SLOTS if slot not in ("body_labels", "head_labels", "perceptual")}
    return Recipe.load(components={**filled, **uses}, settings=["losses.rgb.use=fine", "losses.rgb.weight=0.8"])


def test_a_plan_lists_every_step_with_all_its_options(registry: Registry, photo: Path) -> None:
    made = plan(photo, None, recipe(), registry, "cpu")
    assert (made.photo, made.device, made.missing) == ("ada.jpg", "cpu", ())
    assert made.output == str(Path.cwd() / "ada.avatar")
    steps = {step.slot: step for step in made.steps}
    assert set(steps) == {*SLOTS, "losses.rgb"}
    assert steps["tracker"].config == {"checkpoint": "", "size": 3}
    assert steps["body_labels"].component is None
    assert made.licenses["tracker 'fine'"].code == "MIT"
    made.require_ready()
    assert made.to_dict()["ready"] is True


@pytest.mark.parametrize(
    ("uses", "error", "texts"),
    [
        (
            {"body_labels": "module"},
            MissingDependency,
            ["labels 'module' needs the module 'no_such_module'", "pip install no_such_module"],
        ),
        (
            {"tracker": "weights"},
            MissingWeights,
            ["tracker 'weights' needs the weights 'big'", "avatarkit weights add big"],
        ),
        (
            {"renderer": "device"},
            MissingDevice,
            ["renderer 'device' needs the device 'cuda'", "choose another renderer component"],
        ),
        ({"tracker": "weights", "body": "module"}, MissingRequirement, ["'big'", "'no_such_module'"]),
    ],
)
def test_everything_missing_is_named_at_once(
    registry: Registry, photo: Path, uses: dict[str, str], error: type[Exception], texts: list[str]
) -> None:
    made = plan(photo, None, recipe(**uses), registry, "cpu")
    with pytest.raises(error) as caught:
        made.require_ready()
    for text in texts:
        assert text in str(caught.value)


def test_weights_are_found_where_they_were_put_or_where_an_option_says(
    registry: Registry, photo: Path, tmp_path: Path
) -> None:
    chosen = recipe(tracker="weights")
    assert plan(photo, None, chosen, registry, "cpu").missing
    uses = {slot: choice.use for slot, choice in chosen.slots.items()}
    own = Recipe.load(components=uses, settings=[f"tracker.checkpoint={photo}"])
    assert not plan(photo, None, own, registry, "cpu").missing
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "big.safetensors").write_bytes(b"x")
    assert not plan(photo, None, chosen, registry, "cpu").missing


def test_what_cannot_work_is_refused_before_anything_starts(registry: Registry, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no photo"):
        plan(tmp_path / "none.jpg", None, recipe(), registry, "cpu")
    with pytest.raises(InputError, match="is a folder, not a photo"):
        plan(tmp_path, None, recipe(), registry, "cpu")
    with pytest.raises(PluginError, match="no component 'fne' of the kind tracker. Did you mean 'fine'"):
        plan(photo, None, recipe(tracker="fne"), registry, "cpu")
    wrong = Recipe.load(components={s: c.use for s, c in recipe().slots.items()}, settings=["tracker.siz=3"])
    with pytest.raises(ConfigError, match="has no option 'siz'"):
        plan(photo, None, wrong, registry, "cpu")
    with pytest.raises(StoreError, match="exists and is not an avatar"):
        plan(photo, tmp_path, recipe(), registry, "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(MissingDevice, match="No CUDA device"):
            plan(photo, None, recipe(), registry, "cuda")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody may write to")
def test_an_output_that_nobody_may_write_is_refused(registry: Registry, photo: Path) -> None:
    with pytest.raises(StoreError, match="is not writable. Choose another one with -o"):
        plan(photo, Path("/proc/ada.avatar"), recipe(), registry, "cpu")


def test_a_component_that_is_not_set_up_is_one_sentence():
    step = PlanStep("head_labels", None, {}, (Requirement("setup", "x", False, "say where the checkout lies."),))
    missing = Plan("p.jpg", "p.avatar", "draft", "cpu", (step,))
    with pytest.raises(MissingRequirement, match="head_labels: say where the checkout lies"):
        missing.require_ready()


def test_a_renderer_that_cannot_draw_the_avatar_is_told_before_a_build(registry: Registry, photo: Path) -> None:
    made = plan(photo, None, recipe(avatar="able", renderer="wide"), registry, "cpu")
    expected = "avatar 'able': it makes ellipsoids, which renderer 'wide' does not draw: choose --renderer able"
    with pytest.raises(MissingRequirement, match=re.escape(expected)):
        made.require_ready()
    for renderer in ("able", "wide"):
        assert not plan(photo, None, recipe(avatar="wide", renderer=renderer), registry, "cpu").missing
