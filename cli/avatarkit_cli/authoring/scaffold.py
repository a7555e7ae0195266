"""``avatarkit plugins new``: writes a complete third-party project around a working component."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
from importlib import resources
from pathlib import Path

from avatarkit.config.options import did_you_mean
from avatarkit.errors import ConfigError, StoreError
from avatarkit.registry import KINDS, Registry
from avatarkit.registry.specs import DISTRIBUTION, where
from avatarkit.utils.files import disk_errors, replace, sync, sync_folder, temporary_folder, write_text
from avatarkit.utils.moved import current_name
from avatarkit_cli.plugin_commands import OWN_COMMANDS

__all__ = ["render_project", "require_free", "write_project"]

WHAT = {
    "matting": ("cuts out a person in front of a plain wall", "--matting NAME"),
    "keypoints": ("five points on the outline of a person in front of a plain wall", "--keypoints NAME"),
    "body": ("a figure of tubes", "--body NAME"),
    "tracker": ("smooths the motions of another tracker", "--tracker NAME"),
    "motions": ("nodding and shaking the head", "--motions NAME"),
    "speech": ("the jaw follows loudness", ""),
    "synthesizer": ("hums a note for each letter", ""),
    "labels": ("the photo's colors on the moving mesh; option region: body or head", "--body-labels NAME"),
    "avatar": ("a Gaussian at every vertex of the body model", "--avatar NAME"),
    "loss": (
        "keeps colors below a limit",
        "--set losses.NAME.use=NAME --set losses.NAME.weight=0.1",
    ),
    "renderer": ("the readable reference rasterizers; slow", "--renderer NAME"),
    "exporter": ("a table of the posed Gaussians as text", ""),
    "command": ("says what an avatar is made of", ""),
}
"""What a project starts from: kind -> (summary of it, flags that use it in a build)."""

USES = {
    "speech": "avatarkit animate ada.avatar -o hello.mp4 --audio hello.wav --driver NAME\n",
    "synthesizer": 'avatarkit talk ada.avatar --text "Hello" --engine NAME -o hello.mp4\n',
    "exporter": "avatarkit export ada.avatar --to NAME -o ada.txt\n",
}
"""Kind without a slot in builds -> the command that uses it."""

IN_A_BUILD = {
    "matting": 'matting={"use": "NAME"}',
    "keypoints": 'keypoints={"use": "NAME"}',
    "body": 'body={"use": "NAME"}',
    "tracker": 'tracker={"use": "NAME", "base": "tiny"}',
    "motions": 'motions={"use": "NAME"}, preview={"motion": "yes"}',
    "labels": 'body_labels={"use": "NAME", "frames": 2}',
    "avatar": 'avatar={"use": "NAME"}',
    "loss": 'losses={"NAME": {"use": "NAME", "weight": 0.1}}',
    "renderer": 'renderer={"use": "NAME"}',
}

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "avatarkit-NAME"
version = "0.1.0"
description = "SUMMARY, for avatarkit"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["avatarkit-oneshot>=0.1"]

[project.optional-dependencies]
test = ["pytest>=8"]

# This is how avatarkit finds the plugin.
[project.entry-points.avatarkit]
NAME = "PACKAGE"

[tool.hatch.build.targets.wheel]
packages = ["PACKAGE"]

[tool.pytest.ini_options]
testpaths = ["tests"]
filterwarnings = ["error"]
"""

INIT = '''\
"""SUMMARY, for avatarkit.

Keep it fast to import, with hooks only: it is imported whenever components are listed.
"""

from avatarkit.hookspecs import License, Register, hookimpl


@hookimpl
def HOOK(register: Register) -> None:
    register(
        "NAME",
        target="PACKAGE.component:CLASS",
        config="PACKAGE.component:Config",
        summary="SUMMARY",
        license=License("MIT"),
    )
'''

WITH_WEIGHTS = '''\
"""SUMMARY, for avatarkit.

Keep it fast to import, with hooks only: it is imported whenever components are listed.
"""

from avatarkit.hookspecs import License, Needs, Register, Weights, hookimpl

BASE = Weights(
    "sd-1-5",
    source="huggingface.co/stable-diffusion-v1-5",
    license="CreativeML Open RAIL-M",
    commercial=True,
    repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
    files=("*.json", "*.txt", "*.safetensors"),
)


@hookimpl
def HOOK(register: Register) -> None:
    register(
        "NAME",
        target="PACKAGE.component:CLASS",
        config="PACKAGE.component:Config",
        summary="SUMMARY",
        needs=Needs(modules=("diffusers", "transformers"), weights=(BASE.name,), sources=(BASE,)),
        license=License("MIT", weights=BASE.license),
    )
'''

