"""Cuts the person out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from avatarkit import Context, InputError, Keypoints, Matte, Photo
from avatarkit.config.options import Range


@dataclass(frozen=True)
class Config:
    """Options of the matting model."""

    tolerance: Annotated[float, Range(0, 1)] = 0.1
    """Largest difference from the wall's color, 0 to 1, at which a pixel counts as wall."""


class Example:
    """Uses the median color of the picture's border as the wall's color.

    Pixels of another color are the person.
    """

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config

    def matte(self, photo: Photo, keypoints: Keypoints | None = None) -> Matte:
        image = photo.image  # (H, W, 3) sRGB, 0 to 1
        border = torch.cat([image[0], image[-1], image[:, 0], image[:, -1]])
        wall = border.median(0).values
        distance = (image - wall).abs().amax(-1)
        if float(distance.max()) < self.config.tolerance:
            raise InputError(f"{photo.name} shows no person in front of the wall.")
        alpha = ((distance - self.config.tolerance) / 0.05 + 0.5).clamp(0, 1)
        return Matte(alpha, image.clone())
