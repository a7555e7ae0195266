"""``avatarkit plugins new``: what it writes works as it is, for every kind; ``plugins check`` tells good from bad."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from typer.testing import CliRunner

from avatarkit.config.options import Range
from avatarkit.registry import KINDS
from avatarkit_cli.main import app

PROJECTS = (*KINDS, "command")
DIFFUSERS = "diffusers"
"""The example that is larger than its kind's template."""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one new project of each kind."""
    folder = tmp_path_factory.mktemp("projects")
    for kind in PROJECTS:
        result = run("plugins", "new", f"first-{kind}", "--kind", kind, "-o", str(folder / kind), "--json")
        assert result.exit_code == 0, result.output
        assert len(json.loads(result.stdout)["files"]) == 7
    larger = ("--kind", "labels", "--example", DIFFUSERS, "-o", str(folder / DIFFUSERS))
    result = run("plugins", "new", f"first-{DIFFUSERS}", *larger)
    assert result.exit_code == 0, result.output
    return folder


SCRIPT = """
from pathlib import Path

import avatarkit

path: Path = avatarkit.build("ada.jpg", preset="draft", components={"matting": "mediapipe"}, settings=["training.steps=5"])
avatar = avatarkit.load(path)
avatar.picture(yaw=20.0).save("side.png")
video: Path = avatar.animate("wave", camera="orbit", fps=25.0).save("x.mp4")
for frame in avatar.animate("wave"):
    print(frame.time, frame.image.shape)
spoken: Path = avatar.speak("hello.wav", "hello").save("y.mp4")
written: Path = avatar.export("glb", Path("ada.glb"))
psnr: float = avatarkit.evaluate("clip.mp4", preset="draft")["methods"]["avatar"]["psnr"]
print(avatar.render().shape, psnr, avatarkit.Registry.load(), avatarkit.read_manifest(path)["seed"])
"""
"""A script of somebody who uses the package from Python."""


def projects_that_can_run() -> list[str]:
    return [*PROJECTS, *[DIFFUSERS] * all(map(find_spec, ("diffusers", "transformers")))]


@pytest.mark.slow
def test_new_projects_and_a_script_pass_mypy_strict(projects: Path) -> None:
    """All in one run, most of which is spent on torch.

    diffusers and transformers are left out: they are three times as large, and the example uses one class, which its tests run.
    """
    script, config = projects / "script.py", projects / "mypy.ini"
    script.write_text(SCRIPT)
    config.write_text("[mypy]\n[mypy-diffusers.*,transformers.*]\nfollow_imports = skip\n")
    packages = [str(projects / kind / f"avatarkit_first_{kind}") for kind in (*PROJECTS, DIFFUSERS)]
    path = os.pathsep.join(str(projects / kind) for kind in (*PROJECTS, DIFFUSERS))
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file", config, *packages, script]
    result = subprocess.run(
        command, cwd=projects, capture_output=True, text=True, check=False, env={**os.environ, "MYPYPATH": path}
    )
    assert result.returncode == 0, result.stdout[-6000:]


