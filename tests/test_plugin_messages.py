"""What an author of a plugin is told about a mistake: one sentence that names the owner and what to change."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import avatarkit
from avatarkit import Needs, hookimpl
from avatarkit.config import Recipe
from avatarkit.errors import ConfigError, MissingWeights, PluginError
from avatarkit.io.image import save_png
from avatarkit.pipeline.build import build
from avatarkit.registry import Registry
from avatarkit.testing import Material, check_component, method, tiny_context, tiny_subject
from avatarkit.testing.method import memory_registry
from avatarkit.types.gaussians import Gaussians
from avatarkit.validation import Violation, require_posed
from avatarkit_cli.main import app


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a user who has no plugin but ``mine.py``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AVATARKIT_PLUGINS", "mine")
    monkeypatch.setenv("COLUMNS", "200")
    yield tmp_path
    sys.modules.pop("mine", None)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


FEW: dict[str, Any] = {"labels": {"body_clips": 0, "head_clips": 0}, "training": {"steps": 1, "resolution": 32}}
"""Tables of a recipe that make a build short."""


def plugin(name: str = "mine", **hooks: Callable[[Any], None]) -> Any:
    made = ModuleType(name)
    for hook, function in hooks.items():
        setattr(made, hook, hookimpl(function))
    return made


# --------------------------------------------------------------------------------------------------- what an avatar makes


class Undeclared(method.TinyAvatar):
    """Ellipsoids, which its registration does not declare."""

    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyAvatarConfig(), context)

    def pose(self, params: Any) -> Any:
        posed = super().pose(params)
        scales = posed.gaussians.scales[:, None] * torch.tensor([1.0, 1.0, 0.2])
        return replace(posed, gaussians=replace(posed.gaussians, scales=scales))


class UndeclaredForPhoto(method.TinyAvatar):
    """Spheres, but colors that depend on the direction of view in the photo."""

    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyAvatarConfig(), context)

    def pose_for_photo(self, params: Any) -> Any:
        posed = super().pose(params)
        return replace(posed, gaussians=replace(posed.gaussians, sh=torch.zeros(len(posed.gaussians), 3, 3)))


@pytest.mark.parametrize(("name", "made"), [("Undeclared", "ellipsoids"), ("UndeclaredForPhoto", "colors that depend")])
def test_undeclared_features_end_a_build_that_cannot_draw_them(name: str, made: str, tmp_path: Path) -> None:
    def register_avatars(register: Any) -> None:
        register("odd", target=f"{__name__}:{name}", summary="odd")

    def register_renderers(register: Any) -> None:
        register("plain", target="avatarkit.testing.tiny:ReferenceRenderer", summary="spheres only")

    ours = plugin(register_avatars=register_avatars, register_renderers=register_renderers)
    with pytest.raises(PluginError) as caught:
        method.tiny_build(tmp_path, ours, avatar={"use": "odd"}, renderer={"use": "plain"}, **FEW)
    text = str(caught.value)
    assert text.startswith(f"avatar 'odd' of plugin 'mine': it makes {made}")
    assert "which renderer 'plain' does not draw: choose --renderer tiny" in text
    assert f"register(...) features={('anisotropic',) if name == 'Undeclared' else ('sh',)!r}" in text
    assert not (tmp_path / "tiny.avatar" / "manifest.json").exists()
    assert method.tiny_build(tmp_path, ours, avatar={"use": "odd"}, **FEW).is_dir()  # a renderer that draws them


class Wrong(method.TinyAvatar):
    """Breaks one promise, which an option names."""

    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyAvatarConfig(), context)
        self.how = config.how

    def parameter_groups(self) -> Any:
        (group,) = super().parameter_groups()
        leaf, lr = replace(group, tensors=(self.colors * 2,)), replace(group, lr="x")
        changed = {"groups": None, "empty": [], "leaf": [leaf], "lr": [lr]}
        return changed.get(self.how, [group])

    def state(self) -> Any:
        state = super().state()
        changed = {"state": None, "list": {**state, "colors": [1]}, "lacking": {"colors": state["colors"]}}
        return changed.get(self.how, state)

    def specs(self) -> Any:
        return {"colors": 3} if self.how == "specs" else super().specs()


class WrongLoss:
    def __init__(self, config: Any, context: Any) -> None:
        self.how = config.how

    def __call__(self, step: Any) -> Any:
        mean = step.rendering.rgb.mean()
        wrong = {"none": None, "number": 0.5, "vector": step.rendering.rgb[0, 0], "nan": mean * torch.nan}
        return wrong.get(self.how, mean.detach())


class NoCall:
    def __init__(self, config: Any, context: Any) -> None: ...


@dataclass(frozen=True)
class How:
    how: str = ""
    """The promise that is broken."""


def wrong_plugin() -> Any:
    def register_avatars(register: Any) -> None:
        register("wrong", target=f"{__name__}:Wrong", config=f"{__name__}:How", summary="wrong")

    def register_losses(register: Any) -> None:
        register("wrong", target=f"{__name__}:WrongLoss", config=f"{__name__}:How", summary="wrong")
        register("no-call", target=f"{__name__}:NoCall", summary="cannot be called")

    return plugin(register_avatars=register_avatars, register_losses=register_losses)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("groups", "parameter_groups() is of the type NoneType, not list"),
        ("empty", "parameter_groups() holds no tensors"),
        ("leaf", "'colors' holds tensors that cannot be optimized"),
        ("lr", "the step size of 'colors' is 'x', not a number above 0"),
        ("state", "state() is of the type NoneType, not dict"),
        ("list", "the tensor 'colors' of state() is of the type list, not Tensor"),
        ("lacking", "the tensor shape is missing"),
        ("specs", "specs()['colors'] is of the type int, not TensorSpec"),
    ],
)
def test_what_an_avatar_gives_is_checked_before_it_is_kept(how: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        method.tiny_build(tmp_path, wrong_plugin(), avatar={"use": "wrong", "how": how}, **FEW)
    assert f"avatar 'wrong' of plugin 'mine' returned an invalid result: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("none", "the loss is of the type NoneType, not Tensor"),
        ("number", "the loss is of the type float, not Tensor"),
        ("vector", "the loss has the shape (3,), not ()"),
        ("nan", "the loss is nan at step 0"),
        ("no-call", "NoCall has no method __call__"),
        ("constant", ""),
    ],
)
def test_what_a_loss_returns_is_checked(how: str, message: str, tmp_path: Path) -> None:
    loss = {"use": "no-call"} if how == "no-call" else {"use": "wrong", "how": how}
    tables = {"losses": {"mine": {**loss, "weight": 1.0, "on": ["photo"]}}, **FEW}
    if not message:  # a term may be constant in a view
        assert method.tiny_build(tmp_path, wrong_plugin(), **tables).is_dir()
        return
    with pytest.raises(PluginError) as caught:
        method.tiny_build(tmp_path, wrong_plugin(), **tables)
    assert f"loss '{loss['use']}' of plugin 'mine' returned an invalid result: {message}." in str(caught.value)


class Mute:
    def __init__(self, config: Any, context: Any) -> None: ...


class Narrow(Mute):
    def write(self, avatar: Any, params: Any, path: Path) -> None:
        path.write_text("x")


class Short(Mute):
    def write(self, avatar: Any, **options: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Mute", "it has no method write(avatar, params, path, **options): None is not a callable object"),
        ("Short", "it has no method write(avatar, params, path, **options): too many positional arguments"),
        ("Narrow", "its method write does not take the options that every exporter gets: add **options to write. "),
    ],
)
def test_an_exporter_without_the_method_of_its_interface_is_named(name: str, why: str, tmp_path: Path) -> None:
    def register_exporters(register: Any) -> None:
        register("odd", target=f"{__name__}:{name}", summary="odd")

    made = plugin(register_exporters=register_exporters)
    avatar = avatarkit.load(method.tiny_build(tmp_path, made, **FEW), registry=memory_registry(made))
    with pytest.raises(PluginError, match=rf"^exporter 'odd' of plugin 'mine': {re.escape(why)}"):
        avatar.export("odd", tmp_path / "a.odd")
    assert not (tmp_path / "a.odd").exists()


class Idle(Mute):
    def write(self, avatar: Any, params: Any, path: Path, **options: Any) -> None: ...


class Breaking(Mute):
    def write(self, avatar: Any, params: Any, path: Path, **options: Any) -> None:
        if path.suffix:
            path.write_text("half")
        else:
            path.mkdir(exist_ok=True)
            (path / "half.txt").write_text("half")
        raise RuntimeError("no wheel turns")


def test_a_failed_export_leaves_nothing(home: Path) -> None:
    def register_exporters(register: Any) -> None:
        for name in ("Idle", "Breaking"):
            register(name.lower(), target=f"{__name__}:{name}", summary="odd")

    made = plugin(register_exporters=register_exporters)
    avatar = avatarkit.load(method.tiny_build(home, made, **FEW), registry=memory_registry(made))
    before = set(home.iterdir())
    sentence = "exporter 'idle' of plugin 'mine': its method write returned without writing a.odd. "
    with pytest.raises(PluginError, match=f"^{re.escape(sentence)}"):
        avatar.export("idle", "a.odd")
    for name in ("a.odd", "folder"):
        with pytest.raises(RuntimeError, match=r"^no wheel turns$"):
            avatar.export("breaking", name)
    assert set(home.iterdir()) == before
    (home / "mine-too").mkdir()
    (home / "mine-too" / "kept.txt").write_text("kept")
    with pytest.raises(RuntimeError):
        avatar.export("breaking", "mine-too")
    assert (home / "mine-too" / "kept.txt").read_text() == "kept"


N = 4
SPHERES = Gaussians(torch.rand(N, 3), torch.full((N,), 0.1), torch.rand(N, 3), torch.full((N,), 0.5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scales": [0.1] * N}, "scales is of the type list, not Tensor"),
        ({"scales": None}, "scales is of the type NoneType, not Tensor"),
        ({"scales": torch.tensor([0.1, 0.1, 0.0, 0.1])}, "scales hold 0; a standard deviation is above 0"),
        ({"scales": torch.full((N, 3), -1e-6)}, "scales hold -1e-06; a standard deviation is above 0"),
        ({"scales": torch.full((N,), torch.nan)}, "scales holds numbers that are not finite"),
        ({"scales": torch.ones(N, 2)}, r"scales has the shape (4, 2), not (4, 3)"),
        ({"scales": torch.tensor(0.1)}, r"scales has the shape (), not (4, 3)"),
        ({"scales": torch.ones(N, 3), "rotations": [[1.0, 0, 0, 0]] * N}, "rotations is of the type list, not Tensor"),
        ({"scales": torch.ones(N, 3), "rotations": torch.zeros(N, 4)}, "rotations are not unit quaternions"),
        ({"sh": [[[0.0] * 3] * 3] * N}, "sh is of the type list, not Tensor"),
        ({"sh": torch.zeros(N, 4, 3)}, "sh has the shape (4, 4, 3), not (N, 3, 3)"),
        ({"means": [[0.0] * 3] * N}, "means is of the type list, not Tensor"),
        ({"colors": [[0.0] * 3] * N}, "colors is of the type list, not Tensor"),
    ],
)
def test_wrong_gaussians_are_one_sentence(wrong: dict[str, Any], message: str) -> None:
    require_posed(avatarkit.interfaces.Posed(SPHERES))
    with pytest.raises(Violation) as caught:
        require_posed(avatarkit.interfaces.Posed(replace(SPHERES, **wrong)))
    assert message in str(caught.value)


# ------------------------------------------------------------------------------------------------------------ the context


class Asking(method.TinyRgb):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(config, context)
        context.get("rendrer") if config is None else context.weights(config.name)


@dataclass(frozen=True)
class WeightsConfig:
    name: str = "other-net"
    """Name of the weights."""


def losses(needs: Needs, config: bool = True) -> Registry:
    def register_losses(register: Any) -> None:
        path = f"{__name__}:WeightsConfig" if config else None
        register("mine", target=f"{__name__}:Asking", config=path, summary="asks", needs=needs)

    return memory_registry(plugin(register_losses=register_losses))


def test_undeclared_weights_are_to_be_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path))
    declare = "which it does not declare. Name them in Needs(weights=('other-net',)) where it is registered."
    sentence = f"loss 'mine' asks for the weights 'other-net', {declare}"
    for present in (False, True):  # a file of that name changes nothing: no stage would know its content
        found = {f.check: f.detail for f in check_component(losses(Needs()).get("loss", "mine"), Material())}
        assert found["implements the interface"] == f"MissingWeights: {sentence}"
        (tmp_path / "weights").mkdir(exist_ok=True)
        (tmp_path / "weights" / "other-net.bin").write_bytes(b"x")
        assert present or (tmp_path / "weights").is_dir()
    declared = losses(Needs(weights=("other-net",))).get("loss", "mine")
    assert {f.state for f in check_component(declared, Material())} == {"passed"}
    with pytest.raises(MissingWeights, match=r"no weights 'x'. Name them in Needs\(weights=\('x',\)\) of the component"):
        tiny_context().weights("x")


def test_an_unknown_slot_lists_the_slots() -> None:
    found = {f.check: f.detail for f in check_component(losses(Needs(), config=False).get("loss", "mine"), Material())}
    assert found["implements the interface"].startswith(
        "ConfigError: A recipe has no slot 'rendrer'. Did you mean 'renderer'? Slots: matting, keypoints, tracker, body"
    )
    with pytest.raises(ConfigError, match="no slot 'bdy'"):
        Material().get("bdy")


# ------------------------------------------------------------------------------------------------------- broken configs

CONFIGS = """
from dataclasses import dataclass, field
from avatarkit import hookimpl

