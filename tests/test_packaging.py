"""One distribution, many packages: lists that say the same, imports that stay light, names that stay."""

from __future__ import annotations

import ast
import graphlib
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
from typer.testing import CliRunner

import avatarkit
import avatarkit_cli.main
from avatarkit.registry import KINDS, Registry
from avatarkit.registry.loading import leave_out
from avatarkit.registry.specs import DISTRIBUTION, Plugin
from avatarkit.utils.moved import MOVED
from avatarkit_cli.authoring.scaffold import render_project

ROOT = Path(__file__).parent.parent
GUESTS = {"avatarkit-comfyui"}
"""Plugins of other programs: folders that these load, with a project file of their own, and no part of the wheel."""
PLUGINS = sorted({p.parents[1].name for p in (ROOT / "plugins").glob("*/avatarkit_*/__init__.py")} - GUESTS)


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
    assert set(root["tool"]["mypy"]["mypy_path"]) == {"cli", *(f"plugins/{p}" for p in (*PLUGINS, *GUESTS))}
    for contract in root["tool"]["importlinter"]["contracts"]:
        for key in ("modules", "forbidden_modules", "source_modules"):
            listed = {m for m in contract.get(key, ()) if m.startswith("avatarkit_")} - {"avatarkit_cli"}
            assert not listed or listed == set(map(package, PLUGINS))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_folder_has_a_readme_a_package_and_tests_and_no_project_of_its_own(plugin: str) -> None:
    folder = ROOT / "plugins" / plugin
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {plugin}\n")
    assert (folder / package(plugin) / "__init__.py").is_file()
    assert list((folder / "tests").glob("test_*.py"))
    assert not [*folder.glob("pyproject.toml"), *folder.glob("setup.*")]


@pytest.mark.parametrize("guest", sorted(GUESTS))
def test_a_plugin_of_another_program_is_a_project_that_needs_this_one(guest: str) -> None:
    folder, root = ROOT / "plugins" / guest, manifest(ROOT)["project"]
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {guest}\n")
    project = manifest(folder)["project"]
    assert (project["name"], project["version"]) == (guest, avatarkit.__version__)
    assert project["requires-python"] == root["requires-python"]
    assert names(project["dependencies"]) == {root["name"]}


def test_only_plugins_are_in_the_folder_of_plugins() -> None:
    left = [p for p in (ROOT / "plugins").iterdir() if p.name not in (*PLUGINS, *GUESTS) and any(p.rglob("*.py"))]
    assert not left, f"{left[0]} has no package {package(left[0].name)}"


MODULES = {
    "av": "av", "c2pa": "c2pa-python", "cv2": "opencv-python-headless", "llvmlite": "numba", "PIL": "pillow",
    "skimage": "scikit-image",
}  # fmt: skip
"""Module -> the distribution that brings it, where the names differ."""
OPTIONAL = {"nvdiffrast", "torchvision"}
"""What no extra installs: nvdiffrast comes from its makers only."""


@pytest.mark.parametrize("plugin", PLUGINS)
def test_what_a_plugin_imports_comes_with_the_root_or_with_the_extras_that_it_names(plugin: str) -> None:
    project = manifest(ROOT)["project"]
    extras = project["optional-dependencies"]
    named = {c.extra for c in registry().all_components() if c.plugin.name == plugin.removeprefix("avatarkit-") and c.extra}
    assert named <= set(extras) - {"dev"}
    provided = names(project["dependencies"]).union(*(names(extras[extra]) for extra in named))
    for file in (ROOT / "plugins" / plugin / package(plugin)).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in {m.partition(".")[0] for m in modules} - set(sys.stdlib_module_names) - OPTIONAL:
                distribution = MODULES.get(module, module).replace("_", "-").lower()
                assert module in ("avatarkit", package(plugin)) or distribution in provided, f"{file.name} imports {module}"


def registry() -> Registry:
    """All installed plugins, whatever the environment says."""
    return Registry.load(environ={})


def test_bundled_plugins_have_the_version_of_the_root() -> None:
    plugins = registry().plugins
    for plugin in PLUGINS:
        found = plugins[plugin.removeprefix("avatarkit-")]
        assert found.bundled
        assert found.version == avatarkit.__version__


# -------------------------------------------------------------------------------------------------- the name on the index

