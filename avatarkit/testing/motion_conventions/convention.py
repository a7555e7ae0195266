"""The choices that writers of motion files make."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations, product

import numpy as np
from scipy.spatial.transform import Rotation

from avatarkit.testing.motion_conventions.clip import JOINTS

__all__ = ["AXES", "ORDERS", "Convention", "rests"]


@dataclass(frozen=True)
class Convention:
    """How a file is written; the defaults are those of Mixamo in centimeters.

    Attributes:
        axes: (3, 3) rotation from y up to the file's axes.
        unit: the file's units per centimeter.
        order: of the Euler angles, e.g. ZXY.
        rig: name in ``RIGS``.
        prefix, suffix: of all names.
        rest: T, A (arms 45 degrees down), I (arms down) or V (A with the legs apart).
        channels: root, all (positions of all joints), dummy (a root above the hips), under (the hips below it move, not it).
        text: utf-8, bom, utf-16, lower, comments, tabs, crlf or comma.
    """

    axes: np.ndarray = field(default_factory=lambda: np.eye(3))
    unit: float = 1.0
    order: str = "ZXY"
    rig: str = "Mixamo"
    prefix: str = ""
    suffix: str = ""
    rest: str = "T"
    channels: str = "root"
    text: str = "utf-8"


def _axes() -> list[np.ndarray]:
    """Return the 24 rotations by right angles."""
    found = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        R = np.zeros((3, 3))
        R[list(order), range(3)] = signs
        if np.linalg.det(R) > 0:
            found.append(R)
    return found


AXES = _axes()
ORDERS = tuple("".join(p) for p in permutations("XYZ"))


def rests(kind: str) -> dict[str, np.ndarray]:
    """Return joint -> (3, 3) rotation from the T-pose to another rest pose."""
    out = dict.fromkeys(JOINTS, np.eye(3))
    arm, leg = {"T": (0, 0), "A": (45, 0), "I": (85, 0), "V": (45, 12)}[kind]
    for sign, side in ((1, "left"), (-1, "right")):
        down = Rotation.from_euler("z", -sign * arm, degrees=True).as_matrix()
        apart = Rotation.from_euler("z", sign * leg, degrees=True).as_matrix()
        for name in JOINTS:
            part = name.removeprefix(side + "_")
            if name.startswith(side) and part in ("hip", "knee"):
                out[name] = apart
            elif name.startswith(side) and part not in ("collar", "ankle", "foot"):
                out[name] = down
    return out
