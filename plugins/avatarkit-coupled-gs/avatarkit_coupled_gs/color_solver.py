"""Colors by least squares: with geometry fixed, a picture is linear in them.

Conjugate gradients minimize sum_k w_k |A_k c - t_k|^2 + s mean_i u_i |D (c - c_0)|_i^2 + r |c - c_now|^2, with A_k the splatting
of view k, D a Gaussian's difference from its neighbors (the Laplacian of eq. 7), c_0 the first colors, and u_i larger where the
photo does not show a Gaussian. Each iteration splats every view once and takes one derivative. On borders colors would turn
black or white to correct what their neighbors miss, and show as lines when a limb moves: a solution changes most colors little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch

from avatarkit.interfaces import ColorTarget, GaussianRasterizer
from avatarkit.types.gaussians import Gaussians
from avatarkit.utils.threads import shared_workers, spans
from avatarkit_coupled_gs.linear import LinearMap

__all__ = ["MOST", "Smoothness", "solve_colors"]

_SMOOTH = 0.03  # s; what the weights of L_lap and L_RGB say of a color that is off by 0.05
MOST = 0.12
"""How much a solution may change most colors, and brighten any: more is a misfit of the geometry, which colors must not hide."""
_RIDGE = 1e-8  # r; holds what neither a view nor a neighbor tells


@dataclass(frozen=True)
class Smoothness:
    """What is known of colors that no view shows.

    Attributes:
        difference: (N, N), D.
        first: (N, 3), c_0.
        weight: (N, 1), u.
    """

    difference: LinearMap
    first: torch.Tensor
    weight: torch.Tensor

    def gradient(self, change: torch.Tensor) -> torch.Tensor:
        """Half the gradient (N, 3) at c_0 + ``change`` (N, 3)."""
        rough = self.weight * self.difference.multiply(change, transposed=False)
        return (_SMOOTH / len(change)) * self.difference.multiply(rough, transposed=True)


@torch.no_grad()
def solve_colors(
    views: Sequence[tuple[Gaussians, ColorTarget]],
    share: torch.Tensor,
    smoothness: Smoothness,
    rasterizer: GaussianRasterizer,
    iterations: int,
    darker: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the change (N, 3) that makes the colors fit some views best; zero where ``share`` is.

    Args:
        views: the avatar in each view, and what it should look like; all have the same colors.
        share: (N, 1) 0 to 1, how far a color may follow.
        darker: (N, 1) how much darker a color may become; None = as much as it may become brighter.
    """
    views = [(gaussians.map(torch.Tensor.detach), target) for gaussians, target in views]
    now = views[0][0].colors

    def gradient(colors: torch.Tensor, known: bool) -> torch.Tensor:
        """Half the gradient of the views' errors, or its part that is linear in the colors."""
        parts = [colors for _ in views]

        def derive(start: int, stop: int) -> None:
            for k, (gaussians, target) in enumerate(views[start:stop], start):
                with torch.enable_grad():
                    leaf = colors.clone().requires_grad_()
                    colored = replace(gaussians, colors=leaf, sh=gaussians.sh if known else None)
                    drawn = rasterizer.render(colored, target.camera, torch.zeros(3, device=leaf.device))
                error = drawn.rgb.detach()
                if known:  # as opaque as the rendering is, as in L_RGB
                    error = error - drawn.alpha.detach()[..., None] * target.image
                parts[k] = torch.autograd.grad(drawn.rgb, leaf, target.weight[..., None] * error)[0]

        if colors.device.type == "cpu":
            shared_workers().run(derive, spans(len(views), len(views)))
        else:
            derive(0, len(views))
        return reduce(torch.add, parts)

    residual = -share * (gradient(now, known=True) + smoothness.gradient(now - smoothness.first))
    change, direction = torch.zeros_like(now), residual.clone()
    length = residual.square().sum()
    for _ in range(iterations):
        if length <= 1e-20:
            break
        moved = share * direction
        curved = share * (gradient(moved, known=False) + smoothness.gradient(moved) + _RIDGE * moved)
        step = length / (direction * curved).sum()
        change += step * direction
        residual -= step * curved
        before, length = length, residual.square().sum()
        direction = residual + (length / before) * direction
    least = change.new_tensor(-MOST) if darker is None else -darker
    return share * torch.maximum(change, least).clamp(max=MOST)
