"""Progress reports of long work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

__all__ = ["Progress", "SilentProgress", "TextProgress", "default_progress"]


@runtime_checkable
class Progress(Protocol):
    """Shows the stages of a build."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Begin the stage ``name``, which ends with the context; stages do not nest."""
        ...

    def update(self, message: str, fraction: float | None = None) -> None:
        """Report what the running stage is doing; ``fraction`` of it that is done, 0 to 1, or None if unknown."""
        ...


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Do nothing."""
        yield

    def update(self, message: str, fraction: float | None = None) -> None:
        """Do nothing."""


class TextProgress:
    """Writes the stages and their seconds to stderr."""

    def __init__(self) -> None:
        self._name, self._shown = "", 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Write the stage, and its time when it ends."""
        self._name, started = name, time.monotonic()
        self._write("")
        yield
        self._write(f"{time.monotonic() - started:.1f} s", "\n")
        self._name = ""

    def update(self, message: str, fraction: float | None = None) -> None:
        """Write what is done over the same line, at most twice a second."""
        if self._name and time.monotonic() - self._shown > 0.5:
            self._write(message if fraction is None else f"{message} {fraction:.0%}")

    def _write(self, text: str, end: str = "") -> None:
        self._shown = time.monotonic()
        sys.stderr.write(f"\r{f'{self._name} ... {text}':<79}{end}")
        sys.stderr.flush()


def default_progress() -> Progress:
    """Return the progress of functions that are given none: visible in notebooks and IPython, silent elsewhere."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return TextProgress() if shell is not None and shell() is not None else SilentProgress()
