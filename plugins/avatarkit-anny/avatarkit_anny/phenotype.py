"""Phenotypes (gender, age, weight, ...) to blend-shape coefficients.

Anny's phenotype model is piecewise multilinear: each phenotype is a point on a line of anchors ("baby", "child", ...),
it gives hat-function weights to the anchors, and each of MakeHuman's targets stands for a product of anchors.
"""

from __future__ import annotations

import itertools

import torch

__all__ = ["ANCHORS", "LABELS", "coefficients", "corners", "factor_table"]

# Anchors of every phenotype; ages run from -1/3 (newborn) over 0 (baby) to 1 (old), all others from 0 to 1.
ANCHORS: dict[str, tuple[str, ...]] = {
    "gender": ("male", "female"),
    "age": ("newborn", "baby", "child", "young", "old"),
    "muscle": ("minmuscle", "averagemuscle", "maxmuscle"),
    "weight": ("minweight", "averageweight", "maxweight"),
    "height": ("minheight", "maxheight"),
    "proportions": ("idealproportions", "uncommonproportions"),
    "cupsize": ("mincup", "averagecup", "maxcup"),
    "firmness": ("minfirmness", "averagefirmness", "maxfirmness"),
}
MIXED = ("african", "asian", "caucasian")  # shares of a mixture rather than points on a line
LABELS = (*ANCHORS, *MIXED)
_START = {"age": -1.0 / 3.0}
_FACTORS = [anchor for anchors in ANCHORS.values() for anchor in anchors] + list(MIXED)
_ONE = len(_FACTORS)  # column of ones, for targets with fewer factors than others


def factor_table(targets: list[str]) -> torch.Tensor:
    """Return which anchors each target is a product of.

    Args:
        targets: K names such as ``height:male-young-minmuscle-maxweight-maxheight``.

    Returns:
        (K, 6) int64, numbers of anchors, padded with the number of the constant one.
    """
    rows = [[_FACTORS.index(factor) for factor in target.split(":")[1].split("-")] for target in targets]
    return torch.tensor([row + [_ONE] * (6 - len(row)) for row in rows])


# For every anchor: the phenotype that it belongs to and its place on that phenotype's line.
_OWNER = torch.tensor([k for k, anchors in enumerate(ANCHORS.values()) for _ in anchors])
_PLACE = torch.tensor([place for anchors in ANCHORS.values() for place in range(len(anchors))])
_LAST = torch.tensor([len(anchors) - 1 for anchors in ANCHORS.values()])


def _hats(values: torch.Tensor) -> torch.Tensor:
    """Return weights (..., 24) of all anchors around ``values`` (..., 8), which are clamped to the ends of their lines."""
    device = values.device
    start = torch.tensor([_START.get(name, 0.0) for name in ANCHORS], dtype=values.dtype, device=device)
    last, owner, place = _LAST.to(device), _OWNER.to(device), _PLACE.to(device)
    position = (values.clamp(start, torch.ones_like(start)) - start) * (last / (1.0 - start))
    # At an anchor the segment below it gives the derivative, as in Anny.
    lower = (position.detach().ceil() - 1.0).clamp_min(0.0)
    rise = (position - lower)[..., owner]
    step = place - lower[..., owner]
    return torch.where(step == 0, 1.0 - rise, torch.where(step == 1, rise, torch.zeros_like(rise)))


def coefficients(phenotypes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Return blend-shape coefficients of phenotypes; differentiable.

    Args:
        phenotypes: (..., 11) in the order of ``LABELS``, 0 to 1 (age from -1/3).
        table: (K, 6) of ``factor_table``.

    Returns:
        (..., K).
    """
    lines = len(ANCHORS)
    mixture = phenotypes[..., lines:].clamp_min(0.0) + 1e-9  # all zero means an even mixture
    factors = torch.cat(
        [
            _hats(phenotypes[..., :lines]),
            mixture / mixture.sum(-1, keepdim=True),
            torch.ones_like(phenotypes[..., :1]),
        ],
        dim=-1,
    )
    product = factors[..., table[:, 0]]
    for k in range(1, table.shape[1]):
        product = product * factors[..., table[:, k]]
    return product


def corners() -> torch.Tensor:
    """Return (9720, 11) float64, every combination of anchors.

    All bodies lie between them.
    """
    lines = [torch.linspace(_START.get(n, 0.0), 1.0, len(a), dtype=torch.float64).tolist() for n, a in ANCHORS.items()]
    mixtures = torch.eye(len(MIXED), dtype=torch.float64).tolist()
    return torch.tensor([(*line, *mix) for *line, mix in itertools.product(*lines, mixtures)], dtype=torch.float64)
