"""What the readers of all motion formats share: their input, and what they report."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from avatarkit.interfaces import BodyModel
from avatarkit.motion.pose_solver import SIDES, PoseSolver
from avatarkit.motion.retargeting import retarget
from avatarkit.motion.source_skeleton import SourceSkeleton, orient, scale_to_meters
from avatarkit.motion.up_axis import Up
from avatarkit.types.body import SMPLX_JOINTS, Motion

__all__ = ["MotionInfo", "Reading"]

_UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "inches": 0.0254, "feet": 0.3048}
_TOLERANCE = 1.25  # people and rigs differ in size


@dataclass(frozen=True)
class MotionInfo:
    """What was understood of a motion file.

    Attributes:
        format: the format.
        rig: convention of the joints' names.
        up: axis of the file that is up, and why.
        unit: name of the unit of length, or how many meters one is.
        joints: SMPL-X joint -> name in the file.
        missing: SMPL-X joints of trunk and limbs that the file does not move.
        notes: sentences about what was assumed.
    """

    format: str
    rig: str
    up: Up
    unit: str
    joints: Mapping[str, str]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """A motion file to be read for a body model.

    Attributes:
        path: the file.
        body: the body model.
        up: axis that the user says is up, or None.
        joint_map: SMPL-X joint -> name in the file, from the user.
    """

    path: Path
    body: BodyModel
    up: str | None = None
    joint_map: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def solver(self) -> PoseSolver:
        """Solver for the body model, made once."""
        return PoseSolver(self.body)

    def retargeted(
        self, source: SourceSkeleton, form: str, rig: str, joints: Mapping[str, str], name: str = "", notes: Sequence[str] = ()
    ) -> tuple[Motion, MotionInfo]:
        """Return the motion of a skeleton on the body, and what was understood.

        Args:
            source: the skeleton.
            form: the format.
            rig: convention of the joints' names.
            joints: SMPL-X joint -> name in the file.
            name: name of the motion; the file's if empty.
            notes: sentences about what was assumed.

        Raises:
            InputError: the skeleton lacks a required joint.
        """
        orientation = orient(source, self.solver, self.up)
        motion = retarget(source, self.solver, name or self.path.stem, orientation)
        unit = "m" if source.relative else unit_name(scale_to_meters(source, self.solver))
        up = orientation.up
        if not up.usual:
            notes = (*notes, f"{self.path.name}: {up.axis} is taken to be up ({up.reason}); --up says otherwise.")
        gaps = [] if source.relative else _gaps(source.rotations)
        if gaps:
            what = " or the ".join(n.replace("_", " ") for n in gaps)
            known = f"{self.path.name} has no joint that is recognized as the {what}"
            notes = (*notes, f"{known}; if it has them, map its joints with --joint-map FILE.")
        missing = tuple(n for n in SMPLX_JOINTS[:22] if n not in source.rotations)
        return motion, MotionInfo(form, rig, up, unit, joints, missing, tuple(notes))


def _gaps(found: Container[str]) -> list[str]:
    """Return whole limbs that are missing, and joints that are missing above found ones."""
    gaps: list[str] = []
    for side in SIDES:
        leg, arm = ([f"{side}_{n}" for n in names] for names in (("hip", "knee", "ankle", "foot"), ("elbow", "wrist", "middle1")))
        if not any(n in found for n in leg):
            gaps.append(f"{side}_leg")
        for chain in (leg, arm):
            gaps += [n for k, n in enumerate(chain) if n not in found and any(below in found for below in chain[k:])]
    return gaps


def unit_name(meters: float) -> str:
    """Return the name of a unit of so many meters, measured on a body of average size."""
    for name, size in _UNITS.items():
        if 1 / _TOLERANCE < meters / size < _TOLERANCE:
            return name
    return f"{meters:.3g} m"
