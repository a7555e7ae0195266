"""A third-party plugin, recipe or command written against former names still works, and says what changed."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avatarkit import interfaces
from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.registry import Registry
from avatarkit_cli.main import app

PLUGIN = """
from avatarkit.hookspecs import hookimpl

@hookimpl
def register_matters(register):
    register("old", target="old_plugin:Old")

class Old:
    def __init__(self, config, context):
        from avatarkit.subject import Matte
        self.made = Matte
"""


def test_a_plugin_with_the_old_hook_offers_its_component(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "avatarkit.subject", raising=False)
    import old_plugin

    registry = Registry.load()
    with pytest.raises(Exception, match="register_matters is called register_matting_models now"):
        registry.add(old_plugin, "old")  # says so, and has added it
    assert registry.get("matting", "old").owner == "matting 'old'"
    assert registry.get("matter", "old") is registry.get("matting", "old")
    with pytest.warns(DeprecationWarning, match=r"avatarkit\.subject is avatarkit\.types\.subject now"):
        made = registry.get("matting", "old").create({}, None)
    assert made.made.__name__ == "Matte"


def test_a_recipe_with_the_old_slot_is_read_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mine.toml").write_text('preset = "draft"\n[matter]\nuse = "birefnet"\n')
    with caplog.at_level(logging.WARNING):
        recipe = Recipe.load(file=tmp_path / "mine.toml")
    assert recipe.slots["matting"].use == "birefnet"
    assert "recipe mine.toml says 'matter': this slot was renamed to 'matting'" in caplog.text
    assert Recipe.load("draft", settings=["matter.use=birefnet"]).slots["matting"].use == "birefnet"
    assert Recipe.load("draft", flags={"matter": "birefnet"}).slots["matting"].use == "birefnet"


def test_components_are_found_by_the_old_slot() -> None:
    components = Components(Recipe.load("draft"), device="cpu")
    assert components.descriptor("matter") is components.descriptor("matting")


def test_the_old_flag_works_and_is_not_shown(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"x")
    shown = CliRunner().invoke(app, ["build", "--help"]).output
    assert "--matting" in shown
    assert "--matter" not in shown
    result = CliRunner().invoke(app, ["build", str(photo), "--matter", "no-such", "--dry-run"])
    assert result.exit_code == 2
    assert "no component 'no-such' of the kind matting" in result.output


def test_the_old_interface_is_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="Matter is called MattingModel now"):
        assert interfaces.Matter is interfaces.MattingModel
