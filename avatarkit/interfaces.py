"""The interfaces that a plugin may implement: start here when you write one.

Each interface is a Protocol with one main method; its docstring is the contract. Tensors are float32 on the CPU unless an
argument says otherwise. Every component is deterministic: the same inputs, seed and device give the same numbers.

A component is created by calling its class with its config (a frozen dataclass) and a ``Context``::

    component = Class(config, context)

You may leave out members that have a default: ``with_defaults`` adds them when the core creates a component.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload, runtime_checkable

import torch

from avatarkit.errors import MissingWeights
from avatarkit.types.body import BodyParams, JointLandmarks, Motion, PoseGroup, SurfaceLandmarks
from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import GaussianRendering, Gaussians
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh, MeshRendering
from avatarkit.types.photo import Photo
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Matte, Subject
from avatarkit.utils.moved import former_names
from avatarkit.utils.paths import find_weights

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "PROTOCOLS",
    "AvatarModel",
    "BodyModel",
    "ColorTarget",
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
    "SpeechSource",
    "TensorSpec",
    "Tracker",
    "TrainStep",
    "optional_members",
    "with_defaults",
]

T = TypeVar("T")


def _silent(message: str, fraction: float | None = None) -> None:
    """Ignore a progress report."""


class GetComponent(Protocol):
    """A function that returns another component of the build, by slot of the recipe.

    Plugins use each other's components through it and never import each other.
    """

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
    """Return None: the default of ``Context.get`` outside a build."""
    return None


def require_weights(name: str) -> Path:
    """Return the file or folder of weights that ``avatarkit weights`` knows by this name.

    Raises:
        MissingWeights: there are none.
    """
    found = find_weights(name)
    if found is None:
        raise MissingWeights(
            f"There are no weights {name!r}. Name them in Needs(weights=({name!r},)) of the component that uses them, "
            "and get them with avatarkit weights."
        )
    return found


@dataclass(frozen=True)
class Context:
    """What the core passes to every component besides its config.

    Attributes:
        device: device for large tensors.
        seed: seed of the build; derive generators from it and leave the global generator alone.
        cache: folder for files that are made once per user (a body model's tables); it may not exist yet.
        get: ``get(kind, name=None)`` returns another component of this build, by slot of the recipe: ``get("body")``,
            ``get("renderer")``; with ``name``, another component of the slot's kind with default options.
        progress: ``progress(message, fraction)`` tells the user what is being done; ``fraction`` is 0 to 1 or None.
        weights: ``weights(name)`` returns the file or folder of weights that the component names in ``Needs(weights=...)``. If
            they are missing, it raises ``MissingWeights`` with the command that gets them and their license.
    """

    device: torch.device = torch.device("cpu")
    seed: int = 0
    cache: Path = Path.home() / ".cache" / "avatarkit"
    get: GetComponent = field(default=_nothing)
    progress: Callable[..., None] = field(default=_silent)
    weights: Callable[[str], Path] = field(default=require_weights)


# ------------------------------------------------------------------------------------------------ stage 1: the subject


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
        ...


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
        ...

    def detect_video(self, images: Iterable[np.ndarray]) -> Iterable[Keypoints | None]:
        """Yield the landmarks of one person, followed through consecutive frames.

        A frame without a person yields None. The frames are read one by one, as results are asked for.
        """
        ...


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
        ...

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
        ...

    def skeleton(self, shape: torch.Tensor) -> Skeleton:
        """Return the joints of a shape: J(beta) of eq. 1.

        Positions are differentiable, orientations are constants.

        Args:
            shape: (S,).
        """
        ...

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
        ...

    def vertices(self, params: BodyParams, offsets: torch.Tensor | None = None) -> torch.Tensor:
        """Return the posed vertices in the world, (B, V, 3): M of eq. 1.

        Args:
            params: B frames.
            offsets: (V, 3) meters, added in rest space (dT of eq. 5).
        """
        ...

    def landmarks(self, name: str) -> SurfaceLandmarks | JointLandmarks | None:
        """Return where the points of a landmark set lie, or None for an unknown set.

        Args:
            name: of a set, see ``Keypoints``.
        """
        ...

    def part(self, name: str) -> torch.Tensor:
        """Return how much each vertex belongs to a part, (V,) float 0 to 1.

        Parts are ``head, face, lips, eyelids, ears, nails, mouth_inside, teeth, tongue, eyes, left_hand, right_hand, left_foot,
        right_foot, skin`` (the parts that are never clothed: head and hands).

        Raises:
            KeyError: unknown part.
        """
        ...

    def mirror(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the numbers of the mirrored vertices (V,) and joints (J,), int64."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Fits a body model to pictures."""

    def fit(self, photo: Photo, matte: Matte, keypoints: Keypoints) -> Subject:
        """Fit shape, pose, expression and camera to one photo.

        Parts that the photo does not show stay in a plausible rest pose.
        """
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
        ...


# ------------------------------------------------------------------------------------- stages 2 to 4: motions and labels


@runtime_checkable
class MotionSource(Protocol):
    """Provides motions by name."""

    def names(self) -> tuple[str, ...]:
        """Return the names that ``motion`` accepts, in the order in which to list them."""
        ...

    def describe(self, name: str) -> str:
        """Return one line about a motion."""
        ...

    def motion(self, name: str) -> Motion:
        """Return one motion by name, for the build's body model.

        Raises:
            InputError: unknown motion.
        """
        ...

    def motions(self, count: int, seed: int) -> Iterable[Motion]:
        """Return ``count`` different motions for pseudo-labels."""
        ...


@runtime_checkable
class SpeechSource(Protocol):
    """A motion source that can also speak along with sound, for ``animate --audio``."""

    def from_sound(self, path: Path, text: str = "") -> Motion:
        """Return a motion as long as a sound file; ``text`` is what is said, if known.

        Raises:
            InputError: the file cannot be read.
        """
        ...


@runtime_checkable
class PseudoLabeler(Protocol):
    """Generates pictures of the person in other poses (paper, eq. 6).

    Attributes:
        exact: whether the frames show exactly the requested poses, so that they need no re-tracking.
        regions: regions that it can generate; the build requests only these.
    """

    exact: bool = False
    regions: tuple[str, ...] = ("body", "head")

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """Generate one clip for one motion.

        Args:
            subject: the tracked photo.
            motion: relative, see ``Motion``.
            seed: seed of this clip.
        """
        ...


# --------------------------------------------------------------------------------------------------- stage 5: the avatar


@dataclass(frozen=True)
class Posed:
    """A posed avatar, with the tensors that losses need.

    Attributes:
        gaussians: in the world; none if the avatar is the textured mesh.
        mesh: deformed mesh M in the world (eq. 5), or None. Its texture is drawn where there are no Gaussians.
        fields: named canonical tensors: ``dX (N,3)``, ``dT (V,3)``, ..., as the avatar documents them.
    """

    gaussians: Gaussians
    mesh: Mesh | None = None
    fields: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate.

    Attributes:
        name: for logs and overrides.
        tensors: leaf tensors.
        lr: step size of Adam.
    """

    name: str
    tensors: tuple[torch.Tensor, ...]
    lr: float


@dataclass(frozen=True)
class TensorSpec:
    """Shape, type and range of one stored tensor.

    Attributes:
        shape: numbers, or letters; a letter is the same number, 1 to 2,000,000, in all tensors of an avatar.
        dtype: type of the values.
        low: smallest value allowed; values must be finite in any case.
        high: largest value allowed.
    """

    shape: tuple[int | str, ...]
    dtype: torch.dtype = torch.float32
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class ColorTarget:
    """What an avatar should look like in one view.

    Attributes:
        image: (H, W, 3) the person's colors.
        weight: (H, W) of squared errors, 0 outside the person.
        camera: camera of the view.
        params: parameters of the person in it.
    """

    image: torch.Tensor
    weight: torch.Tensor
    camera: Camera
    params: BodyParams


@runtime_checkable
class AvatarModel(Protocol):
    """An animatable person made of Gaussians, or of a textured mesh. The same class trains and plays."""

    def create(self, subject: Subject, labels: Sequence[LabelClip]) -> None:
        """Initialize all tensors from the tracked photo.

        Labels may provide colors for the surface that the photo does not show.
        """
        ...

    def pose(self, params: BodyParams) -> Posed:
        """Return the avatar in the pose of one frame.

        Differentiable. The shape in ``params`` is ignored: the avatar has its own.
        """
        ...

    def pose_for_photo(self, params: BodyParams) -> Posed:
        """Return the avatar for a training step on the photo; the default is ``pose``.

        An avatar may leave out the surface that the photo does not show and hold its colors constant, so that occluded surface
        does not learn the colors of the occluder.
        """
        return self.pose(params)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the parameters that an optimizer may change."""
        ...

    def solve_colors(self, targets: Sequence[ColorTarget], iterations: int) -> None:
        """Set the colors that fit views of the photo best, with everything else fixed; the default leaves them alone.

        A picture is linear in the colors of opaque splats, so that this takes seconds where an optimizer takes hundreds of
        steps.

        Args:
            targets: views; they are posed with ``pose_for_photo``.
            iterations: limit for an iterative solver.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """Return all tensors that ``load`` needs, contiguous, on the CPU."""
        ...

    def specs(self) -> Mapping[str, TensorSpec]:
        """Return the spec of each tensor in ``state``; the default is none.

        Avatars are shared, so a file may hold anything. With ``specs`` the file is checked before its values are read, and
        ``load`` only receives tensors that fit. Without, only values that are not finite are refused.
        """
        return {}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the tensors of ``state``.

        Raises:
            StoreError: a tensor is missing or has another shape.
        """
        ...


@dataclass(frozen=True)
class TrainStep:
    """One optimization step, as a loss sees it.

    Attributes:
        step: number of the step, from 0.
        kind: what is supervised: ``photo``, ``body`` or ``head``.
        target: (H, W, 3) foreground composited on ``background``.
        alpha: (H, W) matte.
        confidence: (H, W) 0 to 1.
        camera: camera of this (possibly cropped) view.
        background: (3,) color.
        rendering: the avatar in this view.
        posed: the avatar that was rendered.
        avatar: the avatar model, for losses that are specific to it.
        mesh_mask: () -> (H, W) differentiable silhouette of ``posed.mesh``, rendered on the first call.
        generator: random generator, for random crops.
        foreground: (H, W, 3) the person's colors, defined everywhere and valid where ``alpha`` > 0.
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
    """One unweighted term of the objective (eq. 7, 9, 10).

    The recipe sets its weight, first step and kinds of step.
    """

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Return the value of the term, a scalar ()."""
        ...

    def applies_to(self, avatar: AvatarModel) -> bool:
        """Return whether the term can be computed for this avatar.

        If not, training leaves the term out with a warning.
        """
        return True

    def for_evaluation(self) -> Loss:
        """Return the variant that agrees best with human judgment, for ``evaluate``."""
        return self


@runtime_checkable
class PerceptualDistance(Protocol):
    """A loss that can also compare two pictures, for evaluation.

    Attributes:
        name: exact name of the metric, e.g. ``lpips-vgg``.
    """

    name: str

    def distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the distances (B,) of pictures (B, 3, H, W), sRGB 0 to 1; 0 = equal."""
        ...


@runtime_checkable
class GaussianRasterizer(Protocol):
    """Rasterizes Gaussians (EWA, 0.3 px dilation, front to back, sorted by depth).

    Spheres of one color must be drawn; what else it draws the descriptor's ``features`` say.
    """

    def render(self, gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
        """Render Gaussians with a camera over ``background`` (3,).

        Differentiable in all tensors of the Gaussians. Empty sets and Gaussians outside the view are allowed.
        """
        ...


@runtime_checkable
class MeshRasterizer(Protocol):
    """Rasterizes a triangle mesh."""

    def render(self, mesh: Mesh, camera: Camera) -> MeshRendering:
        """Render a mesh with a camera.

        ``mask`` is differentiable in the vertices at silhouettes; the rest has no gradient.
        """
        ...


@runtime_checkable
class Renderer(Protocol):
    """The two rasterizers of one backend."""

    gaussians: GaussianRasterizer
    meshes: MeshRasterizer


@runtime_checkable
class Exporter(Protocol):
    """Writes an avatar for other programs."""

    def write(self, avatar: AvatarModel, params: BodyParams, path: Path, **options: Any) -> None:
        """Write the avatar, in the pose ``params``, to the file or folder ``path``.

        Options that every exporter accepts and may ignore: ``consent``, what the person agreed to, or None; ``name`` of the
        avatar; ``camera`` of the photo; ``box`` of the person in it (x0, y0, x1, y1, pixels); and ``center``, the (3,) world
        point that cameras turn around.
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
    AvatarModel: ("pose_for_photo", "solve_colors", "specs"),
    Loss: ("applies_to", "for_evaluation"),
}


def optional_members(protocol: type) -> tuple[str, ...]:
    """Return the names of the members that an implementation may leave out."""
    return _DEFAULTS.get(protocol, ())


def with_defaults(component: T, protocol: type) -> T:
    """Add the optional members that a component leaves out, in place, and return it."""
    for name in optional_members(protocol):
        if not hasattr(component, name):
            default = vars(protocol)[name]
            object.__setattr__(component, name, default.__get__(component) if inspect.isfunction(default) else default)
    return component


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"Matter": "MattingModel"})