@dataclass(frozen=True)
class Raising:
    x: int = 1
    '''x'''
    def __post_init__(self):
        raise RuntimeError("boom")

@dataclass(frozen=True)
class Refusing:
    x: int = 1
    '''x'''
    def __post_init__(self):
        raise ValueError("x must be even")

@dataclass(frozen=True)
class Factory:
    x: tuple = field(default_factory=lambda: 1 // 0)
    '''x'''

@dataclass(frozen=True)
class Default:
    x: int = "a"
    '''x'''

@dataclass(frozen=True)
class Hint:
    x: "Unknown" = 1
    '''x'''

class Plain:
    pass

class Loss:
    def __init__(self, config, context): ...
    def __call__(self, step): return step.rendering.rgb.mean()

@hookimpl
def register_losses(register):
    for name in ("Raising", "Refusing", "Factory", "Default", "Hint", "Plain", "Absent"):
        register(name.lower(), target="mine:Loss", config=f"mine:{name}", summary="broken on purpose")
"""


def test_options_that_are_no_plain_values_name_their_plugin(tmp_path: Path) -> None:
    def register_losses(register: Any) -> None:
        register("odd", target="avatarkit.testing.method:TinyRgb", config=f"{__name__}:NotPlain", summary="x")

    with pytest.raises(PluginError, match="loss 'odd' of plugin 'mine': its options .* cannot be part of a content key"):
        method.tiny_build(tmp_path, plugin(register_losses=register_losses), losses={"odd": {"use": "odd", "weight": 1.0}})


@dataclass(frozen=True)
class NotPlain:
    table: object = object()
    """Not a plain value."""


@pytest.mark.parametrize(
    ("name", "check", "detail"),
    [
        ("raising", "options are documented", "its options (mine:Raising) raise RuntimeError: boom ("),
        ("refusing", "options are documented", "The options of loss 'refusing' do not fit: x must be even"),
        ("factory", "options are documented", "raise ZeroDivisionError: integer division or modulo by zero ("),
        ("default", "options can be set in a recipe", "must be a whole number, not 'a' (from its own default)"),
        ("hint", "options are documented", "raise NameError: name 'Unknown' is not defined"),
        ("plain", "options are documented", "Plain is no dataclass"),
        ("absent", "options are documented", "mine:Absent cannot be imported: AttributeError: module 'mine' has no attribute"),
    ],
)
def test_a_broken_config_is_a_failed_row(name: str, check: str, detail: str, home: Path) -> None:
    (home / "mine.py").write_text(CONFIGS)
    result = run("plugins", "check", f"loss/{name}", "-p", "mine.py", "--json")
    assert result.exit_code == 2, result.stderr
    assert "Traceback" not in result.stderr
    (component,) = json.loads(result.stdout)["components"]
    (row,) = [row for row in component["checks"] if row["check"] == check]
    assert row["state"] == "failed"
    assert detail in row["detail"]
    shown = run("plugins", "show", f"loss/{name}", "-p", "mine.py")
    assert "Traceback" not in shown.stderr
    if name in ("factory", "hint", "plain", "absent"):
        assert shown.exit_code == 2
        assert shown.stderr.startswith(f"avatarkit: loss '{name}' of plugin 'mine' of mine.py: ")


def test_a_slot_names_the_components_of_its_kind(home: Path) -> None:
    (home / "mine.py").write_text(CONFIGS.replace("losses", "pseudo_labelers"))
    shown = run("plugins", "show", "body_labels/raising", "-p", "mine.py")
    assert shown.stdout.startswith("labels raising: broken on purpose")
    wrong = run("plugins", "check", "tracer/raising", "-p", "mine.py")
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("avatarkit: There is no kind of component 'tracer'. Did you mean 'tracker'? Kinds: matting, ")


# ------------------------------------------------------------------------------------------------------ whom messages ask

OWN_FAULTS = {
    "raises in a hook": ("    raise RuntimeError('boom')", "its hook register_losses raised RuntimeError: boom ("),
    "registers twice": ("    register('a', target='m:A')\n    register('a', target='m:A')", "loss 'a' is registered twice ("),
    "names no class": ("    register('a', target='m')", "'m' of loss 'a' is not of the form package.module:Class ("),
    "lacks a target": ("    register('a')", "missing 1 required positional argument: 'target' ("),
    "has an unknown argument": ("    register(A, sumary='x')", "unexpected keyword argument 'sumary'"),
    "declares no feature": ("    register(A, features=('4d',))", "features of loss 'a' must be a tuple of 'anisotropic'"),
    "gives one feature": ("    register(A, features='sh')", "features of loss 'a' must be a tuple of 'anisotropic'"),
    "needs a text": ("    register(A, needs=Needs(weights='x'))", "weights in Needs(...) of loss 'a' must be a tuple"),
    "needs a gpu": ("    register(A, needs=Needs(device='gpu'))", "must be 'cuda', 'cpu' or None, not 'gpu'"),
    "has a text as license": ("    register(A, license='MIT')", "license of loss 'a' must be a License, not 'MIT'"),
    "has a text as revision": ("    register(A, revision='2')", "revision of loss 'a' must be a whole number, not '2'"),
    "has no summary": ("    register(A, summary=None)", "summary of loss 'a' must be text, not None"),
    "has a path as name": ("    register('a/b', target='m:A')", "name of loss 'a/b' must be letters, digits"),
    "exits": ("    raise SystemExit(0)", "its hook register_losses raised SystemExit: 0 ("),
    "needs no Needs": ("    register(A, needs=('x',))", "needs of loss 'a' is a tuple, not Needs ("),
}


@pytest.mark.parametrize("how", OWN_FAULTS)
@pytest.mark.parametrize("folder", ["", "cache/plugins"])
def test_the_author_of_a_file_is_told_to_mend_it(how: str, folder: str, home: Path) -> None:
    body, message = OWN_FAULTS[how]
    body = body.replace("(A, ", "('a', target='m:A', ")
    (home / folder).mkdir(parents=True, exist_ok=True)
    path = home / folder / "mine.py"
    path.write_text(f"from avatarkit import Needs, hookimpl\n@hookimpl\ndef register_losses(register):\n{body}\n")
    result = run("doctor", *([] if folder else ["-p", "mine.py"]))
    text = " ".join((result.stdout + result.stderr).split())
    assert message in text
    assert f"{path}, line {3 + len(body.splitlines())})" in text
    assert f"Fix {path if folder else 'mine.py'}" in text
    assert "authors" not in text
    assert result.exit_code == 2
    assert "Traceback" not in text


def test_a_file_without_hooks_is_one_sentence(home: Path) -> None:
    text = "class Loss:\n    def __call__(self, step):\n        return step.rendering.rgb.mean()\n"
    (home / "mine.py").write_text(text)
    result = run("plugins", "list", "-p", "mine.py")
    assert result.exit_code == 2
    how = "ecorate a function with @hookimpl (from avatarkit import hookimpl).\n"
    assert result.stderr == f"avatarkit: --plugin mine.py registers nothing: d{how}"
    del sys.modules["mine"]
    (home / "cache" / "plugins").mkdir(parents=True)
    (home / "mine.py").rename(home / "cache" / "plugins" / "mine.py")
    (problem,) = json.loads(run("plugins", "list", "--json").stdout)["problems"]
    assert f"{problem['message']} {problem['remedy']}\n" == f"It registers nothing. D{how}"


def test_a_dry_run_asks_the_author_for_the_license(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVATARKIT_PLUGINS")
    (home / "mine.py").write_text(
        "from avatarkit import hookimpl\n@hookimpl\ndef register_losses(register):\n"
        "    register('mine', target='avatarkit.testing.method:TinyRgb', summary='x')\n"
    )
    save_png(home / "tiny.png", tiny_subject().photo.image)
    uses = ("--set", "losses.mine.use=mine", "--set", "losses.mine.weight=0.1")
    result = run("build", "tiny.png", "--dry-run", "--preset", "instant", "-p", "mine.py", *uses)
    assert result.exit_code == 0, result.stderr
    assert "Commercial use: unclear for loss 'mine'; give register(...) license=License(...)." in result.stdout
    assert "ask their authors" not in result.stdout


# ---------------------------------------------------------------------------------------------------- names and commands


def test_a_package_is_left_out_by_the_names_of_its_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "avatarkit_own-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: avatarkit-own\nVersion: 1.2\n")
    (facts / "entry_points.txt").write_text("[avatarkit]\none = nothing_a\ntwo = nothing_b\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("avatarkit-own", "Avatarkit_Own"):
        with pytest.raises(PluginError) as caught:
            Registry.load([f"no:{name}"], environ={"AVATARKIT_PLUGINS": ""})
        assert str(caught.value).endswith("It is a package; leave out its plugins: -p no:one -p no:two")


def test_a_command_that_two_plugins_add_names_both(home: Path) -> None:
    hook = "from avatarkit import hookimpl\n@hookimpl\ndef register_commands(cli):\n"
    for name in ("one", "two"):
        (home / f"{name}.py").write_text(f"{hook}    @cli.command('hello')\n    def hello():\n        print('{name}')\n")
    files = ("-p", "one.py", "-p", "two.py")
    sentence = "It adds the command 'hello', which is one of the plugin 'one' of one.py; its own is left out."
    listed = run("plugins", "list", *files)
    for name in ("one", "two"):
        del sys.modules[name]
    assert f"Problem with plugin 'two' of two.py: {sentence} Fix two.py: give it another name" in " ".join(listed.stdout.split())
    command = [sys.executable, "-m", "avatarkit_cli.main", "hello", *files]
    called = subprocess.run(command, capture_output=True, text=True, check=False)
    assert called.stdout == "one\n"
    assert f"Note: plugin 'two' of two.py: {sentence}" in called.stderr


def test_commands_are_listed_with_their_owner_and_not_checked(home: Path) -> None:
    (home / "mine.py").write_text(
        "from avatarkit import hookimpl\n@hookimpl\ndef register_commands(cli):\n    @cli.command('count')\n"
        "    def count():\n        \"\"\"Count parts.\n\n        More.\n        \"\"\"\n"
    )
    listed = run("plugins", "list", "-p", "mine.py")
    (row,) = [" ".join(line.split()) for line in listed.stdout.splitlines() if line.startswith("command")]
    assert row == "command count Count parts. [of plugin 'mine' of mine.py]"
    data = json.loads(run("plugins", "list", "-p", "mine.py", "--json").stdout)
    assert data["commands"] == [{"name": "count", "plugin": "mine", "summary": "Count parts."}]
    tests = "Commands are checked by their own tests, which avatarkit plugins new --kind command makes"
    for name, owner in (("count", "the plugin 'mine' of mine.py"), ("build", "avatarkit itself")):
        for text in (name, f"command/{name}"):
            result = run("plugins", "check", text, "-p", "mine.py")
            assert result.exit_code == 2
            assert result.stderr.startswith(f"avatarkit: {name!r} is a command of {owner}. {tests};")
    absent = run("plugins", "check", "command/cuont", "-p", "mine.py")
    assert absent.stderr == "avatarkit: No plugin adds a command 'cuont'. See avatarkit plugins list.\n"


OWN_AVATAR = """
from avatarkit import hookimpl
from avatarkit.testing.method import TinyAvatar

@hookimpl
def register_avatars(register):
    register("own", target="mine:TinyAvatar", config="avatarkit.testing.method:TinyAvatarConfig", summary="x")
"""


def test_info_needs_no_plugin_and_says_what_drawing_needs(home: Path) -> None:
    (home / "mine.py").write_text(OWN_AVATAR)
    (home / "tiny.py").write_text("from avatarkit.testing import method\nglobals().update(vars(method._tiny_plugin()))\n")
    save_png(home / "tiny.png", tiny_subject(size=method.SIZE).photo.image)
    registry = Registry.load(["tiny.py", "mine.py"])
    recipe = Recipe.from_dict({**method.TINY_RECIPE, "avatar": {"use": "own"}, "training": {"steps": 0}}, "test")
    path = build(home / "tiny.png", home / "a.avatar", recipe=recipe, registry=registry, device="cpu")
    for name in ("mine", "tiny"):
        del sys.modules[name]
    without = run("info", str(path), "-p", "tiny.py")
    assert without.exit_code == 0, without.stderr
    sentence = "Note: avatar 'own' is not installed here; to draw this avatar, use --plugin mine.py."
    assert sentence in without.stdout
    assert "licen" in without.stdout
    assert run("info", str(path), "--json").exit_code == 0
    del sys.modules["tiny"]
    together = run("info", str(path), "-p", "tiny.py", "-p", "mine.py")
    assert "not installed" not in together.stdout
    del sys.modules["tiny"]


def test_a_component_of_a_plugin_that_was_left_out_is_not_called_missing(home: Path) -> None:
    (home / "cache" / "plugins").mkdir(parents=True)
    (home / "cache" / "plugins" / "mine.py").write_text(OWN_AVATAR.replace('"own"', '"mine"'))
    (home / "tiny.py").write_text("from avatarkit.testing import method\nglobals().update(vars(method._tiny_plugin()))\n")
    save_png(home / "tiny.png", tiny_subject(size=method.SIZE).photo.image)
    recipe = Recipe.from_dict({**method.TINY_RECIPE, "avatar": {"use": "mine"}, "training": {"steps": 0}}, "test")
    path = build(home / "tiny.png", home / "a.avatar", recipe=recipe, registry=Registry.load(["tiny.py"]), device="cpu")
    without = Registry.load(["tiny.py", "no:mine"])
    with pytest.raises(PluginError, match=r"^avatar 'mine' was left out with -p no:mine\.$"):
        avatarkit.load(path, registry=without)
    with pytest.raises(PluginError, match=r"no component 'other' of the kind avatar\..* Left out: -p no:mine\.$"):
        without.get("avatar", "other")
    shown = run("info", str(path), "-p", "tiny.py", "-p", "no:mine")
    assert "Note: avatar 'mine' was left out with -p no:mine; to draw this avatar, leave out that option." in shown.stdout
    for name in ("mine", "avatar/mine"):
        checked = run("plugins", "check", name, "-p", "no:mine")
        assert checked.exit_code == 2
        assert "'mine' was left out with -p no:mine." in checked.stderr
    del sys.modules["tiny"]
