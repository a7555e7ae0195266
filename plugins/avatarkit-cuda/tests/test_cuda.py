"""What can be proved without a GPU: conventions of what the two libraries are handed."""

from __future__ import annotations

import inspect

import pytest
import torch

from avatarkit.camera import front_camera, orbit
from avatarkit.errors import MissingDevice
from avatarkit.gaussians import Gaussians
from avatarkit.interfaces import Context
from avatarkit.kernels.gaussians import render_gaussians
from avatarkit_cuda.renderer import CudaRenderer, clip_positions, gsplat_arguments


@pytest.fixture
def scene():
    g = torch.Generator().manual_seed(0)
    means = (torch.rand(60, 3, generator=g) - 0.5) * torch.tensor([1.0, 1.0, 0.6]) - torch.tensor([0, 0, 2.5])
    scales, colors = 0.01 + 0.03 * torch.rand(60, generator=g), torch.rand(60, 3, generator=g)
    camera = orbit(front_camera(40, 32), torch.tensor([0.0, 0.0, -2.5]), 20, 10)
    return Gaussians(means, scales, colors, torch.ones(60)), camera


def test_without_a_gpu_one_sentence_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MissingDevice, match="--renderer cpu"):
        CudaRenderer(None, Context())


def test_clip_positions_land_on_the_pixels_of_the_camera(scene):
    gaussians, camera = scene
    clip = clip_positions(gaussians.means, camera)
    ndc = clip[:, :3] / clip[:, 3:]
    pixels = (ndc[:, :2] + 1) / 2 * torch.tensor([camera.width, camera.height])
    assert torch.allclose(pixels, camera.project(gaussians.means), atol=1e-3)
    assert (ndc[:, 2].abs() < 1).all()
    assert torch.equal(ndc[:, 2].argsort(), camera.to_camera(gaussians.means)[:, 2].argsort())


def test_gsplat_formulas_on_its_arguments_give_our_picture(scene):
    gaussians, camera = scene
    background = torch.tensor([0.1, 0.2, 0.3])
    a = gsplat_arguments(gaussians, camera, background)
    expected = render_gaussians(gaussians, camera, background)
    rgb, alpha = _splat(a)
    assert (rgb - expected.rgb).abs().max() < 1e-4
    assert (alpha - expected.alpha).abs().max() < 1e-4


def _splat(a):
    """gsplat's documented pipeline, Gaussian by Gaussian: world to camera, perspective Jacobian, dilation, blending."""
    R, t, K = a["viewmats"][0, :3, :3], a["viewmats"][0, :3, 3], a["Ks"][0]
    m = a["means"] @ R.T + t
    limit = torch.tensor([a["width"] / K[0, 0], a["height"] / K[1, 1]]) / 2 * 1.3
    y, x = torch.meshgrid(torch.arange(a["height"]) + 0.5, torch.arange(a["width"]) + 0.5, indexing="ij")
    rgb, T = torch.zeros(a["height"], a["width"], 3), torch.ones(a["height"], a["width"])
    for i in m[:, 2].argsort().tolist():
        X, Y, Z = m[i]
        tx, ty = Z * (X / Z).clamp(-limit[0], limit[0]), Z * (Y / Z).clamp(-limit[1], limit[1])
        o = torch.tensor(0.0)
        J = torch.stack([K[0, 0] / Z, o, -K[0, 0] * tx / Z**2, o, K[1, 1] / Z, -K[1, 1] * ty / Z**2]).reshape(2, 3)
        S = J @ R @ torch.diag(a["scales"][i] ** 2) @ R.T @ J.T + a["eps2d"] * torch.eye(2)
        d = torch.stack([x - (K[0, 0] * X / Z + K[0, 2]), y - (K[1, 1] * Y / Z + K[1, 2])], -1)
        alpha = (a["opacities"][i] * torch.exp(-0.5 * torch.einsum("hwi,ij,hwj->hw", d, torch.linalg.inv(S), d))).clamp(max=0.999)
        alpha = torch.where((alpha < 1 / 255) | (T < 1e-4), torch.zeros_like(alpha), alpha)
        rgb, T = rgb + (T * alpha)[..., None] * a["colors"][i], T * (1 - alpha)
    return rgb + T[..., None] * a["backgrounds"][0], 1 - T


def test_arguments_are_those_of_the_installed_gsplat(scene):
    gsplat = pytest.importorskip("gsplat")
    known = inspect.signature(gsplat.rasterization).parameters
    assert set(gsplat_arguments(*scene, torch.zeros(3))) | {"render_mode"} <= set(known)