@pytest.mark.slow
def test_the_tests_of_every_new_project_pass(projects: Path) -> None:
    kinds = projects_that_can_run()
    path = os.pathsep.join([*(str(projects / kind) for kind in kinds), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-W", "error", "-rA"]
    result = subprocess.run(
        [*command, *(str(projects / kind / "tests") for kind in kinds)],
        cwd=projects, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-6000:]
    passed = [line for line in result.stdout.splitlines() if line.startswith("PASSED ")]
    for kind in kinds:
        mine = [line for line in passed if f"/test_first_{kind}.py" in line or f"{kind}/tests" in line]
        assert len(mine) >= (3 if kind == "command" else 7), f"{kind}: only {len(mine)} tests ran"
        no_slot = ("exporter", "speech", "synthesizer", "command")
        assert kind in no_slot or any("test_a_build_works_with_it" in line for line in mine)


@pytest.mark.parametrize("kind", [*PROJECTS, DIFFUSERS])
def test_a_new_project_is_complete(kind: str, projects: Path) -> None:
    manifest = tomllib.loads((projects / kind / "pyproject.toml").read_text(encoding="utf-8"))
    package = f"avatarkit_first_{kind}"
    assert manifest["project"]["entry-points"]["avatarkit"] == {f"first-{kind}": package}
    assert (projects / kind / package / "__init__.py").is_file()
    texts = [p.read_text(encoding="utf-8") for p in (projects / kind).rglob("*") if p.is_file() and p.suffix != ".pyc"]
    for left in ("NAME", "PACKAGE", "SUMMARY", "HOOK", "KIND", "CLASS", "Example", "BUILD", "OPTIONS", "TABLES"):
        assert not any(left in text.replace("KINDS", "") for text in texts), f"{left} was left in"


def test_new_projects_are_clean_code(projects: Path) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--isolated", "--line-length", "150", "--select", "E,F,W"]
    ruff = subprocess.run([*command, str(projects)], capture_output=True, text=True, check=False)
    if "No module named ruff" in ruff.stderr:
        pytest.skip("ruff is not installed")
    assert ruff.returncode == 0, ruff.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_a_new_project_have_ranges(kind: str) -> None:
    config = importlib.import_module(f"avatarkit_cli.authoring.templates.{kind}").Config
    hints = get_type_hints(config, include_extras=True)
    numbers = [f.name for f in dataclasses.fields(config) if type(f.default) in (int, float)]
    assert numbers
    for name in numbers:
        (allowed,) = [mark for mark in getattr(hints[name], "__metadata__", ()) if isinstance(mark, Range)]
        assert getattr(config(), name) in allowed
        assert -3 not in allowed


def test_an_option_out_of_its_range_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    template = "avatarkit_cli.authoring.templates.exporter"
    (tmp_path / "table.py").write_text(
        "from avatarkit import hookimpl\n@hookimpl\ndef register_exporters(register):\n"
        f"    register('table', target='{template}:Example', config='{template}:Config', summary='x')\n"
    )
    result = run("plugins", "check", "table", "-p", "table.py", "--set", "digits=-3")
    sys.modules.pop("table", None)
    assert result.exit_code == 2
    assert result.stderr == "avatarkit: Option 'digits' of exporter 'table' must be 0 to 15, not -3 (from --set digits=-3).\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--kind", "labls"), "There is no kind of component 'labls'. Did you mean 'labels'?"),
        (("My Loss", "--kind", "loss"), "'My Loss' is not a valid plugin name"),
        (("a", "--kind", "loss", "--example", "diffusers"), "There is no example 'diffusers' of the kind loss; there is: --kind"),
        (("there", "--kind", "loss"), "already exists. Choose another folder with -o"),
        (("cli", "--kind", "loss"), "There is a package avatarkit-cli already. Choose another name."),
        (("oneshot", "--kind", "loss"), "There is a package avatarkit-oneshot already"),
        (("anny", "--kind", "loss"), "There is a plugin 'anny' of avatarkit-oneshot"),
        (("avatarkit-coupled-gs", "--kind", "labels"), "There is a plugin 'coupled-gs' of avatarkit-oneshot"),
        (("cpu", "--kind", "renderer"), "There is a renderer 'cpu' already, of plugin 'cpu'"),
        (("coupled-gs", "--kind", "avatar"), "There is an avatar 'coupled-gs' already, of plugin 'coupled-gs'"),
        (("info", "--kind", "command"), "'info' is a command of avatarkit already. Choose another name."),
        (("build", "--kind", "command"), "'build' is a command of avatarkit already. Choose another name."),
        (("none", "--kind", "loss"), "The name 'none' would hide None in the plugin's code. Choose a longer one, e.g. my-none."),
        (("config", "--kind", "loss"), "would hide Config in the plugin's code"),
        (("x", "--kind", "comand"), "Did you mean 'command'? Kinds: matting, "),
    ],
)
def test_what_cannot_be_started_is_one_sentence(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "avatarkit-there").mkdir()
    result = run("plugins", "new", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["avatarkit-there"]
    assert not list((tmp_path / "avatarkit-there").iterdir())
