"""Pseudo-label clips: pictures of the person in other poses, made by a generator and tracked again."""

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
    """T frames of the person (I_N of the paper), with the parameters that belong to them.

    Attributes:
        name: unique within a build.
        region: what the frames show.
        frames: (T, H, W, 3) uint8 sRGB, foreground colours.
        alpha: (T, H, W) uint8 matte.
        confidence: (T, H, W) uint8, how far each pixel may be trusted; 255 = as the photo.
        requested: parameters that the generator was asked for (theta_N, phi_N).
        params: parameters after re-tracking; equal to ``requested`` where a generator is exact.
        cameras: one for each frame.
        facts: what is worth knowing about it: where it came from, how far it strayed; plain values, for the manifest.
        from_photo: its colors are the photo's, completed, and know no more.
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
