"""The joint step of a window's frames, against the same system written out in full."""

from __future__ import annotations

import pytest
import torch

from avatarkit_exavatar.fitting.smoothing import joint_step
from avatarkit_exavatar.fitting.solver import Normal


@pytest.mark.parametrize(("frames", "finished"), [(1, 0), (1, 2), (2, 1), (3, 0), (7, 2)])
def test_a_joint_step_solves_the_system_of_all_frames(frames: int, finished: int) -> None:
    size, generator = 4, torch.Generator().manual_seed(frames)
    roots = torch.randn(frames, size, 2 * size, generator=generator)
    gradients, x = torch.randn(frames, size, generator=generator), torch.randn(frames, size, generator=generator)
    normals = [Normal(0.0, gradient, root @ root.T) for root, gradient in zip(roots, gradients, strict=True)]
    stiffness = torch.rand(size, generator=generator).expand(frames, size) + 0.5
    before, endless = torch.randn(finished, size, generator=generator), torch.full((size,), torch.inf)
    found = joint_step(
        normals, x, stiffness, endless.expand(frames, size), before, -endless, endless, torch.ones(size, dtype=torch.bool)
    )

    full = torch.cat([before, x]).double()
    rows = max(len(full) - 2, 0)
    second = torch.eye(len(full), dtype=torch.float64).diff(n=2, dim=0) if rows else torch.zeros(0, len(full)).double()
    # damping is a thousandth of the frames' own curvature
    system = torch.block_diag(*(n.hessian.double() + torch.diag(1e-3 * n.hessian.diagonal() + 1e-6) for n in normals))
    right = -gradients.double()
    for p in range(size):
        penalty = float(stiffness[0, p]) * second.T @ second
        right[:, p] -= (penalty @ full[:, p])[finished:]
        own, curvature = torch.arange(frames) * size + p, torch.zeros_like(system)
        curvature[own[:, None], own] = penalty[finished:, finished:]
        system += curvature
    expected = x + torch.linalg.solve(system, right.flatten()).reshape(frames, size)
    torch.testing.assert_close(found.double(), expected.double(), atol=2e-4, rtol=1e-4)