COMMAND = '''\
"""SUMMARY, for avatarkit.

Keep it fast to import, with hooks only: it is imported whenever components are listed.
"""

from pathlib import Path
from typing import Annotated

import typer

from avatarkit.hookspecs import hookimpl


@hookimpl
def register_commands(cli: typer.Typer) -> None:
    @cli.command("NAME")
    def command(avatar: Annotated[Path, typer.Argument(help="An avatar's folder.")]) -> None:
        """Say what an avatar is made of."""
        import avatarkit
        from PACKAGE.command import describe

        typer.echo(describe(avatarkit.load(avatar)))
'''

COMMAND_TESTS = '''\
"""The command, and what it does to an avatar."""

import pytest
import typer
from typer.testing import CliRunner

import avatarkit
from avatarkit.testing import memory_registry, tiny_build

import PACKAGE
from PACKAGE.command import describe


@pytest.fixture(scope="module")
def cli():
    cli = typer.Typer()
    PACKAGE.register_commands(cli)
    return cli


def test_the_command_has_help(cli):
    assert "made of" in CliRunner().invoke(cli, ["--help"]).stdout


def test_a_wrong_folder_is_one_sentence(cli, tmp_path):
    assert isinstance(CliRunner().invoke(cli, [str(tmp_path)]).exception, avatarkit.InputError)


def test_it_describes_an_avatar(tmp_path):
    avatar = avatarkit.load(tiny_build(tmp_path, PACKAGE), registry=memory_registry(PACKAGE))
    assert describe(avatar).startswith(f"tiny: {avatar.contents}, built in ")
'''

COMMAND_README = """\
# avatarkit-NAME

A command for [avatarkit](https://github.com/avatarkit-oneshot/avatarkit-oneshot): SUMMARY.

```
pip install .
avatarkit NAME ada.avatar
```

Test it:

```
pip install ".[test]" && pytest
```
"""

TESTS = '''\
"""The contract of avatarkit.interfaces, checked point by point, and a whole build with the component."""

import avatarkit
from avatarkit.testing import conformanceIMPORTS

import PACKAGE

test_conformance = conformance(PACKAGE, OPTIONS)
BUILD'''

BUILD = """

def test_a_build_works_with_it(tmp_path):
    path = tiny_build(tmp_path, PACKAGE, TABLES)
    avatar = avatarkit.load(path, registry=memory_registry(PACKAGE))
    assert avatar.render().shape[-1] == 4
"""

README = """\
# avatarkit-NAME

A component of the kind KIND for [avatarkit](https://github.com/avatarkit-oneshot/avatarkit-oneshot): SUMMARY.

```
pip install .
avatarkit plugins show KIND/NAME
USE```

Test it:

```
pip install ".[test]" && pytest
avatarkit plugins check KIND/NAME
```
"""

WORKFLOW = """\
name: test
on: [push, pull_request]
jobs:
  test:
    strategy:
      matrix:
        os: [ubuntu-latest, macos-latest, windows-latest]
        python: ["3.11", "3.14"]
    runs-on: ${{ matrix.os }}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "${{ matrix.python }}"}
      - run: pip install ".[test]"
      - run: pytest
      - run: avatarkit plugins check KIND/NAME
"""

EXAMPLES = {
    ("labels", "diffusers"): ("body: Stable Diffusion paints over drawings of the moving body", '"diffusers", "transformers"'),
}
"""(kind, name of another example) -> (summary, packages that it needs)."""

IGNORE = "__pycache__/\n*.egg-info/\nbuild/\ndist/\n.venv/\n"


def package_of(name: str) -> str:
    """Return the import name of the project of a plugin."""
    return f"avatarkit_{name.replace('-', '_')}"


def require_free(name: str, kind: str, registry: Registry) -> None:
    """Check that no component, plugin or package has the name of a new plugin.

    Raises:
        ConfigError: one has it.
    """
    if kind in KINDS and name in (taken := registry.components(kind)):
        article = "an" if kind[0] in "aeiou" else "a"
        raise ConfigError(f"There is {article} {taken[name].owner} already, of {taken[name].maker}. Choose another name.")
    if name in registry.plugins:
        raise ConfigError(f"There is a plugin {where(registry.plugins[name])} already. Choose another name.")
    if f"avatarkit-{name}" == DISTRIBUTION or importlib.util.find_spec(package_of(name)) is not None:
        raise ConfigError(f"There is a package avatarkit-{name} already. Choose another name.")


