"""Progress on stderr: a bar per stage with time left on a terminal, one plain line per stage elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from avatarkit.utils.text import one_line
from avatarkit_cli import interrupts

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

__all__ = ["BarProgress", "LineProgress", "make_progress"]


def make_progress(stream: TextIO | None = None) -> BarProgress | LineProgress:
    """Return the progress display for ``stream`` (default: stderr), a context manager."""
    stream = stream or sys.stderr
    return BarProgress() if stream.isatty() else LineProgress(stream)


class LineProgress:
    """One line per stage, followed by its seconds.

    A stage that is entered repeatedly counts as one.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stage = ""
        self._started = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end("" if kind is None else " (stopped)")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Begin a line if ``name`` is new."""
        interrupts.check()
        name = one_line(name)
        if name != self._stage:
            self._end()
            self._stage, self._started = name, time.monotonic()
            self._stream.write(f"{name} ... ")
            self._stream.flush()
        yield

    def update(self, message: str, fraction: float | None = None) -> None:
        """Do nothing: a line per stage shows no details."""
        interrupts.check()

    def _end(self, note: str = "") -> None:
        if self._stage:
            self._stream.write(f"{time.monotonic() - self._started:.1f} s{note}\n")
            self._stream.flush()
        self._stage = ""


class BarProgress:
    """A bar per stage, with the current step and the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._bars: Bars = Progress(
            TextColumn("{task.fields[stage]:<12}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None
        self._stage = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._end()
        self._bars.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Begin a bar if ``name`` is new."""
        interrupts.check()
        name = one_line(name)
        if name != self._stage:
            self._end()
            self._stage = name
            self._task = self._bars.add_task("", total=None, stage=name)
        yield

    def update(self, message: str, fraction: float | None = None) -> None:
        """Move the bar; without a fraction, only show activity."""
        interrupts.check()
        message = one_line(message)
        if self._task is not None:
            if fraction is None:
                self._bars.update(self._task, description=message)
            else:
                self._bars.update(self._task, description=message, total=1.0, completed=min(max(fraction, 0.0), 1.0))

    def _end(self) -> None:
        if self._task is not None:
            self._bars.update(self._task, description="done", total=1.0, completed=1.0)
            self._bars.stop_task(self._task)
        self._task, self._stage = None, ""
