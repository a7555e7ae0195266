"""The core stays small: lines of code per package, none of which may grow unnoticed."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

CORE = Path(__file__).parent.parent / "avatarkit"
DOMAIN = {"appearance", "labelling", "motion", "testing"}
"""What is known about pictures of people, and tools for authors; it may grow."""

LIMITS = {
    "__init__": 20,
    "__main__": 30,
    "animation": 460,
    "components": 171,
    "config": 530,
    "errors": 31,
    "evaluation": 300,
    "geometry": 160,
    "hookspecs": 110,
    "interfaces": 351,
    "io": 1154,
    "metrics": 100,
    "pipeline": 660,
    "reference": 190,
    "registry": 874,
    "rendering": 30,
    "report": 240,
    "storage": 965,
    "tracking": 140,
    "training": 430,
    "types": 480,
    "utils": 1100,
    "validation": 230,
}
"""Module or package of the core -> most lines of code, in tens. Lower a limit when you made a package smaller. Before you raise
one, look for code that belongs into a plugin, that a library has, or that is there twice; then say in the commit why it has to
be here."""

_NO_CODE = {
    tokenize.COMMENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER, tokenize.INDENT, tokenize.NEWLINE, tokenize.NL,
}  # fmt: skip


def code_lines(text: str) -> int:
    """Return the number of lines that hold code: no blank lines, comments or docstrings, those of attributes among them."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {n for token in tokens if token.type not in _NO_CODE for n in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


@cache
def core_lines() -> Counter[str]:
    """Return module or package of the core -> its lines of code."""
    found: Counter[str] = Counter()
    for file in CORE.rglob("*.py"):
        name = file.relative_to(CORE).parts[0].removesuffix(".py")
        if name not in DOMAIN:
            found[name] += code_lines(file.read_text(encoding="utf-8"))
    return found


def test_lines_of_code_are_those_that_do_something() -> None:
    text = '"""Module."""\n\n# why\nX = """two\nlines"""\n"""Of X."""\n\n\ndef f() -> None:\n    """Do."""\n'
    assert code_lines(text + "    g(  # here\n    )\n") == 5


def test_every_package_of_the_core_has_a_limit() -> None:
    assert set(core_lines()) == set(LIMITS)


@pytest.mark.parametrize("name", LIMITS)
def test_no_package_of_the_core_grows(name: str) -> None:
    count = core_lines()[name]
    assert count <= LIMITS[name], f"avatarkit/{name} has {count} lines of code; {LIMITS[name]} are allowed, see LIMITS"


def test_the_core_does_not_grow() -> None:
    assert sum(core_lines().values()) <= 8670
