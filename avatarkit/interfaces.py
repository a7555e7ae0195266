"""Everything that a plugin may implement: THE page to read.

Each interface is a Protocol with one main verb; the docstring is the contract. Tensors are float32 on the CPU unless an
argument says otherwise. All of them are deterministic: same inputs, seed and device give the same numbers.

A component is made by calling its class with its config (a frozen dataclass) and a ``Context``::

    component = Class(config, context)

Members with a default may be left out: ``with_defaults`` fills them in where the core makes a component.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload, runtime_checkable

import torch

from avatarkit.types.body import BodyParams, JointLandmarks, Motion, PoseGroup, SurfaceLandmarks
from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import GaussianRendering, Gaussians
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh, MeshRendering
from avatarkit.types.photo import Photo
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Matte, Subject

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "PROTOCOLS",
    "AvatarModel",
    "BodyModel",
    "Context",
    "Exporter",
    "GaussianRasterizer",
    "GetComponent",
    "KeypointDetector",
    "Loss",
    "MattingModel",
    "MeshRasterizer",
    "MotionSource",
    "ParameterGroup",
    "PerceptualDistance",
    "Posed",
    "PseudoLabeler",
    "Renderer",
    "ShapePrior",
    "Skeleton",
    "TensorSpec",
    "Tracker",
    "TrainStep",
    "optional_members",
    "with_defaults",
]

T = TypeVar("T")


def _silent(message: str, fraction: float | None = None) -> None:
    """Reports progress to nobody."""


class GetComponent(Protocol):
    """Gives another component of the build, by slot of the recipe. Plugins meet through it and never import each other."""

    @overload
    def __call__(self, kind: Literal["matting"], name: str | None = None) -> MattingModel: ...
    @overload
    def __call__(self, kind: Literal["keypoints"], name: str | None = None) -> KeypointDetector: ...
    @overload
    def __call__(self, kind: Literal["body"], name: str | None = None) -> BodyModel: ...
    @overload
    def __call__(self, kind: Literal["tracker"], name: str | None = None) -> Tracker: ...
    @overload
    def __call__(self, kind: Literal["motions"], name: str | None = None) -> MotionSource: ...
    @overload
    def __call__(self, kind: Literal["body_labels", "head_labels"], name: str | None = None) -> PseudoLabeler: ...
    @overload
    def __call__(self, kind: Literal["avatar"], name: str | None = None) -> AvatarModel: ...
    @overload
    def __call__(self, kind: Literal["perceptual"], name: str | None = None) -> Loss: ...
    @overload
    def __call__(self, kind: Literal["renderer"], name: str | None = None) -> Renderer: ...
    @overload
    def __call__(self, kind: str, name: str | None = None) -> Any: ...


def _nothing(kind: str, name: str | None = None) -> Any:
    """Stands in for ``Context.get`` outside of a build."""
    return None


@dataclass(frozen=True)
class Context:
    """What a component may ask for besides its config.

    Attributes:
        device: where heavy tensors live.
        seed: of the build; derive generators from it, never touch the global one.
        cache: folder for files that are made once per user (a body model's tables); may not exist yet.
        get: ``get(kind, name=None)`` gives another component of this build, by slot of the recipe: ``get("body")``,
            ``get("renderer")``; with ``name``, another component of the slot's kind with default options.
        progress: ``progress(message, fraction)`` tells the user what is being done; fraction 0 to 1 or None.
    """

    device: torch.device = torch.device("cpu")
    seed: int = 0
    cache: Path = Path.home() / ".cache" / "avatarkit"
    get: GetComponent = field(default=_nothing)
    progress: Callable[..., None] = field(default=_silent)


# ------------------------------------------------------------------------------------------------ stage 1: the subject


@runtime_checkable
class MattingModel(Protocol):
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
class ShapePrior:
    """What is likely among the shape numbers of a body model.

    Attributes:
        mean, sigma: (S,) of each number. low, high: (S,) its bounds.
    """

    mean: torch.Tensor
    sigma: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


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
    shape_prior: ShapePrior | None = None
    """None: trackers assume that numbers whose neutral value is zero are signed changes, and that others run from 0 to 1."""

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

    Attributes:
        exact: the frames show just what was asked for, so that they are not tracked again.
        regions: what it can show; it is not asked for the other.
    """

    exact: bool = False
    regions: tuple[str, ...] = ("body", "head")

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


@dataclass(frozen=True)
class TensorSpec:
    """What one stored tensor must be.

    Attributes:
        shape: numbers, or letters that stand for the same number in all tensors of an avatar, 1 to 2,000,000.
        dtype: of its numbers. low, high: range of its numbers; they must be finite in any case.
    """

    shape: tuple[int | str, ...]
    dtype: torch.dtype = torch.float32
    low: float = -math.inf
    high: float = math.inf


@runtime_checkable
class AvatarModel(Protocol):
    """A drivable person made of Gaussians. The same class trains and plays."""

    def create(self, subject: Subject, labels: Sequence[LabelClip]) -> None:
        """Initialises all tensors from the tracked photo; labels may lend colours to what the photo does not show."""
        ...

    def pose(self, params: BodyParams) -> Posed:
        """One frame (shape of ``params`` is ignored: the avatar has its own); differentiable."""
        ...

    def pose_for_photo(self, params: BodyParams) -> Posed:
        """Poses for a training step that looks at the photo; the default is ``pose``.

        An avatar may leave out what the photo does not show and hold its colors constant, so that hidden surface cannot learn
        the colors of what hides it.
        """
        return self.pose(params)

    def parameter_groups(self) -> list[ParameterGroup]:
        """What an optimiser may change."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors that ``load`` needs, contiguous, on the CPU."""
        ...

    def specs(self) -> Mapping[str, TensorSpec]:
        """Says what each tensor of ``state`` must be; the default says nothing.

        Avatars are shared, so that a file may hold anything: with ``specs`` it is compared before its numbers are read, and
        ``load`` never sees what does not fit. Without, only numbers that are not finite are refused.
        """
        return {}

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
    """One term of the objective (eq. 7, 9, 10), unweighted; the recipe gives weight, start step and kinds of step."""

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """() scalar."""
        ...

    def applies_to(self, avatar: AvatarModel) -> bool:
        """Says whether the term can measure this avatar; where it cannot, training leaves it out with a warning."""
        return True


@runtime_checkable
class PerceptualDistance(Protocol):
    """A loss that can also compare two pictures, for evaluation.

    Attributes:
        name: exact name of the metric: ``lpips-vgg``.
    """

    name: str

    def distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Compares two (H, W, 3) pictures, sRGB 0 to 1; () scalar, 0 = equal."""
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


PROTOCOLS: dict[str, type] = {
    "matting": MattingModel,
    "keypoints": KeypointDetector,
    "body": BodyModel,
    "tracker": Tracker,
    "motions": MotionSource,
    "labels": PseudoLabeler,
    "avatar": AvatarModel,
    "loss": Loss,
    "renderer": Renderer,
    "exporter": Exporter,
}
"""Kind of component -> its interface."""

_DEFAULTS: dict[type, tuple[str, ...]] = {
    BodyModel: ("shape_prior",),
    PseudoLabeler: ("exact", "regions"),
    AvatarModel: ("pose_for_photo", "specs"),
    Loss: ("applies_to",),
}


def optional_members(protocol: type) -> tuple[str, ...]:
    """Names of the members that an implementation may leave out."""
    return _DEFAULTS.get(protocol, ())


def with_defaults(component: T, protocol: type) -> T:
    """Adds the optional members of an interface that a component leaves out, in place, and returns the component."""
    for name in optional_members(protocol):
        if not hasattr(component, name):
            default = vars(protocol)[name]
            object.__setattr__(component, name, default.__get__(component) if inspect.isfunction(default) else default)
    return component


def __getattr__(name: str) -> Any:
    """Gives an interface under its former name."""
    if name == "Matter":
        warnings.warn("avatarkit.interfaces.Matter is called MattingModel now.", DeprecationWarning, stacklevel=2)
        return MattingModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
