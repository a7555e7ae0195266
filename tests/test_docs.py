"""What the documentation shows works, and what is there is documented."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

import avatarkit
from avatarkit import hookspecs, interfaces
from avatarkit.interfaces import Context
from avatarkit.registry import KINDS, Registry
from avatarkit.testing.conformance import PROTOCOLS, checks_of, name_of
from avatarkit_cli.main import app
from avatarkit_cli.plugin_commands import add_commands

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
add_commands(Registry.load(environ={}), app)
COMMANDS = sorted(
    {line.strip() for page in PAGES for line in re.findall(r"^(?:.*&& | +)?(avatarkit \w.*)$", page.read_text("utf-8"), re.M)}
)
HOOKS = [f for _, f in inspect.getmembers(hookspecs, inspect.isfunction) if hasattr(f, "avatarkit_spec")]
COMPONENTS = [
    c
    for kind in KINDS
    for c in Registry.load(environ={}).components(kind).values()
    if (ROOT / "plugins" / f"avatarkit-{c.plugin.name}").is_dir()
]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """``docs/hooks.py``, which writes parts of the pages."""
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_shown_exists_with_its_flags(line: str) -> None:
    words = line.removeprefix("avatarkit ").split()
    if words[0] in ("plugins", "motions", "weights") and len(words) > 1:
        command, rest = words[:2], words[2:]
    else:
        command, rest = words[:1], words[1:]
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, line
    flags = re.findall(r"(?<![\w-])--?[a-z][\w-]*", result.stdout)
    for word in rest:
        if re.fullmatch(r"--?[a-z][\w-]*", word):
            assert word in flags, f"{word} in: {line}"


def test_the_pages_show_commands() -> None:
    assert len(COMMANDS) >= 8


def test_the_reference_shows_every_command(generator: ModuleType) -> None:
    text = generator.on_page_markdown(page("reference/cli.md"))
    for name in ("build", "animate", "plugins list", "weights add", "doctor"):
        assert f"## avatarkit {name}\n\n```text\nUsage: avatarkit {name} " in text


# ------------------------------------------------------------------------------------------- hooks, interfaces, components


@pytest.mark.parametrize("hook", HOOKS, ids=lambda f: f.__name__)
def test_every_hook_has_a_heading_with_its_exact_signature(hook: object) -> None:
    signature = str(inspect.signature(hook)).replace("'", "")  # type: ignore[arg-type]
    heading = f"## {hook.__name__}{signature}"  # type: ignore[attr-defined]
    assert heading in page("reference/hooks.md").splitlines(), f'docs/reference/hooks.md lacks the heading "{heading}"'


def test_the_overview_names_every_hook_with_its_kind() -> None:
    assert set(KINDS.values()) <= {f.__name__ for f in HOOKS}
    for hook in KINDS.values():
        assert f" | `{hook}` |" in page("plugins/index.md"), f"docs/plugins/index.md has no row for {hook}"


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: f"{c.kind}-{c.name}")
def test_every_component_has_a_place_on_its_page_and_help_for_each_option(component, generator: ModuleType) -> None:
    folder = ROOT / "plugins" / f"avatarkit-{component.plugin.name}"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    named = re.search(rf'[`" ]{re.escape(component.name)}[`"\s]', readme)
    assert named, f"{folder.name}/README.md does not name {component.owner}"
    assert component.summary, f"{component.owner} has no summary"
    text = generator._plugin_page(component.plugin.name, [component])
    assert f"{{#{component.kind}-{component.name}}}" in text
    for option in component.options():
        assert option.help, f"{component.owner}: the option {option.name!r} has no docstring under its field"
        assert f"| `{option.name}` |" in text


@pytest.mark.parametrize("name", sorted(set(avatarkit.__all__) - {"__version__", "hookimpl"}))
def test_every_public_name_has_a_docstring(name: str) -> None:
    thing = getattr(avatarkit, name)
    assert inspect.getdoc(thing), f"avatarkit.{name} has no docstring"
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            if not member.startswith("_") and inspect.isfunction(value) and thing.__module__ != interfaces.__name__:
                short = len(inspect.getsource(value).splitlines()) <= 3  # height(), width(): the name says it
                assert value.__doc__ or short, f"avatarkit.{name}.{member} has no docstring"


@pytest.mark.parametrize("name", [n for n in interfaces.__all__ if getattr(getattr(interfaces, n), "_is_protocol", False)])
def test_every_interface_says_what_each_method_does(name: str) -> None:
    cls = getattr(interfaces, name)
    assert cls.__doc__
    for member, value in vars(cls).items():
        if inspect.isfunction(value) and not member.startswith("__"):
            assert value.__doc__, f"{name}.{member} has no docstring"


def test_the_reference_shows_every_public_name() -> None:
    shown = "".join(page(f"reference/{name}.md") for name in ("index", "values", "errors", "interfaces", "hooks"))
    whole = set(re.findall(r"^::: (avatarkit\.\w+)$", shown, re.M))
    for name in set(avatarkit.__all__) - {"__version__", "hookimpl"}:
        module = getattr(avatarkit, name).__module__
        places = (module, module.rpartition(".")[0])  # packages have the names of their modules
        assert any(f"::: {place}.{name}\n" in shown or place in whole for place in places), (
            f"avatarkit.{name} is on no page of docs/reference: add '::: {module}.{name}'"
        )


# --------------------------------------------------------------------------------------------------- examples and links


def test_the_example_loss_works() -> None:
    registry = Registry.load([DOCS / "examples" / "no_glare.py"], environ={"AVATARKIT_PLUGINS": ""})
    loss = registry.get("loss", "no-glare").create({"limit": 0.5}, Context())
    colors = torch.tensor([[0.4, 0.45, 0.8]], requires_grad=True)
    value = loss(SimpleNamespace(posed=SimpleNamespace(gaussians=SimpleNamespace(colors=colors))))
    value.backward()
    assert float(value.detach()) == pytest.approx(0.1)
    assert colors.grad is not None
    assert (colors.grad != 0).tolist() == [[False, False, True]]
    del sys.modules["no_glare"]


def test_the_example_observer_works(capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry.load([DOCS / "examples" / "timings.py"], environ={"AVATARKIT_PLUGINS": ""})
    registry.stage_finished("tracking", "folder", 1.25)
    assert capsys.readouterr().err == "tracking took 1.2 s\n"
    assert registry.problems == []
    del sys.modules["timings"]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        found = (path.parent / target).exists() or "components/" in target  # those pages are generated
        assert found, f"{path.relative_to(ROOT)} links to {target}, which is not there"


@pytest.mark.parametrize("path", sorted(DOCS.glob("examples/*.py")), ids=lambda p: p.stem)
def test_every_example_is_shown_somewhere(path: Path) -> None:
    shown = any(f'"{path.name}' in p.read_text("utf-8") for p in PAGES) or path.stem in ("steady", "facets")  # {{ examples }}
    assert shown, f"no page shows docs/examples/{path.name}"


def snippets(path: Path) -> list[str]:
    """The Python blocks of a page with the files that they show."""

    def shown(match: re.Match[str]) -> str:
        name, _, section = match[1].partition(":")
        code = next(p for p in (DOCS / "examples" / name, ROOT / name) if p.is_file()).read_text(encoding="utf-8")
        if section:
            part = re.search(rf"# --8<-- \[start:{section}\]\n(.*?)# --8<-- \[end:{section}\]", code, re.DOTALL)
            assert part, f"{path.name} shows {match[1]}, which is not there"
            code = part[1]
        return textwrap.dedent(re.sub(r"^.*# --8<-- \[.*\n", "", code, flags=re.M))

    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.M)
    return [re.sub(r'^--8<-- "(.+)"$', shown, block, flags=re.M) for block in blocks]


def undefined_names(code: str) -> set[str]:
    """Names that code uses and that neither it nor Python defines; comprehensions and functions count as one scope."""
    tree = ast.parse(code)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    known = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            known.add(node.name)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            known |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        if isinstance(node, ast.arg):
            known.add(node.arg)
    return used - known - set(dir(builtins))


CODE = [p for p in PAGES if p.parent in (ROOT, DOCS, DOCS / "plugins") and snippets(p)]


@pytest.mark.parametrize("path", CODE, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_the_code_of_a_page_parses_and_imports_all_its_names(path: Path) -> None:
    code = "\n".join(snippets(path))
    assert not (missing := undefined_names(code)), f"{path.relative_to(ROOT)} uses {sorted(missing)}, which it does not define"
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "avatarkit":
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), f"{ast.unparse(node)} fails"


def test_a_name_that_is_not_imported_is_found() -> None:
    assert undefined_names("def f(a):\n    return a + rotate(b) + len([c for c in a])") == {"rotate", "b"}


# ------------------------------------------------------------------------------------------------------------- the walk


def imported(files: list[Path]) -> set[str]:
    """Modules that files import, types included, as dotted names."""
    found: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    return found


def boxes() -> dict[str, tuple[list[Path], tuple[str, ...]]]:
    """Box of the picture -> its files, and the module names that mean it."""
    core = ROOT / "avatarkit"

    def package(name: str) -> tuple[list[Path], tuple[str, ...]]:
        files = sorted((core / name).rglob("*.py")) or [core / f"{name}.py"]
        return files, (f"avatarkit.{name}",)

    names = (
        "appearance", "hookspecs", "interfaces", "io", "labelling", "motion", "pipeline", "reference", "registry", "report",
        "storage", "training", "types", "validation",
    )  # fmt: skip
    return {
        **{name: package(name) for name in names},
        "cli": (sorted((ROOT / "cli" / "avatarkit_cli").rglob("*.py")), ("avatarkit_cli",)),
        "plugins": (
            [p for p in ROOT.glob("plugins/*/avatarkit_*/**/*.py") if "tests" not in p.parts],
            tuple(p.name for p in ROOT.glob("plugins/*/avatarkit_*")),
        ),
    }


def test_the_picture_of_the_walk_is_what_is_imported() -> None:
    text = page("walk.md")
    arrows = {(start, end) for start, ends in re.findall(r"^(\w+) > ([\w ]+)$", text, re.M) for end in ends.split()}
    known = boxes()
    assert {end for arrow in arrows for end in arrow} == set(known)
    real = {name: imported(files) for name, (files, _) in known.items()}
    for start, end in sorted(arrows):
        assert any(m == n or m.startswith(f"{n}.") for m in real[start] for n in known[end][1]), f"{start} does not import {end}"
    for start in sorted(set(known) - {"plugins", "cli"}):
        for end in ("plugins", "cli"):
            assert not any(m == n or m.startswith(f"{n}.") for m in real[start] for n in known[end][1]), f"{start} imports {end}"
    for backwards in [("interfaces", "pipeline"), ("types", "interfaces"), ("hookspecs", "registry"), ("training", "pipeline")]:
        assert not real[backwards[0]] & set(known[backwards[1]][1]), f"the arrow {backwards} is missing in the picture"


NAMED = {(p, name) for p in ("walk.md", "method.md", "how.md") for name in re.findall(r"`([\w/*.-]+\.py)[`:]", page(p))}


@pytest.mark.parametrize(("where", "name"), sorted(NAMED))
def test_files_that_pages_name_are_there(where: str, name: str) -> None:
    below = name.replace("coupled_gs/", "avatarkit_coupled_gs/")  # an abbreviation of method.md
    places = ("", "avatarkit/", "plugins/*/", "plugins/*/*/")
    assert any([*ROOT.glob(place + below)] for place in places), f"docs/{where} speaks of {name}, which is not there"


def test_the_page_of_each_kind_shows_its_promises_and_its_checks(generator: ModuleType) -> None:
    for kind in KINDS:
        text = generator.on_page_markdown(page(f"plugins/{kind}.md"))
        assert f"::: avatarkit.interfaces.{PROTOCOLS[kind].__name__}\n" in text
        for check in checks_of(kind):
            assert check.__doc__, f"{check.__name__} has no docstring, which is the promise"
            assert f"- **{name_of(check)}**" in text
        assert f'--8<-- "cli/avatarkit_cli/authoring/templates/{kind}.py"' in text


def test_the_overview_counts_the_lines_of_the_examples(generator: ModuleType) -> None:
    text = generator.on_page_markdown(page("plugins/index.md"))
    for example in DOCS.glob("examples/*.py"):
        assert f"| {generator.lines_of_code(example)} |" in text
    assert generator.lines_of_code(DOCS / "examples" / "no_glare.py") <= 15
