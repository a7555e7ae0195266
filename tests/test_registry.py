"""The registry: whole plugins, broken plugins, one-offs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from avatarkit.config import Choice
from avatarkit.errors import AvatarkitError, ConfigError, MissingDependency, PluginError
from avatarkit.interfaces import Context
from avatarkit.registry import Registry
from avatarkit.registry.requirements import requirements

GOOD = """
    from avatarkit.hookspecs import License, Needs, hookimpl

    @hookimpl
    def register_losses(register):
        register("good", target="{module}_parts:Good", config="{module}_parts:Config", summary="fine")
"""
PARTS = '''
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Config:
        strength: float = 1.0
        """How strong."""

    class Good:
        def __init__(self, config, context):
            self.config, self.context = config, context
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution with one entry point, as pip would leave it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(name: str, source: str, **modules: str) -> None:
        module = f"{name}_module"
        for file, text in {module: source, **modules}.items():
            (site / f"{file}.py").write_text(textwrap.dedent(text).replace("{module}", module))
            monkeypatch.delitem(sys.modules, file, raising=False)
        info = site / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[avatarkit]\n{name} = {module}\n")

    return add


def load(*names: str, **environ: str) -> Registry:
    return Registry.load(environ={"AVATARKIT_PLUGINS": ",".join(names), **environ})


def test_a_component_is_listed_and_made(install: Install) -> None:
    install("good", GOOD, good_module_parts=PARTS)
    registry = load("good")
    assert registry.problems == []
    component = registry.get("loss", "good")
    assert (component.plugin.name, component.plugin.version, component.summary) == ("good", "1.2", "fine")
    assert "good_module_parts" not in sys.modules
    context = Context()
    made = component.create({"strength": 2}, context)
    assert made.config.strength == 2.0
    assert made.context is context
    assert [(o.name, o.default, o.help) for o in component.options()] == [("strength", "1.0", "How strong.")]


def test_a_choice_of_a_recipe_is_made_and_names_where_a_wrong_option_came_from(install: Install) -> None:
    install("good", GOOD, good_module_parts=PARTS)
    registry = load("good")
    fine = Choice("perceptual", "loss", "good", {"strength": 3.0})
    assert registry.create(fine, Context()).config.strength == 3.0
    wrong = Choice("perceptual", "loss", "good", {"strenth": 3.0}, {"strenth": "--set perceptual.strenth=3"})
    with pytest.raises(
        ConfigError, match=r"loss 'good' has no option 'strenth' \(from --set .*Did you mean 'strength'"
    ):
        registry.create(wrong, Context())
    with pytest.raises(ConfigError, match="slot 'perceptual' of the recipe is empty"):
        registry.create(Choice("perceptual", "loss", None), Context())


BROKEN = {
    "raises at import": ("raise RuntimeError('boom')", "cannot be imported.*RuntimeError: boom"),
    "exits at import": ("import sys; sys.exit(3)", "cannot be imported.*SystemExit: 3"),
    "does not parse": ("def register_losses(:", "cannot be imported.*SyntaxError"),
    "lacks a module": ("import no_such_module_anywhere", "cannot be imported.*no_such_module_anywhere"),
    "raises in its hook": (
        """
        from avatarkit.hookspecs import hookimpl
        @hookimpl
        def register_losses(register):
            register("half", target="a.b:C")
            raise ValueError("boom")
        """,
        "left out.*register_losses raised ValueError: boom",
    ),
    "asks for unknown arguments": (
        """
        from avatarkit.hookspecs import hookimpl
        @hookimpl
        def register_losses(register, surprise): ...
        """,
        "left out.*surprise",
    ),
    "gives a path that is none": (
        """
        from avatarkit.hookspecs import hookimpl
        @hookimpl
        def register_losses(register):
            register("half", target="a.b.C")
        """,
        "not of the form package.module:Class",
    ),
    "registers a name twice": (
        """
        from avatarkit.hookspecs import hookimpl
        @hookimpl
        def register_losses(register):
            register("half", target="a.b:C")
            register("half", target="a.b:D")
        """,
        "'half' is registered twice",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_plugin_is_a_problem_and_leaves_nothing_behind(how: str, install: Install) -> None:
    source, message = BROKEN[how]
    install("broken", source)
    install("good", GOOD, good_module_parts=PARTS)
    registry = load("good", "broken")
    assert [p.plugin for p in registry.problems] == ["broken"]
    assert re.search(message, registry.problems[0].message)
    assert list(registry.components("loss")) == ["good"]
    assert "broken" not in registry.plugins
    with pytest.raises(PluginError, match="broken"):
        load("good", "broken", AVATARKIT_STRICT="1")


def test_a_misspelt_hook_is_told_with_the_right_name(install: Install) -> None:
    install("typo", "from avatarkit.hookspecs import hookimpl\n@hookimpl\ndef register_loses(register): ...\n")
    registry = load("typo")
    assert [p.message for p in registry.problems] == [
        "There is no hook 'register_loses'. Did you mean 'register_losses'?"
    ]
    assert "typo" in registry.plugins


def test_a_name_that_two_plugins_claim_belongs_to_neither(install: Install) -> None:
    install("good", GOOD, good_module_parts=PARTS)
    install("other", GOOD, other_module_parts=PARTS)
    registry = load("good", "other")
    assert "good" not in registry.components("loss")
    with pytest.raises(PluginError, match="two plugins, 'good' of good 1.2 and 'other' of other 1.2"):
        registry.get("loss", "good")
    assert len(registry.problems) == 1
    assert load("good").get("loss", "good").plugin.name == "good"


def test_an_unknown_component_names_its_likely_neighbor(install: Install) -> None:
    install("good", GOOD, good_module_parts=PARTS)
    registry = load("good")
    with pytest.raises(
        PluginError, match=r"no component 'god' of the kind loss\. Did you mean 'good'\? Installed: good"
    ):
        registry.get("loss", "god")
    with pytest.raises(PluginError, match="It is of the kind loss"):
        registry.get("avatar", "good")
    with pytest.raises(PluginError, match="Did you mean 'loss'"):
        registry.components("losss")


def test_a_known_component_that_is_not_installed_says_how_to_get_it() -> None:
    registry = Registry.load(environ={"AVATARKIT_PLUGINS": ""}, known={("body", "smplx"): "Do this."})
    with pytest.raises(PluginError, match="body 'smplx' is not installed. Do this."):
        registry.get("body", "smplx")


def test_the_allow_list_names_what_is_not_there(install: Install) -> None:
    install("good", GOOD, good_module_parts=PARTS)
    registry = load("gooood")
    assert registry.plugins == {}
    assert "Did you mean 'good'?" in registry.problems[0].message


def test_tracing_writes_hook_calls(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("good", GOOD, good_module_parts=PARTS)
    load("good", AVATARKIT_TRACE="1")
    assert "register_losses" in capsys.readouterr().err


def test_foreign_exceptions_are_wrapped_once_and_our_own_not_at_all(install: Install) -> None:
    parts = """
        from avatarkit.errors import InputError
        class Good:
            def __init__(self, config, context):
                raise (InputError("mine") if config is None and context.seed else KeyError("theirs"))
    """
    install("good", GOOD.replace('config="{module}_parts:Config", ', ""), good_module_parts=parts)
    component = load("good").get("loss", "good")
    with pytest.raises(
        PluginError, match="loss 'good' of plugin 'good' of good 1.2 could not be created: KeyError: 'theirs'"
    ) as caught:
        component.create({}, Context())
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(AvatarkitError, match="^mine$"):
        component.create({}, Context(seed=1))
    with pytest.raises(ConfigError, match="has no options, but 'x' was given"):
        component.create({"x": 1}, Context())


def test_a_missing_module_that_was_declared_says_how_to_install_it(install: Install) -> None:
    source = GOOD.replace("summary=", 'needs=Needs(modules=("no_such_thing",)), extra="heavy", summary=')
    install("good", source, good_module_parts="import no_such_thing")
    component = load("good").get("loss", "good")
    with pytest.raises(
        MissingDependency, match=r"needs the Python module 'no_such_thing': pip install \"good\[heavy\]\""
    ):
        component.create({}, Context())
    (requirement,) = requirements(component)
    assert (requirement.kind, requirement.name, requirement.met) == ("module", "no_such_thing", False)


def test_a_target_that_is_not_there_or_no_class_is_the_plugins_fault(install: Install) -> None:
    install("good", GOOD.replace("parts:Good", "parts:Better"), good_module_parts=PARTS)
    with pytest.raises(PluginError, match="plugin 'good' of good 1.2: good_module_parts:Better cannot be imported"):
        load("good").get("loss", "good").create({}, Context())


def test_a_one_off_file_is_a_plugin(tmp_path: Path) -> None:
    file = tmp_path / "one_off_loss.py"
    file.write_text(textwrap.dedent(GOOD.replace("{module}_parts", "one_off_loss")) + textwrap.dedent(PARTS))
    registry = Registry.load([file], environ={"AVATARKIT_PLUGINS": ""})
    assert registry.get("loss", "good").create({}, Context()).config.strength == 1.0
    assert Registry.load([file], environ={"AVATARKIT_PLUGINS": ""}).problems == []
    del sys.modules["one_off_loss"]


def test_a_broken_one_off_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one_off_bad.py").write_text("raise RuntimeError('boom')")
    for name, message in {
        "one_off_bad.py": "cannot be loaded: RuntimeError: boom",
        "missing.py": "must be an existing Python file",
        "json.py": "a module named 'json' is loaded already",
    }.items():
        if name == "json.py":
            (tmp_path / name).write_text("")
        with pytest.raises(PluginError, match=message):
            Registry.load([tmp_path / name], environ={"AVATARKIT_PLUGINS": ""})


def test_observers_are_told_and_cannot_disturb(install: Install) -> None:
    source = """
        from avatarkit.hookspecs import hookimpl
        seen = []
        @hookimpl
        def stage_finished(stage, seconds):
            seen.append((stage, seconds))
            if stage == "second":
                raise RuntimeError("boom")
    """
    install("watcher", source)
    registry = load("watcher")
    registry.stage_finished("first", "folder", 1.5)
    registry.stage_finished("second", "folder", 2.5)
    assert sys.modules["watcher_module"].seen == [("first", 1.5), ("second", 2.5)]
    (problem,) = registry.problems
    assert problem.message.startswith("Its hook stage_finished raised RuntimeError: boom (")
    assert problem.message.endswith("watcher_module.py, line 8).")


def test_listing_loads_no_heavy_library() -> None:
    """In a fresh interpreter: all installed plugins are loaded and listed without torch or numpy."""
    program = """
        import json, sys
        import avatarkit.config, avatarkit.registry.requirements
        from avatarkit.registry import KINDS, Registry
        registry = Registry.load()
        for kind in KINDS:
            for component in registry.components(kind).values():
                avatarkit.registry.requirements.requirements(component)
        heavy = {"torch", "numpy", "scipy", "mediapipe", "cv2", "anny", "numba", "PIL", "av"} & set(sys.modules)
        print(json.dumps({"heavy": sorted(heavy), "plugins": len(registry.plugins)}))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    result = json.loads(run.stdout)
    assert result["heavy"] == []
    assert result["plugins"] >= 1


def test_components_made_without_a_build_keep_files_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "mine"))
    assert Context().cache == tmp_path / "mine"
