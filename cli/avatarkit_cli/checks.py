"""What every option of every command is checked for, whatever its type and range say. Light to import."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

__all__ = ["Checked"]

_LONGEST_NAME = 255  # bytes; no common disk takes more
_LONGEST_PATH = 4095


class Checked(TyperCommand):
    """A command whose numbers are finite and fit into 64 bits, and whose paths a disk can hold."""

    def invoke(self, ctx: typer.Context) -> Any:
        for parameter in self.params:
            given = ctx.params.get(parameter.name) if parameter.name else None
            for value in given if isinstance(given, (list, tuple)) else (given,):
                for problem in _problems(value):
                    raise typer.BadParameter(problem, ctx=ctx, param=parameter)  # type: ignore[arg-type]
        return super().invoke(ctx)


def _problems(value: Any) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{value} is not a finite number."
    elif isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        yield f"{str(value)[:20]}... does not fit into 64 bits."
    elif isinstance(value, str) and "\0" in value:
        yield "It holds a NUL character."
    elif isinstance(value, Path):
        if "\0" in str(value):
            yield f"{value} is not a path: it holds a NUL character."
        name = max(value.parts, key=len, default="")
        if len(os.fsencode(name)) > _LONGEST_NAME or len(os.fsencode(value)) > _LONGEST_PATH:
            yield f"{name[:40]!r}... is too long for the name of a file; check it."
