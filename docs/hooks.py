"""Puts generated text and pages into the documentation, so that they cannot drift: help, presets, components."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from avatarkit.config import presets
from avatarkit.registry import KINDS, ComponentSpec, Registry
from avatarkit_cli.main import app
from avatarkit_cli.plugin_commands import add_commands

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
COMMERCIAL = {True: "allowed", False: "not allowed", None: "ask the source"}


def on_config(config: Any) -> Any:
    """Called by MkDocs: folders in the navigation stand for their pages, so that a new page needs no entry."""
    docs = Path(config["docs_dir"])
    config["nav"] = [_expanded(entry, docs) for entry in config["nav"] if _there(entry, docs)]
    return config


def _there(entry: Any, docs: Path) -> bool:
    """Pages marked ``?`` appear once they are written."""
    (value,) = entry.values() if isinstance(entry, dict) else (entry,)
    return not (isinstance(value, str) and value.endswith("?")) or (docs / value[:-1]).is_file()


def _expanded(entry: Any, docs: Path) -> Any:
    if isinstance(entry, str):
        return entry.removesuffix("?")
    ((title, value),) = entry.items()
    if isinstance(value, list):
        return {title: [_expanded(e, docs) for e in value if _there(e, docs)]}
    if value == "components/":
        return {title: ["components/index.md", *(f"components/{name}.md" for name in _bundled())]}
    if value.endswith("/"):
        return {title: [p.relative_to(docs).as_posix() for p in sorted((docs / value).glob("*.md"))]}
    return {title: value.removesuffix("?")}


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs: one page for each plugin that comes along, from its README and what it registers."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "components/index.md", content=_overview()))
    for name, components in _bundled().items():
        files.append(File.generated(config, f"components/{name}.md", content=_plugin_page(name, components)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page."""
    markdown = re.sub(r"\{\{ commands \}\}", lambda m: "\n\n".join(_commands()), markdown)
    markdown = re.sub(r"\{\{ examples \}\}", lambda m: _examples(), markdown)
    markdown = re.sub(r"\{\{ checks (\w+) \}\}", lambda m: _checks(m[1]), markdown)
    markdown = re.sub(r"\{\{ help ?([\w ]*?) \}\}", lambda m: _help(m[1]), markdown)
    markdown = re.sub(r"\{\{ file ([\w.]+) \}\}", lambda m: _file(m[1]), markdown)
    markdown = re.sub(r"```picture\n(.*?)```", lambda m: _picture(m[1]), markdown, flags=re.DOTALL)
    return re.sub(r"\{\{ preset (\w+) \}\}", lambda m: f"```toml\n{presets()[m[1]]}```", markdown)


