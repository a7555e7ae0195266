"""What makes a hand of one color read as a hand: creases, knuckles and the round of fingers, drawn where no photo shows them.

Each vertex of a hand gets coordinates that do not depend on the mesh's resolution: along its finger, across and along the palm,
and how far it faces the back of the hand. Interpolated over triangles, they tell where lines run that are finer than these.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn import functional

from avatarkit.geometry.mesh_graph import vertices_below
from avatarkit.interfaces import BodyModel
from avatarkit.types.body import BodyParams
from avatarkit.types.mesh import vertex_normals

__all__ = ["NO_HAND", "hand_coordinates", "hand_shading"]

_FINGERS = "thumb", "index", "middle", "ring", "pinky"  # pose groups of a hand, without side and number of the joint
NO_HAND = -2.0
"""Coordinate along fingers of what is no hand's."""
_PALM = -1.0  # the same, of what is no finger's
_SIDE = 0.4  # how much darker the sides of fingers are than their fronts and backs
_HINGES, _HINGE_WIDTH = ((0.35, 0.15), (1.0, 0.22), (2.0, 0.20)), 0.07  # creases under the joints, in bones; their depth
_WRINKLES = ((1.0, 0.16, 0.08), (0.9, 0.03, 0.08), (1.02, 0.03, 0.08), (1.14, 0.03, 0.08), (2.0, 0.06, 0.10))
"""Folds over the joints: place and width in bones, and depth."""
_LINE, _LINE_WIDTH = 0.24, 0.022  # depth of the palm's three lines; their width in palms
_HOLLOW, _HOLLOW_WIDTH = 0.08, 0.3
_NEAR = 0.012  # meters around a point, in which what rises takes light from it
_TOGETHER = 64  # points that are compared with all at once: what is in between stays in the cache
_BLOOD = 1.0, 1.25, 1.3  # powers of the shading in red, green and blue: light in folds of skin has passed through it
_PINK = 0.02, -0.04, -0.04  # of palms, knuckles and finger tips, against the back of the hand
_PALE = 0.05  # how much lighter palms are than backs
_USUAL = 0.98, 0.93, 0.93  # the median of all this over a hand, whose color is known with its shading


def hand_coordinates(body: BodyModel, params: BodyParams) -> torch.Tensor:
    """(V, 5) coordinates of hands at rest, for ``hand_shading``; ``NO_HAND`` elsewhere, and where the model has no fingers.

    They are: bones along the finger, 0 at the knuckle to 3 at the tip, or below 0 on the palm; palms across it, 0 at the index
    finger's knuckle, 1 at the little finger's; palms along it, 0 at the wrist, 1 at the knuckles; facing the back, -1 to 1; and
    light, less than 1 between fingers.
    """
    with torch.no_grad():
        rest = body.rest(params.shape, torch.zeros(1, len(body.expression_names)))[0].float()
        joints = body.skeleton(params.shape).positions
    normals, nails = vertex_normals(rest, body.faces), body.part("nails") > 0.5
    first = {g.name: g.joints[0] for g in body.pose_groups}
    at = torch.zeros(len(rest), 5)
    at[:, 0], at[:, 4] = NO_HAND, 1.0
    for side in ("left", "right"):
        if any(f"{side}_{name}" not in first for name in ("wrist", *(f"{f}{k}" for f in _FINGERS for k in (1, 2, 3)))):
            continue
        hand = body.part(f"{side}_hand") > 0.5
        chains = {f: [joints[first[f"{side}_{f}{k}"]] for k in (1, 2, 3)] for f in _FINGERS}
        wrist, index, across = joints[first[f"{side}_wrist"]], chains["index"][0], chains["pinky"][0] - chains["index"][0]
        along = chains["middle"][0] - wrist
        square = across - (across @ along) / along.square().sum() * along
        back = functional.normalize(torch.linalg.cross(square, along), dim=0)
        if (hand & nails).any() and float(normals[hand & nails].mean(0) @ back) < 0:
            back = -back
        place = torch.stack([(rest - index) @ square / (across @ square), (rest - wrist) @ along / along.square().sum()], 1)
        at[hand, :4] = torch.cat([torch.full((len(rest), 1), _PALM), place, (normals @ back)[:, None]], 1)[hand]
        at[hand, 4] = _hollows(rest[hand], normals[hand])
        for finger, chain in chains.items():
            mine = vertices_below(body, f"{side}_{finger}1") & hand
            if mine.any():
                at[mine, 0] = _along(rest[mine], chain)
            if (mine & nails).any():  # the thumb's nail looks another way
                at[mine, 3] = normals[mine] @ functional.normalize(normals[mine & nails].mean(0), dim=0)
    return at


