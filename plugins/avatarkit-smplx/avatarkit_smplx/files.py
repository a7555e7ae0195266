"""Reading SMPL-X's files without running what they may hold.

The official npz has a few arrays of Python objects (tables of names), for which the package ``smplx`` reads it with pickle
allowed, and the older pkl is nothing but a pickle: both can run code. Here only arrays of numbers are read, and handed to the
package in a file of our own.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from avatarkit.errors import InputError, MissingWeights
from avatarkit.io.npz import read_npz
from avatarkit.utils.files import read_text, require_file
from avatarkit.utils.paths import find_weights

__all__ = ["UV_WEIGHTS", "WEIGHTS", "find_model", "load_smplx", "read_uv"]

log = logging.getLogger("avatarkit.smplx")

WEIGHTS, UV_WEIGHTS = "smplx", "smplx-uv"
JOINTS = 55
_MOST_BYTES = 1 << 30  # of the arrays that are read
_MOST_OBJ_BYTES = 64 << 20
_LARGEST = 2**33  # the root's parent is 2**32 - 1
_NUMBERS = (
    "v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f", "lmk_faces_idx", "lmk_bary_coords",
    "hands_componentsl", "hands_componentsr", "hands_meanl", "hands_meanr",
)  # fmt: skip


def find_model(gender: str) -> Path:
    """Return the model file among the user's weights.

    Raises:
        MissingWeights: there is none.
    """
    found = find_weights(WEIGHTS)
    if found is not None and found.is_dir():
        name = f"SMPLX_{gender.upper()}"
        candidates = [*found.rglob(f"{name}.npz"), *found.rglob(f"{name}_*.npz")]
        found = min(candidates, key=lambda p: len(p.parts), default=None)
    if found is None:
        raise MissingWeights(
            f"The model file SMPLX_{gender.upper()}.npz is missing: register at smpl-x.is.tue.mpg.de (non-commercial use), then "
            f"avatarkit weights add {WEIGHTS} FILE"
        )
    return found


def _read(path: Path, wanted: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the numeric arrays of an npz file; objects are never loaded.

    Raises:
        InputError: it is no npz, is damaged, or lacks a wanted array.
    """
    require_file(path, "SMPL-X model")
    try:
        with path.open("rb") as file:
            head = file.read(2)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if head != b"PK":
        raise InputError(
            f"{path.name} is no npz file. Pickles (.pkl) can run code and are not read; take the makers' SMPLX_NEUTRAL.npz."
        )
    arrays = read_npz(path, (*wanted, *optional), _MOST_BYTES, "SMPL-X model")
    for name in wanted:
        if name not in arrays:
            raise InputError(f"{path.name} is no SMPL-X model: it lacks {name}, or holds objects where numbers should be.")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all() or np.abs(array).max(initial=0) > _LARGEST:
            raise InputError(f"{path.name} is no SMPL-X model: {name} holds impossible values.")
    return arrays


def load_smplx(path: Path, shapes: int, expressions: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the package's own model object, and the file's texture coordinates, if any."""
    import smplx

    arrays = _read(path, _NUMBERS, ("vt", "ft"))
    V = len(arrays["v_template"]) if arrays["v_template"].ndim else -1
    fits = arrays["v_template"].shape == (V, 3) and arrays["shapedirs"].shape[:2] == (V, 3) and arrays["shapedirs"].ndim == 3
    fits &= arrays["J_regressor"].shape == (JOINTS, V) and arrays["weights"].shape == (V, JOINTS)
    fits &= arrays["kintree_table"].shape == (2, JOINTS) and arrays["f"].ndim == 2 and arrays["f"].dtype.kind in "iu"
    fits = fits and arrays["f"].shape[1] == 3 and arrays["f"].min(initial=0) >= 0 and arrays["f"].max(initial=0) < V
    parents = arrays["kintree_table"].reshape(-1)[1 : len(arrays["kintree_table"].reshape(-1)) // 2]  # parents come first
    fits = bool(fits) and all(0 <= int(p) < j for j, p in enumerate(parents, start=1))
    if not fits:
        raise InputError(f"{path.name} is no SMPL-X model: its arrays have other shapes.")
    uv: dict[str, np.ndarray] = {k: arrays.pop(k) for k in ("vt", "ft") if k in arrays}
    arrays["posedirs"] = np.zeros((V, 3, 1), np.float32)  # not used, and the largest of all
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="avatarkit-smplx-") as folder, contextlib.redirect_stdout(said):
        clean = Path(folder) / "SMPLX_NEUTRAL.npz"
        named: dict[str, Any] = arrays
        np.savez(clean, **named)
        model = smplx.SMPLX(
            str(clean), num_betas=shapes, num_expression_coeffs=expressions, use_pca=False, flat_hand_mean=True, ext="npz"
        )
    if said.getvalue():
        log.info("%s", said.getvalue().strip())
    return model.eval().requires_grad_(False), uv


def read_uv(own: dict[str, np.ndarray], faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (U, 2) texture coordinates and (F, 3) their numbers per face.

    Args:
        own: ``vt`` and ``ft`` of the model file, where it has them.
        faces: (F, 3) of the model.

    Raises:
        MissingWeights: neither the model file nor the user's weights have any.
        InputError: they are of another mesh.
    """
    if {"vt", "ft"} <= own.keys():
        uv, uv_faces, source = own["vt"], own["ft"], "the model file"
    else:
        path = find_weights(UV_WEIGHTS)
        if path is None:
            raise MissingWeights(
                "The SMPL-X model file has no texture coordinates; add the makers' smplx_uv.obj (non-commercial use): "
                f"avatarkit weights add {UV_WEIGHTS} FILE"
            )
        (uv, uv_faces), source = _obj(path), path.name
    if uv.ndim != 2 or uv.shape[1] != 2 or uv_faces.shape != faces.shape or not 0 <= uv_faces.min() <= uv_faces.max() < len(uv):
        raise InputError(f"The texture coordinates of {source} do not belong to this SMPL-X model.")
    return uv.astype(np.float32).clip(0, 1), uv_faces.astype(np.int64)


def _obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    points, corners = [], []
    try:
        for line in read_text(path, "file of texture coordinates", _MOST_OBJ_BYTES).splitlines():
            kind, *words = line.split()[:4] or [""]
            if kind == "vt":
                points.append([float(w) for w in words[:2]])
            elif kind == "f":
                corners.append([int(w.split("/")[1]) - 1 for w in words])
        return np.array(points, np.float32), np.array(corners, np.int64)
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path.name} is no OBJ file with texture coordinates.") from error
