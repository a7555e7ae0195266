"""Slow random movement that never repeats, with a value at any moment."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["Drift"]

_KEPT = 0.48  # share of the variance of its values that a cubic B-spline has
_EDGE = 30.0  # seconds before and after a recording in which there is drift, too


class Drift:
    """Random curves of unit standard deviation, one for each name.

    Args:
        seconds: length of the recording.
        seed: the same seed gives the same curves.
    """

    def __init__(self, seconds: float, seed: int) -> None:
        self._seconds, self._seed = seconds, seed
        self._tables: dict[tuple[str, int], np.ndarray] = {}

    def __call__(self, t: np.ndarray, name: str, fastest: float) -> np.ndarray:
        """Return (T,) the curve of a name at moments (T,), seconds.

        Args:
            t: moments.
            name: of the curve.
            fastest: Hz; the curve is the sum of three octaves below it, slower ones being larger.
        """
        rates = [fastest, fastest / 2.13, fastest / 4.71]
        sizes = np.array([0.35, 0.65, 1.0])
        parts = [size * self._octave(t, name, k, 2 * rates[k]) for k, size in enumerate(sizes.tolist())]
        return np.sum(parts, 0) / float(np.sqrt(_KEPT * (sizes**2).sum()))

    def _octave(self, t: np.ndarray, name: str, octave: int, rate: float) -> np.ndarray:
        """Return (T,) a uniform cubic B-spline through random values, ``rate`` per second."""
        key = (name, octave)
        if key not in self._tables:
            count = int(np.ceil((self._seconds + 2 * _EDGE) * rate)) + 5
            rng = np.random.default_rng([self._seed, zlib.crc32(name.encode()), octave])
            self._tables[key] = rng.standard_normal(count)
        table = self._tables[key]
        at = np.clip((t + _EDGE) * rate, 0, len(table) - 4.001)
        k = at.astype(np.int64)
        x = at - k
        weights = ((1 - x) ** 3, 3 * x**3 - 6 * x**2 + 4, -3 * x**3 + 3 * x**2 + 3 * x + 1, x**3)
        return sum((w * table[k + n] for n, w in enumerate(weights)), np.zeros_like(t)) / 6
