"""Writes files for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from avatarkit import BodyParams, Context
from avatarkit.config.options import Range
from avatarkit.interfaces import AvatarModel
from avatarkit.utils.files import write_text


@dataclass(frozen=True)
class Config:
    """Options of the exporter."""

    digits: Annotated[int, Range(0, 15)] = 5
    """Decimal places of coordinates in meters."""


class Example:
    """Writes the posed Gaussians as a text table: one line each with position, scales, rotation, color and opacity."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config

    def write(self, avatar: AvatarModel, params: BodyParams, path: Path, **options: Any) -> None:
        g = avatar.pose(params).gaussians
        rotations, scales = g.axes()  # of spheres too: no rotation, three equal scales
        columns = [*g.means.T, *scales.T, *rotations.T, *g.colors.T, g.opacities]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        lines = ["x y z scale_0 scale_1 scale_2 rot_w rot_x rot_y rot_z red green blue opacity"]
        lines += [" ".join(f"{value:.{self.config.digits}f}" for value in row) for row in rows]
        write_text(path, "\n".join(lines) + "\n")  # writes the whole file or nothing