INSTALLS = re.compile(
    r"""\b(?:pip3?|pipx|uv|uvx|poetry|pdm|conda|rye)\b[^&|;#]*?\b(?:install|add|run|upgrade|download|wheel)\b[^&|;#`]*?
        [\s"'=]avatarkit(?![\w/-]|\.\w)                          # pip install avatarkit, "avatarkit[wan]", avatarkit==0.1
      | ["'`]avatarkit\s*(?:\[[^\]]+\]|[<>=!~]=?\s*\d)         # a requirement in a list of dependencies
      | (?:pypi\.org/(?:project|p)|img\.shields\.io/pypi/\w+)/avatarkit(?![\w-])""",
    re.VERBOSE,
)
KINDS_OF_TEXT = ("", ".cff", ".html", ".ipynb", ".md", ".py", ".toml", ".txt", ".yaml", ".yml")
SHOWN = sorted(
    path
    for pattern in (
        "*",
        *(f"{folder}/**/*" for folder in (".ci", ".github", "avatarkit", "benchmarks", "cli", "docs", "plugins")),
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix in KINDS_OF_TEXT and not {"node_modules", "__pycache__", "tests", ".git"} & set(path.parts)
)
"""Whatever users read or get: pages, messages, remedies, templates, what scaffolds write."""


def installs_namesake(text: str) -> list[str]:
    """Return the lines that install ``avatarkit``, which on the package index is another project."""
    return [line for line in text.replace('\\"', '"').splitlines() if INSTALLS.search(line)]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("pip install avatarkit", True),
        ("pip install --upgrade 'avatarkit[wan]'", True),
        ('pip install "avatarkit[cuda]"', True),
        ('run `pip install --force-reinstall avatarkit`', True),
        ("python -m pip install avatarkit==0.1", True),
        ("uv pip install avatarkit", True),
        ("uv add avatarkit", True),
        ("this one reads 1): pip install --upgrade avatarkit.", True),
        ('wanted = f"{name or "avatarkit[{extra}]"}"', True),
        ("pip install avatarkit.whl", False),
        ("pipx run avatarkit build", True),
        ('dependencies = ["avatarkit>=0.1"]', True),
        ('dependencies = ["avatarkit[heif]"]', True),
        ("https://pypi.org/project/avatarkit/", True),
        ("pip install . && avatarkit build ada.jpg", False),
        ("pip install avatarkit-oneshot", False),
        ('pip install "avatarkit-oneshot[wan]" && avatarkit doctor', False),
        ("pip install ./avatarkit-mine", False),
        ('dependencies = ["avatarkit-oneshot>=0.1"]', False),
        ("pip uninstall avatarkit && pip install avatarkit-oneshot", False),
    ],
)  # fmt: skip
def test_installs_of_the_namesake_are_told_from_others(text: str, wrong: bool) -> None:
    assert bool(installs_namesake(text)) == wrong


def test_nothing_tells_people_to_install_the_namesake() -> None:
    assert len(SHOWN) > 200
    for path in SHOWN:
        found = installs_namesake(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROOT)} installs another project: {found[0]}"


def test_the_distribution_has_one_name() -> None:
    assert manifest(ROOT)["project"]["name"] == DISTRIBUTION
    assert f"pip install {DISTRIBUTION}" in (ROOT / "docs" / "plugins" / "tutorial.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_new_projects_require_the_right_distribution_and_lead_to_the_right_address(kind: str) -> None:
    files = render_project("mine", kind)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert names(project["dependencies"]) == {DISTRIBUTION}
    home = manifest(ROOT)["project"]["urls"]["Homepage"]
    assert f"]({home})" in files["README.md"]
    for name, text in files.items():
        assert not installs_namesake(text), name


def test_addresses_agree() -> None:
    urls = manifest(ROOT)["project"]["urls"]
    assert urls["Issues"] == avatarkit_cli.main._ISSUES == f"{urls['Homepage']}/issues"
    for path in SHOWN:
        for address in re.findall(r"https://github\.com/[\w-]*avatarkit[\w-]*(?:/[\w-]+)?", path.read_text(encoding="utf-8")):
            assert address == urls["Homepage"], f"{path.relative_to(ROOT)}: {address}"


def test_remedies_of_components_install_the_right_distribution() -> None:
    hints = [c.install_hint(module) for c in registry().all_components() for module in c.needs.modules]
    assert f'pip install "{DISTRIBUTION}[wan]"' in hints
    assert not installs_namesake("\n".join(hints))


def test_the_doctor_names_the_right_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARKIT_PLUGINS", "")  # every component of the preset is missing
    result = CliRunner().invoke(avatarkit_cli.main.app, ["doctor", "--json"])
    remedies = [check["remedy"] for check in json.loads(result.stdout)["checks"]]
    assert f"pip install --force-reinstall {DISTRIBUTION}" in remedies
    assert not installs_namesake("\n".join(remedies))


def test_the_doctor_finds_the_namesake_in_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "avatarkit-3.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: avatarkit\nVersion: 3.0\n")
    (info / "RECORD").write_text("avatarkit/__init__.py,,\navatarkit-3.0.dist-info/METADATA,,\n")
    (tmp_path / "avatarkit").mkdir()
    (tmp_path / "avatarkit" / "__init__.py").touch()  # from Python 3.12 on, a listed file that is not there does not count
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(avatarkit_cli.main.app, ["doctor", "--json"])
    (check,) = [c for c in json.loads(result.stdout)["checks"] if c["name"] == "another avatarkit"]
    assert result.exit_code == 2
    assert "the package avatarkit 3.0 of another project" in check["detail"]
    assert check["remedy"] == f"pip uninstall avatarkit && pip install --force-reinstall --no-deps {DISTRIBUTION}"


