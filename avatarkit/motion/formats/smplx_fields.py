"""Reads rotations of SMPL, SMPL-H and SMPL-X from arrays, under the names and in the encodings that people store them.

The number of values per frame tells the joints and the encoding: axis-angle (3 per joint), the first two rows or columns of a
matrix (6), or a matrix (9). An array of another width is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.motion.formats.bvh import MOST_FRAMES
from avatarkit.types.body import SMPLX_JOINTS

__all__ = ["ARRAYS", "is_smplx", "read_positions", "read_rate", "read_rotations", "usual_up"]

_BODY = SMPLX_JOINTS[1:22]
_SMPL_HANDS = ("left_hand", "right_hand")  # SMPL's joints 22 and 23, which other models replace by fingers
_LEFT_HAND, _RIGHT_HAND = SMPLX_JOINTS[25:40], SMPLX_JOINTS[40:]
_WHOLE = (
    SMPLX_JOINTS,
    (*SMPLX_JOINTS[:22], *_LEFT_HAND, *_RIGHT_HAND),
    (*SMPLX_JOINTS[:22], *_SMPL_HANDS),
    SMPLX_JOINTS[:22],
)
_ROTATIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(("poses", "fullpose", "full_pose", "pose"), _WHOLE),
    **dict.fromkeys(("root_orient", "global_orient", "root_pose"), (SMPLX_JOINTS[:1],)),
    **dict.fromkeys(("pose_body", "body_pose"), (_BODY, (*_BODY, *_SMPL_HANDS), SMPLX_JOINTS[:22], _WHOLE[2])),
    **dict.fromkeys(("pose_jaw", "jaw_pose"), (("jaw",),)),
    **dict.fromkeys(("pose_eye", "eye_pose"), (("left_eye_smplhf", "right_eye_smplhf"),)),
    "leye_pose": (("left_eye_smplhf",),),
    "reye_pose": (("right_eye_smplhf",),),
    **dict.fromkeys(("pose_hand", "hand_pose"), ((*_LEFT_HAND, *_RIGHT_HAND),)),
    **dict.fromkeys(("left_hand_pose", "lhand_pose"), (_LEFT_HAND,)),
    **dict.fromkeys(("right_hand_pose", "rhand_pose"), (_RIGHT_HAND,)),
}
"""Field -> the lists of joints that it may hold."""
_POSES = ("poses", "fullpose", "full_pose", "pose", "pose_body", "body_pose")  # an archive with one of them is a motion
_POSITIONS = ("trans", "transl")
_SCALES = ("scaling",)  # of AIST++: translations are divided by it
_RATES = ("mocap_frame_rate", "mocap_framerate", "frame_rate", "framerate", "fps")
_PREFIXES = ("", "smpl_", "smplx_", "smplh_")
_AIST_RATE = 60.0
_DATA_SETS = {  # field -> axis that is up
    "scaling": "y",  # AIST++
    "dmpls": "z", "surface_model_type": "z", "markers_latent": "z",  # AMASS
    "expressions": "y",  # BEAT2, EMAGE
}  # fmt: skip

ARRAYS = frozenset(
    prefix + name
    for prefix in _PREFIXES
    for name in (*_ROTATIONS, *_POSITIONS, *_SCALES, *_RATES, *_DATA_SETS)
)  # fmt: skip
"""Names of the arrays that are read."""

_SIZES = (3, 6, 9)  # numbers per joint
_MOST_WIDTH = 1000  # limit of numbers per frame
_FARTHEST = 1e6  # largest valid coordinate, in the units of the file
_SKEW = 0.05  # largest deviation of a matrix from a rotation
_LAYOUTS: dict[tuple[int, ...], str] = {(2, 3): "rows", (3, 2): "interleaved columns"}
"""Last axes of an array of six numbers per joint -> how they are stored."""
_HINGES = {  # joint -> the axis about which it bends one way only, and the sign
    "left_knee": (0, 1), "right_knee": (0, 1), "left_elbow": (1, -1), "right_elbow": (1, 1),
    **{f"left_{f}{k}": (2, -1) for f in ("index", "middle", "ring", "pinky") for k in (1, 2, 3)},
    **{f"right_{f}{k}": (2, 1) for f in ("index", "middle", "ring", "pinky") for k in (1, 2, 3)},
}  # fmt: skip
_HABITS = {"left_shoulder": (2, -1), "right_shoulder": (2, 1), "left_hip": (0, -1), "right_hip": (0, -1)}
"""Arms mostly hang below a T-pose, and hips mostly bend forward."""
_CLEAR = 0.05  # radians in sum, or part of a unit vector, from which a layout is certain


def is_smplx(arrays: Mapping[str, np.ndarray]) -> bool:
    """Return whether an archive looks like a SMPL-X, SMPL-H or SMPL motion."""
    return any(name in _POSES for name, _ in _named(arrays))


def _named(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays under their names without the model's prefix."""
    for key, values in arrays.items():
        yield re.sub("^smpl[xh]?_", "", key), values


