"""Smooths a sequence inside the fit: all frames of a window take one Gauss-Newton step together.

Each frame contributes its quadratic model of the objective, and a penalty on acceleration couples neighbors. The penalty of
an unknown is scaled by how well the pictures determine it, so that all unknowns get the same cutoff frequency: half of a
movement at the cutoff remains, slower gestures stay. Accelerations larger than noise then get a weaker penalty. Where pictures
do not show a body part, the penalty alone interpolates.

The system is solved by hand, because the last bits of ``scipy.linalg.solveh_banded`` depend on its number of threads, which
``single_threaded`` does not set. On one thread both take 0.25 s for 104 frames of 170 unknowns, and differ by 2e-15.
"""

from __future__ import annotations

import math

import torch

from avatarkit_exavatar.fitting.solver import Normal, held_by_bounds

_TRIES = 2  # the second knows which movements are fast

__all__ = ["joint_step", "stiffness_for"]


def stiffness_for(diagonals: torch.Tensor, shown: torch.Tensor, cutoff: torch.Tensor, fps: float) -> torch.Tensor:
    """(T, P) weight of squared acceleration (per frame squared).

    Args:
        diagonals: (T, P) half Hessians of the frames.
        shown: (T, P) bool, where frames say something of an unknown; the others are bridged, and tell nothing of how firm it
            is.
        cutoff: (T, P) hertz.
        fps: frames per second.
    """
    omega = (2 * math.pi * cutoff / fps).clamp_max(0.9 * math.pi)
    known = torch.where(shown | ~shown.any(0), diagonals, torch.nan)
    return known.nanquantile(0.1, 0) / (2 * torch.sin(omega / 2)) ** 4


def joint_step(
    normals: list[Normal],
    x: torch.Tensor,
    stiffness: torch.Tensor,
    fast: torch.Tensor,
    before: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    free: torch.Tensor,
) -> torch.Tensor:
    """One step of all frames.

    Args:
        normals: T models at ``x``.
        x: (T, P).
        stiffness: (T, P).
        fast: (T, P) accelerations (per frame squared) that are no noise: from there on the penalty gives way.
        before: (k, P) finished frames just before the window, k at most 2.
        low: (P,) bounds.
        high: (P,) bounds.
        free: (P,) bool.

    Returns:
        (T, P).
    """
    at = free.nonzero()[:, 0]
    k = len(before)
    full = torch.cat([before, x])[:, at].double()
    # Second differences: rows of the operator over finished and free frames.
    length = len(full)
    D = torch.zeros(max(length - 2, 0), length, dtype=torch.float64)
    for row in range(len(D)):
        D[row, row : row + 3] = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)
    hessians = torch.stack([n.hessian[at][:, at] for n in normals]).double()
    gradients = torch.stack([n.gradient[at] for n in normals]).double()
    lowest, highest, here = low[at], high[at], x[:, at]
    middle = (torch.arange(len(D)) + 1 - k).clamp(0, len(x) - 1)  # frame of each second difference
    firm, fast = stiffness[middle][:, at].double(), fast[middle][:, at]
    stiff = firm
    new = here
    for _ in range(_TRIES):
        g = gradients + (D.T @ (stiff * (D @ full)))[k:]  # half gradient with the penalty
        bands = [torch.einsum("rt,rt,rp->tp", D[:, lag:], D[:, : length - lag], stiff)[k:] for lag in range(3)]
        held = held_by_bounds(here, g, lowest, highest)
        H = hessians.clone()
        H.diagonal(dim1=1, dim2=2).mul_(1 + 1e-3).add_(bands[0] + 1e-6 + held * 1e8)
        step = _banded_solve(H, bands[1], bands[2], -g)
        new = torch.minimum(torch.maximum(here + step.float(), lowest), highest)
        acceleration = _lasting(D @ torch.cat([full[:k], new.double()]))
        stiff = firm / (1 + (acceleration / fast).square())
    out = x.clone()
    out[:, at] = new
    return out


def _lasting(acceleration: torch.Tensor) -> torch.Tensor:
    """(T, p) mean of three neighbors: what gestures have over several frames, and a single frame that is off has not."""
    if len(acceleration) < 3:
        return torch.zeros_like(acceleration)
    around = torch.cat([acceleration[:1], acceleration, acceleration[-1:]])
    return (around[:-2] + around[1:-1] + around[2:]) / 3


def _banded_solve(H: torch.Tensor, near: torch.Tensor, far: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Solves the block system with blocks H (T, p, p) on the diagonal and diagonal ones off it.

    Block Cholesky: L has three block diagonals.

    Args:
        H: (T, p, p) blocks on the diagonal.
        near: (T - 1, p) between a frame and the one before it.
        far: (T - 2, p) and the one before that.
        right: (T, p).
    """
    count = len(right)
    L0: list[torch.Tensor] = []
    L1: list[torch.Tensor] = []  # L[t, t-1]
    L2: list[torch.Tensor] = []  # L[t, t-2]
    y: list[torch.Tensor] = []
    for t in range(count):
        C, r = H[t], right[t]
        if t >= 2:
            below = torch.linalg.solve_triangular(L0[t - 2], torch.diag(far[t - 2]), upper=False).T
            L2.append(below)
            C = C - below @ below.T
            r = r - below @ y[t - 2]
        else:
            L2.append(torch.zeros(0, 0, dtype=H.dtype))
        if t >= 1:
            B = torch.diag(near[t - 1])
            if t >= 2:
                B = B - L2[t] @ L1[t - 1].T
            close = torch.linalg.solve_triangular(L0[t - 1], B.T, upper=False).T
            L1.append(close)
            C = C - close @ close.T
            r = r - close @ y[t - 1]
        else:
            L1.append(torch.zeros(0, 0, dtype=H.dtype))
        L0.append(torch.linalg.cholesky(C))
        y.append(torch.linalg.solve_triangular(L0[t], r[:, None], upper=False)[:, 0])
    out = torch.empty_like(right)
    for t in reversed(range(count)):
        r = y[t]
        if t + 1 < count:
            r = r - L1[t + 1].T @ out[t + 1]
        if t + 2 < count:
            r = r - L2[t + 2].T @ out[t + 2]
        out[t] = torch.linalg.solve_triangular(L0[t].T, r[:, None], upper=True)[:, 0]
    return out
