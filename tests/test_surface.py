"""The versioning promise: nothing that plugins lean on goes away or changes, and what has to go is deprecated first."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import avatarkit
from avatarkit import hookspecs
from avatarkit.hookspecs import hookimpl, hookspec
from avatarkit.registry import Registry
from avatarkit.utils.moved import former_names

HERE = Path(__file__).parent
AGAIN = "If that is wanted, record it: python tests/api_surface.py"


@pytest.fixture(scope="module")
def recorder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_surface", HERE / "api_surface.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_surface_is_what_is_promised(recorder: ModuleType) -> None:
    """What is new is not promised until it is recorded, which ``.ci/run`` asks for."""
    promised = json.loads((HERE / "api_surface.json").read_text(encoding="utf-8"))
    found = recorder.differences(promised, json.loads(json.dumps(recorder.surface())))
    broken = [f"{how}: {where}" for how, where in found if how != "new"]
    assert not broken, (
        "This breaks other people's plugins:\n  " + "\n  ".join(broken)
        + "\nKeep the old way working and deprecate it (docs/plugins/publishing.md). " + AGAIN
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "how"),
    [
        ({"f": ["a"]}, {"f": ["a", "b=..."]}, "new"),
        ({"f": ["a"]}, {"f": ["a", "b"]}, "changed"),
        ({"f": ["a", "b=..."]}, {"f": ["b=...", "a"]}, "changed"),
        ({"f": ["a"], "g": []}, {"f": ["a"]}, "gone"),
        ({"T": {"x": "field"}}, {"T": {"x": "field", "y": "field=..."}}, "new"),
        ({"T": {"x": "field"}}, {"T": {"x": "property"}}, "changed"),
    ],
)
def test_what_counts_as_breaking(before: Any, after: Any, how: str, recorder: ModuleType) -> None:
    ((found, _),) = recorder.differences(before, after)
    assert found == how


def plugin(**functions: Any) -> ModuleType:
    module = ModuleType("old_plugin")
    for name, function in functions.items():
        setattr(module, name, hookimpl(function))
    return module


def test_a_hook_that_gained_an_argument_still_serves_old_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way in which hooks grow: pluggy hands each implementation the arguments that it names."""
    told = []

    def stage_finished(stage: str, folder: str, seconds: float, memory: float = 0.0) -> None:
        """As it may look in a later version."""

    monkeypatch.setattr(hookspecs, "stage_finished", hookspec(stage_finished))
    registry = Registry.load(environ={"AVATARKIT_PLUGINS": ""})
    registry.add(plugin(stage_finished=lambda stage, seconds: told.append((stage, seconds))), "old")
    registry.stage_finished("tracking", "folder", 1.0)
    assert told == [("tracking", 1.0)]
    assert registry.problems == []


def test_a_deprecated_hook_works_and_is_told_with_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way in which a hook goes: its specification says what to take instead, for two minor versions at least."""

    def register_mattes(register: Any) -> None:
        """An earlier name."""

    notice = DeprecationWarning("The hook register_mattes is called register_matting_models since 0.3 and goes in 0.5.")
    monkeypatch.setattr(hookspecs, "register_mattes", hookspec(warn_on_impl=notice)(register_mattes), raising=False)
    registry = Registry.load(environ={"AVATARKIT_PLUGINS": ""})
    with pytest.raises(avatarkit.PluginError, match="called register_matting_models since 0.3"):
        registry.add(plugin(register_mattes=lambda register: None), "old")  # one-offs are told at once
    assert "old" in registry.plugins  # and loaded all the same
    assert "It works for now" in str(registry.problems[0])


def test_a_deprecated_public_name_works_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way in which a public name goes: it stays importable, and says what to take instead."""
    monkeypatch.setattr(avatarkit, "_former", former_names("avatarkit", {"load_avatar": "load"}, level=4))
    with pytest.warns(DeprecationWarning, match=r"load_avatar is called load now; .* removed in version 0\.3") as caught:
        assert avatarkit.load_avatar is avatarkit.load
    assert caught[0].filename == __file__  # so that scripts are told, too
    assert "load_avatar" not in vars(avatarkit)  # so that it warns each time
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "load_avatar" not in dir(avatarkit)
