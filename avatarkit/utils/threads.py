"""Threads: one for torch, one that works ahead, and all cores for compiled kernels."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from avatarkit.utils.moved import former_names

__all__ = ["Workers", "cores", "prefetch", "shared_workers", "single_threaded", "spans"]

_MOST_THREADS = 8  # one avatar gives no work for more

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let torch work on the calling thread alone.

    Its threads wait for each other after every operation, and those that wait take the cores that rasterizers and encoders
    need: on a busy machine an operation of half a millisecond takes ten. Sums also come out the same in every run.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prefetch(make: Callable[[_In], _Out], items: Iterable[_In], threads: int = 1) -> Iterator[_Out]:
    """Yield ``make`` of each item, in order; other threads make the next ones while the caller is busy.

    Args:
        make: function of one item.
        items: taken by the caller's thread, at most ``threads`` ahead.
        threads: how many items are made at once.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="avatarkit-ahead") as pool:
        coming: deque[Future[_Out]] = deque()
        for item in items:
            coming.append(pool.submit(make, item))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def cores() -> int:
    """Return the number of cores that this process may use.

    Containers and batch systems often grant fewer than the machine has. ``OMP_NUM_THREADS`` lowers it, too.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        count = os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(count, int(wanted)) if wanted.isdecimal() and int(wanted) else count


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
            if not future.cancel():  # a helper that has not started has nothing left to do
                future.result()

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._owner != os.getpid():
            # torch works on these threads alone, too
            self._pool = ThreadPoolExecutor(self.threads - 1, "avatarkit-worker", torch.set_num_threads, (1,))
            self._owner = os.getpid()
        return self._pool


@cache
def shared_workers() -> Workers:
    """Return the workers of this process, one per core."""
    return Workers(min(cores(), _MOST_THREADS))


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"ahead": "prefetch"})
