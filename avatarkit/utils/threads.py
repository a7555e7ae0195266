"""Threads: one for torch, and one that works ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

from avatarkit.utils.moved import former_names

__all__ = ["prefetch", "single_threaded"]

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


def prefetch(make: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """Yield ``make`` of each item, in order; another thread makes the next one while the caller is busy."""
    with ThreadPoolExecutor(1, thread_name_prefix="avatarkit-ahead") as pool:
        coming: Future[_Out] | None = None
        for item in items:
            following = pool.submit(make, item)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"ahead": "prefetch"})
