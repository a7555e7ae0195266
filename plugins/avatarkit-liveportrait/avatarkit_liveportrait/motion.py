"""Key points in motion (Guo et al. 2024, section 3): what a driver does, turned into key points of the photo."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from torch import nn

__all__ = [
    "FaceMotion",
    "Rules",
    "animate",
    "drive",
    "eye_ratios",
    "head_degrees",
    "lip_ratio",
    "retarget",
    "rotation",
    "stitch",
    "transform",
]

Region = Literal["all", "exp", "pose", "lip", "eyes"]

LIPS, EYES = [6, 12, 14, 17, 19, 20], [11, 13, 15, 16, 18]
# Absolute motion takes these parts of the driver's expression; the rest would carry its identity.
_WHOLE, _ONLY_Y, _ONLY_Z, _BUT_X = [1, 2, 6, *range(11, 21)], [3, 4], [5, 8], [9]
LIPS_OPEN = 0.03  # lip ratio from which a photo's mouth is closed before it is driven

# Where ratios are measured: (upper, lower, left, right).
_RATIO_POINTS = {
    203: ((6, 18, 0, 12), (30, 42, 24, 36), (90, 102, 48, 66)),
    478: ((159, 145, 33, 133), (386, 374, 362, 263), (13, 14, 61, 291)),
}


@dataclass(frozen=True)
class FaceMotion:
    """What the motion network says about T frames.

    Attributes:
        kp: (T, K, 3) key points of the neutral face.
        exp: (T, K, 3) their displacement by the expression.
        R: (T, 3, 3) head rotation, for row vectors.
        t: (T, 3) shift.
        scale: (T, 1).
    """

    kp: torch.Tensor
    exp: torch.Tensor
    R: torch.Tensor
    t: torch.Tensor
    scale: torch.Tensor

    @staticmethod
    def read(raw: dict[str, torch.Tensor]) -> FaceMotion:
        """Return the motion from the outputs of ``MotionExtractor``."""
        angles = [head_degrees(raw[name].float()) for name in ("pitch", "yaw", "roll")]
        kp, exp = (raw[name].float().unflatten(1, (-1, 3)) for name in ("kp", "exp"))
        return FaceMotion(kp, exp, rotation(torch.stack(angles, -1)), raw["t"].float(), raw["scale"].float())

    def __getitem__(self, frames: slice) -> FaceMotion:
        return FaceMotion(*(getattr(self, f.name)[frames] for f in fields(self)))

    def points(self) -> torch.Tensor:
        """Return (T, K, 3) key points as they are."""
        return transform(self.kp, self.R, self.exp, self.scale, self.t)


@dataclass(frozen=True)
class Rules:
    """How a driver's motion is taken over.

    Attributes:
        relative: changes since the driver's first frame, instead of its pose as it is.
        region: which part of the motion counts.
        multiplier: exaggerates (above 1) or damps the motion.
    """

    relative: bool = True
    region: Region = "all"
    multiplier: float = 1.0


def head_degrees(logits: torch.Tensor) -> torch.Tensor:
    """Return (..., bins) logits to (...) degrees: the mean of bins three degrees wide."""
    bins = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return (logits.softmax(-1) * bins).sum(-1) * 3 - 97.5


def rotation(degrees: torch.Tensor) -> torch.Tensor:
    """Return (..., 3) pitch, yaw, roll in degrees to (..., 3, 3), for row vectors: the transpose of Rz Ry Rx."""
    zero, one = torch.zeros_like(degrees[..., 0]), torch.ones_like(degrees[..., 0])
    (cx, cy, cz), (sx, sy, sz) = (f(torch.deg2rad(degrees)).unbind(-1) for f in (torch.cos, torch.sin))
    x = torch.stack([one, zero, zero, zero, cx, -sx, zero, sx, cx], -1).unflatten(-1, (3, 3))
    y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).unflatten(-1, (3, 3))
    z = torch.stack([cz, -sz, zero, sz, cz, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
    return (z @ y @ x).mT


def transform(kp: torch.Tensor, R: torch.Tensor, exp: torch.Tensor, scale: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return (T, K, 3) key points: scale (kp R + exp) + t, where t moves within the picture only."""
    flat = t * t.new_tensor([1.0, 1.0, 0.0])
    return scale[..., None] * (kp @ R + exp) + flat[:, None]


