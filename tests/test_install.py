"""Installing plugins, removing weights, and units of options."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from typer.testing import CliRunner

from avatarkit.config.options import Range, make_config, options_of
from avatarkit.errors import ConfigError
from avatarkit.utils.paths import find_weights
from avatarkit_cli.main import app


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "weights"


def weights(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["weights", *words])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def test_removing_a_link_leaves_the_users_file(cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"weights")
    assert weights("add", "mimicmotion-1-1", str(mine))[0] == 0
    code, _, errors = weights("remove", "mimicmotion-1-1")
    assert code == 2
    assert f"a link to {mine}, which stays" in errors
    assert "Nothing was removed. Use --yes" in errors
    assert find_weights("mimicmotion-1-1") is not None
    code, output, _ = weights("remove", "mimicmotion-1-1", "--yes")
    assert (code, output.strip()) == (0, str(cache / "mimicmotion-1-1.pth"))
    assert find_weights("mimicmotion-1-1") is None
    assert mine.read_bytes() == b"weights"


def test_removing_a_download_removes_folder_and_record_alone(cache: Path) -> None:
    (cache / "liveportrait" / "base_models").mkdir(parents=True)
    (cache / "liveportrait" / "base_models" / "x.pth").write_bytes(b"1")
    (cache / ".records").mkdir()
    (cache / ".records" / "liveportrait.json").write_text("{}")
    (cache / "liveportrait-2.pth").write_bytes(b"other")
    (cache / "liveportrait.v2.pth").write_bytes(b"other")
    assert weights("remove", "liveportrait", "-y")[0] == 0
    assert sorted(p.name for p in cache.rglob("*") if p.is_file()) == ["liveportrait-2.pth", "liveportrait.v2.pth"]
    code, _, errors = weights("remove", "liveportrait", "-y")
    assert code == 2
    assert "liveportrait.v2.pth belongs to weights of another name" in errors


@pytest.mark.parametrize("name", ["../x", "nothing", "", ".", ".records", "*"])
def test_only_weights_are_removed(name: str, cache: Path) -> None:
    (cache / ".records").mkdir(parents=True)
    code, _, errors = weights("remove", name, "-y")
    assert code == 2
    assert "There are no weights" in errors
    assert (cache / ".records").is_dir()


@dataclass(frozen=True)
class Config:
    reach: Annotated[float, Range(0, 2, "m")] = 0.5
    """How far it reaches."""


def test_units_stand_in_help_and_messages() -> None:
    assert options_of(Config)[0].type == "a number, 0 to 2 m"
    with pytest.raises(ConfigError, match="0 to 2 m"):
        make_config(Config, {"reach": 3})


# ------------------------------------------------------------------------------------------------------------ install


def wheel(folder: Path) -> Path:
    """A wheel with a plugin, as a project's authors would publish it."""
    path = folder / "avatarkit_mine-1.0-py3-none-any.whl"
    facts = "avatarkit_mine-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mine_plugin.py", "")
        file.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: avatarkit-mine\nVersion: 1.0\n")
        file.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{facts}/entry_points.txt", "[avatarkit]\nmine = mine_plugin\n")
        file.writestr(f"{facts}/RECORD", "")
    return path


def install(folder: Path, python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), *(p for p in sys.path if p.endswith("site-packages"))]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "AVATARKIT_CACHE": str(folder), "PIP_NO_INDEX": "1"}
    command = [str(python), "-m", "avatarkit_cli.main", "plugins", "install", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_nothing_is_installed_without_an_answer(tmp_path: Path) -> None:
    asked = install(tmp_path, Path(sys.executable), "avatarkit-mine")
    assert asked.returncode == 2
    assert "-m pip install --disable-pip-version-check avatarkit-mine" in asked.stderr
    assert asked.stderr.splitlines()[-1] == (
        "avatarkit: Nothing was installed. Use --yes to install it without being asked."
    )
    option = install(tmp_path, Path(sys.executable), "--yes", "--", "--index-url=x")
    assert option.returncode == 2
    assert "is not the name or address of a package" in option.stderr


@pytest.mark.slow
def test_a_plugin_is_installed_into_the_same_environment(tmp_path: Path) -> None:
    venv.create(tmp_path / "env")  # pip comes from where the tests run, as all else does
    python = tmp_path / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = install(tmp_path, python, str(wheel(tmp_path)), "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mine (from avatarkit-mine)\n"
    assert list((tmp_path / "env").rglob("mine_plugin.py"))
    failed = install(tmp_path, python, "avatarkit-not-there", "--yes")
    assert failed.returncode == 2
    assert "pip could not install avatarkit-not-there; its last lines say why." in failed.stderr
