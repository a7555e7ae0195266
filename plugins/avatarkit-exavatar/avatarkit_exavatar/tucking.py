"""Hands that nobody found are put where they do not show: tucked under the other arm, in a pocket, in a fist.

A hand's detector looks closely at every wrist that is seen. Where it finds no hand, the hand is hidden; yet the relaxed
hand of the fit would lie open on whatever the photo shows there. Hiding is no matter of slopes, so bends of the wrist and
curls of the fingers are tried and the least visible one is taken.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch.nn.functional import interpolate

from avatarkit.camera import Camera
from avatarkit.interfaces import MeshRasterizer
from avatarkit.mesh import Mesh
from avatarkit.subject import Matte
from avatarkit_exavatar.contour import vertices_below
from avatarkit_exavatar.observation import Observation
from avatarkit_exavatar.parameters import Parameters

__all__ = ["tuck_hands"]

_PIXELS = 288  # longer side of the picture in which the hand is counted
_FINGERS = ("index", "middle", "ring", "pinky")
_FIST = {"1": 1.2, "2": 1.5, "3": 0.9}  # radians of bend by phalanx
_THUMB = {"2": 0.6, "3": 0.8}
_CURLS = (0.0, 0.5, 1.0)  # parts of a fist
_BENDS, _ASIDE = (0.0, -0.4, 0.4, -0.8, 0.8, -1.2, 1.2), (0.0, -0.45, 0.45)  # radians at the wrist
_STRETCHES = (0.0, -0.2, -0.4, -0.6)  # radians at the elbow of an arm that was not fully seen
_CURLED, _BENT, _STRETCHED = 0.12, 0.05, 0.8  # what a fist, and a radian of each joint, must hide, as a part of the hand
_BEHIND = 0.3  # a hand where the photo shows no person may be behind something that is not theirs


def tuck_hands(
    parameters: Parameters,
    x: torch.Tensor,
    observation: Observation,
    camera: Camera,
    matte: Matte | None,
    rasterizer: MeshRasterizer,
) -> torch.Tensor:
    """(P,) the same pose with the unseen hands as little visible on the person as they can be."""
    small = camera.scaled_to(_PIXELS)
    weight = torch.ones(small.height, small.width)
    if matte is not None:
        size = (small.height, small.width)
        weight = interpolate(matte.alpha[None, None], size, mode="area")[0, 0].clamp(min=_BEHIND)
    for side in ("left", "right"):
        if not observation.visible[f"{side}_hand"] and f"{side}_hand" not in observation.cut:
            stretches = _STRETCHES[:1] if observation.visible[f"{side}_arm"] else _STRETCHES
            x = _tucked(parameters, x, side, stretches, small, weight, rasterizer)
    return x


def _tucked(
    parameters: Parameters,
    x: torch.Tensor,
    side: str,
    stretches: tuple[float, ...],
    camera: Camera,
    weight: torch.Tensor,
    rasterizer: MeshRasterizer,
) -> torch.Tensor:
    body = parameters.body
    hand = vertices_below(body, f"{side}_wrist")[body.faces].all(1)
    wrist, elbow = (parameters.group_slice(f"{side}_{name}") for name in ("wrist", "elbow"))
    if wrist is None or elbow is None or not hand.any():
        return x
    number = parameters.anatomy.number[f"{side}_wrist"]
    low, high = parameters.anatomy.low[number], parameters.anatomy.high[number]
    best, least, whole = x, math.inf, 1.0
    for stretch, curl, bend, aside in itertools.product(stretches, _CURLS, _BENDS, _ASIDE):
        tried = _curled(parameters, x, side, curl)
        tried[elbow.start] = min(float(tried[elbow.start]), max(float(tried[elbow.start]) + stretch, 0.0))
        turned = tried[wrist] + torch.tensor([bend, aside, 0.0])
        tried[wrist] = torch.minimum(torch.maximum(turned, low), high)
        vertices = body.vertices(parameters.decode(tried))[0]
        face = rasterizer.render(Mesh(vertices, body.faces), camera).face_index
        shown = float((weight * hand[face.clamp(min=0)])[face >= 0].sum())
        if stretch == curl == bend == aside == 0.0:
            alone = rasterizer.render(Mesh(vertices, body.faces[hand]), camera).face_index
            whole = max(float((alone >= 0).sum()), 1.0)
        cost = shown / whole + _CURLED * curl + _BENT * (bend**2 + aside**2) + _STRETCHED * stretch**2
        if cost < least:
            best, least = tried, cost
    return best


def _curled(parameters: Parameters, x: torch.Tensor, side: str, amount: float) -> torch.Tensor:
    """(P,) with the fingers of a side moved towards a fist, by a part of the way."""
    x = x.clone()
    for names, fist in ((_FINGERS, _FIST), (("thumb",), _THUMB)):
        for name in names:
            for phalanx, bend in fist.items():
                at = parameters.group_slice(f"{side}_{name}{phalanx}")
                if at is not None:
                    x[at.start] += amount * (bend - x[at.start])
    return x