def drive(source: FaceMotion, driver: FaceMotion, rules: Rules, neutral_lips: torch.Tensor | None = None) -> torch.Tensor:
    """Return the source's key points with the driver's motion, without stitching."""
    region, relative, count = rules.region, rules.relative, len(driver.exp)
    first = driver[:1]
    exp, R, t, scale = (x.expand(count, *x.shape[1:]).clone() for x in (source.exp, source.R, source.t, source.scale))
    rest = first.exp
    if neutral_lips is not None:
        rest = torch.zeros_like(neutral_lips) if region == "eyes" else neutral_lips
    moved = source.exp + driver.exp - rest if relative else driver.exp
    if region in ("lip", "eyes"):
        part = LIPS if region == "lip" else EYES
        exp[:, part] = moved[:, part]
    elif region in ("all", "exp"):
        if relative:
            exp = moved
        else:
            for points, axes in ((_WHOLE, [0, 1, 2]), (_ONLY_Y, [1]), (_ONLY_Z, [2]), (_BUT_X, [1, 2])):
                for axis in axes:
                    exp[:, points, axis] = driver.exp[:, points, axis]
    if region in ("all", "pose"):
        R = driver.R @ first.R.mT @ source.R if relative else driver.R
        t = source.t + driver.t - first.t if relative else driver.t
    if region == "all" and relative:
        scale = source.scale * driver.scale / first.scale
    return transform(source.kp, R, exp, scale, t)


def animate(
    source: FaceMotion,
    driver: FaceMotion,
    rules: Rules,
    stitching: nn.Module | None,
    neutral_lips: torch.Tensor | None = None,
    openings: torch.Tensor | None = None,
    closing: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return key points for the warping network: ``drive``, then everything that corrects it.

    Args:
        source: see ``drive``.
        driver: see ``drive``.
        rules: see ``drive``.
        stitching: network that keeps the shoulders still; None = left out.
        neutral_lips: see ``drive``.
        openings: (T, K, 3) of ``retarget`` for wanted eyes and lips; in relative mode they replace the motion.
        closing: (1, K, 3) of ``retarget`` that closes the mouth of the photo before it is driven.

    Returns:
        (T, K, 3).
    """
    x_s = source.points()
    x_d = drive(source, driver, rules, neutral_lips)
    if openings is not None:
        x_d = (x_s if rules.relative else x_d) + openings
    if stitching is not None:
        x_d = stitch(stitching, x_s, x_d)
    if closing is not None:
        x_d = x_d + closing
    return x_s + (x_d - x_s) * rules.multiplier


def stitch(network: nn.Module, x_s: torch.Tensor, x_d: torch.Tensor) -> torch.Tensor:
    """Correct driven key points (T, K, 3) so that the shoulders stay where they are in ``x_s`` (1, K, 3)."""
    both = torch.cat([x_s.expand_as(x_d).flatten(1), x_d.flatten(1)], 1)
    correction = network(both)
    points, shift = correction[:, :-2].view_as(x_d), correction[:, -2:]
    return x_d + points + torch.cat([shift, torch.zeros_like(shift[:, :1])], 1)[:, None]


def retarget(network: nn.Module, x_s: torch.Tensor, ratios: torch.Tensor) -> torch.Tensor:
    """Return (T, K, 3) shifts that open or close eyes or lips of ``x_s`` (1, K, 3).

    Args:
        network: ``eye`` or ``lip``.
        x_s: (1, K, 3) key points of the source.
        ratios: (T, 3) left and right eye of the source and the wanted one, or (T, 2) lips of the source and wanted.
    """
    count = len(ratios)
    shifts: torch.Tensor = network(torch.cat([x_s.expand(count, -1, -1).flatten(1), ratios], 1))
    return shifts.view(count, *x_s.shape[1:])


def eye_ratios(points: np.ndarray) -> np.ndarray:
    """Return (..., 2) openness of left and right eye in the picture, from (..., 203 or 478, 2) landmarks."""
    return np.stack([_ratio(points, _RATIO_POINTS[points.shape[-2]][i]) for i in (0, 1)], -1)


def lip_ratio(points: np.ndarray) -> np.ndarray:
    """Return (...,) openness of the mouth, from (..., 203 or 478, 2) landmarks."""
    return _ratio(points, _RATIO_POINTS[points.shape[-2]][2])


def _ratio(points: np.ndarray, ids: tuple[int, int, int, int]) -> np.ndarray:
    upper, lower, left, right = (points[..., i, :] for i in ids)
    height, width = np.linalg.norm(upper - lower, axis=-1), np.linalg.norm(left - right, axis=-1)
    return np.asarray(height / (width + 1e-6))
