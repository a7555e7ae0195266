"""Perceptual losses: reference values, invariances, gradients."""

from __future__ import annotations

import pytest
import torch

from avatarkit.interfaces import Context, TrainStep
from avatarkit.types.camera import front_camera
from avatarkit.types.gaussians import GaussianRendering
from avatarkit_perceptual.config import StLpipsConfig
from avatarkit_perceptual.losses import ShiftTolerantLpips


def _picture(seed: int, size: int = 96) -> torch.Tensor:
    """A smooth random picture (1, 3, size, size)."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 12, 12, generator=g)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module", params=["alex", "vgg"])
def metric(request: pytest.FixtureRequest) -> ShiftTolerantLpips:
    return ShiftTolerantLpips(StLpipsConfig(trunk=request.param, crop=48), Context())


def test_same_picture_is_at_distance_zero(metric):
    x = _picture(0)
    assert metric.distance(x, x).item() == 0.0


def test_distance_grows_with_distortion_and_forgives_a_shift(metric):
    x = _picture(1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    small, large = (metric.distance((x + s * noise).clamp(0, 1), x).item() for s in (0.02, 0.1))
    shifted = metric.distance(x.roll(1, -1), x).item()
    other = metric.distance(_picture(3), x).item()
    assert 0 < small < large < other * 3
    assert shifted < 0.2 * other


def test_weights_choose_the_pixels_that_count(metric):
    x, y = _picture(4), _picture(4).clone()
    y[..., :32] = 0
    right = torch.zeros(1, 96, 96)
    right[..., 72:] = 1
    left = torch.zeros(1, 96, 96)
    left[..., :24] = 1
    assert metric.distance(y, x, right).item() < 0.3 * metric.distance(y, x, left).item()


def test_gradient_moves_a_picture_towards_its_target(metric):
    target, x = _picture(5), _picture(6).requires_grad_()
    before = metric.distance(x, target)
    (gradient,) = torch.autograd.grad(before.sum(), x)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0
    assert metric.distance((x - 0.02 * gradient.sign()).clamp(0, 1), target).item() < before.item()


def test_loss_crops_where_the_person_is(metric):
    H = W = 96
    alpha = torch.zeros(H, W)
    alpha[:40, :40] = 1
    picture = _picture(7)[0].permute(1, 2, 0)
    wrong_elsewhere = picture.clone()
    wrong_elsewhere[72:, 72:] = 0
    step = TrainStep(
        step=0, kind="body", target=picture, alpha=alpha, confidence=alpha, camera=front_camera(W, H),
        background=torch.zeros(3), rendering=GaussianRendering(wrong_elsewhere, alpha, alpha), posed=None, avatar=None,
        mesh_mask=lambda: alpha, generator=torch.Generator().manual_seed(0), foreground=picture,
    )  # fmt: skip
    assert metric(step).item() < 1e-3


def test_values_of_the_original_implementation(metric):
    g = torch.Generator().manual_seed(0)
    a = torch.rand(1, 3, 96, 80, generator=g)
    b = (a + 0.2 * torch.rand(a.shape, generator=g)).clamp(0, 1)
    expected = {"st-lpips-alex": 0.00253460533, "st-lpips-vgg": 0.00282056466}[metric.name]
    assert metric.distance(a, b).item() == pytest.approx(expected, rel=1e-4)


def test_evaluation_measures_with_vgg(metric):
    found = metric.for_evaluation()
    assert found.name == "st-lpips-vgg"
    assert (found is metric) == (metric.name == "st-lpips-vgg")
    assert found.distance(_picture(1), _picture(2)).item() > 0
