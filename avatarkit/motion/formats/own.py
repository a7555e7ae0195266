"""avatarkit's own motion files: npz with the names and rest positions of the joints, so that any body model can play them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.interfaces import BodyModel
from avatarkit.motion.formats.bvh import MOST_FRAMES
from avatarkit.motion.reading import MotionInfo, Reading
from avatarkit.motion.skeleton import recognize_rig
from avatarkit.motion.source_skeleton import SourceSkeleton
from avatarkit.motion.up_axis import Up
from avatarkit.types.body import BodyParams, Motion
from avatarkit.utils.files import write_bytes
from avatarkit.utils.threads import single_threaded

__all__ = ["ARRAYS", "is_own", "read_own", "save_motion", "soles"]

_FORMAT = "avatarkit-motion-1"
ARRAYS = frozenset({
    "format", "model", "name", "fps", "loop", "joint_names", "joint_parents", "joint_positions", "expression_names",
    "shape", "expression", "root", "translation", "joints", "valid", "moves",
})  # fmt: skip
_MOST_JOINTS, _MOST_NUMBERS = 2_000, 5_000
_MOST_ROTATIONS = 3_000_000  # limit of frames times joints
_MOST_NAME = 100  # longest name, characters
_LARGEST = {"root": 1e3, "joints": 1e3, "translation": 1e6, "joint_positions": 1e6, "shape": 1e6, "expression": 1e3}


def is_own(arrays: Mapping[str, np.ndarray]) -> bool:
    """Return whether an archive is a motion of ``save_motion``."""
    return str(arrays.get("format", "")) == _FORMAT


def soles(body: BodyModel, shape: torch.Tensor) -> float:
    """Return the height of the soles at rest, meters; what is exported stands at zero."""
    with torch.no_grad():
        vertices = body.rest(shape, torch.zeros(1, len(body.expression_names)).to(shape))
    return float(vertices[0, :, 1].min())


def save_motion(motion: Motion, body: BodyModel, path: Path | str) -> None:
    """Write a motion as npz.

    The names and rest positions of its joints are stored too, with the soles at zero, so that other body models can play it.

    Raises:
        InputError: the motion is for another body model.
        StoreError: the file cannot be written.
    """
    motion.require_model(body.name)
    p = motion.params
    with torch.no_grad(), single_threaded():
        rest = body.skeleton(p.shape).positions.detach().cpu().clone()
        rest[:, 1] -= soles(body, p.shape)
    moving = {k: getattr(p, k).detach().cpu().numpy() for k in ("shape", "expression", "root", "translation", "joints")}
    facts = {"format": _FORMAT, "model": p.model, "name": motion.name, "fps": motion.fps, "loop": motion.loop}
    names = {
        "joint_names": np.array(body.joint_names),
        "joint_parents": np.array(body.parents, dtype=np.int64),
        "joint_positions": rest.numpy(),
        "expression_names": np.array(body.expression_names),
        "shape_names": np.array(body.shape_names),
    }
    extra = {} if motion.valid is None else {"valid": motion.valid.cpu().numpy()}
    extra |= {"moves": np.array(sorted(motion.moves), dtype="U8")}
    arrays: dict[str, Any] = {k: np.asarray(v) for k, v in {**facts, **names, **moving, **extra}.items()}
    stream = BytesIO()  # np.savez leaves its archive open if writing to a file fails
    np.savez_compressed(stream, **arrays)
    write_bytes(Path(path), stream.getvalue())


def _array(arrays: Mapping[str, np.ndarray], name: str) -> torch.Tensor:
    """Return one array of numbers as float32, checked to be within bounds."""
    values = arrays[name]
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all() or np.abs(values).max(initial=0) > _LARGEST[name]:
        raise ValueError(name)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def read_own(arrays: Mapping[str, np.ndarray], reading: Reading) -> tuple[Motion, MotionInfo]:
    """Read the arrays of ``save_motion``; a motion of another body model is retargeted.

    Raises:
        InputError: the arrays are damaged.
    """
    path, body = reading.path, reading.body
    try:
        fps, loop = (float(arrays[k].item()) for k in ("fps", "loop"))
        if len(arrays["root"]) > MOST_FRAMES:
            raise InputError(f"{path.name} has {len(arrays['root'])} frames; the limit is {MOST_FRAMES}. Cut it into parts.")
        for field, most in (("joint_names", _MOST_JOINTS), ("joint_parents", _MOST_JOINTS), ("expression_names", _MOST_NUMBERS)):
            if arrays[field].ndim != 1 or len(arrays[field]) > most:
                raise ValueError(field)
        model, name = str(arrays["model"]), _printable(str(arrays["name"]))
        joint_names = tuple(str(n) for n in arrays["joint_names"])
        expression_names = tuple(str(n) for n in arrays["expression_names"])
        moving = {k: _array(arrays, k) for k in ("shape", "expression", "root", "translation", "joints", "joint_positions")}
        parents = tuple(int(j) for j in arrays["joint_parents"])
        valid = torch.from_numpy(arrays["valid"].astype(bool)) if "valid" in arrays else None
        moves = frozenset(str(n) for n in arrays["moves"].reshape(-1)[:10]) if "moves" in arrays else frozenset()
        T, J = len(moving["root"]), len(joint_names)
        wanted = {
            "expression": (T, len(expression_names)),
            "root": (T, 3),
            "translation": (T, 3),
            "joints": (T, J, 3),
            "joint_positions": (J, 3),
        }
        sound = T > 0 and 0.1 <= fps <= 10_000 and all(tuple(moving[k].shape) == s for k, s in wanted.items())
        sound &= moving["shape"].ndim == 1 and len(moving["shape"]) <= _MOST_NUMBERS and T * J <= _MOST_ROTATIONS
        sound &= len(parents) == J == len(set(joint_names))
        sound &= parents[:1] == (-1,) and all(0 <= p < j for j, p in enumerate(parents[1:], start=1))
        sound &= valid is None or tuple(valid.shape) == (T,)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path.name} is a damaged avatarkit motion; save it again.") from error
    if not sound:
        raise InputError(f"{path.name} is a damaged avatarkit motion: its arrays do not fit together.")
    expression = torch.zeros(T, len(body.expression_names))
    for k, action in enumerate(body.expression_names):
        if action in expression_names:
            expression[:, k] = moving["expression"][:, expression_names.index(action)]
    if model == body.name and set(joint_names) == set(body.joint_names):
        order = [joint_names.index(n) for n in body.joint_names]
        fits = moving["shape"].shape == body.neutral().shape.shape
        shape = moving["shape"] if fits else body.neutral().shape.cpu()
        joints = moving["joints"][:, order]
        params = BodyParams(model, shape, expression, moving["root"], moving["translation"], joints)
        info = MotionInfo("avatarkit npz", model, Up("y", "as in avatarkit's own files"), "m", {n: n for n in joint_names})
        return Motion(name, fps, params, bool(loop), valid, moves), info
    vectors = moving["joints"].double().clone()
    vectors[:, 0] = moving["root"].double()
    local = axis_angle_to_matrix(vectors)
    world = [local[:, 0]]
    for j, parent in enumerate(parents[1:], start=1):
        world.append(world[parent] @ local[:, j])
    rest = moving["joint_positions"].double()
    recognized = recognize_rig(joint_names, parents, reading.joint_map)
    found = recognized.joints
    actions = {a: moving["expression"][:, k] for k, a in enumerate(expression_names)}
    source = SourceSkeleton(
        path.name, {n: rest[j] for n, j in found.items()}, {n: world[j] for n, j in found.items()},
        moving["translation"].double(), fps, actions, anatomical=True, relative=True,
    )  # fmt: skip
    names = {n: joint_names[j] for n, j in found.items()}
    motion, info = reading.retargeted(source, "avatarkit npz", recognized.rig, names, name)
    return replace(motion, loop=bool(loop), valid=valid, moves=moves), info


def _printable(name: str) -> str:
    """Return a name from a file that is safe for terminals and file names."""
    return "".join(c for c in name[:_MOST_NAME] if c.isprintable()) or "motion"