def read_rotations(arrays: Mapping[str, np.ndarray], source: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return joint -> (T, 3, 3) relative to its parent, and sentences about what was assumed.

    Fingers that rest in all frames are left out, so that a body keeps its relaxed fingers.

    Args:
        arrays: those of an archive.
        source: file name, for messages.

    Raises:
        InputError: an array has another width, or impossible values.
    """
    fields = {name: values for name, values in _named(arrays) if name in _ROTATIONS}
    count = max(_frame_count(values, name, source) for name, values in fields.items() if name in _POSES)
    found: dict[str, torch.Tensor] = {}
    six: dict[str, torch.Tensor] = {}
    layout = ""
    notes: list[str] = []
    for name, values in fields.items():
        if "hand" in name and values.dtype.kind in "fiu" and not values.any():  # PCA components, too
            continue
        rows, joints = _decode(values, name, count, source)
        if rows.shape[-1] == 6:
            layout = layout or _LAYOUTS.get(values.shape[-2:], "")
            six |= {joint: rows[:, k] for k, joint in enumerate(joints) if joint not in _SMPL_HANDS}
        else:
            local = _matrices(rows, name, source)
            found |= {joint: local[:, k] for k, joint in enumerate(joints) if joint not in _SMPL_HANDS}
    if six:
        turns, sure = _from_six(six, layout)
        found |= turns
        if not sure:
            notes.append(
                f"{source} has rotations of six numbers that are rows or columns of matrices; the poses do not tell which, "
                "and rows are assumed. Store axis-angle if the person turns the wrong way."
            )
    still = torch.eye(3, dtype=torch.float64)
    for hand in (_LEFT_HAND, _RIGHT_HAND):
        if all(n not in found or torch.allclose(found[n], still, atol=1e-6) for n in hand):
            for n in hand:
                found.pop(n, None)
    found.setdefault("pelvis", still.expand(count, 3, 3))
    return found, notes


def _frame_count(values: np.ndarray, name: str, source: str) -> int:
    if values.dtype.kind not in "fiu" or values.ndim < 2:
        raise InputError(f"{source}: {name!r} contains no rotations per frame, so the file is no SMPL, SMPL-H or SMPL-X motion.")
    batch = values.ndim > 2 and values.shape[0] == 1 and values[0].size not in _widths(name)
    count = values.shape[1] if batch else values.shape[0]
    if not count:
        raise InputError(f"{source}: {name!r} has no frames.")
    if count > MOST_FRAMES:
        raise InputError(f"{source} has {count} frames; the limit is {MOST_FRAMES}. Cut it into parts.")
    return count


def _widths(name: str) -> set[int]:
    """Return the possible numbers per frame of a field."""
    return {len(joints) * size for joints in _ROTATIONS[name] for size in _SIZES}


def _decode(values: np.ndarray, name: str, count: int, source: str) -> tuple[torch.Tensor, Sequence[str]]:
    """Return (T, n, 3 or 6 or 9) and the n joints."""
    if values.dtype.kind not in "fiu" or not values.ndim or values.size > _MOST_WIDTH * count:
        raise InputError(f"{source}: {name!r} contains no rotations per frame.")
    options = [(joints, size) for joints in _ROTATIONS[name] for size in _SIZES]
    lead = next((n for n in (1, 2) if _frames_lead(values, n, count)), 0)
    shape = values.shape[lead:]
    width = int(np.prod(shape, dtype=np.int64))
    if lead:
        for joints, size in options:
            explicit = {
                3: shape[-1:] in ((3,), (width,)) and shape[-2:] != (3, 3),
                6: shape[-1:] in ((6,), (width,)) or shape[-2:] in _LAYOUTS,
                9: shape[-2:] == (3, 3) or shape[-1:] in ((9,), (width,)),
            }[size]
            if width == len(joints) * size and explicit:
                rows = values.reshape(-1, len(joints), size).astype(np.float64)
                if not np.isfinite(rows).all() or np.abs(rows).max() > 1e3:
                    raise InputError(f"{source} contains poses with impossible numbers in {name!r}.")
                return torch.from_numpy(rows).expand(count, -1, -1), joints
    if "hand" in name and lead and width < 90:
        raise InputError(
            f"{source}: {name!r} has {width} numbers per frame, PCA components of a hand whose basis the file lacks; "
            "store 45 numbers per hand (smplx: use_pca=False), or leave the array out."
        )
    sizes = " or ".join(str(3 * len(joints)) for joints in _ROTATIONS[name])
    raise InputError(
        f"{source}: {name!r} has the shape {values.shape}; expected are {count} frames of {sizes} numbers (axis-angle), "
        "or twice (6D) or three times (matrices) as many."
    )


def _frames_lead(values: np.ndarray, lead: int, count: int) -> bool:
    """Return whether the first ``lead`` axes are the frames: (T, ...), (1, ...) for all frames, or (1, T, ...)."""
    shape, constant = values.shape[:lead], values.ndim == 2 or values.shape[1:2] != (count,)
    return values.ndim > lead and (shape in ((count,), (1, count)) or (shape == (1,) and constant))


def _matrices(rows: torch.Tensor, name: str, source: str) -> torch.Tensor:
    """Return rotations (T, n, 3, 3) from (T, n, 3 or 9)."""
    if rows.shape[-1] == 3:
        return axis_angle_to_matrix(rows)
    R = rows.unflatten(-1, (3, 3))
    if _deviation(R) > _SKEW or float(torch.det(R).min()) < 0:
        raise InputError(f"{source}: {name!r} contains matrices that are no rotations.")
    u, _, v = torch.linalg.svd(R)
    return u @ v


def _deviation(rows: torch.Tensor) -> float:
    """Return how far vectors (..., n, 3) are from orthonormal."""
    return float((rows @ rows.mT - torch.eye(rows.shape[-2], dtype=rows.dtype)).abs().max())


def _from_six(six: Mapping[str, torch.Tensor], layout: str) -> tuple[dict[str, torch.Tensor], bool]:
    """Return rotations from six numbers per joint, and whether their layout is certain.

    Programs store two rows of a matrix (PyTorch3D), or two columns, one after the other or interleaved. All joints of a file
    have one layout, which shows in all of them together.

    Args:
        six: joint -> (T, 6).
        layout: value of ``_LAYOUTS`` that the shape of the arrays tells, or nothing.
    """
    values = torch.stack(list(six.values()))
    in_turn, interleaved = values.unflatten(-1, (2, 3)), values.unflatten(-1, (3, 2)).mT
    if not layout and _deviation(interleaved) < _deviation(in_turn):
        layout = "interleaved columns"
    first, second = (interleaved if layout == "interleaved columns" else in_turn).unbind(-2)
    x = torch.nn.functional.normalize(first, dim=-1)
    y = torch.nn.functional.normalize(second - (second * x).sum(-1, keepdim=True) * x, dim=-1)
    columns = dict(zip(six, torch.stack([x, y, torch.linalg.cross(x, y)], -1), strict=True))
    rows = {n: R.mT for n, R in columns.items()}
    if layout:
        return (rows if layout == "rows" else columns), True
    for table in (_HINGES, _HABITS):
        bent = sum(
            sign * float(matrix_to_axis_angle(columns[n])[:, axis].mean()) for n, (axis, sign) in table.items() if n in columns
        )  # fmt: skip
        if abs(bent) > _CLEAR:
            return (columns if bent > 0 else rows), True
    if "pelvis" in columns:
        upright, other = (float(R["pelvis"][:, 1:, 1].mean(0).max()) for R in (columns, rows))
        if abs(upright - other) > _CLEAR:
            return (columns if upright > other else rows), True
    return rows, all(torch.allclose(R, R.mT, atol=1e-3) for R in rows.values())


def read_positions(arrays: Mapping[str, np.ndarray], count: int, source: str) -> torch.Tensor | None:
    """Return the positions of the pelvis (T, 3) in the units of the model; None if the file has none.

    Raises:
        InputError: they do not match the poses.
    """
    fields = dict(_named(arrays))
    values = next((fields[name] for name in _POSITIONS if name in fields), None)
    if values is None:
        return None
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    fits = values.shape == (count, 3) and values.dtype.kind in "fiu"
    if not fits or not np.isfinite(values).all() or np.abs(values.astype(np.float64)).max(initial=0) > _FARTHEST:
        raise InputError(f"{source} contains translations that do not match its poses.")
    scale = next((fields[name] for name in _SCALES if name in fields), None)
    factor = 1.0
    if scale is not None:
        factor = float(scale.reshape(-1)[0]) if scale.size == 1 and scale.dtype.kind in "fiu" else 0.0
        if not 1e-6 < factor < 1e6:
            raise InputError(f"{source} has an impossible scaling of its translations.")
    return torch.from_numpy(values.astype(np.float64)) / factor


def usual_up(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Return the axis that is up in the data set whose fields an archive has, or None."""
    return next((_DATA_SETS[name] for name, _ in _named(arrays) if name in _DATA_SETS), None)


def read_rate(arrays: Mapping[str, np.ndarray], source: str) -> tuple[float, str | None]:
    """Return the frames per second, and a note if they were assumed.

    Raises:
        InputError: the rate is impossible.
    """
    fields = dict(_named(arrays))
    given = next((fields[key] for key in _RATES if key in fields), None)
    if given is None:
        fps = _AIST_RATE if any(name in fields for name in _SCALES) else 30.0
        return fps, f"{source} has no frame rate; {fps:.0f} frames per second are assumed."
    fps = _number(given)
    if not 0.1 <= fps <= 10_000:
        text = " ".join(str(v) for v in given.reshape(-1)[:3].tolist())
        raise InputError(f"{source} has an impossible frame rate: {text[:40] or 'none'}.")
    return fps, None


def _number(given: np.ndarray) -> float:
    """Return the first value as a number; texts such as "30 fps" and "30000/1001" are read."""
    if not given.size:
        return 0.0
    first = given.reshape(-1)[0]
    if given.dtype.kind in "fiu":
        return float(first)
    text = first.decode("ascii", "replace") if isinstance(first, bytes) else str(first)
    parts = re.fullmatch(r"\s*(\d{1,9}(?:[.,]\d{1,9})?)(?:/(\d{1,9}))?\s*(?:fps|hz|frames?(?: per second|/s))?\s*", text.lower())
    if parts is None:
        return 0.0
    return float(parts[1].replace(",", ".")) / max(1.0, float(parts[2] or 1))
