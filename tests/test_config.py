"""Recipes: layers, slots, losses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from avatarkit.config import SLOTS, Recipe, presets
from avatarkit.errors import ConfigError
from avatarkit.registry import Registry

COMPLETE = "\n".join(
    f'[{slot}]\nuse = "{slot}-one"' for slot in SLOTS if slot not in ("body_labels", "head_labels", "perceptual")
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(COMPLETE + "\n[losses.rgb]\nuse = 'l1'\nweight = 0.8\non = ['photo']\n[training]\nsteps = 9\n")
    return path


@dataclasses.dataclass(frozen=True)
class Training:
    steps: int = 1
    """Steps."""
    lr: float = 0.1
    """Rate."""


def test_a_file_fills_slots_and_losses(file: Path) -> None:
    recipe = Recipe.load(file=file)
    assert recipe.name == "mine"
    assert recipe.slots["tracker"].use == "tracker-one"
    assert recipe.slots["tracker"].kind == "tracker"
    assert recipe.slots["body_labels"].use is None
    (rgb,) = recipe.losses
    assert (rgb.name, rgb.use, rgb.weight, rgb.start, rgb.on) == ("rgb", "l1", 0.8, 0, ("photo",))
    assert recipe.section("training", Training) == Training(steps=9)


def test_later_layers_win_and_say_where_they_came_from(file: Path) -> None:
    recipe = Recipe.load(
        file=file,
        components={"matting": "other", "body": None},
        settings=["matting.size=3", "training.lr=0.5", "matting.word=abc"],
    )
    matting = recipe.slots["matting"]
    assert (matting.use, matting.origin) == ("other", "--matting")
    assert matting.options == {"size": 3, "word": "abc"}
    assert matting.origins["size"] == "--set matting.size=3"
    assert recipe.slots["body"].use == "body-one"
    assert recipe.section("training", Training) == Training(9, 0.5)


def test_another_component_drops_the_options_of_the_old_one(file: Path) -> None:
    file.write_text(file.read_text().replace('use = "tracker-one"', 'use = "tracker-one"\niterations = 5'))
    assert Recipe.load(file=file).slots["tracker"].options == {"iterations": 5}
    assert Recipe.load(file=file, components={"tracker": "tracker-one"}).slots["tracker"].options == {"iterations": 5}
    assert Recipe.load(file=file, components={"tracker": "two"}).slots["tracker"].options == {}


def test_another_loss_keeps_its_weight_and_drops_its_options(file: Path) -> None:
    recipe = Recipe.load(file=file, settings=["losses.rgb.scale=2", "losses.rgb.use=l2"])
    (rgb,) = recipe.losses
    assert (rgb.use, rgb.weight, rgb.options) == ("l2", 0.8, {"scale": 2})
    recipe = Recipe.load(file=file, settings=["losses.rgb.scale=2"])
    again = Recipe.from_dict(recipe.to_dict())
    assert again.losses[0].options == {"scale": 2}
    assert again.to_dict() == recipe.to_dict()


def test_a_weight_of_zero_takes_a_loss_out(file: Path) -> None:
    assert Recipe.load(file=file, settings=["losses.rgb.weight=0"]).losses == ()


def test_the_perceptual_loss_comes_from_its_slot(file: Path) -> None:
    settings = ["losses.perceptual.weight=0.2", "losses.perceptual.start=20", "perceptual.crop=64"]
    assert [x.name for x in Recipe.load(file=file, settings=settings).losses] == ["rgb"]
    recipe = Recipe.load(file=file, components={"perceptual": "lpips"}, settings=settings)
    term = recipe.losses[1]
    assert (term.use, term.options, term.weight, term.start) == ("lpips", {"crop": 64}, 0.2, 20)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["trcker.x=1"], r"no entry 'trcker' \(from --set trcker.x=1\)\. Did you mean 'tracker'"),
        (["tracker=1"], "not of the form slot.option=value"),
        (["tracker.x"], "not of the form slot.option=value"),
        (["tracker.use=none"], "slot 'tracker' is required and cannot be empty"),
        (["tracker.use=3"], "must be the name of a component, not 3"),
        (["losses.rgb.weight=heavy"], r"'weight' of \[losses.rgb\] must be a number, 0 to 1000000000, not 'heavy' \(from --set"),
        (["losses.rgb.on=['foto']"], "on holds 'foto'; it may hold photo, body, head"),
        (["losses.rgb.start=-1"], r"'start' of \[losses.rgb\] must be 0 to 10000000, not -1"),
        (["losses.new.weight=1"], r"\[losses.new\] does not say which loss it is"),
        (["losses.new=1"], r"\[losses.new\] must be a table"),
    ],
)
def test_wrong_settings_are_refused_with_their_origin(file: Path, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe.load(file=file, settings=settings)


def test_options_of_a_section_are_checked_with_their_origin(file: Path) -> None:
    recipe = Recipe.load(file=file, settings=["training.stps=4"])
    with pytest.raises(ConfigError, match=r"\[training\] has no option 'stps' \(from --set training.stps=4\)"):
        recipe.check_sections()


def test_unreadable_recipes_are_told_apart(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[tracker\n")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    top = tmp_path / "top.toml"
    top.write_text("tracker = 'x'")
    for path, message in {
        tmp_path / "none.toml": "There is no recipe",
        broken: "is not valid TOML",
        binary: "it is not UTF-8 text",
        top: "It is a table: write",
    }.items():
        with pytest.raises(ConfigError, match=message):
            Recipe.load(file=path)


def test_an_incomplete_recipe_says_how_to_complete_it(tmp_path: Path) -> None:
    path = tmp_path / "part.toml"
    path.write_text("[training]\nsteps = 7\n")
    with pytest.raises(ConfigError, match="no component for the slot 'matting'. Start from a preset"):
        Recipe.load(file=path)
    path.write_text('preset = "draft"\n[training]\nsteps = 7\n')
    recipe = Recipe.load(file=path)
    assert (recipe.name, recipe.tables["training"]["steps"]) == ("draft+part", 7)
    assert Recipe.load("instant", path).name == "instant+part"


def test_an_unknown_preset_suggests_the_right_one() -> None:
    with pytest.raises(ConfigError, match="no preset 'drafft'. Did you mean 'draft'"):
        Recipe.load("drafft")


def test_the_presets_are_those_of_the_contract() -> None:
    assert {"instant", "draft", "standard", "paper"} <= set(presets())


@pytest.mark.parametrize("name", ["instant", "draft", "standard", "paper"])
def test_a_preset_is_whole_and_fits_its_components(name: str) -> None:
    """Every component that a preset names is registered, and takes the options that the preset gives."""
    recipe, registry = Recipe.load(name), Registry.load()
    recipe.check_sections()
    for choice in (*recipe.slots.values(), *recipe.losses):
        if choice.use is not None:
            registry.get(choice.kind, choice.use).make_config(choice.options, choice.origins)
    assert Recipe.from_dict(recipe.to_dict()).to_dict() == recipe.to_dict()