def _along(points: torch.Tensor, chain: list[torch.Tensor]) -> torch.Tensor:
    """(n,) 0 to 3, number of the nearest bone of a finger and how far points (n, 3) are along it; the first reaches back."""
    last = functional.normalize(chain[2] - chain[1], dim=0)
    chain = [*chain, chain[2] + ((points - chain[2]) @ last).max() * last]
    least, along = torch.full((len(points),), torch.inf), torch.zeros(len(points))
    for number, (start, end) in enumerate(pairwise(chain)):
        bone = end - start
        share = ((points - start) @ bone / bone.square().sum().clamp(min=1e-9)).clamp(min=0.0 if number else -0.5, max=1.0)
        off = (points - start - share[:, None] * bone).norm(dim=1)
        along, least = torch.where(off < least, number + share, along), torch.minimum(off, least)
    return along


def hand_shading(at: torch.Tensor) -> torch.Tensor:
    """(n, 3) factors on the color of hands at coordinates (n, 5) of ``hand_coordinates``; 1 elsewhere."""
    along, across, up, facing, open_sky = at.unbind(1)
    finger, facing = (1.0 + along).clamp(0.0, 1.0), facing.clamp(-1.0, 1.0)
    front, back = (-2.0 * facing).clamp(0.0, 1.0), (2.0 * facing).clamp(0.0, 1.0)
    inside = (1.0 - finger) * front
    hinges = sum((depth * _bell(along - place, _HINGE_WIDTH) for place, depth in _HINGES), torch.zeros_like(along))
    folds = sum((depth * _bell(along - place, width) for place, width, depth in _WRINKLES), torch.zeros_like(along))
    light = open_sky * (1.0 - _SIDE * (1.0 - facing.abs()) ** 1.5)
    light = light * (1.0 - finger * (front * hinges + back * folds))
    light = light * (1.0 - _LINE * inside * _palm_lines(across, up))
    light = light * (1.0 - _HOLLOW * inside * _bell(torch.hypot(across - 0.45, 1.3 * (up - 0.5)), _HOLLOW_WIDTH))
    knuckles = finger * (_bell(along - 1.0, 0.25) + _bell(along - 2.0, 0.2)) + (1.0 - finger) * _bell(up - 1.0, 0.08)
    pink = 0.6 * front + 0.8 * finger * _bell(along - 3.0, 0.6) + back * knuckles
    color = light[:, None] ** light.new_tensor(_BLOOD) * (1.0 + pink[:, None] * light.new_tensor(_PINK))
    color = color * (1.0 + _PALE * front)[:, None] / light.new_tensor(_USUAL)
    return torch.where(along[:, None] > 0.5 * (NO_HAND + _PALM), color, 1.0)


def _palm_lines(across: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """(n,) 0 to 1: the lines in which a palm folds below the fingers, across its middle, and around the thumb."""
    below = _bell(up - 0.78 - 0.22 * (1.0 - across).clamp(0.0, 1.0) ** 2, _LINE_WIDTH) * _within(across, 0.15, 1.2)
    middle = _bell(up - 0.74 + 0.30 * across.clamp(min=0.0) ** 1.3, _LINE_WIDTH) * _within(across, -0.3, 0.85)
    thumb = torch.hypot(0.62 * (across + 0.25), up - 0.30) - 0.42
    return torch.stack([below, middle, _bell(thumb, _LINE_WIDTH) * _within(across, -0.1, 9.0) * _within(up, -9.0, 0.78)]).amax(0)


def _within(x: torch.Tensor, low: float, high: float, fade: float = 0.1) -> torch.Tensor:
    return ((x - low) / fade + 0.5).clamp(0.0, 1.0) * ((high - x) / fade + 0.5).clamp(0.0, 1.0)


def _bell(x: torch.Tensor, width: float) -> torch.Tensor:
    return torch.exp(-0.5 * (x / width) ** 2)


def _hollows(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """(n,) light on points (n, 3) of one hand: less where the surface around rises, as between fingers."""
    light = []
    for own, normal in zip(points.split(_TOGETHER), normals.split(_TOGETHER), strict=True):
        step = points - own[:, None]  # (m, n, 3), from row to column
        distance = step.norm(dim=-1).clamp(min=1e-6)
        weight = torch.exp(-((distance / _NEAR) ** 2))
        rise = ((step * normal[:, None]).sum(-1) / distance).clamp(min=0.0)
        light.append(1.08 - 0.9 * (rise * weight).sum(1) / weight.sum(1))
    return torch.cat(light)
