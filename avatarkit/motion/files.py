"""Motion files: avatarkit's npz, SMPL-X archives, BVH and ``.pose``. Nothing in them is executed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.interfaces import BodyModel
from avatarkit.io.npz import read_npz
from avatarkit.motion.bvh import MOST_FRAMES, Bvh, read_bvh, write_bvh
from avatarkit.motion.lifting import landmark_motion
from avatarkit.motion.pose_format import is_pose_file, read_pose_file
from avatarkit.motion.pose_solver import PoseSolver
from avatarkit.motion.retargeting import SourceSkeleton, retarget
from avatarkit.motion.skeleton import recognize
from avatarkit.motion.smplx import SMPLX_ARRAYS, is_smplx, smplx_motion
from avatarkit.types.body import BodyParams, Motion
from avatarkit.utils.files import require_file, write_bytes
from avatarkit.utils.threads import single_threaded

__all__ = ["load_motion", "read_motion", "save_motion", "write_bvh"]

log = logging.getLogger("avatarkit.motion.files")

_FORMAT = "avatarkit-motion-1"
_ARRAYS = frozenset({
    "format", "model", "name", "fps", "loop", "joint_names", "joint_parents", "joint_positions", "expression_names",
    "shape", "expression", "root", "translation", "joints", "valid",
})  # fmt: skip
_MOST_BYTES = 400 << 20  # size limit of all arrays
_MOST_FILE_BYTES = 600 << 20
_MOST_JOINTS, _MOST_NUMBERS = 2_000, 5_000
_MOST_ROTATIONS = 3_000_000  # limit of frames times joints
_MOST_NAME = 100  # longest name, characters
_LARGEST = {"root": 1e3, "joints": 1e3, "translation": 1e6, "joint_positions": 1e6, "shape": 1e6, "expression": 1e3}


def save_motion(motion: Motion, body: BodyModel, path: Path | str) -> None:
    """Write a motion as npz.

    The names and rest positions of its joints are stored too, so that other body models can play it.

    Raises:
        InputError: the motion is for another body model.
        StoreError: the file cannot be written.
    """
    motion.require_model(body.name)
    p = motion.params
    with torch.no_grad(), single_threaded():
        rest = body.skeleton(p.shape).positions
    moving = {k: getattr(p, k).detach().cpu().numpy() for k in ("shape", "expression", "root", "translation", "joints")}
    facts = {"format": _FORMAT, "model": p.model, "name": motion.name, "fps": motion.fps, "loop": motion.loop}
    names = {
        "joint_names": np.array(body.joint_names),
        "joint_parents": np.array(body.parents, dtype=np.int64),
        "joint_positions": rest.detach().cpu().numpy(),
        "expression_names": np.array(body.expression_names),
        "shape_names": np.array(body.shape_names),
    }
    extra = {} if motion.valid is None else {"valid": motion.valid.cpu().numpy()}
    arrays = {k: np.asarray(v) for k, v in {**facts, **names, **moving, **extra}.items()}
    stream = BytesIO()  # np.savez leaves its archive open if writing to a file fails
    np.savez_compressed(stream, **arrays)
    write_bytes(Path(path), stream.getvalue())


def load_motion(path: Path | str, body: BodyModel) -> Motion:
    """Read a file of ``save_motion``; a motion of another body model is retargeted.

    Raises:
        InputError: it is not such a file, or damaged.
    """
    path = Path(path)
    return _checked(_own(read_npz(path, _ARRAYS, _MOST_BYTES, "motion file"), path, body), path)


def read_motion(path: Path | str, body: BodyModel) -> Motion:
    """Read a motion file of any supported format for a body model.

    The format is detected from the content: avatarkit's npz, SMPL-X, SMPL-H and SMPL npz (AMASS, BEAT2, EMAGE and similar), BVH,
    and ``.pose`` files with MediaPipe Holistic's landmarks. Motions in other formats are turned to face the front.

    Raises:
        InputError: it cannot be used.
    """
    path = Path(path)
    if not require_file(path, "motion file", _MOST_FILE_BYTES):
        raise InputError(f"The motion {path.name} is empty.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"The motion {path} cannot be opened: {error.strerror}.") from error
    try:
        return _checked(_read(path, head, body), path)
    except (ValueError, ArithmeticError, LookupError, RuntimeError) as error:  # from geometry such as bones of length zero
        log.debug("%s: %s", path.name, error)
        raise InputError(f"{path.name} contains bones or rotations that are impossible for a body. Export it again.") from error


def _read(path: Path, head: bytes, body: BodyModel) -> Motion:
    if head[:2] == b"PK":
        arrays = read_npz(path, _ARRAYS | SMPLX_ARRAYS, _MOST_BYTES, "motion file")
        if str(arrays.get("format", "")) == _FORMAT:
            return _own(arrays, path, body)
        if is_smplx(arrays):
            return smplx_motion(arrays, path, body)
        raise InputError(f"{path.name} contains no motion: it must be avatarkit's own format or SMPL-X poses.")
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"HIERARCHY"):
        return _bvh(path, body)
    if is_pose_file(head):
        return landmark_motion(read_pose_file(path), PoseSolver(body), path.stem, path.name)
    raise InputError(f"{path.name} is not a motion file. Supported are BVH, avatarkit's npz, SMPL-X npz and .pose.")


def _checked(motion: Motion, path: Path) -> Motion:
    """Return a motion that was read, if its values are possible for a body."""
    p = motion.params
    if not all(bool(torch.isfinite(v).all()) for v in (p.shape, p.expression, p.root, p.translation, p.joints)):
        raise InputError(f"{path.name} contains bones or rotations that are impossible for a body. Export it again.")
    return motion


def _array(arrays: Mapping[str, np.ndarray], name: str) -> torch.Tensor:
    """Return one array of numbers as float32, checked to be within bounds."""
    values = arrays[name]
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all() or np.abs(values).max(initial=0) > _LARGEST[name]:
        raise ValueError(name)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _own(arrays: Mapping[str, np.ndarray], path: Path, body: BodyModel) -> Motion:
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
        return Motion(name, fps, params, bool(loop), valid)
    vectors = moving["joints"].double().clone()
    vectors[:, 0] = moving["root"].double()
    local = axis_angle_to_matrix(vectors)
    world = [local[:, 0]]
    for j, parent in enumerate(parents[1:], start=1):
        world.append(world[parent] @ local[:, j])
    rest = moving["joint_positions"].double()
    found = recognize(joint_names, parents)
    actions = {a: moving["expression"][:, k] for k, a in enumerate(expression_names)}
    performer = SourceSkeleton(
        path.name, {n: rest[j] for n, j in found.items()}, {n: world[j] for n, j in found.items()},
        moving["translation"].double(), fps, actions,
    )  # fmt: skip
    return retarget(performer, PoseSolver(body), name)


def _printable(name: str) -> str:
    """Return a name from a file that is safe for terminals and file names."""
    return "".join(c for c in name[:_MOST_NAME] if c.isprintable()) or "motion"


def _bvh(path: Path, body: BodyModel) -> Motion:
    file = read_bvh(path)
    if set(body.joint_names) <= set(file.names):
        native = _native(file, path, body)
        if native is not None:
            return native
    found = recognize(file.names, file.parents)
    places = file.rest_positions()
    rest = {n: places[j] for n, j in found.items()}
    for name, j in found.items():
        tip = file.tips.get(j)
        child = next((c for c, parent in enumerate(file.parents) if parent == j), None)
        if tip is not None:
            rest[name + "_tip"] = places[j] + tip
        elif child is not None:
            rest[name + "_tip"] = places[child]
    world = file.world_rotations()
    turns = {n: world[:, j] for n, j in found.items()}
    positions = file.positions if file.placed else None
    return retarget(SourceSkeleton(path.name, rest, turns, positions, file.fps), PoseSolver(body), path.stem)


def _native(file: Bvh, path: Path, body: BodyModel) -> Motion | None:
    """Return the motion of a file with the body model's own skeleton, without retargeting."""
    index = [file.names.index(n) for n in body.joint_names]
    neutral = body.neutral()
    with torch.no_grad():
        ours = body.skeleton(neutral.shape).positions.double().cpu()
    theirs = file.rest_positions()[index]
    parents = torch.tensor([p if p >= 0 else 0 for p in body.parents])
    a, b = ours - ours[parents], theirs - theirs[parents]
    long = (a.norm(dim=-1) > 0.03) & (b.norm(dim=-1) > 0)
    for to_ours in (torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])):  # y up, z up
        turn = to_ours.double()
        if torch.nn.functional.cosine_similarity(a[long], (b @ turn.T)[long], dim=-1).median() > 0.97:
            break
    else:
        return None
    direct = [file.names[p] if p >= 0 else "" for p in (file.parents[j] for j in index)]
    if any(name != (body.joint_names[p] if p >= 0 else name) for name, p in zip(direct, body.parents, strict=True)):
        return None  # the file has further joints in between; their rotations would be lost
    joints = matrix_to_axis_angle(turn @ file.rotations[:, index] @ turn.T)
    scale = float(a[long].norm(dim=-1).sum() / b[long].norm(dim=-1).sum())
    moved = (file.positions - file.offsets[0]) @ turn.T * scale if file.placed else torch.zeros(len(joints), 3)
    root = joints[:, 0].clone()
    joints[:, 0] = 0
    expression = torch.zeros(len(joints), len(body.expression_names))
    params = BodyParams(body.name, neutral.shape.cpu(), expression, root.float(), moved.float(), joints.float())
    return Motion(path.stem, file.fps, params)
