"""What authors of plugins meet while they write: caches that know their code, licenses, notes, memory and messages."""

from __future__ import annotations

import gc
import html
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import avatarkit
from avatarkit import License, Needs, Weights, hookimpl
from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.errors import ConfigError, MissingWeights, PluginError, StageError
from avatarkit.io.image import save_png
from avatarkit.pipeline.build import build
from avatarkit.registry import Registry, provenance
from avatarkit.registry.loading import import_file
from avatarkit.registry.specs import is_editable
from avatarkit.storage.bundle import read_manifest
from avatarkit.testing import method, tiny_subject
from avatarkit.testing.method import memory_registry

LABELER = """
from dataclasses import dataclass
from pathlib import Path
from avatarkit import Needs, hookimpl
from avatarkit.testing import method

@dataclass(frozen=True)
class Config:
    def fingerprint(self):
        return Path(FILE).read_text()

class Mine(method.TinyLabeler):
    regions = ("body",)
    def __init__(self, config, context):
        super().__init__(method.TinyLabelerConfig("body"), context)

@hookimpl
def register_pseudo_labelers(register):
    register("mine", target="mine_labels:Mine", config="mine_labels:Config", summary="mine", needs=Needs(weights=("mine-net",)))
"""


class Author:
    """A plugin in one file that is edited between builds; each build is as one of a new process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.facts = folder, folder / "mine_labels.py", folder / "facts.txt"
        self.facts.write_text("1")
        self.file.write_text(LABELER.replace("FILE", repr(str(self.facts))))
        self.weights = folder / "cache" / "weights" / "mine-net.bin"
        self.weights.parent.mkdir(parents=True)
        self.weights.write_bytes(b"1")
        save_png(folder / "tiny.png", tiny_subject(size=method.SIZE).photo.image)

    def registry(self) -> Any:
        sys.modules.pop("mine_labels", None)
        provenance._digest_of.cache_clear()
        registry = memory_registry()
        registry.add(import_file(self.file), "mine_labels", str(self.file))
        return registry

    def build(self, **tables: Any) -> dict[str, Any]:
        """The manifest of a build."""
        recipe = Recipe.from_dict({**method.TINY_RECIPE, "body_labels": {"use": "mine"}, **tables}, "test")
        photo, output = self.folder / "tiny.png", self.folder / "a.avatar"
        return read_manifest(build(photo, output, recipe=recipe, registry=self.registry(), device="cpu"))

    def labels_reused(self) -> bool:
        stages = self.build()["stages"]
        assert stages["tracking"]["reused"]
        return bool(stages["body-labels-0"]["reused"])


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    yield Author(tmp_path)
    sys.modules.pop("mine_labels", None)


# -------------------------------------------------------------------------------------------------------------- caches


def test_what_a_label_depends_on_makes_it_again(author: Author) -> None:
    first = author.build()
    assert len(first["weights"]["mine-net"]) == 64
    assert author.labels_reused()
    author.file.write_text(author.file.read_text() + "# edited\n")
    assert not author.labels_reused()
    assert author.labels_reused()
    author.weights.unlink()
    author.weights.write_bytes(b"2")
    assert not author.labels_reused()
    assert author.labels_reused()
    author.facts.write_text("2")
    assert not author.labels_reused()
    assert author.build()["weights"] != first["weights"]


def test_an_editable_package_is_known_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, facts = tmp_path / "mine_package", tmp_path / "mine_package-1.0.dist-info"
    package.mkdir()
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-package\nVersion: 1.0\n")
    (facts / "direct_url.json").write_text('{"url": "file:///x", "dir_info": {"editable": true}}')
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("x = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin = avatarkit.registry.Plugin("mine", "1.0", "mine-package")
    spec = avatarkit.ComponentSpec("loss", "mine", plugin, "mine_package.inner:Loss")
    before = provenance.source_digest(spec)
    (package / "inner.py").write_text("x = 2")
    assert provenance.source_digest(spec) == before  # Python does not load it again either
    provenance._digest_of.cache_clear()
    assert provenance.source_digest(spec) not in (None, before)
    (facts / "direct_url.json").write_text("{}")
    provenance._digest_of.cache_clear()
    is_editable.cache_clear()
    assert provenance.source_digest(spec) is None


# ------------------------------------------------------------------------------------------- notes, licenses, manifests


class Blind(method.TinyLabeler):
    """Its clips show nobody."""

    exact = True

    def generate(self, *arguments: Any) -> Any:
        clip = super().generate(*arguments)
        return replace(clip, confidence=torch.zeros_like(clip.confidence))


class WrappedTracker(method.TinyTracker):
    def __init__(self, config: Any, context: Any) -> None:
        self.inner = context.get("tracker", "tiny")
        super().__init__(method.TinyTrackerConfig(), context)


def plugin(**hooks: Callable[[Any], None]) -> Any:
    made = ModuleType("mine")
    for name, hook in hooks.items():
        setattr(made, name, hookimpl(hook))
    return made


def test_lost_clips_are_the_first_note(tmp_path: Path) -> None:
    def register_pseudo_labelers(register: Any) -> None:
        register("blind", target=f"{__name__}:Blind", config="avatarkit.testing.method:TinyLabelerConfig", summary="blind")

    made = plugin(register_pseudo_labelers=register_pseudo_labelers)
    path = method.tiny_build(tmp_path, made, body_labels={"use": "blind"})
    warnings = read_manifest(path)["warnings"]
    assert warnings[0].startswith("The only body clip of labels 'blind' does not show the person and was left out: ")
    assert len(warnings) > 1
    assert "clip of labels 'blind' does not show" in html.unescape((path / "report.html").read_text())


def test_steps_without_losses_are_noted(tmp_path: Path) -> None:
    said = []
    for name, steps in (("some", 2), ("none", 0)):
        folder = tmp_path / name
        folder.mkdir()
        path = method.tiny_build(folder, training={"steps": steps}, losses={"rgb": {"use": "tiny", "weight": 0.0}})
        said.append([w for w in read_manifest(path)["warnings"] if "no losses" in w])
    assert len(said[0]) == 1
    assert not said[1]


def test_the_ledger_holds_losses_and_wrapped_components_by_kind(tmp_path: Path) -> None:
    def register_trackers(register: Any) -> None:
        register("wrapping", target=f"{__name__}:WrappedTracker", summary="wraps")

    def register_losses(register: Any) -> None:
        weights = Needs(sources=(Weights("net", "example.org", "CC-BY-NC-4.0", commercial=False),))
        register("tiny-too", target="avatarkit.testing.method:TinyRgb", summary="x", needs=weights, license=License("MIT"))

    made = plugin(register_trackers=register_trackers, register_losses=register_losses)
    tables = {"tracker": {"use": "wrapping"}, "losses": {"mine": {"use": "tiny-too", "weight": 0.1}}}
    path = method.tiny_build(tmp_path, made, **tables)
    for _ in range(2):  # also where the stages are reused
        licenses = read_manifest(path)["licenses"]
        assert licenses["tracker/wrapping"] == {"code": "not declared", "weights": "not declared", "commercial": None}
        assert licenses["tracker/tiny"]["code"] == "MIT"
        assert licenses["loss/tiny-too"] == {"code": "MIT", "weights": "net: CC-BY-NC-4.0", "commercial": False}
        assert "tracker/tiny" in (path / "report.html").read_text()
        shown = cli(tmp_path, "info", str(path)).stdout
        assert "not declared; commercial use: ask" in shown
        assert "MIT; net: CC-BY-NC-4.0; commercial use: not allowed" in shown
        path = method.tiny_build(tmp_path, made, **tables)
    assert all(stage["reused"] for stage in read_manifest(path)["stages"].values())


def test_a_manifest_says_which_package_brought_a_missing_component(author: Author) -> None:
    def register_avatars(register: Any) -> None:
        avatar = "avatarkit.testing.method:TinyAvatar"
        register("odd", target=avatar, config=f"{avatar}Config", summary="x")

    registry = author.registry()
    registry.add(plugin(register_avatars=register_avatars), "odd-plugin", "avatarkit-odd")
    recipe = Recipe.from_dict({**method.TINY_RECIPE, "avatar": {"use": "odd"}}, "test")
    path = build(author.folder / "tiny.png", author.folder / "b.avatar", recipe=recipe, registry=registry, device="cpu")
    with pytest.raises(PluginError, match=r"avatar 'odd' is not installed. It came from the package avatarkit-odd"):
        avatarkit.load(path, registry=memory_registry())


# ------------------------------------------------------------------------------------------------------ weights, memory


def test_declared_weights_have_a_path_or_a_remedy(author: Author) -> None:
    recipe = Recipe.from_dict({**method.TINY_RECIPE, "body_labels": {"use": "mine"}}, "test")
    components = Components(recipe, author.registry(), "cpu")
    labeler = components.get("body_labels")
    context = components._context(components.descriptor("body_labels"))
    assert labeler is not None
    assert context.weights("mine-net") == author.weights
    author.weights.unlink()
    with pytest.raises(MissingWeights, match=r"labels 'mine' needs the weights 'mine-net': avatarkit weights add mine-net FILE"):
        context.weights("mine-net")
    with pytest.raises(MissingWeights, match=r"'other', which it does not declare. Name them in Needs\(weights"):
        context.weights("other")


ALIVE: dict[str, Any] = {}


class Large(method.TinyLabeler):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyLabelerConfig("body"), context)
        ALIVE["labeler"] = weakref.ref(self)
        ALIVE["closed"] = False

    def close(self) -> None:
        ALIVE["closed"] = True


class Observing(method.TinyAvatar):
    def create(self, subject: Any, labels: Any) -> None:
        gc.collect()
        ALIVE["during training"] = ALIVE["labeler"]() is not None
        super().create(subject, labels)


def test_a_generator_is_released_before_training(tmp_path: Path) -> None:
    def register_pseudo_labelers(register: Any) -> None:
        register("large", target=f"{__name__}:Large", summary="large")

    def register_avatars(register: Any) -> None:
        register("observing", target=f"{__name__}:Observing", config="avatarkit.testing.method:TinyAvatarConfig", summary="x")

    made = plugin(register_pseudo_labelers=register_pseudo_labelers, register_avatars=register_avatars)
    method.tiny_build(tmp_path, made, body_labels={"use": "large"}, avatar={"use": "observing"})
    assert ALIVE["closed"]
    assert not ALIVE["during training"]


# ------------------------------------------------------------------------------------------------------- command line

COMMANDS = """
print("a greeting that a plugin should not print")
import typer
from avatarkit import hookimpl

