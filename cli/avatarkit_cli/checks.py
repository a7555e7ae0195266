"""Checks for every option of every command, whatever its type and range. Fast to import."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from avatarkit_cli.shared import only_results

__all__ = ["Checked"]

_LONGEST_NAME = 255  # bytes; limit of common file systems
_LONGEST_PATH = 4095


class Checked(TyperCommand):
    """A command whose numbers are finite and fit into 64 bits, and whose paths are valid on a disk."""

    def _parameters(self) -> list[Any]:
        return list(self.params)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, and refuse paths that are empty."""
        given = [*args, *(word.partition("=")[2] for word in args if word.startswith("-") and "=" in word)]
        rest = super().parse_args(ctx, args)
        if "" in given and not any(text and Path(text) == Path() for text in given):
            for parameter in self._parameters():
                value = ctx.params.get(parameter.name) if parameter.name else None
                if value == Path() or (isinstance(value, (list, tuple)) and Path() in value):
                    raise typer.BadParameter("The path is empty.", ctx=ctx, param=parameter)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command if its values are sound."""
        for parameter in self._parameters():
            given = ctx.params.get(parameter.name) if parameter.name else None
            for value in given if isinstance(given, (list, tuple)) else (given,):
                for problem in _problems(value):
                    raise typer.BadParameter(problem, ctx=ctx, param=parameter)
        with only_results() if ctx.params.get("as_json") else contextlib.nullcontext():
            return super().invoke(ctx)


def _problems(value: Any) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{value} is not a finite number."
    elif isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        yield f"{str(value)[:20]}... does not fit into 64 bits."
    elif isinstance(value, str) and "\0" in value:
        yield "It contains a NUL character."
    elif isinstance(value, Path):
        if "\0" in str(value):
            yield f"{value} is not a path: it contains a NUL character."
        name = max(value.parts, key=len, default="")
        if len(os.fsencode(name)) > _LONGEST_NAME or len(os.fsencode(value)) > _LONGEST_PATH:
            yield f"{name[:40]!r}... is too long for a file name. Choose a shorter one."
