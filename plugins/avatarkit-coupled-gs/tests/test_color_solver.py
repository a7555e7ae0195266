"""Solved colors are those of the least-squares problem, and explain the photo."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarkit.config.sections import TrainingConfig
from avatarkit.interfaces import ColorTarget, Context
from avatarkit.registry import Registry
from avatarkit.testing import tiny_context, tiny_subject
from avatarkit.training.views import photo_views
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import front_camera
from avatarkit.types.gaussians import Gaussians
from avatarkit_coupled_gs import color_solver
from avatarkit_coupled_gs.color_solver import Smoothness, solve_colors
from avatarkit_coupled_gs.config import CoupledConfig
from avatarkit_coupled_gs.linear import LinearMap
from avatarkit_coupled_gs.model import CoupledAvatar


@pytest.fixture(scope="module")
def renderer():
    return Registry.load().get("renderer", "cpu").create({}, Context())


def test_colors_solve_the_normal_equations(renderer):
    n, camera, g = 12, front_camera(24, 24, None), torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=g, dtype=torch.float64)

    means = (random(n, 3) - 0.5) * torch.tensor([0.5, 0.5, 0.2], dtype=torch.float64) - torch.tensor([0, 0, 2.0])
    gaussians = Gaussians(means, 0.05 + 0.05 * random(n), random(n, 3), 0.3 + 0.5 * random(n))
    weight, image, share = random(24, 24) / 576, random(24, 24, 3), random(n, 1)
    ring = torch.arange(n)
    rows, columns = torch.cat([ring, ring]), torch.cat([ring, (ring + 1) % n])
    difference = LinearMap(rows, columns, torch.cat([torch.ones(n), -torch.ones(n)]), (n, n))
    smoothness = Smoothness(difference, random(n, 3), 1 + random(n, 1))
    target = ColorTarget(image, weight, camera, BodyParams("none", *(torch.zeros(0) for _ in range(5))))
    found = solve_colors([(gaussians, target)], share, smoothness, renderer.gaussians, 200)

    def drawn(colors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rendering = renderer.gaussians.render(replace(gaussians, colors=colors), camera, torch.zeros(3, dtype=torch.float64))
        return rendering.rgb, rendering.alpha

    unit = torch.eye(n, dtype=torch.float64)
    A = torch.stack([drawn(unit[k, :, None].expand(n, 3))[0][..., 0].flatten() for k in range(n)], 1)
    D = torch.from_numpy(difference.forward_matrix.toarray()).double()
    W, U, S = weight.flatten().diag(), smoothness.weight[:, 0].diag(), share[:, 0].diag()
    H = A.T @ W @ A + color_solver._SMOOTH / n * D.T @ U @ D
    known = A.T @ W @ (drawn(gaussians.colors)[1][..., None] * image).reshape(-1, 3)
    known += color_solver._SMOOTH / n * D.T @ U @ D @ smoothness.first
    change = torch.linalg.solve(S @ H @ S + color_solver._RIDGE * S @ S, S @ (known - H @ gaussians.colors))
    torch.testing.assert_close(found, S @ change.clamp(-color_solver.MOST, color_solver.MOST), rtol=1e-4, atol=1e-5)
    most = torch.full((n, 1), color_solver.MOST, dtype=torch.float64)
    most[: n // 2] = 0.7  # as on lashes
    found = solve_colors([(gaussians, target)], share, smoothness, renderer.gaussians, 200, most)
    expected = S @ torch.maximum(change, -most).clamp(max=color_solver.MOST)
    assert not torch.allclose(expected, S @ change.clamp(-color_solver.MOST, color_solver.MOST))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_solved_colors_explain_the_photo_better(renderer):
    context = tiny_context(renderer=renderer)
    subject = tiny_subject(context, size=96)
    avatar = CoupledAvatar(CoupledConfig(resolution=96, grow=False), context)
    avatar.create(subject, [])
    views = photo_views(subject, 96)
    held = avatar.sh0.detach().clone()

    def error() -> float:
        with torch.no_grad():
            rendering = renderer.gaussians.render(
                avatar.pose_for_photo(subject.params).gaussians, views.full.camera, torch.zeros(3)
            )
        return float((rendering.rgb - views.full.image)[views.full.alpha > 0.9].square().mean())

    before = error()
    avatar.solve_colors(views.color_targets(TrainingConfig().detail_share), 10)
    assert error() < 0.5 * before
    unseen = ((avatar._shown[:, 0] == 0) | avatar._held[:, 0]) & (avatar._darker[:, 0] <= color_solver.MOST)
    assert torch.equal(avatar.sh0[unseen], held[unseen])
    assert avatar.sh0.requires_grad
