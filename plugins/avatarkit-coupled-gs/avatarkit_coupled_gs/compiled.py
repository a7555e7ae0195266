"""How kernels are compiled and run: without the interpreter's lock, on all cores, with the same bits on any number of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit

from avatarkit.utils.machine_code import keep
from avatarkit.utils.threads import shared_workers, spans

__all__ = ["array", "kernel", "run"]

_PIECES = 32  # of the rows: enough for the threads to even out
_SOURCES = tuple(sorted(Path(__file__).parent.rglob("*.py")))


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call; its machine code is valid while no file of the package changes."""
    return keep(njit(nogil=True, error_model="numpy", fastmath={"contract"})(function), _SOURCES)


def run(kernel: Callable[..., Any], rows: int, *args: Any) -> None:
    """Run ``kernel(start, stop, *args)`` over ``range(rows)`` on all cores; it writes only what belongs to its rows."""
    shared_workers().run(kernel, spans(rows, _PIECES), *args)


def array(tensor: torch.Tensor) -> np.ndarray:
    """Return the contiguous values of a tensor on the CPU, without its graph."""
    return tensor.detach().contiguous().numpy()