class Exporter:
    def __init__(self, config, context): pass
    def write(self, avatar, params, path, **options):
        raise RuntimeError("boom")

@hookimpl
def register_exporters(register):
    register("failing", target="own:Exporter", summary="fails")

@hookimpl
def register_commands(cli):
    @cli.command("hello")
    def hello(name: str = "you"):
        print("hello", name)

    @cli.command("crash")
    def crash():
        raise RuntimeError("boom")

    @cli.command("build")
    def build():
        print("not the real one")
"""


def cli(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, with its user's folders below ``folder``."""
    env = {**os.environ, "AVATARKIT_CACHE": str(folder / "cache"), "AVATARKIT_PLUGINS": "own,mine", **environ}
    command = [sys.executable, "-m", "avatarkit_cli.main", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=env)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(COMMANDS)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("hello", "--plugin", "own.py", "--name", "Ada"),
        ("--plugin=own.py", "hello", "--name=Ada"),
        ("-p", "own.py", "hello", "--name", "Ada"),
    ],
)
def test_commands_of_a_file_work_in_the_same_call(own: Path, words: tuple[str, ...]) -> None:
    result = cli(own, *words)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "hello Ada"


def test_a_command_that_hides_another_is_a_problem_with_both_owners(own: Path) -> None:
    result = cli(own, "plugins", "list", "-p", "own.py")
    text = " ".join(result.stdout.split())
    assert "It adds the command 'build', which is one of avatarkit itself; its own is left out." in text
    assert "'own' of own.py" in result.stdout
    assert "--recipe" in cli(own, "-p", "own.py", "build", "--help").stdout


