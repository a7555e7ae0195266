"""Progress reports of long work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

__all__ = ["Progress", "SilentProgress"]


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