def _file(name: str) -> str:
    """A page of the repository's root; links to pages of the documentation stay, links to other files lead to the repository."""
    home = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Homepage"]
    pages = {path.name: f"{path.stem.lower()}.md" for path in ROOT.glob("*.md") if (DOCS / f"{path.stem.lower()}.md").is_file()}

    def target(link: str) -> str:
        return link.removeprefix("docs/") if link.startswith("docs/") else pages.get(link) or f"{home}/blob/main/{link}"

    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\]\((?!https?:|#)([^)]+)\)", lambda m: f"]({target(m[1])})", text)


# -------------------------------------------------------------------------------------------------------- command line


def _help(command: str) -> str:
    text = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="avatarkit", terminal_width=100).stdout
    return f"```text\n{text.rstrip()}\n```"


def _commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[str]:
    """A heading and the help of each command, groups before what is in them."""
    if group is None:
        add_commands(Registry.load(environ={}), app)  # of the bundled plugins; those that are there already stay
        group = typer.main.get_command(app)
    for name, command in group.commands.items():
        words = (*path, name)
        yield f"## avatarkit {' '.join(words)}\n\n{_help(' '.join(words))}"
        if hasattr(command, "commands"):
            yield from _commands(command, words)


# ------------------------------------------------------------------------------------------------------------- pictures

WIDTH, ROW, BOX, TALL = 860, 92, 158, 46  # pixels: picture, distance of rows, box


def _picture(text: str) -> str:
    """Boxes in rows and arrows between them as SVG: no script, no other server.

    Args:
        text: rows ``name: title: subtitle | ...`` from the top, then arrows ``name > name name``.
    """
    places: dict[str, tuple[float, float]] = {}
    boxes, arrows = [], []
    rows = [line for line in text.splitlines() if " > " not in line]
    for number, line in enumerate(rows):
        cells = [cell.split(": ", 2) for cell in line.split(" | ")]
        for column, (name, title, subtitle) in enumerate(cells):
            x, y = WIDTH * (column + 0.5) / len(cells), 30 + ROW * number
            places[name] = (x, y)
            boxes.append(
                f'<rect x="{x - BOX / 2:g}" y="{y - TALL / 2:g}" width="{BOX}" height="{TALL}" rx="6"/>'
                f'<text x="{x:g}" y="{y - 3:g}" class="t">{title}</text><text x="{x:g}" y="{y + 13:g}">{subtitle}</text>'
            )
    for line in text.splitlines():
        start, _, ends = line.partition(" > ")
        for end in ends.split():
            (x0, y0), (x1, y1) = places[start], places[end]
            side = TALL / 2 * ((y1 > y0) - (y1 < y0))
            arrows.append(f'<line x1="{x0:g}" y1="{y0 + side:g}" x2="{x1:g}" y2="{y1 - side:g}" marker-end="url(#tip)"/>')
    style = (
        ".walk text{font:11px sans-serif;text-anchor:middle;fill:currentColor}.walk .t{font-weight:bold;font-size:12px}"
        ".walk rect{fill:var(--md-code-bg-color,#f5f5f5);stroke:currentColor}.walk line{stroke:#888;stroke-width:1.2}"
    )
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    return (
        f'<svg class="walk" viewBox="0 0 {WIDTH} {30 + ROW * len(rows) - 30}" role="img"><style>{style}</style>'
        f'<defs>{tip}<path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>{"".join(arrows)}{"".join(boxes)}</svg>'
    )


# ------------------------------------------------------------------------------------------------------------- plugins


def _checks(kind: str) -> str:
    from avatarkit.testing.conformance import checks_of, name_of

    texts = {name_of(check): " ".join((inspect.getdoc(check) or "").split()) for check in checks_of(kind)}
    return "\n".join(f"- **{name}**: {text}" for name, text in texts.items())


EXPLAINED = {"vertex_colors": "tutorial.md", "no_glare": "#a-plugin-in-one-file", "timings": "../reference/hooks.md",
             "repaint": "diffusion.md"}  # fmt: skip
"""Examples that a page of their own shows, and where; the others are shown below the table."""


def _examples() -> str:
    """The plugins in ``docs/examples`` with the lines of code that each needed: no empty lines, comments or docstrings."""
    rows = ["| plugin | lines | what it is |", "|---|---|---|"]
    for path in sorted((ROOT / "docs" / "examples").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        what = (ast.get_docstring(tree) or "").rstrip(".")
        rows.append(f"| [{path.name}]({EXPLAINED.get(path.stem, f'#{path.stem}')}) | {lines_of_code(path)} | {what} |")
    shown = [
        f"### {path.stem.replace('_', ' ')} {{#{path.stem}}}\n\n```python\n{_without_marks(path)}```"
        for path in sorted((ROOT / "docs" / "examples").glob("*.py"))
        if path.stem not in EXPLAINED
    ]
    return "\n".join(rows) + "\n\n" + "\n\n".join(shown)


def lines_of_code(path: Path) -> int:
    """Lines that do something: neither empty nor comment nor docstring."""
    text = path.read_text(encoding="utf-8")
    silent: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            silent |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(1 for number, line in lines if number not in silent and line.strip() and not line.strip().startswith("#"))


def _without_marks(path: Path) -> str:
    return "".join(line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if "--8<--" not in line)


# ---------------------------------------------------------------------------------------------------------- components


def _bundled() -> dict[str, list[ComponentSpec]]:
    """Plugin -> its components, for plugins whose folder is here."""
    registry = Registry.load(environ={})
    found: dict[str, list[ComponentSpec]] = {}
    for kind in KINDS:
        for component in registry.components(kind).values():
            if (ROOT / "plugins" / f"avatarkit-{component.plugin.name}").is_dir():
                found.setdefault(component.plugin.name, []).append(component)
    return dict(sorted(found.items()))


def _overview() -> str:
    rows = [
        f"| {component.kind} | [`{component.name}`]({plugin}.md#{component.kind}-{component.name}) | {component.summary} |"
        for plugin, components in _bundled().items()
        for component in components
    ]
    order = list(KINDS)
    rows.sort(key=lambda row: order.index(row.split(" ")[1]))
    return "\n".join(
        [
            "# Components that come along",
            "",
            "`avatarkit plugins list` shows what is installed on your machine, `avatarkit plugins show NAME` one of them.",
            "",
            "| kind | name | what it is |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _plugin_page(name: str, components: list[ComponentSpec]) -> str:
    readme = (ROOT / "plugins" / f"avatarkit-{name}" / "README.md").read_text(encoding="utf-8")
    readme = re.sub(r"\]\((?:\.\./)+docs/", "](../", readme)
    return "\n\n".join([readme.rstrip(), *map(_component, components)]) + "\n"


def _component(component: ComponentSpec) -> str:
    lines = [f"## {component.kind} `{component.name}` {{#{component.kind}-{component.name}}}", "", f"{component.summary}.", ""]
    license = component.license
    lines += [f"License: {license.code}; weights: {license.weights}; commercial use {COMMERCIAL[license.commercial]}."]
    needs = [*component.needs.modules, *component.needs.weights, *filter(None, [component.needs.device])]
    if needs:
        lines += [f"Needs: {', '.join(f'`{n}`' for n in needs)}."]
    options = component.options()
    if options:
        lines += ["", "| option | default | what it does |", "|---|---|---|"]
        lines += [f"| `{o.name}` | `{o.default}` | {o.help.replace('|', chr(92) + '|')} ({o.type}) |" for o in options]
    return "\n".join(lines)
