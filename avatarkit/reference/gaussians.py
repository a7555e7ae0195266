"""Splatting of Gaussians, as formulas.

Sources: EWA splatting (Zwicker et al. 2001, eq. 29 to 31), 3D Gaussian splatting (Kerbl et al. 2023, eq. 2, 3, 5 and 6);
the constants are gsplat's. For a Gaussian with camera-space mean ``c = (x, y, z)`` and world-space covariance C, W being the
camera's rotation::

    mean2d = (fx x/z + cx, fy y/z + cy)
    J      = [[fx/z, 0, -fx u/z], [0, fy/z, -fy v/z]]       u, v: x/z, y/z clamped 0.3 tan(fov/2) past the picture
    Sigma  = J W C W^T J^T + 0.3 I                          px^2; isotropic: C = s^2 I, and W cancels
    alpha  = min(0.999, opacity exp(-1/2 d^T Sigma^-1 d))   d: pixel center - mean2d; below 1/255 it counts as 0
    w_i    = alpha_i T_i,  T_i = prod_{j<i} (1 - alpha_j)   i, j: by depth z, then by number
    rgb    = sum_i w_i color_i + T_end background

The color is that of ``Gaussians.colors_from`` the camera's position. A pixel ends before the first Gaussian that would
bring T to 1e-4 or less. Since an opacity is at most 1, alpha passes 1/255 only within 3.33 standard deviations, so no other
radius is cut. Gaussians nearer than 1 cm, and such whose mean or Sigma is not finite, are not drawn.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import GaussianRendering, Gaussians

__all__ = [
    "ALPHA_MAX",
    "ALPHA_MIN",
    "CLAMP_MARGIN",
    "DILATION",
    "NEAR",
    "TRANSMITTANCE_MIN",
    "project_gaussians",
    "render_gaussians",
]

NEAR = 0.01  # meters
DILATION = 0.3  # px^2, added to the diagonal of Sigma
CLAMP_MARGIN = 0.3  # of tan(fov/2), how far past the picture's border the Jacobian follows x/z and y/z
ALPHA_MAX = 0.999
ALPHA_MIN = 1 / 255
TRANSMITTANCE_MIN = 1e-4
_PAIRS_AT_ONCE = 1 << 22  # pixels times Gaussians in one chunk


def project_gaussians(gaussians: Gaussians, camera: Camera) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Projects all Gaussians; differentiable.

    Returns:
        (N, 2) centers in pixels, (N, 2, 2) Sigma in px^2, (N,) depths in meters. Rows with depths below ``NEAR`` mean
        nothing.
    """
    K = camera.K.to(gaussians.means)
    R, t = camera.T_camera_world.to(gaussians.means)[:3].split([3, 1], dim=1)
    x, y, z = (gaussians.means @ R.T + t.T).unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_u = CLAMP_MARGIN * 0.5 * camera.width / fx
    margin_v = CLAMP_MARGIN * 0.5 * camera.height / fy
    u = (x / z).clamp(-cx / fx - margin_u, (camera.width - cx) / fx + margin_u)
    v = (y / z).clamp(-cy / fy - margin_v, (camera.height - cy) / fy + margin_v)
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], dim=-1).reshape(-1, 2, 3)
    dilation = DILATION * torch.eye(2, dtype=z.dtype, device=z.device)
    if gaussians.isotropic:
        sigma = gaussians.scales[:, None, None] ** 2 * (J @ J.mT) + dilation
    else:
        C = gaussians.covariances()[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
        sigma = J @ (R @ C @ R.T) @ J.mT + dilation
    centers = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    return centers, sigma, z


def render_gaussians(gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
    """Splats Gaussians in plain torch; autograd gives the gradients.

    Args:
        gaussians: N of them, any floating type; N may be 0.
        camera: whose picture to take.
        background: (3,).

    Returns:
        The picture; differentiable in all tensors of the Gaussians and in the background, ``depth`` excepted.
    """
    with torch.no_grad():
        _, sigma, z = project_gaussians(gaussians, camera)
        drawn = (z > NEAR) & torch.isfinite(torch.linalg.det(sigma)) & torch.isfinite(gaussians.means).all(-1)
        drawn = drawn.nonzero()[:, 0]
        order = drawn[torch.argsort(z[drawn], stable=True)]
    # Selecting before projecting keeps the undefined values of what is not drawn out of the gradients.
    seen = gaussians.map(lambda tensor: tensor[order])
    seen = replace(seen, colors=seen.colors_from(camera.position))
    centers, sigma, z = project_gaussians(seen, camera)
    conics = torch.linalg.inv(sigma)
    like = gaussians.means
    ys, xs = torch.meshgrid(
        torch.arange(camera.height, dtype=like.dtype, device=like.device) + 0.5,
        torch.arange(camera.width, dtype=like.dtype, device=like.device) + 0.5,
        indexing="ij",
    )
    pixels = torch.stack([xs, ys], dim=-1).reshape(-1, 2)
    background = background.to(like)
    chunks = [
        _composite(chunk, centers, conics, z, seen, background)
        for chunk in pixels.split(max(1, _PAIRS_AT_ONCE // max(1, len(seen))))
    ]
    rgb, alpha, depth = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    shape = (camera.height, camera.width)
    return GaussianRendering(rgb.reshape(*shape, 3), alpha.reshape(shape), depth.reshape(shape))


def _composite(
    pixels: torch.Tensor,
    centers: torch.Tensor,
    conics: torch.Tensor,
    z: torch.Tensor,
    gaussians: Gaussians,
    background: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Blends Gaussians that are sorted by depth at (P, 2) pixel centers: rgb (P, 3), alpha (P,), depth (P,)."""
    d = pixels[:, None] - centers  # (P, N, 2)
    dx, dy = d.unbind(-1)
    power = 0.5 * (conics[:, 0, 0] * dx**2 + 2 * conics[:, 0, 1] * dx * dy + conics[:, 1, 1] * dy**2)
    alphas = (gaussians.opacities * torch.exp(-power)).clamp(max=ALPHA_MAX)
    alphas = torch.where(alphas >= ALPHA_MIN, alphas, 0)
    after = torch.cumprod(1 - alphas, dim=-1)
    alphas = torch.where(after > TRANSMITTANCE_MIN, alphas, 0)  # `after` never grows, so nothing follows the stop
    ones = alphas.new_ones(len(pixels), 1)
    T = torch.cat([ones, torch.cumprod(1 - alphas, dim=-1)], dim=-1)  # (P, N + 1)
    weights = alphas * T[:, :-1]
    rgb = weights @ gaussians.colors + T[:, -1:] * background
    alpha = 1 - T[:, -1]
    depth = (weights @ z).detach() / alpha.detach().clamp(min=ALPHA_MIN / 2)
    return rgb, alpha, depth