def test_a_crash_of_an_own_plugin_names_its_file_and_line_and_no_author(own: Path) -> None:
    result = cli(own, "crash", "-p", "own.py")
    assert result.returncode == 1
    line = 1 + COMMANDS.splitlines().index('    def crash():') + 1
    assert result.stderr.splitlines()[-1] == f"The error is in the plugin 'own': {own / 'own.py'}, line {line}."
    assert "bug in avatarkit" not in result.stderr
    assert "report it to the authors" not in result.stderr


def test_a_crash_of_an_installed_plugin_names_whom_to_tell(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = own / "avatarkit_own-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: avatarkit-own\nVersion: 1.2\nProject-URL: Issues, https://example.org/issues\n"
    )
    (facts / "entry_points.txt").write_text("[avatarkit]\nown = own\n")
    path = os.pathsep.join([str(own), os.environ.get("PYTHONPATH", "")])
    last = cli(own, "crash", PYTHONPATH=path).stderr.splitlines()[-1]
    assert last.startswith("This is a bug in the plugin 'own' of avatarkit-own 1.2 (")
    assert last.endswith("Please report it to its authors with the lines above: https://example.org/issues")


def test_json_is_one_object_whatever_plugins_print(own: Path) -> None:
    result = cli(own, "plugins", "list", "-p", "own.py", "--json")
    assert {c["name"] for c in json.loads(result.stdout)["components"]} == {"failing"}
    assert "a greeting that a plugin should not print" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="the C library of Windows has another name")
def test_json_is_one_object_whatever_c_code_and_child_processes_print(own: Path) -> None:
    calls = ("os.write(1, b'raw\\n')", "ctypes.CDLL(None).puts(b'buffered')", "subprocess.run(['echo', 'child'])")
    noise = "\n".join(("import ctypes, os, subprocess", *calls, ""))
    (own / "own.py").write_text(noise + COMMANDS)
    result = cli(own, "plugins", "list", "-p", "own.py", "--json")
    assert {c["name"] for c in json.loads(result.stdout)["components"]} == {"failing"}
    assert {"raw", "buffered", "child"} <= set(result.stderr.split())


