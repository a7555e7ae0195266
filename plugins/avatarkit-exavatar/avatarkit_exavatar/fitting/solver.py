"""Bounded Levenberg-Marquardt over robust terms and a diagonal prior."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from avatarkit_exavatar.body.kinematics import Kinematics, Posed
from avatarkit_exavatar.fitting.residuals import Term

logger = logging.getLogger("avatarkit.exavatar")

_LONGEST = 0.6  # radians, meters or shape numbers that one step may change: the model holds no further

__all__ = ["Normal", "Prior", "held_by_bounds", "minimize", "moved", "normal_equations", "total_cost"]


@dataclass(frozen=True)
class Prior:
    """What is believed of each unknown before looking.

    Attributes:
        mean: (P,). precision: (P,) weight of the squared distance to it.
        sparsity: (P,) weight of the absolute value, for unknowns that are never negative.
        low, high: (P,) bounds.
        pairs: (n, 2) unknowns that belong together. ratio: (n,) the first should be ratio times the second.
        pair_precision: (n,).
    """

    mean: torch.Tensor
    precision: torch.Tensor
    sparsity: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    pairs: torch.Tensor
    ratio: torch.Tensor
    pair_precision: torch.Tensor

    @classmethod
    def near(cls, x: torch.Tensor, precision: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> Prior:
        """Everything stays near a vector, within bounds; each (P,)."""
        none = torch.zeros(0)
        return cls(x, precision, torch.zeros_like(x), low, high, torch.zeros(0, 2, dtype=torch.int64), none, none)

    def cost(self, x: torch.Tensor) -> torch.Tensor:
        """() of the vector (P,)."""
        difference = x[self.pairs[:, 0]] - self.ratio * x[self.pairs[:, 1]]
        return (
            (self.precision * (x - self.mean).square()).sum()
            + (self.sparsity * x).sum()
            + (self.pair_precision * difference.square()).sum()
        )

    def add(self, x: torch.Tensor, gradient: torch.Tensor, hessian: torch.Tensor) -> None:
        """Add half the gradient and half the Hessian of the cost."""
        gradient += self.precision * (x - self.mean) + 0.5 * self.sparsity
        hessian.diagonal().add_(self.precision)
        a, b = self.pairs.T
        p, r = self.pair_precision, self.ratio
        difference = p * (x[a] - r * x[b])
        gradient.index_add_(0, a, difference).index_add_(0, b, -r * difference)
        for rows, columns, value in ((a, a, p), (b, b, p * r * r), (a, b, -p * r), (b, a, -p * r)):
            hessian.index_put_((rows, columns), value, accumulate=True)


@dataclass(frozen=True)
class Normal:
    """Quadratic model of the cost around x: half gradient (P,) and half Hessian (P, P)."""

    cost: float
    gradient: torch.Tensor
    hessian: torch.Tensor


def normal_equations(
    body: Kinematics, posed: Posed, terms: Sequence[Term], prior: Prior, free: torch.Tensor | None = None
) -> Normal:
    """Gauss-Newton model of everything at one pose; the terms' part of it for the unknowns ``free`` (P,) alone."""
    size = len(posed.x)
    columns = torch.arange(size) if free is None else free.nonzero()[:, 0]
    rows, values = [], []
    cost = prior.cost(posed.x)
    for term in terms:
        block = term(body, posed, True)
        assert block.jacobian is not None
        cost = cost + block.cost()
        root = block.trust().sqrt()[:, None]
        jacobian = block.jacobian if len(columns) == size else block.jacobian[..., columns]
        rows.append((jacobian * root[..., None]).flatten(0, 1))
        values.append((block.residual * root).flatten())
    J = torch.cat(rows) if rows else torch.zeros(0, len(columns))
    r = torch.cat(values) if values else torch.zeros(0)
    gradient, hessian = torch.zeros(size), torch.zeros(size, size)
    gradient[columns] = J.T @ r
    hessian[columns[:, None], columns] = J.T @ J
    prior.add(posed.x, gradient, hessian)
    return Normal(float(cost), gradient, hessian)


def held_by_bounds(x: torch.Tensor, gradient: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """(..., P) bool, unknowns at a bound that the gradient would push beyond it."""
    return (x <= low) & (gradient > 0) | (x >= high) & (gradient < 0)


def moved(x: torch.Tensor, change: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """(..., P) after a change, which is shortened where the model would not hold, inside the bounds."""
    change = change * min(1.0, _LONGEST / max(float(change.abs().max()), 1e-9))
    return torch.minimum(torch.maximum(x + change, low), high)


def step(normal: Normal, x: torch.Tensor, prior: Prior, free: torch.Tensor, damping: float) -> torch.Tensor:
    """(P,) next vector: a damped Newton step on the free unknowns that ends inside the bounds."""
    move = (free & ~held_by_bounds(x, normal.gradient, prior.low, prior.high)).nonzero()[:, 0]
    H = normal.hessian[move][:, move].double()
    H.diagonal().mul_(1 + damping).add_(1e-9)
    g = normal.gradient[move].double()
    change = torch.zeros_like(x)
    change[move] = -torch.cholesky_solve(g[:, None], torch.linalg.cholesky(H))[:, 0].float()
    return moved(x, change, prior.low, prior.high)


def total_cost(body: Kinematics, posed: Posed, terms: Sequence[Term], prior: Prior) -> float:
    """Robust cost of a pose."""
    return float(prior.cost(posed.x) + sum(term(body, posed, False).cost() for term in terms))


def minimize(
    body: Kinematics,
    x: torch.Tensor,
    terms: Sequence[Term],
    prior: Prior,
    free: torch.Tensor,
    iterations: int,
    damping: float = 1e-2,
    tolerance: float = 1e-3,
) -> torch.Tensor:
    """Take damped steps downhill.

    Args:
        body: poses points of the body.
        x: (P,) start; it is moved inside the bounds first.
        terms: what is minimized.
        prior: pulls the unknowns to what is usual.
        free: (P,) bool, unknowns that may change.
        iterations: at most this many steps, rejected ones included.
        damping: of the first step, relative to the diagonal.
        tolerance: relative gain below which the search ends.

    Returns:
        (P,) the best vector found.
    """
    inside = torch.minimum(torch.maximum(x, prior.low), prior.high)
    x = torch.where(free, inside, x)
    posed = body.pose(x)
    normal = None
    for number in range(iterations):
        if normal is None:
            normal = normal_equations(body, posed, terms, prior, free)
        candidate = body.pose(step(normal, x, prior, free, damping))
        cost = total_cost(body, candidate, terms, prior)
        gain = normal.cost - cost
        logger.debug("step %d: cost %.4f, gain %.4f, damping %.0e", number, normal.cost, gain, damping)
        if gain <= 0:
            damping = min(damping * 6, 1e4)
            continue
        x, posed = candidate.x, candidate
        damping = max(damping / 4, 1e-4)
        if gain < tolerance * normal.cost:
            break
        normal = None
    return x
