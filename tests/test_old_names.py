"""A third-party plugin, recipe or command written against former names still works, and says what changed."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import avatarkit
from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.errors import InputError
from avatarkit.hookspecs import License, Weights
from avatarkit.motion.pose_solver import PoseSolver
from avatarkit.registry import Registry
from avatarkit.registry.specs import ComponentSpec, Plugin, make_register
from avatarkit.storage.bundle import FORMAT, read_manifest
from avatarkit.storage.serialization import load_subject, save_subject
from avatarkit.testing import tiny_subject
from avatarkit.types.subject import Quality
from avatarkit.utils.paths import weights_folder, weights_record
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
    assert Recipe.load("draft", components={"matter": "birefnet"}).slots["matting"].use == "birefnet"


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


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("interfaces", "Matter", "MattingModel"),
        ("hookspecs", "Licence", "License"),
        ("registry", "Component", "ComponentSpec"),
        ("registry.specs", "Component", "ComponentSpec"),
        ("types.mesh", "skin", "linear_blend_skinning"),
        ("geometry.mesh_graph", "spread", "screened_poisson"),
        ("geometry.mesh_graph", "grown", "dilate"),
        ("geometry.mesh_graph", "without_specks", "remove_small_components"),
        ("utils.threads", "ahead", "prefetch"),
        ("motion.pose_solver", "Poser", "PoseSolver"),
        ("motion.retargeting", "Performer", "SourceSkeleton"),
        ("motion.skeleton", "recognise", "recognize"),
    ],
)
def test_a_former_name_is_the_current_one_and_says_so(module: str, old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old} is called {new} now; the old name is removed in version 0.3"):
        found = getattr(importlib.import_module(f"avatarkit.{module}"), old)
    assert found is getattr(importlib.import_module(f"avatarkit.{module}"), new)


def test_a_former_name_in_a_former_module_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "avatarkit.posing", raising=False)
    with pytest.warns(DeprecationWarning, match="avatarkit.posing is avatarkit.motion.pose_solver now"):
        posing = importlib.import_module("avatarkit.posing")
    with pytest.warns(DeprecationWarning, match="Poser is called PoseSolver now"):
        assert posing.Poser is PoseSolver


def test_an_unknown_name_of_a_module_with_former_names_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Licens'"):
        importlib.import_module("avatarkit.hookspecs").Licens  # noqa: B018


@pytest.mark.parametrize(("old", "new"), [("Licence", "License"), ("Component", "ComponentSpec")])
def test_a_former_public_name_works(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"avatarkit.{old} is called {new} now"):
        assert getattr(avatarkit, old) is getattr(avatarkit, new)


def test_licences_are_accepted_by_their_former_spelling() -> None:
    added: list[ComponentSpec] = []
    with pytest.warns(DeprecationWarning, match="The argument 'licence' of ComponentSpec is called 'license' now"):
        make_register("loss", Plugin("p"), added)("x", target="a:B", licence=License("MIT"))
    with pytest.warns(DeprecationWarning, match="ComponentSpec.licence is called license now"):
        assert added[0].licence == License("MIT")  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="The argument 'licence' of Weights"):
        assert Weights("w", "x.org", licence="MIT").license == "MIT"  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning, match="Quality.partly is called partially_visible now"):
        assert Quality(partially_visible=("left_hand",)).partly == ("left_hand",)  # type: ignore[attr-defined]


def test_files_with_former_names_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = {"format": FORMAT, "format_version": 1, "licences": {"tiny": {"code": "MIT"}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert read_manifest(tmp_path)["licenses"] == {"tiny": {"code": "MIT"}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"licences": {"tiny": {"code": 5}}}))
    with pytest.raises(InputError, match="licenses"):
        read_manifest(tmp_path)

    subject = tiny_subject()
    save_subject(replace(subject, quality=Quality(partially_visible=("left_hand",))), tmp_path)
    facts = (tmp_path / "subject.json").read_text()
    (tmp_path / "subject.json").write_text(facts.replace('"partially_visible"', '"partly"'))
    assert load_subject(tmp_path).quality.partially_visible == ("left_hand",)

    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path))
    record = weights_folder() / ".records" / "w.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"repository": "a/b", "commit": "c", "licence": "MIT", "sha256": {}}))
    found = weights_record("w")
    assert found is not None and found["license"] == "MIT"
