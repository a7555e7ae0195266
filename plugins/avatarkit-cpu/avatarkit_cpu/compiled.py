"""How kernels are compiled: without the interpreter's lock, and once per machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

import avatarkit.reference.gaussians
import avatarkit.reference.meshes
from avatarkit.utils.machine_code import keep

__all__ = ["kernel", "must_compile"]

_CORE = (Path(avatarkit.reference.gaussians.__file__), Path(avatarkit.reference.meshes.__file__))
_SOURCES = (*sorted(Path(__file__).parent.glob("*.py")), *_CORE)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call; its machine code is valid while no file that kernels share changes."""
    return keep(njit(nogil=True, error_model="numpy")(function), _SOURCES)


def must_compile(compiled: Any) -> bool:
    """Return whether machine code of a kernel can be kept, and none is there that is valid."""
    file = getattr(compiled._cache, "_cache_file", None)  # none where no folder is writable
    return file is not None and not file._load_index()
