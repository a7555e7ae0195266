"""Pseudo-label clips: generated pictures of the person in other poses, re-tracked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera

__all__ = ["LabelClip"]


@dataclass(frozen=True)
class LabelClip:
    """T frames of the person (I_N of the paper) with their parameters.

    Attributes:
        name: unique within a build.
        region: what the frames show, ``body`` or ``head``.
        frames: (T, H, W, 3) uint8 sRGB, foreground colors.
        alpha: (T, H, W) uint8 matte.
        confidence: (T, H, W) uint8 confidence of each pixel; 255 = as reliable as the photo.
        requested: parameters that the generator was asked for (theta_N, phi_N).
        params: parameters after re-tracking; equal to ``requested`` if the generator is exact.
        cameras: one for each frame.
        facts: further information as plain values, for the manifest: source, deviation from the request.
        from_photo: whether its colors are the photo's, completed, without further information.
    """

    name: str
    region: Literal["body", "head"]
    frames: torch.Tensor
    alpha: torch.Tensor
    confidence: torch.Tensor
    requested: BodyParams
    params: BodyParams
    cameras: tuple[Camera, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    from_photo: bool = False

    def __len__(self) -> int:
        return int(self.frames.shape[0])
