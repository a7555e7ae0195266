"""Periodic curves: each ends as it begins, so that clips loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

__all__ = ["blend", "bump", "keys", "minimum_jerk", "noise", "smooth"]


def keys(t: np.ndarray, period: float, points: Sequence[tuple[float, float]], softness: float = 0.045) -> np.ndarray:
    """Return a curve through key points, eased at its extremes and without overshoot.

    Args:
        t: (T,) seconds, evenly spaced over one period.
        period: seconds.
        points: (seconds, value), ascending, within one period.
        softness: seconds, how far corners are rounded.

    Returns:
        (T,).
    """
    times = np.array([p[0] for p in points], float)
    values = np.array([p[1] for p in points], float)
    times = np.concatenate([times - period, times, times + period])
    return smooth(PchipInterpolator(times, np.tile(values, 3))(t), t, softness)


def smooth(values: np.ndarray, t: np.ndarray, seconds: float) -> np.ndarray:
    """Return ``values`` (T,) of one period with corners rounded by a Gaussian of that width."""
    step = t[1] - t[0] if len(t) > 1 else 1.0
    return gaussian_filter1d(values, seconds / step, mode="wrap") if seconds > 0 else values


def noise(
    t: np.ndarray, period: float, rng: np.random.Generator, slow: float = 0.0, fast: float = 0.8, tilt: float = 1.0
) -> np.ndarray:
    """Return random drift (T,) of unit standard deviation.

    Args:
        t: (T,) seconds.
        period: seconds.
        rng: where randomness comes from.
        slow: Hz, lowest frequency; all are harmonics of the period.
        fast: Hz, highest frequency.
        tilt: amplitudes fall as frequency to the power of minus this.
    """
    low, high = max(1, int(np.ceil(slow * period))), max(1, int(fast * period))
    order = np.arange(low, max(high, low) + 1)
    size = rng.uniform(0.5, 1.0, len(order)) / order**tilt
    phase = rng.uniform(0, 2 * np.pi, len(order))
    waves = size * np.sin(2 * np.pi * t[:, None] / period * order + phase)
    return waves.sum(1) / np.sqrt((size**2).sum() / 2)


def bump(t: np.ndarray, period: float, at: float, rise: float, fall: float, hold: float = 0.0) -> np.ndarray:
    """Return (T,) 0 -> 1 -> 0 around one moment, minimum-jerk both ways.

    Wraps around the end of the period.

    Args:
        t: (T,) seconds.
        period: seconds.
        at: seconds, start of the plateau.
        rise: seconds before the plateau.
        fall: seconds after it.
        hold: seconds on it.
    """
    since = (t - at + rise) % period
    up = minimum_jerk(since / rise)
    down = minimum_jerk((since - rise - hold) / fall)
    return up - down


def blend(t: np.ndarray, period: float, start: float, end: float, ease: float) -> np.ndarray:
    """Return (T,) 1 between two moments, eased in before the first and out after the second."""
    return bump(t, period, start, ease, ease, end - start)


def minimum_jerk(x: np.ndarray) -> np.ndarray:
    """Return Flash and Hogan's (1985) polynomial: 0 -> 1 with smooth ends.

    Velocity and acceleration are zero at both ends.
    """
    x = np.clip(x, 0, 1)
    return x**3 * (10 + x * (6 * x - 15))
