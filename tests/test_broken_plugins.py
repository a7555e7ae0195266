"""Ten ways in which a plugin can be broken: each is named with its owner and a remedy, and everything else works."""

from __future__ import annotations

import itertools
import re
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from avatarkit.io.image import save_png
from avatarkit.registry import Registry
from avatarkit.testing import tiny_subject
from avatarkit_cli.main import app

TINY = Path(__file__).with_name("tiny_plugin.py")
HOOK = "from avatarkit import hookimpl, Needs\n@hookimpl\n"
MATTER = HOOK + "def register_matting_models(register):\n    register('mine', target='broken_parts:Mine')\n"
FINE = HOOK + "def register_losses(register):\n    register('fine', target='avatarkit.testing.method:TinyRgb', summary='fine')\n"
PARTS = """
import torch
from avatarkit import Matte

class Mine:
    def __init__(self, config, context): ...
    def matte(self, photo, keypoints=None):
        {body}
"""
UNINSTALL = "pip uninstall avatarkit-broken"

AT_LOADING = {
    "import error": ("raise RuntimeError('boom')", "", "cannot be imported.*RuntimeError: boom", UNINSTALL),
    "missing dependency": ("import torch_scatterer", "", "No module named 'torch_scatterer'", "pip install torch_scatterer"),
    "misspelt hook": (HOOK + "def register_loses(register): ...", "", "Did you mean 'register_losses'", "of the plugin works"),
    "unknown argument": (HOOK + "def register_losses(register, surprise): ...", "", "left out.*surprise", "another version"),
    "duplicate name": (FINE, "", "loss 'fine' is registered by two plugins", "Uninstall one of them"),
    "hanging import": ("import time\ntime.sleep(60)", "", r"hangs: it was given up after 2 s", UNINSTALL),
    "wrong version pin": (FINE, "Requires-Dist: avatarkit>=9\n", "needs avatarkit>=9", "pip install --upgrade avatarkit-broken"),
}
IN_A_BUILD = {
    "wrong return type": (MATTER, "return None", 2, "returned an invalid result: the matte is of the type NoneType, not Matte"),
    "raising in a stage": (MATTER, "raise ValueError('boom')", 1, "The stage tracking failed in matting 'mine'.*Error: boom"),
    "non-conforming shapes": (
        MATTER,
        "return Matte(torch.zeros(3, 3), photo.image)",
        2,
        r"returned an invalid result: alpha has the shape \(3, 3\), not \(64, 64\)",
    ),
}

Install = Callable[..., None]
NUMBER = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs ``fine`` and ``broken`` as pip would leave them."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("AVATARKIT_PLUGINS", "broken,fine")

    def distribution(name: str, source: str, metadata: str = "", parts: str = "") -> None:
        module = f"{name}_module_{next(NUMBER)}"  # an import that hangs holds the lock of its name
        (site / f"{module}.py").write_text(source)
        (site / f"{name}_parts.py").write_text(parts)
        monkeypatch.delitem(sys.modules, f"{name}_parts", raising=False)
        info = site / f"avatarkit_{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: avatarkit-{name}\nVersion: 1.2\n{metadata}")
        (info / "entry_points.txt").write_text(f"[avatarkit]\n{name} = {module}\n")

    def both(source: str, metadata: str = "", parts: str = "") -> None:
        distribution("broken", source, metadata, parts)
        distribution("fine", FINE)

    return both


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("how", AT_LOADING)
def test_what_is_broken_when_it_is_loaded_is_named_with_a_remedy(
    how: str, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, metadata, message, remedy = AT_LOADING[how]
    install(source, metadata)
    if how == "hanging import":
        monkeypatch.setenv("AVATARKIT_IMPORT_SECONDS", "2")
    started = time.monotonic()
    listed = run("plugins", "list")
    assert listed.exit_code == 0
    assert time.monotonic() - started < 50
    text = " ".join(listed.stdout.split())
    assert re.search(message, text)
    assert remedy in text
    owner = "fine" if how == "duplicate name" else "broken"  # the second one to claim a name is the one that is told
    assert f"Problem with plugin '{owner}' of avatarkit-{owner} 1.2:" in text
    registry = Registry.load()
    if how != "duplicate name":
        assert list(registry.components("loss")) == ["fine"]
    else:
        assert "'broken' of avatarkit-broken 1.2 and 'fine' of avatarkit-fine 1.2" in text
    assert registry.problems[0].distribution.startswith("avatarkit-")


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(folder)
    save_png(folder / "ada.png", tiny_subject().photo.image)
    slots = ("keypoints", "body", "tracker", "motions", "avatar", "renderer", "matting")
    tables = "".join(f'[{slot}]\nuse = "tiny"\n' for slot in slots)
    preview = "[training]\nsteps = 0\n[preview]\nheight = 16\nseconds = 0.2\nfps = 5\nmotion = 'tiny'\n"
    (folder / "tiny.toml").write_text(tables + preview)
    return ("build", "ada.png", "--recipe", "tiny.toml", "--plugin", str(TINY))


@pytest.mark.parametrize("how", IN_A_BUILD)
def test_what_is_broken_in_a_build_is_named_with_a_remedy(
    how: str, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, body, code, message = IN_A_BUILD[how]
    install(source, parts=textwrap.dedent(PARTS).replace("{body}", body))
    build = prepare(tmp_path, monkeypatch)
    result = run(*build, "--matting", "mine")
    text = " ".join(result.stderr.split())
    assert result.exit_code == code
    assert re.search(message, text)
    assert "plugin 'broken' of avatarkit-broken 1.2" in text
    assert "Choose another matting component, or report it to the authors of 'broken' of avatarkit-broken 1.2" in text
    if code == 1:
        bug = r"This is a bug in the plugin 'broken' of avatarkit-broken 1.2 \(\S+\.py, line \d+\), not in avatarkit"
        assert re.search(bug, text)
    assert not (tmp_path / "ada.avatar" / "manifest.json").exists()


def test_a_build_without_the_broken_plugin_works_beside_it(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("raise RuntimeError('boom')")
    result = run(*prepare(tmp_path, monkeypatch))
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "ada.avatar" / "manifest.json").is_file()
    assert "Note: plugin 'broken'" in result.stderr


def test_a_component_whose_module_lacks_a_dependency_says_how_to_get_it(install: Install) -> None:
    install(MATTER, parts="import torch_scatterer")
    result = run("plugins", "check", "matting/mine")
    assert "there is no module 'torch_scatterer'. pip install torch_scatterer" in " ".join(result.stdout.split())
    assert result.exit_code == 2