def test_a_plugin_is_left_out_by_name(own: Path) -> None:
    environ = {"AVATARKIT_PLUGINS": "cpu,motions"}
    shown = cli(own, "plugins", "list", "-p", "no:cpu", "--json", **environ)
    assert {p["name"] for p in json.loads(shown.stdout)["plugins"]} == {"motions"}
    wrong = cli(own, "plugins", "list", "-p", "no:cpuu", **environ)
    assert wrong.returncode == 2
    assert "no such plugin is installed. Did you mean 'cpu'?" in wrong.stderr


def test_a_folder_of_the_users_is_always_loaded(own: Path) -> None:
    folder = own / "cache" / "plugins"
    folder.mkdir(parents=True)
    (own / "own.py").rename(folder / "own.py")
    (folder / "mine.py").write_text("raise RuntimeError('broken')")
    listed = json.loads(cli(own, "plugins", "list", "--json").stdout)
    assert [c["name"] for c in listed["components"]] == ["failing"]
    assert any("broken" in p["message"] and p["plugin"] == "mine" for p in listed["problems"])
    assert cli(own, "hello").stdout.splitlines()[-1] == "hello you"
    checks = json.loads(cli(own, "doctor", "--json").stdout)["checks"]
    (place,) = [check for check in checks if check["name"] == "plugins folder"]
    assert str(folder) in place["detail"]


def test_a_file_that_hangs_is_given_up(own: Path) -> None:
    (own / "own.py").write_text("import time\ntime.sleep(60)")
    result = cli(own, "plugins", "list", "-p", "own.py", AVATARKIT_IMPORT_SECONDS="0.5")
    assert result.returncode == 2
    assert "its import hangs and was given up after 0.5 s" in result.stderr


def test_a_recipe_lists_its_plugins(author: Author) -> None:
    recipe = author.folder / "mine.toml"
    names = ("matting", "keypoints", "body", "tracker", "motions", "avatar", "renderer")
    slots = "\n".join(f'[{name}]\nuse = "tiny"' for name in names)
    recipe.write_text(f'plugins = ["mine_labels.py"]\n{slots}\n[body_labels]\nuse = "mine"\n')
    loaded = Recipe.load(file=recipe)
    assert loaded.plugins == (author.file,)
    assert "mine" in Registry.load(loaded.plugins, environ={"AVATARKIT_PLUGINS": ""}).components("labels")
    assert "plugins" not in loaded.to_dict()
    for wrong in ('"/etc/x.py"', '"../x.py"', '"os"', "1"):
        recipe.write_text(f"plugins = [{wrong}]\n{slots}\n")
        with pytest.raises(ConfigError, match="must be names of Python files in its folder"):
            Recipe.load(file=recipe)


def test_messages_about_common_slips(own: Path) -> None:
    (own / "own.py").write_text("def register_losses(register): ...")
    result = cli(own, "plugins", "list", "-p", "own.py")
    assert result.returncode == 2
    assert "register_losses is not marked as a hook, so that it is never called. Write @hookimpl above it" in result.stderr
    assert "Did you mean" not in result.stderr
    components = Components(Recipe.from_dict(method.TINY_RECIPE, "test"), memory_registry(), "cpu")
    with pytest.raises(ConfigError, match=r"no slot 'bdy'. Did you mean 'body'\? Slots: matting, keypoints"):
        components.get("bdy")
    assert "\n" not in repr(memory_registry())
    assert len(repr(memory_registry())) < 100
    taken = cli(own, "plugins", "new", "cpu", "--kind", "renderer", AVATARKIT_PLUGINS="cpu")
    assert taken.returncode == 2
    assert "There is a renderer 'cpu' already, of plugin 'cpu'" in taken.stderr
    assert not (own / "avatarkit-cpu").exists()


class Failing:
    def __init__(self, config: Any, context: Any) -> None: ...

    def matte(self, photo: Any, keypoints: Any = None) -> Any:
        raise RuntimeError("boom")


def test_a_failed_stage_names_file_and_line(tmp_path: Path) -> None:
    def register_matting_models(register: Any) -> None:
        register("failing", target=f"{__name__}:Failing", summary="fails")

    with pytest.raises(StageError) as caught:
        method.tiny_build(tmp_path, plugin(register_matting_models=register_matting_models), matting={"use": "failing"})
    assert "RuntimeError: boom (" in str(caught.value)
    assert f"{Path(__file__).name}, line " in str(caught.value)
