"""What bodies, faces and poses are like before anything is seen."""

from __future__ import annotations

import torch

from avatarkit.interfaces import BodyModel, ShapePrior
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.config import ExAvatarConfig
from avatarkit_exavatar.fitting.solver import Prior

__all__ = ["make_prior", "shape_prior"]

_SIGMA_LOCAL, _SIGMA_BUILD, _SIGMA_PAIR = 0.5, 0.25, 0.13
# Numbers that a clothed person hides or that would trade places with the distance: mean and spread.
_KNOWN = (("age", 0.67, 0.07), ("height", 0.5, 0.1), ("cupsize", 0.25, 0.1), ("firmness", 0.5, 0.1),
          ("african", 0.5, 0.1), ("asian", 0.5, 0.1), ("caucasian", 0.5, 0.1))  # fmt: skip
_LEAN = (0.09, 1.5, 0.15)  # pitch, yaw, roll of the whole body
_RELAXED = 0.3  # of the spread, for fingers that were not seen


def shape_prior(body: BodyModel) -> ShapePrior:
    """Return the body model's own prior, else one of signed changes (neutral value zero) and numbers from 0 to 1."""
    if body.shape_prior is not None:
        return body.shape_prior
    mean = body.neutral().shape
    build = mean != 0
    sigma = torch.where(build, _SIGMA_BUILD, _SIGMA_LOCAL)
    for name, center, spread in _KNOWN:
        if name in body.shape_names:
            number = body.shape_names.index(name)
            mean[number], sigma[number] = center, spread
    return ShapePrior(mean, sigma, torch.where(build, 0.0, -1.0), torch.ones_like(mean))


def _twins(names: tuple[str, ...]) -> list[tuple[int, int]]:
    """Numbers of shape names that are left and right of the same."""
    number = {name: k for k, name in enumerate(names)}
    pairs = [(k, number.get("r" + name[1:])) for name, k in number.items() if name.startswith("l-")]
    return [(a, b) for a, b in pairs if b is not None]


def make_prior(body: BodyModel, parameters: Parameters, config: ExAvatarConfig, hands_seen: dict[str, bool]) -> Prior:
    """Return the prior of one person in one picture.

    Args:
        body: the body model.
        parameters: meaning of the unknowns.
        config: options of the tracker.
        hands_seen: side -> whether its fingers were detected; otherwise they stay relaxed.
    """
    at, anatomy = parameters.layout, parameters.anatomy
    mean, precision, sparsity = torch.zeros(at.size), torch.zeros(at.size), torch.zeros(at.size)
    low, high = torch.full((at.size,), -1e6), torch.full((at.size,), 1e6)
    pairs: list[tuple[int, int, float, float]] = []  # first, second, ratio, precision

    precision[at.root] = config.root_weight / torch.tensor(_LEAN).square()
    sigma = anatomy.sigma.clone()
    for name, row in anatomy.number.items():
        side, _, part = name.partition("_")
        if part[:-1] in ("thumb", "index", "middle", "ring", "pinky"):
            if not hands_seen.get(side, False):
                sigma[row] *= _RELAXED
            if part.endswith("3") and not part.startswith("thumb"):
                second = parameters.group_slice(name[:-1] + "2")
                assert second is not None
                pairs.append((6 + 3 * row, second.start, 0.6, config.pose_weight / 0.15**2))
    for end in ("eye", "eye_smplhf"):
        left, right = (parameters.group_slice(f"{side}_{end}") for side in ("left", "right"))
        if left is not None and right is not None:
            pairs += [(left.start + k, right.start + k, 1.0, config.pose_weight / 0.03**2) for k in range(3)]
    mean[at.pose] = anatomy.mean.flatten()
    precision[at.pose] = config.pose_weight / sigma.flatten().square()
    low[at.pose], high[at.pose] = anatomy.low.flatten(), anatomy.high.flatten()

    precision[at.expression] = config.expression_weight
    sparsity[at.expression] = config.expression_sparsity
    low[at.expression], high[at.expression] = 0.0, 1.0
    unused = [k for k, name in enumerate(body.expression_names) if name.startswith("eyeLook") or name == "tongueOut"]
    if any("eye" in name for name in anatomy.number):
        high[at.expression][unused] = 0.0  # eyes turn by their joints; no landmark sees the tongue

    if at.shapes:
        prior = shape_prior(body)
        mean[at.shape], low[at.shape], high[at.shape] = prior.mean, prior.low, prior.high
        precision[at.shape] = config.shape_weight / prior.sigma.square()
        for a, b in _twins(body.shape_names):
            pairs.append((at.shape.start + a, at.shape.start + b, 1.0, config.shape_weight / _SIGMA_PAIR**2))

    table = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 4)
    return Prior(
        mean, precision, sparsity, low, high,
        table[:, :2].long(), table[:, 2].float(), table[:, 3].float(),
    )  # fmt: skip
