"""Procedural colors of synthetic people: functions of a place in rest space, so that they move with the surface."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

__all__ = ["Pattern", "checks", "dots", "locks", "noise", "plain", "stripes"]

Pattern = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Rest places (n, 3) and places on cloth laid flat (n, 2), all in meters -> sRGB colors (n, 3), 0 to 1."""

_WAVES = 12  # sine waves that one octave of noise is the sum of; fewer look regular
_WEAVE = 350.0  # waves per meter of cloth's own texture, as fine as a photo of half a person shows it
_EDGE = 0.0015  # meters over which one color of a print goes over into the next

RGB = tuple[float, float, float]


def noise(places: torch.Tensor, frequency: float, seed: int, stretch: RGB = (1.0, 1.0, 1.0)) -> torch.Tensor:
    """Return smooth noise (n,) of standard deviation 1 at places (n, 3).

    Args:
        places: meters.
        frequency: waves per meter.
        seed: of directions and phases.
        stretch: factor on the frequency along each axis.
    """
    random = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(_WAVES, 3, generator=random), dim=1)
    size = frequency * (0.6 + 0.8 * torch.rand(_WAVES, 1, generator=random))
    phase = 2 * math.pi * torch.rand(_WAVES, generator=random)
    waves = 2 * math.pi * direction * size * torch.tensor(stretch)
    return (places @ waves.T + phase).sin().sum(1) * math.sqrt(2 / _WAVES)


def _color(rgb: RGB, count: int) -> torch.Tensor:
    return torch.tensor(rgb).expand(count, 3)


def _woven(colors: torch.Tensor, places: torch.Tensor, seed: int) -> torch.Tensor:
    """Return the colors with the grain of cloth and uneven dye."""
    grain = 0.018 * noise(places, _WEAVE, seed) + 0.02 * noise(places, 12, seed + 1)
    return (colors * (1 + grain[:, None])).clamp(0, 1)


def _band(x: torch.Tensor, share: float, soft: float) -> torch.Tensor:
    """1 on the first ``share`` of each unit of ``x`` and 0 on the rest, with edges ``soft`` units wide."""
    inside = 0.5 * share - (x - x.floor() - 0.5 * share).abs()
    wrapped = 0.5 * share - (x - x.floor() - 1 - 0.5 * share).abs()
    return (torch.maximum(inside, wrapped) / soft + 0.5).clamp(0, 1)


def plain(rgb: RGB, seed: int) -> Pattern:
    """Cloth of one color."""
    return lambda places, flat: _woven(_color(rgb, len(places)), places, seed)


def stripes(rgb: RGB, other: RGB, period: float, share: float, seed: int) -> Pattern:
    """Stripes around the trunk and the arms.

    Args:
        rgb: color of the cloth.
        other: color of the stripes.
        period: meters from one stripe to the next.
        share: of ``other`` in a period, 0 to 1.
        seed: of the cloth's grain.
    """

    def color(places: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        on = _band(flat[:, 1] / period, share, _EDGE / period)[:, None]
        return _woven(_color(rgb, len(places)) * (1 - on) + _color(other, len(places)) * on, places, seed)

    return color


def checks(rgb: RGB, other: RGB, line: RGB, period: float, seed: int) -> Pattern:
    """Return a checked shirt: broad bands across and along, and a thin line between; sizes in meters of ``period``."""

    def color(places: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        soft = _EDGE / period
        u, v = (flat / period).unbind(1)
        across, along = _band(v, 0.45, soft), _band(u, 0.45, soft)
        on = (0.5 * (across + along))[:, None]
        thin = torch.maximum(_band(u + 0.3, 0.06, soft), _band(v + 0.3, 0.06, soft))[:, None]
        base = _color(rgb, len(places)) * (1 - on) + _color(other, len(places)) * on
        return _woven(base * (1 - thin) + _color(line, len(places)) * thin, places, seed)

    return color


def dots(rgb: RGB, others: tuple[RGB, ...], period: float, radius: float, seed: int) -> Pattern:
    """Return printed spots in several colors, at uneven places of a grid.

    Args:
        rgb: of the cloth.
        others: of the spots.
        period: meters of the grid.
        radius: meters of a spot.
        seed: of places, colors and grain.
    """
    random = torch.Generator().manual_seed(seed)
    table = torch.rand(64, 64, 3, generator=random)
    inks = torch.tensor(others)

    def color(places: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        at = flat / period
        cell = at.floor().long()
        a, b, which = table[cell[:, 0] % 64, cell[:, 1] % 64].unbind(1)
        center = cell + 0.3 + 0.4 * torch.stack([a, b], 1)
        off = (at - center).norm(dim=1) * period
        on = ((radius - off) / _EDGE + 0.5).clamp(0, 1)[:, None]
        ink = inks[(which * len(inks)).long().clamp(max=len(inks) - 1)]
        return _woven(_color(rgb, len(places)) * (1 - on) + ink * on, places, seed)

    return color


def locks(dark: RGB, light: RGB, center: torch.Tensor, curl: float, seed: int) -> Pattern:
    """Hair: strands that fall from the crown, in darker and lighter locks.

    Args:
        dark: color of the darker locks.
        light: color of the lighter ones.
        center: (3,) middle of the head, meters; strands lie on planes through the upright line there.
        curl: how far strands wander sideways, in strands.
        seed: of the locks.
    """

    def color(places: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        away = places - center
        around = torch.atan2(away[:, 0], away[:, 2])
        height = away[:, 1:2]
        bend = curl * noise(places, 25, seed) * 0.02
        ring = torch.stack([around + bend, torch.zeros_like(around), torch.zeros_like(around)], 1) * 0.1
        fine = noise(torch.cat([ring[:, :1], 0.02 * height, 0 * height], 1), 260, seed + 1)
        broad = noise(torch.cat([ring[:, :1], 0.05 * height, 0 * height], 1), 45, seed + 2)
        share = (0.42 + 0.16 * fine + 0.18 * broad).clamp(0, 1)[:, None]
        return _color(dark, len(places)) * (1 - share) + _color(light, len(places)) * share

    return color
