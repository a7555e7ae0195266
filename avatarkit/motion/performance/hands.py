"""Shapes of the hand: how far each finger is curled."""

from __future__ import annotations

__all__ = ["CHANNELS", "SHAPES"]

CHANNELS = ("thumb", "index", "middle", "ring", "pinky", "spread", "oppose")
"""Curl of each finger (0 straight, 1 fist), spread (0 together, 1 wide), thumb across the palm (0 beside, 1 across)."""

_TABLE = {
    #           thumb index middle ring pinky spread oppose
    "relaxed": (0.25, 0.24, 0.30, 0.34, 0.36, 0.25, 0.30),
    "open": (0.05, 0.06, 0.08, 0.10, 0.12, 0.60, 0.10),
    "flat": (0.10, 0.02, 0.02, 0.02, 0.03, 0.10, 0.10),
    "cup": (0.25, 0.28, 0.28, 0.30, 0.32, 0.55, 0.45),
    "pinch": (0.40, 0.52, 0.42, 0.36, 0.32, 0.25, 0.75),
    "loose": (0.35, 0.50, 0.58, 0.62, 0.62, 0.15, 0.45),
    "fist": (0.75, 0.92, 0.96, 0.98, 0.98, 0.00, 0.80),
    "one": (0.75, 0.02, 0.92, 0.95, 0.95, 0.10, 0.80),
    "two": (0.75, 0.02, 0.02, 0.95, 0.95, 0.75, 0.85),
    "three": (0.75, 0.02, 0.02, 0.04, 0.92, 0.60, 0.90),
    "four": (0.80, 0.02, 0.02, 0.03, 0.04, 0.60, 0.95),
    "five": (0.00, 0.00, 0.00, 0.00, 0.00, 0.95, 0.00),
}

SHAPES: dict[str, dict[str, float]] = {n: dict(zip(CHANNELS, v, strict=True)) for n, v in _TABLE.items()}
