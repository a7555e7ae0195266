"""Colors that make the body model look like a person to landmark detectors."""

from __future__ import annotations

import numpy as np
import torch

from avatarkit_anny.model import AnnyBody

__all__ = ["Person", "random_person"]

_SKIN = np.array([0.85, 0.67, 0.58])
_LIPS = np.array([0.95, 0.62, 0.66])  # times skin
_HAIR = np.array([0.15, 0.10, 0.08])


class Person:
    """Paints one identity: skin, lips, brows, eyes with irises, and if wanted hair, clothes and shoes.

    Args:
        body: the model. rest: (V, 3) its shaped vertices. tone: lightness of the skin.
        brows: whether to draw them. hair: whether to draw hair on the scalp.
        shirt, trousers: colors (3,), None = bare.
    """

    def __init__(
        self,
        body: AnnyBody,
        rest: np.ndarray,
        tone: float,
        brows: bool = True,
        hair: bool = False,
        shirt: np.ndarray | None = None,
        trousers: np.ndarray | None = None,
    ) -> None:
        faces = body.faces.numpy()
        skin = np.clip(_SKIN * tone, 0, 1)
        color = np.tile(skin, (len(rest), 1))
        if shirt is not None:
            color[_moved_by(body, "spine", "root", "clavicle", "shoulder01", "pelvis", "upperarm01")] = shirt
        if trousers is not None:
            color[_moved_by(body, "upperleg", "lowerleg")] = trousers
            color[_moved_by(body, "foot", "toe")] = 0.15
        for part, value in (
            ("lips", skin * _LIPS),
            ("mouth_inside", np.array([0.35, 0.1, 0.1])),
            ("tongue", np.array([0.7, 0.35, 0.35])),
            ("teeth", np.array([0.9, 0.9, 0.85])),
        ):
            mask = body.part(part).numpy()[:, None]
            color = color * (1 - mask) + value * mask
        self._color = color[faces].mean(1)
        self._on_eye = (body.part("eyes").numpy() > 0.5)[faces].all(1)
        self._on_scalp = ((body.part("head").numpy() > 0.5) & (body.part("ears").numpy() < 0.5))[faces].all(1)
        self._brows, self._hair = brows, hair
        eyes = rest[body.part("eyes").numpy() > 0.5]
        self._eyes = [eyes[eyes[:, 0] * side > 0] for side in (-1.0, 1.0)]
        head = rest[body.part("head").numpy() > 0.5]
        self._top, self._back = head[:, 1].max(), head[:, 2].min()

    def __call__(self, face: np.ndarray, place: np.ndarray) -> np.ndarray:
        color = self._color[face].copy()
        if self._hair:
            _, y, z = place.T
            high = y > self._top - 0.055
            behind = (z < self._back + 0.1) & (y > self._top - 0.15)
            color[self._on_scalp[face] & (high | behind)] = _HAIR
        for eye in self._eyes:
            center = eye.mean(0)
            radius = np.linalg.norm(eye - center, axis=1).max()
            direction = place - center
            distance = np.linalg.norm(direction, axis=1) + 1e-9
            on_eye = self._on_eye[face] & (distance < 1.5 * radius)
            angle = np.degrees(np.arccos(np.clip(direction[:, 2] / distance, -1, 1)))
            color[on_eye] = [0.92, 0.91, 0.9]
            color[on_eye & (angle < 29)] = [0.25, 0.16, 0.1]
            color[on_eye & (angle < 12)] = 0.03
            if self._brows:
                self._draw_brow(color, direction, np.sign(center[0]))
        return color

    def _draw_brow(self, color: np.ndarray, direction: np.ndarray, side: float) -> None:
        x, y, z = direction.T
        outwards = x * side
        arch = 0.0215 + 0.004 * (1 - ((outwards - 0.006) / 0.022) ** 2)
        strength = 0.8 * np.clip(1.5 - np.abs(y - arch) / 0.003, 0, 1) * np.clip((0.026 - np.abs(x)) / 0.008, 0, 1)
        strength = np.where(np.abs(z) < 0.06, strength, 0.0)[:, None]
        color += strength * (_HAIR - color)


def _moved_by(body: AnnyBody, *prefixes: str) -> np.ndarray:
    """(V,) bool: vertices that follow mostly a joint whose name starts like this."""
    joints = [k for k, name in enumerate(body.joint_names) if name.startswith(prefixes)]
    return np.isin(body.skinning_indices[:, 0].numpy(), joints)


def random_person(body: AnnyBody, rng: np.random.Generator, spread: float, ages: tuple[float, float]) -> torch.Tensor:
    """(S,) a random adult: phenotypes around the middle, up to ``spread`` to either side."""
    shape = body.neutral().shape.clone()
    for name in ("gender", "muscle", "weight", "height", "proportions", "african", "asian", "caucasian"):
        shape[body.shape_names.index(name)] = float(rng.uniform(0.5 - spread, 0.5 + spread))
    shape[body.shape_names.index("age")] = float(rng.uniform(*ages))
    return shape
