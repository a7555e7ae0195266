"""Motion files: ours, SMPL-X archives, BVH, and landmarks in ``.pose`` files. Nothing in them is executed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from avatarkit.body import BodyParams, Motion
from avatarkit.bvh import Bvh, read_bvh, write_bvh
from avatarkit.errors import InputError
from avatarkit.files import write_bytes
from avatarkit.interfaces import BodyModel
from avatarkit.joint_names import recognise
from avatarkit.landmark_motion import landmark_motion
from avatarkit.pose_file import is_pose_file, read_pose_file
from avatarkit.posing import Poser
from avatarkit.retargeting import Performer, retarget
from avatarkit.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.smplx_motion import is_smplx, smplx_motion
from avatarkit.threads import single_threaded

__all__ = ["load_motion", "read_motion", "save_motion", "write_bvh"]

_FORMAT = "avatarkit-motion-1"
_MOST_BYTES = 1 << 30
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, SyntaxError, MemoryError)
_MOST_FILE_BYTES = 600 << 20


def save_motion(motion: Motion, body: BodyModel, path: Path | str) -> None:
    """Writes a motion as npz, with the names and rest positions of its joints so that other body models can play it.

    Raises:
        InputError: the motion is for another body model. StoreError: the file cannot be written.
    """
    p = motion.params
    if p.model != body.name:
        raise InputError(f"The motion is for the body model {p.model!r}, not for {body.name!r}.")
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
    stream = BytesIO()  # np.savez leaves its archive open where writing fails
    np.savez_compressed(stream, **arrays)
    write_bytes(Path(path), stream.getvalue())


def load_motion(path: Path | str, body: BodyModel) -> Motion:
    """Reads what ``save_motion`` wrote; a motion of another body model is retargeted.

    Raises:
        InputError: it is not such a file, or damaged.
    """
    return _own(_read_archive(Path(path)), Path(path), body)


def read_motion(path: Path | str, body: BodyModel) -> Motion:
    """Reads a motion file of any known kind, told by its content, for a body model.

    Known are our own npz, SMPL-X, SMPL-H and SMPL npz (AMASS, BEAT2, EMAGE and alike), BVH, and ``.pose`` files with
    MediaPipe Holistic's landmarks. Foreign motions are turned to face the front.

    Raises:
        InputError: it cannot be used.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"The motion {path} cannot be opened: {error.strerror}.") from error
    if not size:
        raise InputError(f"The motion {path.name} is empty.")
    if size > _MOST_FILE_BYTES:
        raise InputError(f"The motion {path.name} is larger than {_MOST_FILE_BYTES >> 20} MB; cut it into parts.")
    if head[:2] == b"PK":
        arrays = _read_archive(path)
        if str(arrays.get("format", "")) == _FORMAT:
            return _own(arrays, path, body)
        if is_smplx(arrays):
            return smplx_motion(arrays, path, body)
        raise InputError(f"{path.name} holds no motion that avatarkit knows: neither its own format nor SMPL-X poses.")
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"HIERARCHY"):
        return _bvh(path, body)
    if is_pose_file(head):
        return landmark_motion(read_pose_file(path), Poser(body), path.stem, path.name)
    raise InputError(f"{path.name} is not a motion file that avatarkit reads: BVH, its own npz, SMPL-X npz or .pose.")


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    """Numbers and texts of an npz file; arrays of Python objects are left out, as reading them could run code."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            if sum(m.file_size for m in members) > _MOST_BYTES:
                raise InputError(f"{path.name} unpacks to more than {_MOST_BYTES >> 30} GB; cut the motion into parts.")
            found = {m.filename.removesuffix(".npy"): _array(archive.read(m)) for m in members}
    except _DAMAGE as error:
        raise InputError(f"{path.name} is a damaged npz file; save or download it again.") from error
    return {k: v for k, v in found.items() if v is not None}


def _array(data: bytes) -> np.ndarray | None:
    """One npy member; None for Python objects."""
    stream = BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.hasobject:
        return None
    count = 1
    for n in shape:
        count *= int(n)
    if dtype.itemsize * count > len(data) - stream.tell():
        raise ValueError("an array is cut short")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _own(arrays: Mapping[str, np.ndarray], path: Path, body: BodyModel) -> Motion:
    try:
        model, name = str(arrays["model"]), str(arrays["name"])
        fps, loop = float(arrays["fps"]), bool(arrays["loop"])
        joint_names = tuple(str(n) for n in arrays["joint_names"])
        expression_names = tuple(str(n) for n in arrays["expression_names"])
        moving = {
            k: torch.from_numpy(np.ascontiguousarray(arrays[k], dtype=np.float32))
            for k in ("shape", "expression", "root", "translation", "joints", "joint_positions")
        }
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
        sound &= all(bool(torch.isfinite(v).all()) for v in moving.values()) and len(parents) == J
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
        return Motion(name, fps, params, loop, valid)
    vectors = moving["joints"].double().clone()
    vectors[:, 0] = moving["root"].double()
    local = axis_angle_to_matrix(vectors)
    world = [local[:, 0]]
    for j, parent in enumerate(parents[1:], start=1):
        world.append(world[parent] @ local[:, j])
    rest = moving["joint_positions"].double()
    found = recognise(joint_names, parents)
    actions = {a: moving["expression"][:, k] for k, a in enumerate(expression_names)}
    performer = Performer(
        path.name, {n: rest[j] for n, j in found.items()}, {n: world[j] for n, j in found.items()},
        moving["translation"].double(), fps, actions,
    )  # fmt: skip
    return retarget(performer, Poser(body), name)


def _bvh(path: Path, body: BodyModel) -> Motion:
    file = read_bvh(path)
    if set(body.joint_names) <= set(file.names):
        native = _native(file, path, body)
        if native is not None:
            return native
    found = recognise(file.names, file.parents)
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
    return retarget(Performer(path.name, rest, turns, positions, file.fps), Poser(body), path.stem)


def _native(file: Bvh, path: Path, body: BodyModel) -> Motion | None:
    """A file that has the body model's own skeleton, bone for bone: rotations are taken over as they are."""
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
        return None  # joints in between, whose rotations would be lost
    joints = matrix_to_axis_angle(turn @ file.rotations[:, index] @ turn.T)
    scale = float(a[long].norm(dim=-1).sum() / b[long].norm(dim=-1).sum())
    moved = (file.positions - file.offsets[0]) @ turn.T * scale if file.placed else torch.zeros(len(joints), 3)
    root = joints[:, 0].clone()
    joints[:, 0] = 0
    expression = torch.zeros(len(joints), len(body.expression_names))
    params = BodyParams(body.name, neutral.shape.cpu(), expression, root.float(), moved.float(), joints.float())
    return Motion(path.stem, file.fps, params)
