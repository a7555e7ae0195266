"""Motions as ``.npz`` files: plain arrays, nothing that executes.

Keys: ``format`` ("avatarkit-motion"), ``format_version`` (1), ``model``, ``name``, ``fps``, ``loop``; ``expression``
(T, E), ``root`` (T, 3), ``translation`` (T, 3), ``joints`` (T, J, 3) and ``shape`` (S,) as in ``BodyParams``; ``valid``
(T,); and the names of the columns, ``joint_names`` (J,) and ``expression_names`` (E,), by which other body models may
read it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatarkit.body import BodyParams, Motion
from avatarkit.errors import InputError
from avatarkit.interfaces import BodyModel
from avatarkit.store import disk_errors

if TYPE_CHECKING:
    from avatarkit.components import Components
    from avatarkit.interfaces import Context

__all__ = ["find_motion", "read_motion", "write_motion"]

FORMAT, FORMAT_VERSION = "avatarkit-motion", 1
_ARRAYS = ("shape", "expression", "root", "translation", "joints")


def find_motion(name: str, components: Components | Context) -> Motion:
    """A motion by the name or the file that a user gives.

    Args:
        name: of a motion that the build's motion source knows, or the path of a file: ours are read here, others are
            left to the source.
        components: of an avatar or a recipe.

    Raises:
        InputError: there is no such motion, or the file cannot be used.
    """
    source, path = components.get("motions"), Path(name)
    if name not in source.names() and path.suffix.lower() == ".npz" and (_is_ours(path) or not path.is_file()):
        return read_motion(path, components.get("body"))
    return source.motion(name)


def _is_ours(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "format_version.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def write_motion(path: Path, motion: Motion, body: BodyModel) -> None:
    """Writes a motion of ``body``.

    Raises:
        StoreError: no space, no permission.
    """
    arrays = {name: getattr(motion.params, name).detach().cpu().numpy() for name in _ARRAYS}
    valid = torch.ones(len(motion), dtype=torch.bool) if motion.valid is None else motion.valid
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:  # so that numpy adds no second suffix
            np.savez_compressed(
                stream,
                format=np.array(FORMAT),
                format_version=np.array(FORMAT_VERSION),
                model=np.array(motion.params.model),
                name=np.array(motion.name),
                fps=np.array(float(motion.fps)),
                loop=np.array(motion.loop),
                valid=valid.numpy(),
                joint_names=np.array(body.joint_names),
                expression_names=np.array(body.expression_names),
                **arrays,
            )


def read_motion(path: Path, body: BodyModel) -> Motion:
    """Reads what ``write_motion`` wrote.

    Raises:
        InputError: the file is missing, damaged, no motion of avatarkit's, newer, or of another body model.
    """
    if not path.is_file():
        raise InputError(f"There is no motion file {path}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
        if str(data["format"]) != FORMAT:
            raise KeyError("format")
        version, model = int(data["format_version"]), str(data["model"])
        arrays = {name: torch.from_numpy(np.ascontiguousarray(data[name], np.float32)) for name in _ARRAYS}
        motion = Motion(
            name=str(data["name"]),
            fps=float(data["fps"]),
            params=BodyParams(model, **arrays),
            loop=bool(data["loop"]),
            valid=torch.from_numpy(data["valid"].astype(bool)),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a motion file of avatarkit's, or it is damaged ({error}).") from error
    if version > FORMAT_VERSION:
        raise InputError(f"{path} was written by a newer avatarkit: pip install --upgrade avatarkit.")
    if model != body.name:
        raise InputError(f"{path} holds a motion of the body model {model!r}, and {body.name!r} is asked for.")
    T, J, E = arrays["root"].shape[0], len(body.joint_names), len(body.expression_names)
    expected = {"expression": (T, E), "root": (T, 3), "translation": (T, 3), "joints": (T, J, 3)}
    for name, shape in expected.items():
        if tuple(arrays[name].shape) != shape:
            raise InputError(f"{path} is damaged: {name} has the shape {tuple(arrays[name].shape)}, expected {shape}.")
    if T == 0 or not 0 < motion.fps <= 1000 or not all(torch.isfinite(a).all() for a in arrays.values()):
        raise InputError(f"{path} is damaged: it has no frames, no frame rate, or numbers that are not finite.")
    return motion