def install(site: Path, requires: str) -> None:
    """Install a plugin ``mine`` as pip would leave it."""
    info = site / "avatarkit_mine-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "mine_of_packaging.py").write_text("")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: avatarkit-mine\nVersion: 1.2\nRequires-Dist: {requires}\n")
    (info / "entry_points.txt").write_text("[avatarkit]\nmine = mine_of_packaging\n")


@pytest.mark.parametrize(
    ("requires", "loaded", "problem"),
    [
        ("avatarkit-oneshot>=0.1", True, ""),
        ("avatarkit_oneshot>=0.1", True, ""),
        ("avatarkit-oneshot>=9", False, f'needs avatarkit>=9.*pip install --upgrade avatarkit-mine, or .*"{DISTRIBUTION}>=9"'),
        ("avatarkit>=0.1", True, f"requires 'avatarkit', which is another project .*should require {DISTRIBUTION}"),
        ("avatarkit>=9", False, "needs avatarkit>=9"),
        ('avatarkit>=9; extra == "test"', True, ""),
        ("avatarkit-other>=9", True, ""),
    ],
)
def test_what_a_plugin_requires_of_avatarkit(
    requires: str, loaded: bool, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, requires)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = Registry.load(environ={"AVATARKIT_PLUGINS": "mine"})
    assert ("mine" in found.plugins) == loaded
    assert len(found.problems) == bool(problem)
    assert re.search(problem, "".join(map(str, found.problems)))


def test_a_broken_bundled_plugin_is_not_a_reason_to_uninstall_everything() -> None:
    assert leave_out(Plugin("cpu", "0.1.0", DISTRIBUTION)) == "leave 'cpu' out with AVATARKIT_PLUGINS"
    assert leave_out(Plugin("mine", "0.1.0", "avatarkit-mine")) == "pip uninstall avatarkit-mine"


def test_versions_agree() -> None:
    assert manifest(ROOT)["project"]["version"] == avatarkit.__version__


def test_every_public_name_can_be_had() -> None:
    for name in avatarkit.__all__:
        assert getattr(avatarkit, name) is not None
        assert name in dir(avatarkit)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = avatarkit.nothing


CORE = ROOT / "avatarkit"
CORE_MODULES = sorted(".".join(p.relative_to(CORE).with_suffix("").parts) for p in CORE.rglob("*.py"))


@pytest.mark.parametrize("module", [m for m in CORE_MODULES if not m.endswith("__init__")])
def test_every_module_says_what_it_exports(module: str) -> None:
    loaded = importlib.import_module(f"avatarkit.{module}")
    assert loaded.__doc__
    for name in loaded.__all__:
        assert hasattr(loaded, name)


PACKAGES = ["avatarkit", "cli/avatarkit_cli", *(f"plugins/{p}/{package(p)}" for p in PLUGINS)]


def imports_of(file: Path, modules: set[str]) -> set[str]:
    """Modules among ``modules`` that a file imports when it is imported or run, in functions too; not for types alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    left_out = {"TYPE_CHECKING", "not TYPE_CHECKING", "__name__ == '__main__'"}
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) in left_out]
    guarded = {id(inner) for guard in guards for statement in guard.body for inner in ast.walk(statement)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in guarded:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules


@pytest.mark.parametrize("folder", PACKAGES)
def test_imports_go_in_no_circle(folder: str) -> None:
    root = (ROOT / folder).parent
    paths = {file: file.relative_to(root).with_suffix("").parts for file in (ROOT / folder).rglob("*.py")}
    files = {".".join(parts).removesuffix(".__init__"): file for file, parts in paths.items()}
    graph = {name: imports_of(file, set(files)) - {name} for name, file in files.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the modules of a circle


@pytest.mark.parametrize("folder", PACKAGES)
def test_no_package_has_more_modules_at_one_level_than_a_reader_takes_in(folder: str) -> None:
    for level in {file.parent for file in (ROOT / folder).rglob("*.py")} - {ROOT / "cli/avatarkit_cli/authoring/templates"}:
        modules = sorted(file.name for file in level.glob("*.py"))
        assert len(modules) <= 14, f"{level.relative_to(ROOT)} holds {len(modules)} modules: group them into packages"


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


_LEFT_BY_TOOLS = {"__pycache__", ".pytest_cache", "node_modules", "dist"}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("avatarkit", "cli", "plugins", "docs", "tests", "benchmarks", ".ci", ".github")
    for path in (ROOT / folder).rglob("*")
    if not _LEFT_BY_TOOLS & set(path.parts) and not path.name.endswith((".pyc", ".egg-info"))
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
