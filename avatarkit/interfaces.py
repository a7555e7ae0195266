"""Everything that a plugin may implement: THE page to read.

Each interface is a Protocol with one main verb; the docstring is the contract. Tensors are float32 on the CPU unless an
argument says otherwise. All of them are deterministic: same inputs, seed and device give the same numbers.

A component is made by calling its class with its config (a frozen dataclass) and a ``Context``::

    component = Class(config, context)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from avatarkit.body import BodyParams, JointLandmarks, Motion, PoseGroup, SurfaceLandmarks
from avatarkit.camera import Camera
from avatarkit.gaussians import GaussianRendering, Gaussians
from avatarkit.keypoints import Keypoints
from avatarkit.labels import LabelClip
from avatarkit.mesh import Mesh, MeshRendering
from avatarkit.photo import Photo
from avatarkit.subject import Matte, Subject

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "AvatarModel",
    "BodyModel",
    "Context",
    "Exporter",
    "GaussianRasterizer",
    "KeypointDetector",
    "Loss",
    "Matter",
    "MeshRasterizer",
    "MotionSource",
    "ParameterGroup",
    "Posed",
    "PseudoLabeler",
    "Renderer",
    "Skeleton",
    "Tracker",
    "TrainStep",
]


def _silent(message: str, fraction: float | None = None) -> None:
    """Reports progress to nobody."""


@dataclass(frozen=True)
class Context:
    """What a component may ask for besides its config.

    Attributes:
        device: where heavy tensors live.
        seed: of the build; derive generators from it, never touch the global one.
        cache: folder for files that are made once per user (a body model's tables); may not exist yet.
        get: ``get(kind, name=None)`` another component of this build, by slot of the recipe: ``get("body")``,
            ``get("renderer")``, ``get("keypoints")``, ``get("matter")``, ``get("tracker")``, ``get("perceptual")``, ... The way
            for plugins to meet without importing each other.
        progress: ``progress(message, fraction)`` tells the user what is being done; fraction 0 to 1 or None.
    """

    device: torch.device = torch.device("cpu")
    seed: int = 0
    cache: Path = Path.home() / ".cache" / "avatarkit"
    get: Callable[..., Any] = field(default=lambda kind, name=None: None)
    progress: Callable[..., None] = field(default=_silent)


# ------------------------------------------------------------------------------------------------ stage 1: the subject


@runtime_checkable
class Matter(Protocol):
    """Cuts the person out of a picture."""

    def matte(self, photo: Photo, keypoints: Keypoints | None = None) -> Matte:
        """Solves alpha and foreground colours; with ``keypoints``, of that person only.

        Raises:
            InputError: nobody is in the picture.
        """
        ...


@runtime_checkable
class KeypointDetector(Protocol):
    """Finds 2D landmarks of people."""

    def detect(self, image: np.ndarray, person: int | None = None) -> Keypoints:
        """Finds one person.

        Args:
            image: (H, W, 3) uint8 sRGB, upright.
            person: which one, counted from 1 left to right; None = the only one.

        Raises:
            InputError: nobody, nobody large enough, or several people and ``person`` is None.
        """
        ...

    def detect_video(self, images: Iterable[np.ndarray]) -> Iterable[Keypoints | None]:
        """Follows one person through consecutive frames; None where nobody is seen. Lazy: reads as it yields."""
        ...


@dataclass(frozen=True)
class Skeleton:
    """Joints of one identity at rest.

    Attributes:
        positions: (J, 3) metres, in the model's rest frame (y up, facing +z, root joint anywhere).
        orientations: (J, 3, 3) rest frames of the joints; columns are axes. Offsets of ``JointLandmarks`` live in them.
    """

    positions: torch.Tensor
    orientations: torch.Tensor


@runtime_checkable
class BodyModel(Protocol):
    """A parametric, skinned body with hands and face (paper, eq. 1 and 2).

    Rest space is y up, metres, facing +z. Model axes end at this border.
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

    def neutral(self) -> BodyParams:
        """One frame: average adult, rest pose, no expression, at the origin."""
        ...

    def rest(self, shape: torch.Tensor, expression: torch.Tensor, subset: torch.Tensor | None = None) -> torch.Tensor:
        """T of eq. 2: shaped and expressed vertices in the rest pose; differentiable.

        Args:
            shape: (S,).
            expression: (B, E).
            subset: (n,) int64 vertex numbers; only these are computed.

        Returns:
            (B, V, 3) or (B, n, 3).
        """
        ...

    def skeleton(self, shape: torch.Tensor) -> Skeleton:
        """J(beta) of eq. 1; positions are differentiable, orientations are constants."""
        ...

    def joint_transforms(
        self, skeleton: Skeleton, root: torch.Tensor, translation: torch.Tensor, joints: torch.Tensor
    ) -> torch.Tensor:
        """Rest space to world, (B, J, 4, 4), for ``skin``; differentiable.

        Args:
            skeleton: of the identity.
            root: (B, 3) axis-angle. translation: (B, 3) where the root joint goes.
            joints: (B, J, 3) axis-angle in rest-space axes about each joint, zero = rest (the root's own row is ignored).
        """
        ...

    def vertices(self, params: BodyParams, offsets: torch.Tensor | None = None) -> torch.Tensor:
        """M of eq. 1 in the world, (B, V, 3); ``offsets`` (V, 3) are added in rest space (dT of eq. 5)."""
        ...

    def landmarks(self, name: str) -> SurfaceLandmarks | JointLandmarks | None:
        """Where the points of a landmark set (see ``Keypoints``) lie; None where the model does not know."""
        ...

    def part(self, name: str) -> torch.Tensor:
        """How much each vertex belongs to a part, (V,) float 0 to 1.

        Parts are ``head, face, lips, eyelids, ears, nails, mouth_inside, teeth, tongue, eyes, left_hand, right_hand, left_foot,
        right_foot, skin`` (what is never clothed: head, hands).

        Raises:
            KeyError: no such part.
        """
        ...

    def mirror(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(V,) and (J,) int64: the vertex and the joint on the other side."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Registers a body model with pictures."""

    def fit(self, photo: Photo, matte: Matte, keypoints: Keypoints) -> Subject:
        """Finds shape, pose, expression and camera of one photo; parts that are not seen stay at a plausible rest."""
        ...

    def track(
        self,
        frames: Sequence[Keypoints | None],
        subject: Subject | None,
        fps: float,
        initial: BodyParams | None = None,
        cameras: Sequence[Camera] | None = None,
        images: Iterable[np.ndarray] | None = None,
    ) -> Motion:
        """Tracks consecutive frames; with ``subject`` its shape stays fixed (paper, section 3.2: re-tracking).

        Args:
            frames: landmarks per frame, None where nobody was seen.
            subject: whose shape to use; None estimates one from the best frames.
            fps: frames per second.
            initial: (T,) parameters to start from.
            cameras: one per frame; None = the subject's camera, or a default one.
            images: the frames themselves, (H, W, 3) uint8 in their order, for trackers that look closer than landmarks do;
                read once. A tracker works without them, too.

        Returns:
            World poses (translation is absolute, as seen by the camera); ``valid`` marks frames that were seen.
        """
        ...


# ------------------------------------------------------------------------------------- stages 2 to 4: motions and labels


@runtime_checkable
class MotionSource(Protocol):
    """Gives motions."""

    def names(self) -> tuple[str, ...]:
        """What ``motion`` accepts, in a good order to show."""
        ...

    def describe(self, name: str) -> str:
        """One line about a motion."""
        ...

    def motion(self, name: str) -> Motion:
        """One motion by name, for the build's body model.

        Raises:
            InputError: no such motion.
        """
        ...

    def motions(self, count: int, seed: int) -> Iterable[Motion]:
        """``count`` different motions to make labels from."""
        ...


@runtime_checkable
class PseudoLabeler(Protocol):
    """Makes pictures of the person in other poses (paper, eq. 6).

    Two attributes may be there: ``exact = True`` says that the frames show just what was asked for, so that they are not tracked
    again; ``regions = ("body",)`` or ``("head",)`` says what it can show at all, so that it is not asked for the other.
    """

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """One clip for one motion; ``motion`` is relative, as ``Motion`` says."""
        ...


# --------------------------------------------------------------------------------------------------- stage 5: the avatar


@dataclass(frozen=True)
class Posed:
    """An avatar in a pose, with what losses need.

    Attributes:
        gaussians: in the world.
        mesh: deformed mesh M in the world (eq. 5), or None.
        fields: named canonical tensors: ``dX (N,3)``, ``dT (V,3)``, ``bary_dT (N,3)``, ... as the avatar documents.
    """

    gaussians: Gaussians
    mesh: Mesh | None = None
    fields: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate.

    Attributes:
        name: for logs and overrides. tensors: leaf tensors. lr: Adam's step size.
    """

    name: str
    tensors: tuple[torch.Tensor, ...]
    lr: float


@runtime_checkable
class AvatarModel(Protocol):
    """A drivable person made of Gaussians. The same class trains and plays.

    It may offer ``pose_for_photo(params) -> Posed`` besides: as ``pose``, for training steps that look at the photo, without what
    the photo does not show and with colours as constants that it does not show, so that hidden surface cannot learn the colours
    of what hides it.
    """

    def create(self, subject: Subject, labels: Sequence[LabelClip]) -> None:
        """Initialises all tensors from the tracked photo; labels may lend colours to what the photo does not show."""
        ...

    def pose(self, params: BodyParams) -> Posed:
        """One frame (shape of ``params`` is ignored: the avatar has its own); differentiable."""
        ...

    def parameter_groups(self) -> list[ParameterGroup]:
        """What an optimiser may change."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors that ``load`` needs, contiguous, on the CPU."""
        ...

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes ``state`` back; raises StoreError where a tensor is missing or has another shape."""
        ...


@dataclass(frozen=True)
class TrainStep:
    """One optimisation step, as a loss sees it.

    Attributes:
        step: number from 0. kind: what is supervised: ``photo``, ``body`` or ``head``.
        target: (H, W, 3) foreground composited on ``background``.
        alpha: (H, W) matte. confidence: (H, W) 0 to 1.
        camera: of this (possibly cropped) view. background: (3,).
        rendering: the avatar in this view. posed: what was rendered. avatar: for losses that know its kind.
        mesh_mask: () -> (H, W) differentiable silhouette of ``posed.mesh``, rendered when first called.
        generator: for random crops.
        foreground: (H, W, 3) the person's colours, defined everywhere and meant where ``alpha`` > 0.
    """

    step: int
    kind: str
    target: torch.Tensor
    alpha: torch.Tensor
    confidence: torch.Tensor
    camera: Camera
    background: torch.Tensor
    rendering: GaussianRendering
    posed: Posed
    avatar: AvatarModel
    mesh_mask: Callable[[], torch.Tensor]
    generator: torch.Generator
    foreground: torch.Tensor


@runtime_checkable
class Loss(Protocol):
    """One term of the objective (eq. 7, 9, 10), unweighted; the recipe gives weight, start step and kinds of step.

    It may offer ``applies_to(avatar) -> bool`` besides: of avatars for which it says no it is left out, with a warning.
    """

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """() scalar."""
        ...


@runtime_checkable
class GaussianRasterizer(Protocol):
    """Splats isotropic Gaussians (EWA, 0.3 px dilation, front to back, sorted by depth)."""

    def render(self, gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
        """Differentiable in means, scales, colors, opacities; ``background`` is (3,). Empty and unseen sets are fine."""
        ...


@runtime_checkable
class MeshRasterizer(Protocol):
    """Draws a triangle mesh."""

    def render(self, mesh: Mesh, camera: Camera) -> MeshRendering:
        """``mask`` is differentiable in the vertices at silhouettes; the rest has no gradient."""
        ...


@runtime_checkable
class Renderer(Protocol):
    """Both rasterisers of one backend."""

    gaussians: GaussianRasterizer
    meshes: MeshRasterizer


@runtime_checkable
class Exporter(Protocol):
    """Writes an avatar for other programs."""

    def write(self, avatar: AvatarModel, params: BodyParams, path: Path, **options: Any) -> None:
        """Writes ``path`` (a file or a folder, as its summary says) from the avatar, in the pose ``params``.

        Options that every exporter takes and may ignore: ``consent``, what the person agreed to; ``name`` of the avatar;
        ``camera`` of the photo, ``box`` of the person in it (x0, y0, x1, y1, pixels), and ``centre``, the (3,) world point
        that cameras turn around.
        """
        ...
