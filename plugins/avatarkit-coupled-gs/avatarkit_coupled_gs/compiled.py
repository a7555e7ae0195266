"""How kernels are compiled and run: without the interpreter's lock, on all cores, with the same bits on any number of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit

from avatarkit.utils.threads import shared_workers, spans

__all__ = ["array", "kernel", "run"]

_PIECES = 32  # of the rows: enough for the threads to even out

_logger = logging.getLogger("avatarkit.coupled")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call and keep the machine code for later processes, where a folder can be written.

    Kernels inline functions of other files, so what is kept is valid only while none of the package's files changes.
    """
    compiled: Any = njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
    try:
        compiled.enable_caching()
    except RuntimeError as error:
        _logger.info("Compiled kernels are not kept: %s", error)
    else:
        compiled._cache._cache_file._source_stamp = _fingerprint()
    return compiled


@cache
def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run(kernel: Callable[..., Any], rows: int, *args: Any) -> None:
    """Run ``kernel(start, stop, *args)`` over ``range(rows)`` on all cores; it writes only what belongs to its rows."""
    shared_workers().run(kernel, spans(rows, _PIECES), *args)


def array(tensor: torch.Tensor) -> np.ndarray:
    """Return the contiguous values of a tensor on the CPU, without its graph."""
    return tensor.detach().contiguous().numpy()
