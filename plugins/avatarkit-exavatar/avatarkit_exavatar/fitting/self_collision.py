"""The trunk as a stack of ellipsoids, to keep the arms out of it."""

from __future__ import annotations

import torch

from avatarkit_exavatar.body.points import Identity, near_joints
from avatarkit_exavatar.fitting.residuals import Clearance

__all__ = ["clearance"]

_LIMBS = ("elbow", "wrist", "middle1", "middle3")
_FLESH = (0.04, 0.03, 0.015, 0.01)  # meters around those joints
_TRUNK = ("spine1", "spine2", "spine3")


def clearance(identity: Identity, weight: float) -> Clearance:
    """Return the term that keeps elbows, forearms and hands out of the trunk; it has no points where names are unknown."""
    body = identity.body
    first = {g.name: g.joints[0] for g in body.pose_groups}
    trunk = [first[name] for name in _TRUNK if name in first]
    limbs, flesh, shift = [], [], []
    places = identity.skeleton.positions
    for side in ("left", "right"):
        for name, radius in zip(_LIMBS, _FLESH, strict=True):
            if f"{side}_{name}" in first:
                limbs.append(first[f"{side}_{name}"])
                flesh.append(radius)
                shift.append(torch.zeros(3))
        if f"{side}_elbow" in first and f"{side}_wrist" in first:  # the middle of the forearm
            elbow, wrist = first[f"{side}_elbow"], first[f"{side}_wrist"]
            limbs.append(elbow)
            flesh.append(_FLESH[0])
            shift.append(0.5 * (places[wrist] - places[elbow]))
    rest = body.rest(identity.shape, torch.zeros(1, len(body.expression_names)))[0]
    owner = body.skinning_indices[torch.arange(len(rest)), body.skinning_weights.argmax(1)]
    trunk_vertices = torch.isin(owner, torch.tensor(trunk)) if trunk else torch.zeros(len(rest), dtype=torch.bool)
    centers, axes, kept = [], [], []
    for joint in trunk:
        place = identity.skeleton.positions[joint]
        ring = rest[trunk_vertices & ((rest[:, 1] - place[1]).abs() < 0.06)]
        if len(ring) < 8:
            continue
        low, high = ring.quantile(0.05, 0), ring.quantile(0.95, 0)
        kept.append(joint)
        centers.append(0.5 * (low + high) - place)
        half = 0.5 * (high - low)
        axes.append(torch.stack([half[0], torch.tensor(0.12), half[2]]))
    usable = bool(kept and limbs)
    return Clearance(
        limbs=near_joints(identity, limbs if usable else [0], torch.stack(shift) if usable else None),
        radius=torch.tensor(flesh if usable else [0.0]),
        trunk=near_joints(identity, kept if usable else [0], torch.stack(centers) if usable else None),
        joint=torch.tensor(kept if usable else [0]),
        axes=torch.stack(axes) if usable else torch.full((1, 3), 1e-3),
        unit=0.01,
        weight=torch.full((len(limbs) if usable else 1,), weight * 0.1 if usable else 0.0),
    )
