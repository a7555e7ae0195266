"""Stage 1: the person in the photo, and the body model that everything is fitted to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from avatarkit.types.body import BodyParams, JointLandmarks, Motion, PoseGroup, SurfaceLandmarks
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte, Subject

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "BodyModel",
    "KeypointDetector",
    "MattingModel",
    "ShapePrior",
    "Skeleton",
    "Tracker",
]


@runtime_checkable
class MattingModel(Protocol):
    """Separates the person in a picture from the background."""

    def matte(self, photo: Photo, keypoints: Keypoints | None = None) -> Matte:
        """Return alpha and foreground colors of the person in a photo.

        Args:
            photo: the photo.
            keypoints: landmarks of the person to cut out; None = everyone in the photo.

        Raises:
            InputError: the photo shows no person.
        """


@runtime_checkable
class KeypointDetector(Protocol):
    """Detects 2D landmarks of people."""

    def detect(self, image: np.ndarray, person: int | None = None) -> Keypoints:
        """Detect the landmarks of one person in one picture.

        Args:
            image: (H, W, 3) uint8 sRGB, upright.
            person: number of the person, counted from 1 left to right; None = the picture shows one person.

        Raises:
            InputError: no person, no person large enough, or several people and ``person`` is None.
        """

    def detect_video(self, images: Iterable[np.ndarray]) -> Iterable[Keypoints | None]:
        """Yield the landmarks of one person, followed through consecutive frames.

        A frame without a person yields None. The frames are read one by one, as results are asked for.
        """


@dataclass(frozen=True)
class ShapePrior:
    """Distribution of the shape parameters of a body model.

    Attributes:
        mean: (S,) mean of each parameter.
        sigma: (S,) standard deviation of each parameter.
        low: (S,) lower bounds.
        high: (S,) upper bounds.
    """

    mean: torch.Tensor
    sigma: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


@dataclass(frozen=True)
class Skeleton:
    """Joints of one identity in the rest pose.

    Attributes:
        positions: (J, 3) meters, in the model's rest frame (y up, facing +z, root joint anywhere).
        orientations: (J, 3, 3) rest frames of the joints; columns are axes. Offsets of ``JointLandmarks`` are in these frames.
    """

    positions: torch.Tensor
    orientations: torch.Tensor


@runtime_checkable
class BodyModel(Protocol):
    """A parametric, skinned body with hands and face (paper, eq. 1 and 2).

    Rest space is y up, in meters, facing +z. A model with other axes converts here, once.
    """

    name: str
    faces: torch.Tensor  # (F, 3) int64
    uv: torch.Tensor  # (U, 2) 0 to 1, v up
    uv_faces: torch.Tensor  # (F, 3) int64 into uv
    skinning_indices: torch.Tensor  # (V, K) int64
    skinning_weights: torch.Tensor  # (V, K), rows sum to one
    joint_names: tuple[str, ...]  # J, root first
    parents: tuple[int, ...]  # J, -1 for the root; parents come before children
    shape_names: tuple[str, ...]  # S
    expression_names: tuple[str, ...]  # E; the 52 ARKit names where the model has them
    pose_groups: tuple[PoseGroup, ...]
    shape_prior: ShapePrior | None = None
    """None: trackers treat parameters whose neutral value is zero as signed offsets and the others as 0 to 1."""

    def neutral(self) -> BodyParams:
        """Return one frame: average adult, rest pose, no expression, at the origin."""

    def rest(self, shape: torch.Tensor, expression: torch.Tensor, subset: torch.Tensor | None = None) -> torch.Tensor:
        """Return the vertices with shape and expression in the rest pose: T of eq. 2.

        Differentiable.

        Args:
            shape: (S,).
            expression: (B, E).
            subset: (n,) int64 vertex numbers; only these are computed.

        Returns:
            (B, V, 3), or (B, n, 3) with ``subset``.
        """

    def skeleton(self, shape: torch.Tensor) -> Skeleton:
        """Return the joints of a shape: J(beta) of eq. 1.

        Positions are differentiable, orientations are constants.

        Args:
            shape: (S,).
        """

    def joint_transforms(
        self, skeleton: Skeleton, root: torch.Tensor, translation: torch.Tensor, joints: torch.Tensor
    ) -> torch.Tensor:
        """Return the transforms (B, J, 4, 4) from rest space to world, for ``linear_blend_skinning``.

        Differentiable.

        Args:
            skeleton: joints of the identity.
            root: (B, 3) axis-angle of the whole body.
            translation: (B, 3) meters, world position of the root joint.
            joints: (B, J, 3) axis-angle in rest-space axes about each joint, zero = rest (the root's own row is ignored).
        """

    def vertices(self, params: BodyParams, offsets: torch.Tensor | None = None) -> torch.Tensor:
        """Return the posed vertices in the world, (B, V, 3): M of eq. 1.

        Args:
            params: B frames.
            offsets: (V, 3) meters, added in rest space (dT of eq. 5).
        """

    def landmarks(self, name: str) -> SurfaceLandmarks | JointLandmarks | None:
        """Return where the points of a landmark set lie, or None for an unknown set.

        Args:
            name: of a set, see ``Keypoints``.
        """

    def part(self, name: str) -> torch.Tensor:
        """Return how much each vertex belongs to a part, (V,) float 0 to 1.

        Parts are ``head, face, lips, eyelids, ears, nails, mouth_inside, teeth, tongue, eyes, left_hand, right_hand, left_foot,
        right_foot, skin`` (the parts that are never clothed: head and hands).

        Raises:
            KeyError: unknown part.
        """

    def mirror(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the numbers of the mirrored vertices (V,) and joints (J,), int64."""


@runtime_checkable
class Tracker(Protocol):
    """Fits a body model to pictures."""

    def fit(self, photo: Photo, matte: Matte, keypoints: Keypoints) -> Subject:
        """Fit shape, pose, expression and camera to one photo.

        Parts that the photo does not show stay in a plausible rest pose.
        """

    def track(
        self,
        frames: Sequence[Keypoints | None],
        subject: Subject | None,
        fps: float,
        initial: BodyParams | None = None,
        cameras: Sequence[Camera] | None = None,
        images: Iterable[np.ndarray] | None = None,
    ) -> Motion:
        """Fit a motion to consecutive frames.

        With ``subject`` its shape stays fixed (paper, section 3.2: re-tracking).

        Args:
            frames: landmarks per frame, None for a frame without a person.
            subject: person whose shape to use; None estimates the shape from the best frames.
            fps: frames per second.
            initial: (T,) parameters to start from.
            cameras: one per frame; None = the subject's camera, or a default one.
            images: the frames, (H, W, 3) uint8 in order, for trackers that use more than landmarks; read once. A tracker must
                also work without them.

        Returns:
            World poses (translation is absolute, as seen by the camera); ``valid`` marks the frames that show the person.
        """
