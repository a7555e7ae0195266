"""Reads motions stored as SMPL-X, SMPL-H or SMPL rotations, without the body model.

These are the archives of AMASS, BEAT2 and similar data sets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.interfaces import BodyModel
from avatarkit.motion.bvh import MOST_FRAMES
from avatarkit.motion.pose_solver import PARENTS, PoseSolver
from avatarkit.motion.retargeting import SourceSkeleton, retarget
from avatarkit.types.body import SMPLX_JOINTS, BodyParams, Motion

__all__ = ["SMPLX_ARRAYS", "is_smplx", "smplx_motion"]

_PARTS = {
    "root": ("root_orient", "global_orient"),
    "body": ("pose_body", "body_pose"),
    "jaw": ("pose_jaw", "jaw_pose"),
    "eyes": ("pose_eye",),
    "hands": ("pose_hand",),
}
_RATES = ("mocap_frame_rate", "mocap_framerate", "fps")
_PLACES = ("trans", "smpl_trans", "transl")

SMPLX_ARRAYS = frozenset({"poses", "smpl_poses", "expressions", *_RATES, *_PLACES, *(n for ns in _PARTS.values() for n in ns)})
"""Names of the arrays that are read."""

_MOST_WIDTH = 1000  # limit of numbers per frame
_FARTHEST = 1e6  # largest valid coordinate, in the units of the file

_log = logging.getLogger("avatarkit.motion.files")

# Joints of the rest pose of SMPL-X's mean body, meters, y up, facing +z, left side; to a centimeter, for directions
# of bones.
_MIDDLE = {
    "pelvis": (0.0, -0.351, 0.012), "spine1": (0.0, -0.242, -0.016), "spine2": (0.0, -0.110, -0.022),
    "spine3": (0.0, -0.057, 0.007), "neck": (0.0, 0.107, -0.025), "head": (0.0, 0.268, -0.004),
}  # fmt: skip
_LEFT = {
    "hip": (0.061, -0.450, -0.012), "knee": (0.110, -0.820, -0.025), "ankle": (0.081, -1.227, -0.050),
    "foot": (0.124, -1.285, 0.068), "collar": (0.047, 0.027, -0.003), "shoulder": (0.158, 0.083, -0.017),
    "elbow": (0.420, 0.028, -0.052), "wrist": (0.671, 0.038, -0.061),
}  # fmt: skip
# From the wrist to the knuckles and along the phalanges, palm down.
_LEFT_HAND = {
    "index": ((0.100, 0.003, 0.026), (0.032, -0.001, 0.003), (0.022, -0.002, 0.003)),
    "middle": ((0.106, 0.005, 0.003), (0.031, -0.001, 0.000), (0.024, -0.003, -0.001)),
    "ring": ((0.098, 0.003, -0.016), (0.029, -0.001, -0.003), (0.024, -0.002, -0.003)),
    "pinky": ((0.083, -0.004, -0.034), (0.020, -0.002, -0.006), (0.016, -0.001, -0.005)),
    "thumb": ((0.029, -0.016, 0.026), (0.026, -0.010, 0.022), (0.025, -0.003, 0.018)),
}


def _rest() -> dict[str, torch.Tensor]:
    out = {n: torch.tensor(v, dtype=torch.float64) for n, v in _MIDDLE.items()}
    flip = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    for part, v in _LEFT.items():
        out["left_" + part] = torch.tensor(v, dtype=torch.float64)
    for finger, steps in _LEFT_HAND.items():
        at = out["left_wrist"]
        for k, step in enumerate(steps, start=1):
            at = at + torch.tensor(step, dtype=torch.float64)
            out[f"left_{finger}{k}"] = at
        out[f"left_{finger}3_tip"] = at + 0.8 * torch.tensor(steps[-1], dtype=torch.float64)
    return out | {"right_" + n.removeprefix("left_"): v * flip for n, v in out.items() if n.startswith("left_")}


def is_smplx(arrays: Mapping[str, np.ndarray]) -> bool:
    """Return whether an archive looks like a SMPL-X, SMPL-H or SMPL motion."""
    return any(k in arrays for k in ("poses", "smpl_poses", "pose_body", "body_pose"))


def smplx_motion(arrays: Mapping[str, np.ndarray], path: Path, body: BodyModel) -> Motion:
    """Read a motion.

    Directions of bones are retargeted (``avatarkit.motion.retargeting``); a body model with SMPL-X's own joints uses the
    rotations directly. The jaw opens the mouth. FLAME's expression components do not apply to other models and are left out.

    Raises:
        InputError: the arrays are not poses.
    """
    vectors = _vectors(arrays, path)
    fps = 30.0
    given = next((arrays[key] for key in _RATES if key in arrays), None)
    if given is None:
        _log.warning("%s has no frame rate; 30 frames per second are assumed.", path.name)
    else:
        fps = float(given.reshape(-1)[0]) if given.size and given.dtype.kind in "fiu" else math.nan
    if not 0.1 <= fps <= 10_000:
        raise InputError(f"{path.name} has an impossible frame rate of {fps}.")
    if "expressions" in arrays and arrays["expressions"].size:
        _log.info("%s: FLAME expressions are left out; the jaw's rotation opens the mouth.", path.name)
    count = len(next(iter(vectors.values())))
    positions = _positions(arrays, count, path)
    if set(SMPLX_JOINTS) <= set(body.joint_names):
        return _native(vectors, positions, fps, path, body)
    world: dict[str, torch.Tensor] = {}
    for name, parent in PARENTS.items():
        if name in vectors:
            local = axis_angle_to_matrix(vectors[name])
            above = parent
            while above is not None and above not in world:
                above = PARENTS[above]
            world[name] = local if above is None else world[above] @ local
    return retarget(SourceSkeleton(path.name, _rest(), world, positions, fps), PoseSolver(body), path.stem)


def _vectors(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, torch.Tensor]:
    """Return joint -> (T, 3) axis-angle."""
    wrong = InputError(f"{path.name} contains poses that are not SMPL-X, SMPL-H or SMPL rotations.")
    for name in ("poses", "smpl_poses", *(n for names in _PARTS.values() for n in names)):
        if name in arrays and (arrays[name].dtype.kind not in "fiu" or not arrays[name].ndim):
            raise wrong
        if name in arrays and len(arrays[name]) > MOST_FRAMES:
            raise InputError(f"{path.name} has {len(arrays[name])} frames; the limit is {MOST_FRAMES}. Cut it into parts.")
        if name in arrays and arrays[name].size > _MOST_WIDTH * max(1, len(arrays[name])):
            raise wrong
    try:
        if "poses" in arrays or "smpl_poses" in arrays:
            whole = np.asarray(arrays["poses"] if "poses" in arrays else arrays["smpl_poses"], dtype=np.float64)
            whole = whole.reshape(len(whole), -1)
        else:
            got = {p: next((arrays[k] for k in keys if k in arrays), None) for p, keys in _PARTS.items()}
            count = len(np.asarray(got["body"]))
            widths = {"root": 3, "body": 63, "jaw": 3, "eyes": 6, "hands": 90}
            given = {p: None if v is None else np.asarray(v, dtype=np.float64).reshape(count, -1) for p, v in got.items()}
            rows = [np.zeros((count, w)) if (v := given[p]) is None else v[:, :w] for p, w in widths.items()]
            whole = np.concatenate(rows, 1)
    except (ValueError, TypeError) as error:
        raise wrong from error
    layouts = {
        165: SMPLX_JOINTS,
        156: tuple(n for n in SMPLX_JOINTS if n != "jaw" and "eye" not in n),
        72: SMPLX_JOINTS[:22],
        66: SMPLX_JOINTS[:22],
    }
    if whole.ndim != 2 or whole.shape[1] not in layouts or not len(whole):
        raise wrong
    if not np.isfinite(whole).all() or np.abs(whole).max() > 1e3:
        raise InputError(f"{path.name} contains poses with impossible numbers.")
    out = {}
    for k, name in enumerate(layouts[whole.shape[1]]):
        out[name] = torch.from_numpy(whole[:, 3 * k : 3 * k + 3].copy())
    for side in ("left", "right"):
        hand = [n for n in out if n.startswith(side) and n[-1] in "123"]
        if not any(bool(out[n].any()) for n in hand):  # the hands are not animated: keep the body's relaxed fingers
            for n in hand:
                del out[n]
    return out


def _positions(arrays: Mapping[str, np.ndarray], count: int, path: Path) -> torch.Tensor | None:
    key = next((k for k in _PLACES if k in arrays), None)
    if key is None:
        return None
    values = np.asarray(arrays[key])
    fits = values.shape == (count, 3) and values.dtype.kind in "fiu"
    if not fits or not np.isfinite(values).all() or np.abs(values.astype(np.float64)).max(initial=0) > _FARTHEST:
        raise InputError(f"{path.name} contains translations that do not match its poses.")
    return torch.from_numpy(values.astype(np.float64))


def _native(
    vectors: Mapping[str, torch.Tensor], positions: torch.Tensor | None, fps: float, path: Path, body: BodyModel
) -> Motion:
    """Return the motion for SMPL-X itself: rotations are used directly."""
    neutral = body.neutral()
    count = len(vectors["pelvis"])
    joints = torch.zeros(count, len(body.joint_names), 3)
    for name, v in vectors.items():
        if name != "pelvis":
            joints[:, body.joint_names.index(name)] = v.float()
    moved = torch.zeros(count, 3) if positions is None else (positions - positions[0]).float()
    expression = torch.zeros(count, len(body.expression_names))
    root = vectors["pelvis"].float()
    return Motion(path.stem, fps, BodyParams(body.name, neutral.shape, expression, root, moved, joints))
