"""Body parameters, motions, and tables of landmarks on a body model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch

from avatarkit.errors import InputError

__all__ = ["SMPLX_JOINTS", "BodyParams", "JointLandmarks", "Motion", "PoseGroup", "SurfaceLandmarks"]

_BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
_HAND = [f"{f}{k}" for f in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)]

SMPLX_JOINTS: tuple[str, ...] = (
    *_BODY,
    "jaw",
    "left_eye_smplhf",
    "right_eye_smplhf",
    *(f"left_{n}" for n in _HAND),
    *(f"right_{n}" for n in _HAND),
)
"""The 55 joints of SMPL-X in its order; SMPL-H leaves out jaw and eyes, SMPL has the first 22 and two hands."""


@dataclass(frozen=True)
class BodyParams:
    """Parameters that pose a body model.

    ``...`` is () for one frame and (T,) for a motion.

    Attributes:
        model: name of the body model that the parameters are for.
        shape: (S,) identity; one for all frames (beta of the paper).
        expression: (..., E) facial actions (phi).
        root: (..., 3) axis-angle of the whole body in the world; zero = upright and facing +z.
        translation: (..., 3) world position of the root joint, meters.
        joints: (..., J, 3) axis-angle per joint of the model (theta); zero = the model's rest pose.
    """

    model: str
    shape: torch.Tensor
    expression: torch.Tensor
    root: torch.Tensor
    translation: torch.Tensor
    joints: torch.Tensor

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """() for one frame, (T,) for a motion."""
        return tuple(self.root.shape[:-1])

    def __getitem__(self, index: int | slice | torch.Tensor) -> BodyParams:
        """Return some frames of a motion; the shape is kept."""
        moving = ("expression", "root", "translation", "joints")
        return replace(self, **{k: getattr(self, k)[index] for k in moving})

    def batched(self) -> BodyParams:
        """Return a motion (T,); a single frame becomes a motion of one frame."""
        return self if self.batch_shape else self[None]  # type: ignore[index]

    def to(self, device: torch.device | str) -> BodyParams:
        """Return the same parameters on ``device``."""
        tensors = [f.name for f in fields(self) if f.name != "model"]
        return replace(self, **{k: getattr(self, k).to(device) for k in tensors})

    def detach(self) -> BodyParams:
        """Return the same parameters, detached from the graph."""
        tensors = [f.name for f in fields(self) if f.name != "model"]
        return replace(self, **{k: getattr(self, k).detach() for k in tensors})


@dataclass(frozen=True)
class Motion:
    """A sequence of poses.

    Attributes:
        name: name of the motion.
        fps: frames per second.
        params: T frames. ``translation`` is a displacement in meters from where the person stands, ``root`` a rotation from
            upright facing +z; ``shape`` is ignored when another person plays the motion.
        loop: whether the last frame continues with the first.
        valid: (T,) bool, frames that were observed rather than interpolated; None = all.
        moves: parts of the body (``legs``, ``trunk``, ``head``) whose pose the motion sets outright, as motion files and videos
            do. It is added to the person's own pose for the others. Arms, hands and face always follow the motion.
    """

    name: str
    fps: float
    params: BodyParams
    loop: bool = False
    valid: torch.Tensor | None = None
    moves: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return self.params.batch_shape[0]

    def require_model(self, name: str) -> None:
        """Check that the motion is for the body model of this name.

        Raises:
            InputError: it is for another one.
        """
        if self.params.model != name:
            raise InputError(f"The motion is for the body model {self.params.model!r}, not for {name!r}.")


@dataclass(frozen=True)
class PoseGroup:
    """One anatomical rotation ("left_elbow"), distributed over one or more joints.

    Attributes:
        name: SMPL-X joint name if one exists, otherwise a descriptive name ("left_upper_arm_twist").
        joints: numbers of the model's joints that share the rotation.
        share: part of the axis-angle that each joint takes; sums to one.
        sigma: radians, standard deviation of a weak prior around the rest pose.
    """

    name: str
    joints: tuple[int, ...]
    share: tuple[float, ...]
    sigma: float


@dataclass(frozen=True)
class SurfaceLandmarks:
    """Points on triangles.

    Attributes:
        triangles: (n, 3) int64 vertex numbers.
        barycentric: (n, 3) weights.
        sigma: (n,) meters, accuracy of the table.
    """

    triangles: torch.Tensor
    barycentric: torch.Tensor
    sigma: torch.Tensor


@dataclass(frozen=True)
class JointLandmarks:
    """Points fixed to joints, with offsets that scale with the length of a bone.

    Attributes:
        index: (n,) int64, number of the point in the landmark set (a table may cover part of a set).
        joint: (n,) int64, joint whose frame carries the offset.
        offset: (n, 3) meters in that frame, for the model's default shape.
        bone: (n, 2) int64, two joints; their distance at rest scales the offset.
        bone_length: (n,) meters, that distance for the default shape.
        sigma: (n,) meters, accuracy of the table.
    """

    index: torch.Tensor
    joint: torch.Tensor
    offset: torch.Tensor
    bone: torch.Tensor
    bone_length: torch.Tensor
    sigma: torch.Tensor
