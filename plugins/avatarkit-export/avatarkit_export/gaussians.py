"""The Gaussians of one pose, as the formats for splats want them."""

from __future__ import annotations

import torch

from avatarkit.errors import InputError
from avatarkit.interfaces import AvatarModel
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import Gaussians

__all__ = ["posed_gaussians"]


def posed_gaussians(avatar: AvatarModel, params: BodyParams) -> Gaussians:
    """Return the posed Gaussians in float64 on the CPU."""
    with torch.no_grad():
        g = avatar.pose(params).gaussians
    if not len(g):
        raise InputError("The avatar has no Gaussians; write its mesh with --to glb or --to vrm.")
    return g.map(lambda tensor: tensor.detach().cpu().double())
