"""Puts generated text into pages, so that it cannot drift: help of commands, presets, hooks."""

from __future__ import annotations

import inspect
import re
from typing import Any

from typer.testing import CliRunner

from avatarkit import hookspecs
from avatarkit.config import presets
from avatarkit_cli.main import app


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page."""
    markdown = re.sub(r"\{\{ help ?([\w ]*?) \}\}", lambda m: _help(m[1]), markdown)
    markdown = re.sub(r"\{\{ preset (\w+) \}\}", lambda m: f"```toml\n{presets()[m[1]]}```", markdown)
    return markdown.replace("{{ hooks }}", _hooks())


def _help(command: str) -> str:
    text = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="avatarkit", terminal_width=100).stdout
    return f"```text\n{text.rstrip()}\n```"


def _hooks() -> str:
    lines = []
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction):
        if function.__module__ == hookspecs.__name__ and hasattr(function, "avatarkit_spec"):
            arguments = ", ".join(inspect.signature(function).parameters)
            lines.append(f"### `{name}({arguments})`\n\n{inspect.getdoc(function)}\n")
    return "\n".join(lines)
