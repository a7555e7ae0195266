"""The Gaussians of one pose in the PLY layout of 3D Gaussian Splatting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatarkit.interfaces import AvatarModel, Context
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import SH0
from avatarkit_export.config import PlyConfig
from avatarkit_export.files import check_options, check_suffix, provenance, write_file
from avatarkit_export.gaussians import posed_gaussians

__all__ = ["PlyExporter"]

_OPAQUE = 1.0 - 1e-6  # its logit is finite
_FIRST = ("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2")
_LAST = ("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")


class PlyExporter:
    """Binary little-endian PLY: position, zero normal, color, logit opacity, log scales, rotation w x y z.

    The color is ``f_dc``, followed by ``f_rest``, the higher spherical harmonics: zero where colors are the same from all sides.

    Axes are avatarkit's world: meters, y up, the person facing +z.
    """

    def __init__(self, config: PlyConfig, context: Context) -> None:
        self.config, self.context = config, context

    def write(self, avatar: AvatarModel, params: BodyParams, path: Path, **options: Any) -> None:
        """See ``Exporter.write``.

        Args:
            avatar: any.
            params: the pose.
            path: ends in .ply.
            options: ``consent``, what the person agreed to, for the file's comment.

        Raises:
            ConfigError, InputError, StoreError: unknown option; wrong suffix or a pose without Gaussians; disk.
        """
        check_options("ply", options)
        check_suffix(path, ".ply")
        g = posed_gaussians(avatar, params, self.context.get("body"))
        opacity = g.opacities.clamp(1e-6, _OPAQUE).logit()[:, None]
        rotation, scales = g.axes()
        further = torch.zeros(len(g), 3, (self.config.sh_degree + 1) ** 2 - 1, dtype=torch.float64)  # all of red first
        if g.sh is not None:
            kept = min(further.shape[2], g.sh.shape[1])
            further[..., :kept] = g.sh.mT[..., :kept]
        further = further.flatten(1)
        columns = [g.means, torch.zeros_like(g.means), (g.colors - 0.5) / SH0, further, opacity, scales.log(), rotation]
        rows = torch.cat(columns, 1).numpy().astype("<f4")
        names = (*_FIRST, *(f"f_rest_{k}" for k in range(further.shape[1])), *_LAST)
        write_file(path, _header(len(rows), names, provenance(options)), np.ascontiguousarray(rows).tobytes())


def _header(count: int, names: Sequence[str], comment: str) -> bytes:
    ascii_only = comment.encode("ascii", "backslashreplace").decode()  # headers of PLY files are ASCII
    properties = "".join(f"property float {name}\n" for name in names)
    return (
        f"ply\nformat binary_little_endian 1.0\ncomment {ascii_only}\nelement vertex {count}\n{properties}end_header\n"
    ).encode()
