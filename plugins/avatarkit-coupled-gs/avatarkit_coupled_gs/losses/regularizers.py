"""L_SC (paper, eq. 7 and 8): soft constraints on the Gaussian field through the mesh."""

from __future__ import annotations

import torch

from avatarkit.errors import PluginError
from avatarkit.interfaces import AvatarModel, Context, TrainStep
from avatarkit_coupled_gs.config import LaplacianConfig
from avatarkit_coupled_gs.losses.field_kernels import consistency, roughness
from avatarkit_coupled_gs.model import CoupledAvatar

__all__ = ["Laplacian", "MeshGaussianConsistency", "MeshMask", "NormalConsistency", "OfCoupled"]


class OfCoupled:
    """What losses have in common that look into the coupled avatar."""

    def applies_to(self, avatar: AvatarModel) -> bool:
        """See ``Loss``."""
        return isinstance(avatar, CoupledAvatar)

    @staticmethod
    def avatar(step: TrainStep) -> CoupledAvatar:
        """Return the avatar of a step."""
        if not isinstance(step.avatar, CoupledAvatar):
            raise PluginError("this loss needs the avatar coupled-gs; leave it out of the recipe")
        return step.avatar


class NormalConsistency(OfCoupled):
    """L_normal: normals of neighboring faces of the deformed mesh agree as well as on the undeformed one."""

    of_avatar = True

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean over inner edges of max(0, (1 - cos) - (1 - cos of the rest mesh)).

        Taken in canonical space, so that bent joints cost nothing; relative to rest, so that fingers, ears and lips are not
        flattened (the paper leaves both unsaid).
        """
        avatar = self.avatar(step)
        bend = avatar.topology.edge_bend(avatar.template + avatar.dT)
        return torch.relu(bend - avatar.topology.rest_bend).mean()


class MeshMask:
    """L_M: the silhouette of the deformed mesh is the matte."""

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean absolute difference between the mesh's mask and the matte, over trusted pixels."""
        mask = step.mesh_mask()
        return ((mask - step.alpha).abs() * step.confidence).sum() / step.confidence.sum().clamp(min=1e-6)


class MeshGaussianConsistency(OfCoupled):
    """L_MGC (eq. 8) = |dX - Bary(dT)|_1, mean over Gaussians, in meters; gradients reach both fields."""

    of_avatar = True

    def __init__(self, config: None, context: Context) -> None:
        pass

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Mean over Gaussians of the L1 norm."""
        avatar = self.avatar(step)
        if avatar.dX.device.type == "cpu":
            return consistency(avatar.dX, avatar.dT, avatar.triangles, avatar.weights, avatar.bary)
        return (avatar.dX - avatar.bary(avatar.dT)).abs().sum(-1).mean()


class Laplacian(OfCoupled):
    """L_lap: dX, scale and color are smooth over the initial connectivity on the canonical surface."""

    of_avatar = True

    def __init__(self, config: LaplacianConfig, context: Context) -> None:
        self.config = config

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Weighted sum of mean squared differences between a Gaussian and the mean of its neighbors.

        For scale and color the first value's own Laplacian is subtracted: what the photo and the sampling put there at
        the start costs nothing.
        """
        avatar, c = self.avatar(step), self.config
        hidden = 1 + c.unseen * (1 - avatar.photo_confidence)
        place = c.position * (1 + c.delicate * avatar.delicate)
        weights = torch.stack([place, torch.full_like(hidden, c.scale), c.color * hidden], 1)
        fields = avatar.dX, avatar.log_scale - avatar.log_scale_start, avatar.sh0 - avatar.sh0_start
        if avatar.dX.device.type == "cpu":
            return roughness(*fields, avatar.topology.difference, weights)
        dX, scale, color = (avatar.topology.laplacian(f.reshape(len(f), -1)).square().sum(-1) for f in fields)
        return (torch.stack([dX, scale, color], 1) * weights).sum(-1).mean()
