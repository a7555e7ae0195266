"""Fingers that nobody found are put where they do not show: tucked under the other arm, in a pocket, in a fist.

A hand's detector looks closely at every wrist that is seen. Where it finds no hand, the fingers are hidden; yet the
relaxed hand of the fit would lie open on whatever the photo shows there. Hiding is no matter of slopes, so a few bends of
the wrist and curls of the fingers are tried and the least visible one is taken.
"""

from __future__ import annotations

import math

import torch

from avatarkit.camera import Camera
from avatarkit.interfaces import MeshRasterizer
from avatarkit.mesh import Mesh
from avatarkit_exavatar.contour import vertices_below
from avatarkit_exavatar.observation import Observation
from avatarkit_exavatar.parameters import Parameters

__all__ = ["tuck_hands"]

_PIXELS = 288  # longer side of the picture in which the fingers are counted
_FINGERS = ("index", "middle", "ring", "pinky")
_FIST = {"1": 1.2, "2": 1.5, "3": 0.9}  # radians of bend by phalanx
_THUMB = {"2": 0.6, "3": 0.8}
_CURLS, _BENDS = (0.0, 0.35, 0.7, 1.0), (0.0, -0.3, 0.3, -0.6, 0.6)  # parts of a fist; radians at the wrist
_CURLED, _BENT = 0.15, 0.15  # what a fist and a wrist bent by 0.6 must hide, as a part of the fingers


def tuck_hands(
    parameters: Parameters, x: torch.Tensor, observation: Observation, camera: Camera, rasterizer: MeshRasterizer
) -> torch.Tensor:
    """(P,) the same pose with the unseen hands of arms that were seen as little visible as they can be."""
    scale = min(1.0, _PIXELS / max(camera.width, camera.height))
    small = camera.resized(round(camera.width * scale), round(camera.height * scale))
    for side in ("left", "right"):
        if observation.visible[f"{side}_arm"] and not observation.visible[f"{side}_hand"]:
            x = _tucked(parameters, x, side, small, rasterizer)
    return x


def _tucked(parameters: Parameters, x: torch.Tensor, side: str, camera: Camera, rasterizer: MeshRasterizer) -> torch.Tensor:
    body = parameters.body
    fingers = vertices_below(body, *(f"{side}_{name}1" for name in (*_FINGERS, "thumb")))[body.faces].all(1)
    wrist = parameters.group_slice(f"{side}_wrist")
    if wrist is None or not fingers.any():
        return x
    best, least, whole = x, math.inf, 1
    for curl in _CURLS:
        for bend in _BENDS:
            tried = _curled(parameters, x, side, curl)
            tried[wrist.start] = (tried[wrist.start] + bend).clamp(
                parameters.anatomy.low[parameters.anatomy.number[f"{side}_wrist"], 0],
                parameters.anatomy.high[parameters.anatomy.number[f"{side}_wrist"], 0],
            )
            vertices = body.vertices(parameters.decode(tried))[0]
            face = rasterizer.render(Mesh(vertices, body.faces), camera).face_index
            shown = int(fingers[face[face >= 0]].sum())
            if curl == bend == 0.0:
                alone = rasterizer.render(Mesh(vertices, body.faces[fingers]), camera).face_index
                whole = max(int((alone >= 0).sum()), 1)
            cost = shown / whole + _CURLED * curl + _BENT * (bend / 0.6) ** 2
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