def render_project(name: str, kind: str, example: str | None = None) -> dict[str, str]:
    """Return file (path with /) -> text of the project ``avatarkit-<name>``.

    Args:
        name: name of the component, lower case with hyphens.
        kind: kind of component, or ``command``.
        example: of ``EXAMPLES``, what to start from instead of the kind's smallest component.

    Raises:
        ConfigError: the name, the kind or the example is invalid, or avatarkit itself has a command of that name.
    """
    kind = current_name(kind)
    if kind not in WHAT:
        raise ConfigError(f"There is no kind of component {kind!r}.{did_you_mean(kind, WHAT)} Kinds: {', '.join(WHAT)}.")
    name = name.removeprefix("avatarkit-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ConfigError(f"{name!r} is not a valid plugin name: use lower-case letters and digits with hyphens, e.g. my-{kind}.")
    if kind == "command" and name in OWN_COMMANDS:
        raise ConfigError(f"{name!r} is a command of avatarkit already. Choose another name.")
    package = package_of(name)
    cls = "".join(part.capitalize() for part in name.split("-"))
    summary, use = WHAT[kind]
    table = IN_A_BUILD.get(kind, "")
    pyproject, init, template, options = PYPROJECT, INIT, kind, 'options={"NAME": {"base": "tiny"}}' if kind == "tracker" else ""
    if example is not None:
        if (kind, example) not in EXAMPLES:
            known = [f"--kind {k} --example {e}" for k, e in EXAMPLES]
            raise ConfigError(f"There is no example {example!r} of the kind {kind}; there is: {', '.join(known)}.")
        summary, packages = EXAMPLES[kind, example]
        pyproject = pyproject.replace(">=0.1\"]", f">=0.1\", {packages}]")
        init, template = WITH_WEIGHTS, f"{kind}_{example}"
        small = '"size": 64, "steps": 4, "fps": 3.0'
        options, table = f'options={{"NAME": {{{small}}}}}', f'body_labels={{"use": "NAME", {small}}}'

    def code(of: str) -> str:
        text = resources.files("avatarkit_cli.authoring.templates").joinpath(f"{of}.py").read_text(encoding="utf-8")
        if keyword.iskeyword(cls) or re.search(rf"\b{cls}\b", text):
            raise ConfigError(f"The name {name!r} would hide {cls} in the plugin's code. Choose a longer one, e.g. my-{name}.")
        text = re.sub(r"\bExample\b", cls, text).replace("avatarkit_example", package)
        return text.replace('"example"', f'"{name}"').replace('f"example ', f'f"{name} ')

    build = BUILD.replace("TABLES", table) if table else ""
    tests = TESTS.replace("BUILD", build).replace("IMPORTS", ", memory_registry, tiny_build" if build else "")
    tests = tests.replace(", OPTIONS", f", {options}" if options else "")
    if not build:
        tests = tests.replace("import avatarkit\n", "", 1)
    words = {"SUMMARY": summary, "PACKAGE": package, "CLASS": cls, "HOOK": KINDS.get(kind, ""), "KIND": kind}
    usage = USES.get(kind) or f"avatarkit build ada.jpg {use}\n"
    readme, workflow = README.replace("USE", usage), WORKFLOW
    if kind == "command":
        init, tests, readme = COMMAND, COMMAND_TESTS, COMMAND_README
        workflow = WORKFLOW.replace("plugins check KIND/NAME", "NAME --help")
    files = {
        "pyproject.toml": pyproject,
        "README.md": readme,
        ".gitignore": IGNORE,
        ".github/workflows/test.yml": workflow,
        f"{package}/__init__.py": init.replace("SUMMARY, for", summary[0].upper() + summary[1:] + ", for", 1),
        f"tests/test_{name.replace('-', '_')}.py": tests,
    }
    for path, text in files.items():
        for word, value in words.items():
            text = re.sub(rf"\b{word}\b", value, text)
        files[path] = re.sub(r"\bNAME\b", name, text)
    files[f"{package}/{'command' if kind == 'command' else 'component'}.py"] = code(template)
    if example is not None:
        files["tests/conftest.py"] = code(f"{template}_conftest")
    return files


def write_project(name: str, kind: str, folder: Path, example: str | None = None) -> list[Path]:
    """Write the whole project or nothing; existing files are not touched.

    Returns:
        The files.

    Raises:
        ConfigError: the name, the kind or the example is invalid.
        StoreError: the folder exists or cannot be written.
    """
    files = render_project(name, kind, example)
    if os.path.lexists(folder):
        raise StoreError(f"{folder} already exists. Choose another folder with -o.")
    with temporary_folder(folder.absolute()) as staged, disk_errors(folder):
        for name_of_file, text in files.items():
            write_text(staged / name_of_file, text)
        sync_folder(staged)
        replace(staged, folder)
        sync(folder.absolute().parent)
    return [folder / name_of_file for name_of_file in files]
