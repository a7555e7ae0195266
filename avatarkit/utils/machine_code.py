"""Keeps machine code that Numba made, for later processes."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["keep"]

_logger = logging.getLogger("avatarkit.kernels")


def keep(compiled: Any, sources: tuple[Path, ...]) -> Any:
    """Let a function that Numba compiles keep its machine code, and return it.

    Numba stores it beside the package, or in the user's cache folder if the package is not writable; if neither is, each process
    compiles again. Numba considers stored code valid while the function's own file does not change. Functions share constants and
    inline each other across files, so here it is valid only while none of the ``sources`` changes.
    """
    try:
        compiled.enable_caching()
    except RuntimeError as error:
        _logger.info("Compiled kernels are not kept: %s", error)
    else:
        compiled._cache._cache_file._source_stamp = _fingerprint(sources)
    return compiled


@cache
def _fingerprint(sources: tuple[Path, ...]) -> str:
    """Return the hash of the contents of files."""
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()
