"""Which pixels of a photo show a forearm before the trunk that the fitted arm, thinner than its sleeve, leaves to the trunk."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from avatarkit.geometry.mesh_graph import screened_poisson, smoothstep

__all__ = ["arm_overhang"]

_PIXEL = 0.004  # meters of a pixel of the grid that is solved on
_REACH = 0.09  # meters beside the fitted arm from which everything is the trunk's
_SURE = 0.025  # meters inside of the fitted arm from which everything is the arm's
_CONTRAST = 3.0  # times the usual difference of neighboring pixels at which one thing may end and another begin
_TIGHTEST = 1e-3  # conductance across the strongest edge
_TRUNK = 0.01  # pull towards the trunk at ``_REACH``; where nothing tells, the arm ends soon
_DARK = 0.02  # added to colors before their logarithm: edges in shade count as those in light


def arm_overhang(color: torch.Tensor, alpha: torch.Tensor, arm: torch.Tensor, trunk: torch.Tensor, meter: float) -> torch.Tensor:
    """(H, W) 0 to 1: how likely each pixel of ``trunk`` shows an arm; 0 away from arms.

    The random walker (Grady, Random Walks for Image Segmentation, 2006, section III): the chance that a walk from a pixel, which
    seldom crosses an edge of the picture, comes to the inside of the fitted arm before it comes to the trunk away from it.

    Args:
        color: (H, W, 3) sRGB.
        alpha: (H, W) of the person.
        arm, trunk: (H, W) bool, what the mesh shows.
        meter: size of a pixel on the body.
    """
    height, width = arm.shape
    if not bool((arm & torch.from_numpy(ndimage.binary_dilation(trunk.numpy()))).any()):
        return torch.zeros(height, width)
    stride = max(1, round(_PIXEL / meter))
    rows, columns = (torch.arange(stride // 2, n, stride) for n in (height, width))
    smooth = np.stack([ndimage.uniform_filter(color[..., k].numpy(), stride) for k in range(3)], -1)
    picture = (torch.from_numpy(smooth)[rows][:, columns] + _DARK).log()
    alpha, arm, trunk = (t[rows][:, columns] for t in (alpha, arm, trunk))
    outside, inside = (torch.from_numpy(ndimage.distance_transform_edt(m.numpy())).float() * meter * stride for m in (~arm, arm))
    solved = (arm & (inside < 2 * _SURE) | trunk & (outside < _REACH)) & (alpha > 0.5)
    edges, contrast = _edges(picture, solved)
    if not len(edges):
        return torch.zeros(height, width)
    usual = contrast.median().clamp(min=1e-3)
    conductance = torch.exp(-(contrast / (_CONTRAST * usual)).square()).clamp(min=_TIGHTEST)
    known = arm[solved].float()[:, None]
    sure = torch.where(arm, smoothstep(inside, 0.0, _SURE), smoothstep(outside, 0.6 * _REACH, _REACH))[solved]
    pull = _TRUNK * (outside[solved] / _REACH).square()
    chance = torch.zeros(arm.shape)
    chance[solved] = screened_poisson(edges, conductance, known, sure, torch.zeros_like(known), pull)[:, 0]
    y, x = (torch.arange(n).sub(stride // 2).div(stride) for n in (height, width))
    y, x = (2.0 * t / max(n - 1, 1) - 1.0 for t, n in zip((y, x), chance.shape, strict=True))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    return functional.grid_sample((chance * trunk)[None, None], grid[None], padding_mode="border", align_corners=True)[0, 0]


def _edges(picture: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(E, 2) neighbors among the pixels of ``mask`` (H, W), numbered in order; (E,) how much (H, W, 3) differs between them."""
    number = torch.full(mask.shape, -1, dtype=torch.int64)
    number[mask] = torch.arange(int(mask.sum()))
    pairs, differences = [], []
    for axis in (0, 1):
        n = mask.shape[axis] - 1
        one, other = number.narrow(axis, 0, n), number.narrow(axis, 1, n)
        both = (one >= 0) & (other >= 0)
        pairs.append(torch.stack([one[both], other[both]], 1))
        differences.append(picture.diff(dim=axis).norm(dim=-1)[both])
    return torch.cat(pairs), torch.cat(differences)
