"""Memory that one picture hands on to the next."""

from __future__ import annotations

import weakref

import numpy as np

__all__ = ["Buffers"]

_LINE = 64  # bytes of a cache line: a record that starts on one is read in one access
_KEPT = 24  # pieces of memory that lie ready: more than one picture and its derivative need


class Buffers:
    """Lends arrays and takes them back when they are dropped.

    A picture of an avatar needs tens of megabytes, and fresh memory costs a page fault for every few KB. Threads may share
    one.
    """

    def __init__(self) -> None:
        self._free: dict[int, np.ndarray] = {}  # by id; what is done to it below is atomic

    def lend(self, count: int, dtype: np.dtype | type) -> np.ndarray:
        """Return an uninitialized array (count,), aligned to cache lines.

        The memory is reused as soon as the array itself is dropped, so no view of it may live longer.
        """
        needed = int(count) * np.dtype(dtype).itemsize
        memory = self._take(needed + _LINE)
        start = -memory.ctypes.data % _LINE
        array = memory[start : start + needed].view(dtype)
        weakref.finalize(array, self._give, memory).atexit = False
        return array

    def _take(self, needed: int) -> np.ndarray:
        """Return the smallest free memory that holds as much without wasting most of itself, or new one."""
        fitting = [m for m in list(self._free.values()) if needed <= len(m) <= 4 * needed]
        best = min(fitting, key=len, default=None)
        taken = None if best is None else self._free.pop(id(best), None)  # another thread may have been quicker
        return np.empty(needed + needed // 8, np.uint8) if taken is None else taken

    def _give(self, memory: np.ndarray) -> None:
        if len(self._free) < _KEPT:
            self._free[id(memory)] = memory
