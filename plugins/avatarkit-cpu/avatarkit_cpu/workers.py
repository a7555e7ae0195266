"""Threads that run compiled kernels over spans of work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["Workers", "spans"]


def spans(count: int, parts: int) -> list[tuple[int, int]]:
    """Cut ``range(count)`` into at most ``parts`` spans of nearly equal length."""
    parts = max(1, min(parts, count))
    return [(count * k // parts, count * (k + 1) // parts) for k in range(parts)]


class Workers:
    """Runs ``kernel(start, stop, *args)`` over spans, some on this thread and some on others.

    The kernels release the interpreter's lock, and threads of our own cannot clash with the pools of torch or numba.
    Which thread takes which span is left to chance, so a kernel must write only what belongs to its span.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._owner = 0  # process that made the pool: a forked child must make its own

    def run(self, kernel: Callable[..., Any], work: Iterable[tuple[int, int]], *args: Any) -> None:
        """Run the kernel over all spans; raise the first exception of a kernel."""
        work = list(work)
        queue = iter(work)  # next() on it is atomic under the interpreter's lock

        def drain() -> None:
            for start, stop in queue:
                kernel(start, stop, *args)

        helpers = min(self.threads, len(work)) - 1
        futures = [self._threads().submit(drain) for _ in range(helpers)]
        drain()
        for future in futures:
            future.result()

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._owner != os.getpid():
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="avatarkit-cpu")
            self._owner = os.getpid()
        return self._pool
