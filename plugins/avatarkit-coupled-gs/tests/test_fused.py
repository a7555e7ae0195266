"""Compiled losses agree with their formulas, and so do their derivatives, on any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from avatarkit_coupled_gs.deformation.rigid import blend, dual_quaternions, move
from avatarkit_coupled_gs.deformation.skinning import transform
from avatarkit_coupled_gs.linear import LinearMap
from avatarkit_coupled_gs.losses.field_kernels import consistency, roughness
from avatarkit_coupled_gs.losses.image_kernels import color_difference, dissimilarity
from avatarkit_coupled_gs.losses.image_losses import l1, ssim_map, weighted_mean


def _random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _same(fast, formula, *inputs: torch.Tensor) -> None:
    found = []
    for function in (fast, formula):
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = function(*leaves)
        found.append((value.detach(), *torch.autograd.grad(value.sum(), leaves)))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
        assert expected.any()


def _pictures(height: int, width: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Rendering, foreground, opacity, background, weights that are zero in places."""
    shapes = (height, width, 3), (height, width, 3), (height, width), (3,), (height, width)
    pictures = [_random(*shape, seed=k, dtype=dtype) for k, shape in enumerate(shapes)]
    pictures[4][: height // 3] = 0
    pictures[4][:, width // 2 + 2 :] = 0
    return pictures


@pytest.mark.parametrize("size", [(7, 9), (24, 31), (33, 20)])
def test_pictures_are_compared_as_the_formulas_say(size):
    rgb, foreground, alpha, background, weights = _pictures(*size)
    target = alpha[..., None] * foreground + (1 - alpha[..., None]) * background
    fixed = foreground, alpha, background, weights
    _same(lambda x: color_difference(x, *fixed), lambda x: weighted_mean(l1(x, target), weights), rgb)
    _same(
        lambda x: dissimilarity(x, *fixed),
        lambda x: weighted_mean(1 - ssim_map(x, target, stride=2), weights[::2, ::2]),
        rgb,
    )


def test_pictures_without_weight_cost_nothing():
    rgb, foreground, alpha, background, weights = _pictures(12, 12)
    for loss in (color_difference, dissimilarity):
        x = rgb.clone().requires_grad_()
        value = loss(x, foreground, alpha, background, torch.zeros_like(weights))
        assert value == 0
        assert not torch.autograd.grad(value, x)[0].any()


def test_roughness_is_the_mean_of_squared_differences():
    near = torch.randint(0, 40, (40, 4), generator=torch.Generator().manual_seed(0))
    own = torch.arange(40)
    rows, columns = torch.cat([own, own.repeat_interleave(4)]), torch.cat([own, near.flatten()])
    difference = LinearMap(rows, columns, torch.cat([torch.ones(40), torch.full((160,), -0.25)]), (40, 40))
    weights = _random(40, 3, seed=1)

    def formula(*fields: torch.Tensor) -> torch.Tensor:
        squares = [difference(f.reshape(40, -1)).square().sum(-1) for f in fields]
        return (torch.stack(squares, 1) * weights).sum(-1).mean()

    fields = _random(40, 3, seed=2), _random(40, seed=3), _random(40, 3, seed=4)
    _same(lambda *f: roughness(*f, difference, weights), formula, *fields)


def test_consistency_is_the_mean_distance_between_both_fields():
    triangles = (torch.arange(50)[:, None] + torch.tensor([0, 3, 7])) % 9
    weights = _random(50, 3, seed=1, dtype=torch.float32).double()
    bary = LinearMap.of_triangles(triangles, weights, 9)
    _same(
        lambda dX, dT: consistency(dX, dT, triangles, weights, bary),
        lambda dX, dT: (dX - bary(dT)).abs().sum(-1).mean(),
        _random(50, 3, seed=2),
        _random(9, 3, seed=3),
    )


def test_rigid_points_move_as_their_blend_says():
    turns = torch.linalg.qr(_random(5, 3, 3, seed=0))[0]
    turns *= torch.linalg.det(turns)[:, None, None]
    joints = dual_quaternions(torch.cat([turns, _random(5, 3, 1, seed=1)], 2).reshape(5, 12)).double()
    indices = torch.randint(0, 5, (30, 4), generator=torch.Generator().manual_seed(0))
    weights = torch.nn.functional.normalize(_random(30, 4, seed=2), p=1)
    points, shift, pull = (_random(30, 3, seed=k) for k in (3, 4, 5))
    _same(
        lambda x: move(joints, indices, weights, points, x) * pull,
        lambda x: transform(blend(joints, indices, weights), points + x) * pull,
        shift,
    )


PROGRAM = """
import hashlib, torch
from avatarkit.utils.threads import shared_workers
from avatarkit_coupled_gs.losses.image_kernels import dissimilarity
rgb, foreground = torch.rand(2, 90, 70, 3, generator=torch.Generator().manual_seed(0))
rgb.requires_grad_()
ones = torch.ones(90, 70)
value = dissimilarity(rgb, foreground, ones, torch.zeros(3), ones)
value.backward()
print(shared_workers().threads, hashlib.sha256(rgb.grad.numpy().tobytes() + value.detach().numpy().tobytes()).hexdigest())
"""


def test_the_number_of_threads_changes_no_bit():
    found = {}
    for threads in ("1", "2"):
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
        count, digest = done.stdout.split()
        found[int(count)] = digest
    assert len(set(found.values())) == 1
