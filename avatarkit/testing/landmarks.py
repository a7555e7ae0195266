"""Landmark tables of the tiny body."""

from __future__ import annotations

import math

import numpy as np
import torch

from avatarkit.labelling.wholebody import FACE68
from avatarkit.types.body import JointLandmarks, SurfaceLandmarks

__all__ = ["tiny_landmarks"]

# Points of ``pose33`` (MediaPipe's numbers): the joint that each follows, and its position at rest.
_POSE33: dict[int, tuple[int, tuple[float, float, float]]] = {0: (2, (0.0, 1.58, 0.095))}
for _left, _right, _joints, (_x, _y, _z) in (
    (2, 5, (2, 2), (0.03, 1.62, 0.09)),
    (7, 8, (2, 2), (0.09, 1.60, 0.0)),
    (11, 12, (3, 5), (0.17, 1.36, 0.0)),
    (13, 14, (4, 6), (0.36, 1.12, 0.0)),
    (15, 16, (4, 6), (0.52, 0.90, 0.0)),
    (23, 24, (7, 8), (0.09, 0.90, 0.0)),
    (27, 28, (7, 8), (0.10, 0.05, 0.0)),
):
    _POSE33 |= {_left: (_joints[0], (_x, _y, _z)), _right: (_joints[1], (-_x, _y, _z))}

_EYES, _EYE_HEIGHT, _MOUTH_HEIGHT = (-0.03, 0.03), 1.62, 1.54  # meters at rest, the right eye first
_PUPILS = (468, 473)


def tiny_landmarks(
    name: str, joints: torch.Tensor, template: torch.Tensor, faces: torch.Tensor
) -> SurfaceLandmarks | JointLandmarks | None:
    """Return the tables ``pose33`` and ``face478``.

    Args:
        name: name of the set.
        joints: (J, 3) at rest.
        template: (V, 3).
        faces: (F, 3).
    """
    if name == "pose33":
        joint = torch.tensor([j for j, _ in _POSE33.values()])
        offset = torch.tensor([place for _, place in _POSE33.values()]) - joints[joint]
        length = (joints[1] - joints[2]).norm().expand(len(joint))
        bone = torch.tensor([[1, 2]]).expand(len(joint), 2)
        return JointLandmarks(torch.tensor(list(_POSE33)), joint, offset, bone, length, torch.ones(len(joint)))
    if name == "face478":
        points = np.tile([0.0, 1.58], (478, 1))
        points[[*FACE68, *_PUPILS]] = np.concatenate([_face68(), [(x, _EYE_HEIGHT) for x in _EYES]])
        return _on_the_front(torch.from_numpy(points).float(), template, faces)
    return None


def _face68() -> np.ndarray:
    """Return x and y (68, 2) of a face seen from the front, the person's right side first."""

    def arc(count: int, start: float, end: float, width: float, height: float, x: float, y: float) -> np.ndarray:
        turn = np.radians(np.linspace(start, end, count))
        return np.stack([x + width * np.cos(turn), y + height * np.sin(turn)], 1)

    def ring(count: int, width: float, height: float, x: float, y: float) -> np.ndarray:
        return arc(count + 1, 180, -180, width, height, x, y)[:-1]

    brows = [arc(5, 160, 20, 0.018, 0.012, x, 1.635) for x in _EYES]
    bridge = np.stack([np.zeros(4), np.linspace(1.62, 1.58, 4)], 1)
    eyes = [ring(6, 0.012, 0.006, x, _EYE_HEIGHT) for x in _EYES]
    lips = [ring(12, 0.025, 0.012, 0, _MOUTH_HEIGHT), ring(8, 0.02, 0.006, 0, _MOUTH_HEIGHT)]
    jaw = arc(17, 180, 360, 0.065, 0.05, 0, 1.56)
    return np.concatenate([jaw, *brows, bridge, arc(5, 200, 340, 0.012, 0.006, 0, 1.575), *eyes, *lips])


def _on_the_front(points: torch.Tensor, template: torch.Tensor, faces: torch.Tensor) -> SurfaceLandmarks:
    """Return the foremost triangle behind each point (n, 2), and the point's weights in it."""
    a, b, c = (template[faces[:, k], :2].double() for k in range(3))
    p = points.double()[:, None]

    def area(u: torch.Tensor, v: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return (v - u)[..., 0] * (w - u)[..., 1] - (v - u)[..., 1] * (w - u)[..., 0]

    whole = area(a, b, c)
    weights = torch.stack([area(p, b, c), area(a, p, c), area(a, b, p)], -1) / torch.where(whole == 0, math.inf, whole)[:, None]
    depth = (weights * template[faces, 2]).sum(-1)
    depth[(weights < -1e-9).any(-1) | (whole == 0)] = -math.inf
    best = depth.argmax(1)
    inside = weights[torch.arange(len(points)), best].float()
    return SurfaceLandmarks(faces[best], inside, torch.ones(len(points)))
