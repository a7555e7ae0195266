"""Options of the CPU renderer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Machine, Range

__all__ = ["Config"]


@dataclass(frozen=True)
class Config:
    """Options of the CPU renderer."""

    threads: Annotated[int, Machine, Range(0, 1024)] = 0
    """Number of threads; 0 = one per core available to this process, at most 8. The result does not depend on it."""
