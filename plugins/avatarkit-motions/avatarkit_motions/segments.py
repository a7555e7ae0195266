"""Label segments cut from any motion, each turned as a whole as the paper does (section 3.2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.motion.performance.performance import euler
from avatarkit.types.body import Motion
from avatarkit_motions.config import BuiltinConfig

__all__ = ["heading", "segment"]

_ROOM = 0.15  # meters that a person may move within a label's picture


def heading(config: BuiltinConfig, rng: np.random.Generator) -> tuple[float, float]:
    """Return random yaw and pitch of a segment, degrees."""
    return float(rng.uniform(*config.label_yaw)), float(rng.uniform(*config.label_pitch))


def segment(motion: Motion, config: BuiltinConfig, rng: np.random.Generator, name: str) -> Motion:
    """Return a random part of a motion, its root set to a random yaw and pitch.

    The paper sets the root for each segment; here what the root does within the segment goes on around its new mean. The
    person stays where they stand, give or take some centimeters.

    Args:
        motion: any.
        config: how long, how far turned.
        rng: where chance comes from.
        name: of the segment.
    """
    step = max(1.0, motion.fps / config.fps)
    count = max(1, min(int(len(motion) / step), round(config.label_seconds * motion.fps / step)))
    room = len(motion) - 1 - (count - 1) * step
    start = float(rng.uniform(0, max(room, 0.0)))
    index = torch.from_numpy((start + step * np.arange(count)).round().astype(np.int64)).clamp(max=len(motion) - 1)
    p = motion.params[index]
    yaw, pitch = heading(config, rng)
    turn = euler(*(torch.full((1,), v, dtype=torch.float64) for v in (pitch, yaw, 0.0)))[0]
    root = axis_angle_to_matrix(p.root.double())
    turn = turn @ _mean(root).T
    moved = p.translation.double() - p.translation[0].double() * torch.tensor([1.0, 0, 1])
    moved = (turn @ moved[..., None])[..., 0]
    moved = moved * (_ROOM / moved.norm(dim=-1, keepdim=True).clamp(min=_ROOM))
    params = replace(p, root=matrix_to_axis_angle(turn @ root).float(), translation=moved.float())
    valid = None if motion.valid is None else motion.valid[index]
    return Motion(name, motion.fps / step, params, False, valid)


def _mean(R: torch.Tensor) -> torch.Tensor:
    """Return the rotation (3, 3) nearest to the average of rotations (T, 3, 3)."""
    U, _, V = torch.linalg.svd(R.mean(0))
    flip = torch.eye(3, dtype=R.dtype)
    flip[2, 2] = torch.sign(torch.det(U @ V))
    return U @ flip @ V
