"""Sequences that make or read an item when it is used."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

__all__ = ["LazySequence"]

T = TypeVar("T")


class LazySequence(Sequence[T]):
    """Needs ``__len__`` and ``at``; slices are lists, and negative indices count from the end."""

    @abstractmethod
    def at(self, index: int) -> T:
        """Return the item number ``index``, from 0 to the length."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        chosen = range(len(self))[index]
        return [self.at(k) for k in chosen] if isinstance(chosen, range) else self.at(chosen)
