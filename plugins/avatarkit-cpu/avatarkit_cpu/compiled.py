"""How kernels are compiled: without the interpreter's lock, and once per machine."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

import avatarkit.reference.gaussians
import avatarkit.reference.meshes

__all__ = ["kernel"]

_logger = logging.getLogger("avatarkit.cpu")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call and keep the machine code for later processes.

    Numba stores it beside the package, or in the user's cache folder if the package is not writable; if neither is, each process
    compiles again. Numba considers a stored kernel valid while the kernel's own file does not change. Kernels share constants and
    inlined functions across files, so here it is valid only while none of the files changes.
    """
    compiled: Any = njit(nogil=True, error_model="numpy")(function)
    try:
        compiled.enable_caching()
    except RuntimeError as error:
        _logger.info("Compiled kernels are not kept: %s", error)
    else:
        compiled._cache._cache_file._source_stamp = _fingerprint()
    return compiled


@cache
def _fingerprint() -> str:
    """Return hash of every source that a kernel may depend on."""
    core = [Path(avatarkit.reference.gaussians.__file__), Path(avatarkit.reference.meshes.__file__)]
    digest = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("*.py")), *core]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
