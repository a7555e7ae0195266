"""One project, many packages: manifests that say the same, imports that stay light, names that stay."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

import avatarkit
from avatarkit.utils.moved import MOVED

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(p.name for p in (ROOT / "plugins").iterdir() if (p / "pyproject.toml").is_file())


def manifest(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def package(plugin: str) -> str:
    return plugin.replace("-", "_")


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\s<>=!~\[;]", r, maxsplit=1)[0].lower().replace("_", "-") for r in requirements}


def test_the_root_packs_every_plugin_and_nothing_else() -> None:
    root = manifest(ROOT)
    expected = ["avatarkit", "cli/avatarkit_cli", *(f"plugins/{p}/{package(p)}" for p in PLUGINS)]
    assert root["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == expected
    points = root["project"]["entry-points"]["avatarkit"]
    assert points == {p.removeprefix("avatarkit-"): package(p) for p in PLUGINS}
    for list_of_packages in (
        root["tool"]["coverage"]["run"]["source_pkgs"],
        root["tool"]["importlinter"]["root_packages"],
    ):
        assert set(list_of_packages) == {"avatarkit", "avatarkit_cli", *map(package, PLUGINS)}
    assert set(root["tool"]["mypy"]["mypy_path"]) == {"cli", *(f"plugins/{p}" for p in PLUGINS)}
    for contract in root["tool"]["importlinter"]["contracts"]:
        for key in ("modules", "forbidden_modules", "source_modules"):
            listed = {m for m in contract.get(key, ()) if m.startswith("avatarkit_")} - {"avatarkit_cli"}
            assert not listed or listed == set(map(package, PLUGINS))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_is_a_complete_project_in_step_with_the_root(plugin: str) -> None:
    root, own = manifest(ROOT)["project"], manifest(ROOT / "plugins" / plugin)
    project = own["project"]
    assert project["name"] == plugin
    assert project["version"] == root["version"]
    assert project["license"] == root["license"]
    assert project["requires-python"] == root["requires-python"]
    short = plugin.removeprefix("avatarkit-")
    assert project["entry-points"]["avatarkit"] == {short: package(plugin)}
    assert own["build-system"]["build-backend"] == "hatchling.build"
    assert own["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [package(plugin)]
    assert (ROOT / "plugins" / plugin / project["readme"]).read_text(encoding="utf-8").startswith("# ")
    assert (ROOT / "plugins" / plugin / package(plugin) / "__init__.py").is_file()
    assert list((ROOT / "plugins" / plugin / "tests").glob("test_*.py"))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_what_a_plugin_needs_comes_with_the_root_or_with_an_extra_of_the_same_name(plugin: str) -> None:
    root, own = manifest(ROOT)["project"], manifest(ROOT / "plugins" / plugin)["project"]
    extras = root["optional-dependencies"]
    needed = names(own["dependencies"])
    assert "avatarkit" in needed
    provided = names(root["dependencies"]) | names(extras.get(plugin.removeprefix("avatarkit-"), []))
    assert needed - {"avatarkit", "opencv-contrib-python"} <= provided  # OpenCV comes with mediapipe
    for extra, requirements in own.get("optional-dependencies", {}).items():
        if extra not in ("dev", "test"):
            assert names(requirements) <= names(extras[extra])


def test_versions_agree() -> None:
    assert manifest(ROOT)["project"]["version"] == avatarkit.__version__
    assert f"## {avatarkit.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_public_name_can_be_had() -> None:
    for name in avatarkit.__all__:
        assert getattr(avatarkit, name) is not None
        assert name in dir(avatarkit)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = avatarkit.nothing


MODULES = sorted(".".join(p.relative_to(ROOT / "avatarkit").with_suffix("").parts) for p in (ROOT / "avatarkit").rglob("*.py"))


@pytest.mark.parametrize("module", [m for m in MODULES if not m.endswith("__init__")])
def test_every_module_says_what_it_exports(module: str) -> None:
    loaded = importlib.import_module(f"avatarkit.{module}")
    assert loaded.__doc__
    for name in loaded.__all__:
        assert hasattr(loaded, name)


@pytest.mark.parametrize(
    "statement",
    [
        "import avatarkit",
        "import avatarkit.registry, avatarkit.config, avatarkit.hookspecs, avatarkit.errors, avatarkit.utils.progress",
        "import avatarkit_cli.main",
        "from avatarkit import Recipe, Registry, ConfigError, hookimpl",
    ],
)
def test_light_imports_stay_light(statement: str) -> None:
    program = f"""
        {statement}
        import json, sys
        print(json.dumps(sorted({{"torch", "numpy", "rich", "av", "PIL", "safetensors"}} & set(sys.modules))))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == []


FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("avatarkit", "cli", "plugins", "docs", "tests", "benchmarks", ".ci")
    for path in (ROOT / folder).rglob("*")
    if "__pycache__" not in path.parts and ".pytest_cache" not in path.parts and not path.name.endswith((".pyc", ".egg-info"))
)


def test_file_names_are_fine_on_every_system() -> None:
    """Windows: no reserved names or characters, no trailing dots; it and macOS: no two names that differ in case only."""
    seen: dict[str, str] = {}
    for path in FILES:
        assert not (ROOT / path).is_symlink(), f"{path} is a symbolic link, which Windows does not check out"
        assert len(path) < 150, f"{path} is too long for Windows"
        for part in path.split("/"):
            assert re.fullmatch(r"[A-Za-z0-9._ +-]+", part), f"{path}: {part!r} holds characters that not every system takes"
            assert not part.endswith((".", " ")), f"{path} ends in a dot or a space"
            stem = part.split(".")[0].upper()
            assert stem not in {"CON", "PRN", "AUX", "NUL"} and not re.fullmatch(r"(COM|LPT)\d", stem), f"{path} is reserved"
        other = seen.setdefault(path.lower(), path)
        assert other == path, f"{path} and {other} differ in case only"


def test_text_files_are_utf8_with_unix_line_ends() -> None:
    for path in FILES:
        if path.endswith((".py", ".md", ".toml", ".yml", ".json")) and (ROOT / path).is_file():
            data = (ROOT / path).read_bytes()
            assert b"\r\n" not in data, f"{path} has Windows line ends"
            data.decode("utf-8")


def test_known_components_that_are_not_installed_are_not_installed() -> None:
    from avatarkit.registry import KINDS, Registry

    known = tomllib.loads((ROOT / "cli" / "avatarkit_cli" / "known.toml").read_text(encoding="utf-8"))
    registry = Registry.load(environ={})
    for kind, names in known.items():
        assert kind in KINDS, f"cli/avatarkit_cli/known.toml: {kind!r} is no kind of component"
        for name, hint in names.items():
            assert name not in registry.components(kind), f"{kind} {name!r} comes along now: take it out of known.toml"
            assert hint.endswith("."), f"the hint for {kind} {name!r} is no sentence"


@pytest.mark.parametrize("old", sorted(MOVED))
def test_a_module_that_moved_still_imports_under_its_old_path(old: str) -> None:
    now = importlib.import_module(f"avatarkit.{MOVED[old]}")
    for name in [n for n in sys.modules if n == f"avatarkit.{old}"]:
        del sys.modules[name]
    with pytest.warns(DeprecationWarning, match=rf"avatarkit\.{re.escape(old)} is avatarkit\.{re.escape(MOVED[old])} now"):
        alias = importlib.import_module(f"avatarkit.{old}")
    for name in getattr(now, "__all__", ()):
        assert getattr(alias, name) is getattr(now, name)
