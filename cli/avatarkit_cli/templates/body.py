"""A body model."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from avatarkit import Context
from avatarkit.testing import TinyBody


@dataclass(frozen=True)
class Config:
    """Options."""

    stature: float = 1.0
    """Size of everybody, where 1 is about 1.7 metres."""


class Example(TinyBody):
    """Starts as the tube figure of ``avatarkit.testing``.

    Replace its tables and methods one after the other; the tests say when one does not fit the others any more.
    """

    name = "example"

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        if config.stature <= 0:
            raise ValueError("stature must be positive")
        self._template: torch.Tensor = self._template * config.stature
        self._heads: torch.Tensor = self._heads * config.stature
