"""Motion files: avatarkit's npz, SMPL-X archives, BVH, glTF and ``.pose``. Nothing in them is executed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from avatarkit.errors import InputError
from avatarkit.interfaces import BodyModel, GetComponent
from avatarkit.io.npz import read_npz
from avatarkit.motion.formats.bvh import is_bvh
from avatarkit.motion.formats.bvh_motion import bvh_motion
from avatarkit.motion.formats.bvh_writer import write_bvh
from avatarkit.motion.formats.gltf import is_gltf
from avatarkit.motion.formats.gltf_motion import gltf_motion
from avatarkit.motion.formats.own import ARRAYS as OWN_ARRAYS
from avatarkit.motion.formats.own import is_own, read_own, save_motion
from avatarkit.motion.formats.pose_format import is_pose_file, read_pose_file
from avatarkit.motion.formats.smplx import smplx_motion
from avatarkit.motion.formats.smplx_fields import ARRAYS as SMPLX_ARRAYS
from avatarkit.motion.formats.smplx_fields import is_smplx
from avatarkit.motion.lifting import landmark_motion
from avatarkit.motion.reading import MotionInfo, Reading
from avatarkit.motion.up_axis import UP_AXES, Up
from avatarkit.types.body import Motion
from avatarkit.utils.files import require_file

__all__ = ["MotionInfo", "inspect_motion", "load_motion", "read_joint_map", "read_motion", "save_motion", "write_bvh"]

log = logging.getLogger("avatarkit.motion.files")

_MOST_BYTES = 400 << 20  # size limit of all arrays
_MOST_FILE_BYTES = 600 << 20
_MOST_MAP_BYTES = 1 << 20
_SAVE = "numpy.savez('motion.npz', poses=..., trans=..., mocap_frame_rate=...)"
_REFUSED = (
    (b"Kaydara FBX Binary", "is an FBX file. Convert it in Blender: import the FBX, export glTF 2.0 (.glb) or BVH"),
    (b"; FBX", "is an FBX file. Convert it in Blender: import the FBX, export glTF 2.0 (.glb) or BVH"),
    (b"\x80\x02", f"is a Python pickle, which could run code. Load it where you trust it and save it again: {_SAVE}"),
    (b"\x80\x03", f"is a Python pickle, which could run code. Load it where you trust it and save it again: {_SAVE}"),
    (b"\x80\x04", f"is a Python pickle, which could run code. Load it where you trust it and save it again: {_SAVE}"),
    (b"\x80\x05", f"is a Python pickle, which could run code. Load it where you trust it and save it again: {_SAVE}"),
    (b"\x93NUMPY", f"is a single array without a frame rate. Save it as an archive: {_SAVE}"),
    (b"Vocaloid Motion Data", "is a VMD file. Convert it in Blender: import model and motion with MMD Tools, export BVH"),
)
"""First bytes -> what files of other formats are, and what to do."""
_NEEDLESS = {"avatarkit npz": ("up",), "SMPL npz": ("joint_map",), ".pose": ("up", "joint_map")}
"""Format -> options that do not apply to it."""


def load_motion(path: Path | str, body: BodyModel) -> Motion:
    """Read a file of ``save_motion``; a motion of another body model is retargeted.

    Raises:
        InputError: it is not such a file, or damaged.
    """
    path = Path(path)
    arrays = read_npz(path, OWN_ARRAYS, _MOST_BYTES, "motion file")
    return _checked(read_own(arrays, Reading(path, body))[0], path)


def find_motion(name: str, get: GetComponent) -> Motion:
    """Return a motion by the user's name for it: a built-in one, or a file.

    Args:
        name: of a built-in motion or a file.
        get: ``Context.get``, for motion source and body model.

    Raises:
        InputError: there is no such motion, or the file cannot be used.
    """
    source = get("motions")
    if not name or "\0" in name:
        raise InputError("The motion is empty: name a built-in motion or a motion file.")
    if name in source.names() or not (Path(name).suffix or Path(name).exists()):
        return source.motion(name)
    return read_motion(Path(name), get("body"))


def read_motion(
    path: Path | str, body: BodyModel, *, up: str | None = None, joint_map: Mapping[str, str] | None = None
) -> Motion:
    """Read a motion file of any supported format for a body model.

    The format is detected from the content: avatarkit's npz, SMPL-X, SMPL-H and SMPL npz (AMASS, AIST++, BEAT2, EMAGE and
    similar), BVH, glTF (GLB, VRMA), and ``.pose`` files with MediaPipe Holistic's landmarks. Motions in other formats than
    avatarkit's are turned to face the front. What had to be assumed is said in the log.

    Args:
        path: the file.
        body: the body model.
        up: axis of the file that is up: x, y, z, -x, -y or -z; None = found.
        joint_map: SMPL-X joint -> name in the file, for joints that are not recognized; see ``read_joint_map``.

    Raises:
        InputError: it cannot be used.
    """
    motion, info = inspect_motion(path, body, up=up, joint_map=joint_map)
    for note in info.notes:
        log.warning("%s", note)
    return motion


def inspect_motion(
    path: Path | str, body: BodyModel, *, up: str | None = None, joint_map: Mapping[str, str] | None = None
) -> tuple[Motion, MotionInfo]:
    """Read a motion file as ``read_motion`` does, and return what was understood of it, too."""
    path = Path(path)
    if up is not None and up not in UP_AXES:
        raise InputError(f"{up!r} is not an axis that can be up: use {', '.join(UP_AXES)}.")
    if not require_file(path, "motion file", _MOST_FILE_BYTES):
        raise InputError(f"The motion {path.name} is empty.")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise InputError(f"The motion {path} cannot be opened: {error.strerror}.") from error
    reading = Reading(path, body, up, joint_map or {})
    try:
        motion, info = _read(reading, head)
    except (ValueError, ArithmeticError, LookupError, RuntimeError) as error:  # from geometry such as bones of length zero
        log.debug("%s: %s", path.name, error)
        raise _impossible(path) from error
    for option in _NEEDLESS.get(info.format, ()):
        if getattr(reading, option):
            raise InputError(f"{path.name} needs no --{option.replace('_', '-')}: its format tells that.")
    return _checked(motion, path), info


def read_joint_map(path: Path) -> dict[str, str]:
    """Read a joint map: a JSON object of SMPL-X joint -> name in the motion file.

    Raises:
        InputError: it is no such file.
    """
    require_file(path, "joint map", _MOST_MAP_BYTES)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"The joint map {path} cannot be opened: {error.strerror}.") from error
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not data or not all(isinstance(v, str) for v in data.values()):
        raise InputError(f'{path.name} is not a joint map, such as {{"left_elbow": "Arm2_L"}}: JSON with names of the file.')
    return data


def _read(reading: Reading, head: bytes) -> tuple[Motion, MotionInfo]:
    path = reading.path
    if head[:2] == b"PK":
        arrays = read_npz(path, OWN_ARRAYS | SMPLX_ARRAYS, _MOST_BYTES, "motion file")
        if is_own(arrays):
            return read_own(arrays, reading)
        if is_smplx(arrays):
            return smplx_motion(arrays, reading)
        raise InputError(f"{path.name} contains no motion: it must be avatarkit's own format or SMPL-X poses.")
    if is_bvh(head):
        return bvh_motion(reading)
    if is_gltf(head):
        return gltf_motion(reading)
    if is_pose_file(head):
        motion = landmark_motion(read_pose_file(path), reading.solver, path.stem, path.name)
        moved = {"head", "neck", *(f"{s}_{n}" for s in ("left", "right") for n in ("shoulder", "elbow", "wrist"))}
        up = Up("y", "as in all files of this format")
        return motion, MotionInfo(".pose", "MediaPipe Holistic", up, "pixels", {n: n for n in sorted(moved)})
    for start, what in _REFUSED:
        if head.startswith(start):
            raise InputError(f"{path.name} {what}.")
    raise InputError(f"{path.name} is not a motion file. Supported are BVH, glTF, avatarkit's npz, SMPL-X npz and .pose.")


def _impossible(path: Path) -> InputError:
    return InputError(f"{path.name} contains bones or rotations that are impossible for a body. Export it again.")


def _checked(motion: Motion, path: Path) -> Motion:
    """Return a motion that was read, if its values are possible for a body."""
    p = motion.params
    if not all(bool(torch.isfinite(v).all()) for v in (p.shape, p.expression, p.root, p.translation, p.joints)):
        raise _impossible(path)
    return motion
