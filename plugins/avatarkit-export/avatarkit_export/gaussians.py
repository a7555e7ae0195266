"""The Gaussians of one pose, as the formats for splats want them."""

from __future__ import annotations

import torch

from avatarkit.errors import InputError
from avatarkit.interfaces import AvatarModel, BodyModel
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import Gaussians
from avatarkit_export.formats import what_works

__all__ = ["posed_gaussians"]


def posed_gaussians(avatar: AvatarModel, params: BodyParams, body: BodyModel, remedy: str = "") -> Gaussians:
    """Return the posed Gaussians in float64 on the CPU.

    Args:
        avatar: any.
        params: the pose.
        body: its body model.
        remedy: sentence about the option that asks for Gaussians, if there is one.

    Raises:
        InputError: the avatar has none; names the formats that can hold it.
    """
    with torch.no_grad():
        g = avatar.pose(params).gaussians
    if not len(g):
        raise InputError(f"The avatar has no Gaussians. {remedy or what_works(avatar, params, body)}")
    return g.map(lambda tensor: tensor.detach().cpu().double())
