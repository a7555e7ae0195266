"""Terms of the objective that trains an avatar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from avatarkit.interfaces.avatar import AvatarModel, Posed
from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import GaussianRendering

__all__ = ["Loss", "PerceptualDistance", "TrainStep"]


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

    The recipe sets its weight, first step and kinds of step. Views of one step may call it on several threads at once.

    Attributes:
        of_avatar: the term depends on ``step.avatar`` alone, so that one view of a step computes it for all; False if left out.
    """

    of_avatar: bool = False

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Return the value of the term, a scalar ()."""

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
