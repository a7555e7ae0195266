"""Stage 5: the avatar, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.mesh import Mesh
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject

__all__ = [
    "AvatarModel",
    "ColorTarget",
    "Exporter",
    "ParameterGroup",
    "Posed",
    "TensorSpec",
]


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

    def pose(self, params: BodyParams) -> Posed:
        """Return the avatar in the pose of one frame.

        Differentiable. The shape in ``params`` is ignored: the avatar has its own.
        """

    def pose_for_photo(self, params: BodyParams) -> Posed:
        """Return the avatar for a training step on the photo; the default is ``pose``.

        An avatar may leave out the surface that the photo does not show and hold its colors constant, so that occluded surface
        does not learn the colors of the occluder.
        """
        return self.pose(params)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the parameters that an optimizer may change."""

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


@runtime_checkable
class Exporter(Protocol):
    """Writes an avatar for other programs."""

    def write(self, avatar: AvatarModel, params: BodyParams, path: Path, **options: Any) -> None:
        """Write the avatar, in the pose ``params``, to the file or folder ``path``.

        Options that every exporter accepts and may ignore: ``consent``, what the person agreed to, or None; ``name`` of the
        avatar; ``camera`` of the photo; ``box`` of the person in it (x0, y0, x1, y1, pixels); and ``center``, the (3,) world
        point that cameras turn around.
        """
