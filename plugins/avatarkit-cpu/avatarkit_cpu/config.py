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
    """How many threads draw; 0 takes one per core that this process may use, at most 8. The picture is the same."""
