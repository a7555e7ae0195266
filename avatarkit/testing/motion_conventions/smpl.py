"""A clip as the arrays of SMPL files."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from avatarkit.motion.pose_solver import PARENTS
from avatarkit.testing.motion_conventions.clip import Clip
from avatarkit.types.body import SMPLX_JOINTS

__all__ = ["encode", "smpl_arrays"]


def smpl_arrays(clip: Clip, axes: np.ndarray, model: str = "smplx") -> dict[str, np.ndarray]:
    """Return joint -> (T, 3, 3) local rotations and ``trans`` (T, 3) meters, in a world of other axes."""
    joints = SMPLX_JOINTS if model == "smplx" else SMPLX_JOINTS[:22] if model == "smpl" else [
        n for n in SMPLX_JOINTS if n != "jaw" and "eye" not in n
    ]  # fmt: skip
    out: dict[str, np.ndarray] = {}
    for name in joints:
        if name not in clip.turns:
            out[name] = np.tile(np.eye(3), (len(clip.path), 1, 1))
            continue
        parent = PARENTS[name]
        out[name] = axes @ clip.turns[name] if parent is None else np.swapaxes(clip.turns[parent], 1, 2) @ clip.turns[name]
    out["trans"] = clip.path @ axes.T / 100
    return out


def encode(R: np.ndarray, how: str) -> np.ndarray:
    """Return rotations (T, n, 3, 3) as axis-angle, matrices, or six numbers; (T, n, ...) or flat."""
    kind, _, shape = how.partition("-")
    if kind == "axis":
        values = Rotation.from_matrix(R.reshape(-1, 3, 3)).as_rotvec().reshape(*R.shape[:2], 3)
    elif kind == "matrix":
        values = R
    elif kind == "rows":
        values = R[..., :2, :].reshape(*R.shape[:2], 6)
    elif kind == "columns":
        values = np.swapaxes(R, -1, -2)[..., :2, :].reshape(*R.shape[:2], 6)
    else:
        values = R[..., :, :2].reshape(*R.shape[:2], 6)
    return values.reshape(len(R), -1) if shape == "flat" else values[None] if shape == "batch" else values
