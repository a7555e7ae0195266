"""Options of the CPU renderer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Machine
from avatarkit.errors import ConfigError

__all__ = ["Config"]


@dataclass(frozen=True)
class Config:
    """Options of the CPU renderer."""

    threads: Annotated[int, Machine] = 0
    """How many threads draw; 0 takes one per core that this process may use, at most 8. The picture is the same."""

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ConfigError(f"threads is {self.threads}; it should be 1 or more, or 0 for one per core.")
