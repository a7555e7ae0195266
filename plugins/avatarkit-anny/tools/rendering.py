"""Plain pictures of the body model, good enough for landmark detectors, for the scripts that derive tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np

__all__ = ["Camera", "Picture", "look_at", "render", "rotation", "vertex_normals"]

Paint = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (face of each pixel, its rest position) to color


@dataclass(frozen=True)
class Camera:
    """A square pinhole camera (OpenCV axes).

    Attributes:
        rotation: (3, 3) and translation (3,), world to camera. focal: pixels. size: pixels.
    """

    rotation: np.ndarray
    translation: np.ndarray
    focal: float
    size: int

    def view(self, points: np.ndarray) -> np.ndarray:
        """World (..., 3) to camera (..., 3)."""
        return points @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """Camera (..., 3) to pixels (..., 2)."""
        return points[..., :2] / points[..., 2:] * self.focal + self.size / 2


@dataclass(frozen=True)
class Picture:
    """A rendering.

    Attributes:
        image: (H, W, 3) uint8. camera: that took it.
        vertices: (V, 3) and normals (V, 3) in camera space.
    """

    image: np.ndarray
    camera: Camera
    vertices: np.ndarray
    normals: np.ndarray


def rotation(axis: str, degrees: float) -> np.ndarray:
    """(3, 3) rotation about x or y."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def look_at(center: np.ndarray, yaw: float, pitch: float, distance: float, focal: float, size: int) -> Camera:
    """Return a camera in front of a person at ``center``, turned about it by yaw and pitch (degrees)."""
    turn = rotation("x", pitch) @ rotation("y", yaw) @ np.diag([1.0, -1.0, -1.0])
    return Camera(turn, np.array([0.0, 0.0, distance]) - turn @ center, focal, size)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, weighted by area."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for corner in faces.T:
        np.add.at(out, corner, normal)
    return out / (np.linalg.norm(out, axis=1, keepdims=True) + 1e-12)


def render(
    vertices: np.ndarray,
    rest: np.ndarray,
    faces: np.ndarray,
    camera: Camera,
    paint: Paint,
    light: np.ndarray,
    background: float,
    supersample: int = 1,
) -> Picture:
    """Render with diffuse light.

    Args:
        vertices: (V, 3) world.
        rest: (V, 3) what ``paint`` is told about the place of a pixel.
        faces: (F, 3).
        camera: of the picture.
        paint: gives colors (P, 3), 0 to 1, for faces (P,) and rest positions (P, 3).
        light: (3,) direction to the light in camera space.
        background: gray, 0 to 1.
        supersample: pixels per pixel along each side.
    """
    size = camera.size * supersample
    seen = camera.view(vertices)
    normals = vertex_normals(seen, faces)
    pixels = camera.project(seen) * supersample
    hit, weight = _rasterize(pixels, np.ascontiguousarray(seen[:, 2]), faces, size)
    row, column = np.nonzero(hit >= 0)
    face, w = hit[row, column], weight[row, column][..., None]
    corner = faces[face]
    normal = (normals[corner] * w).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    shade = 0.35 + 0.65 * np.clip(normal @ (light / np.linalg.norm(light)), 0, 1)
    image = np.full((size, size, 3), background)
    image[row, column] = paint(face, (rest[corner] * w).sum(1)) * shade[:, None]
    image = image.reshape(camera.size, supersample, camera.size, supersample, 3).mean((1, 3))
    return Picture((image.clip(0, 1) * 255).astype(np.uint8), camera, seen, normals)


@numba.njit(cache=True)
def _rasterize(
    pixels: np.ndarray, depth: np.ndarray, faces: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover (compiled)
    """(size, size) nearest face, -1 for none, and (size, size, 3) its perspective-correct barycentric weights."""
    hit = np.full((size, size), -1, np.int64)
    weight = np.zeros((size, size, 3))
    nearest = np.full((size, size), np.inf)
    for f in range(len(faces)):
        a, b, c = faces[f]
        if min(depth[a], depth[b], depth[c]) < 1e-3:
            continue
        xa, ya, xb, yb, xc, yc = pixels[a, 0], pixels[a, 1], pixels[b, 0], pixels[b, 1], pixels[c, 0], pixels[c, 1]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if abs(area) < 1e-9:
            continue
        for v in range(max(0, int(min(ya, yb, yc) - 0.5)), min(size, int(max(ya, yb, yc) + 1.5))):
            for u in range(max(0, int(min(xa, xb, xc) - 0.5)), min(size, int(max(xa, xb, xc) + 1.5))):
                x, y = u + 0.5 - xa, v + 0.5 - ya
                wb = (x * (yc - ya) - (xc - xa) * y) / area
                wc = ((xb - xa) * y - x * (yb - ya)) / area
                wa = 1.0 - wb - wc
                if min(wa, wb, wc) < 0:
                    continue
                z = 1.0 / (wa / depth[a] + wb / depth[b] + wc / depth[c])
                if z < nearest[v, u]:
                    nearest[v, u], hit[v, u] = z, f
                    weight[v, u, 0], weight[v, u, 1], weight[v, u, 2] = (
                        wa / depth[a] * z,
                        wb / depth[b] * z,
                        wc / depth[c] * z,
                    )
    return hit, weight
