"""Options of the body model."""

from dataclasses import dataclass

__all__ = ["AnnyConfig"]


@dataclass(frozen=True)
class AnnyConfig:
    """The body model has no options."""
