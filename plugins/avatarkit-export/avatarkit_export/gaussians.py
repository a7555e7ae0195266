"""The Gaussians of one pose, as the formats for splats want them."""

from __future__ import annotations

import torch

from avatarkit.errors import InputError
from avatarkit.interfaces import AvatarModel
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import Gaussians

__all__ = ["SH0", "posed_gaussians"]

SH0 = 0.28209479177387814  # zeroth spherical harmonic: rgb = 0.5 + SH0 * f_dc


def posed_gaussians(avatar: AvatarModel, params: BodyParams) -> Gaussians:
    """Return the posed Gaussians in float64 on the CPU."""
    with torch.no_grad():
        g = avatar.pose(params).gaussians
    if not len(g):
        raise InputError("The avatar has no Gaussians, so there is nothing to write.")
    return Gaussians(*(t.detach().cpu().double() for t in (g.means, g.scales, g.colors, g.opacities)))
