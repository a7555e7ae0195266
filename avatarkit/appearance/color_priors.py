"""What colors a person's surface is likely to have where the photo does not show it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from avatarkit.geometry.mesh_graph import REGIONS, limb, limb_joints, smoothstep, strongest_joint
from avatarkit.interfaces import BodyModel
from avatarkit.types.mesh import vertex_normals

__all__ = [
    "ANY_LIGHT",
    "USUAL_LIGHT",
    "Expected",
    "EyeColors",
    "dental_arc",
    "dominant_color",
    "expected_colors",
    "hair_strands",
    "like_shaded",
    "luminance",
    "tooth_gaps",
]

_SKIN = (0.72, 0.55, 0.46)
_WHITE = (0.82, 0.78, 0.71)
_MOUTH = (0.45, 0.17, 0.16)
_TONGUE = (0.70, 0.40, 0.38)
_HAND_LIGHT = 0.86  # brightness of hands against cheeks, the median of 25 photos that show both; limbs are taken to be as light
USUAL_LIGHT = 0.4, 0.6, 1.3, 1.6
"""Light on a color, against its usual: another thing's below the first and above the last, its own between the others."""
ANY_LIGHT = 0.15, 0.3, 1.7, 2.2
"""The same for skin where the photo is sure to show it: in deep shade, or shining."""
_OFF_HUE = 0.15, 0.3  # difference of the channels from gray shading up to which it is the same, and from which it is not
_HAND_SEEN, _LIMB_SEEN, _GLOVE_SEEN = 20.0, 10.0, 30.0  # vertices that tell half of the skin of hands; all of limbs; of gloves
_MISLED, _NOT_SLEEVE = 0.3, 0.25  # part of the seen hands below which arms and cheeks mislead; sRGB distance of skin from cloth
_IN_LIGHT = 0.93, 1.1  # how bright limbs and hands in light may be, against what cheeks let expect
_SHADED = 0.93  # brightness of skin at least, against that of cheeks or arms
_ENOUGH_HAIR = 50  # pixels of hair from which its color is known
_ENOUGH = 0.1  # part of what a joint moves, from which its clothes are known


@dataclass(frozen=True)
class Expected:
    """Colors where nothing near was seen.

    Attributes:
        color: (V, 3). strength: (V,) how strongly to pull there, against 1 per edge of the surface.
        skin, white, hand: (3,) of this person in this light.
    """

    color: torch.Tensor
    strength: torch.Tensor
    skin: torch.Tensor
    white: torch.Tensor
    hand: torch.Tensor


def luminance(rgb: torch.Tensor) -> torch.Tensor:
    """Rec. 601 luma (...) of sRGB (..., 3)."""
    return rgb @ rgb.new_tensor([0.299, 0.587, 0.114])


def dominant_color(colors: torch.Tensor, weight: torch.Tensor, radius: float = 0.18) -> torch.Tensor | None:
    """(3,) the color that most of (n, 3) lie near: two colors do not mix into a third. None without weight."""
    if float(weight.sum()) < 1e-3:
        return None
    steps = 6
    cell = (colors.clamp(0.0, 1.0) * steps).round().long()
    number = (cell[:, 0] * (steps + 1) + cell[:, 1]) * (steps + 1) + cell[:, 2]
    mass = torch.zeros((steps + 1) ** 3).index_add(0, number, weight)
    smooth = functional.avg_pool3d(mass.reshape(1, 1, steps + 1, steps + 1, steps + 1), 3, 1, 1).reshape(-1)
    best = int((smooth + 0.2 * mass).argmax())
    center = torch.tensor([best // (steps + 1) ** 2, best // (steps + 1) % (steps + 1), best % (steps + 1)]) / steps
    for _ in range(4):  # mean shift
        near = weight * torch.exp(-0.5 * ((colors - center) / radius).square().sum(-1))
        center = (colors * near[:, None]).sum(0) / near.sum().clamp(min=1e-9)
    return center


def expected_colors(
    body: BodyModel,
    region: torch.Tensor,
    bare: torch.Tensor,
    rest: torch.Tensor,
    color: torch.Tensor,
    seen: torch.Tensor,
    exposure: float,
    hair_pixels: torch.Tensor,
    cheeks: torch.Tensor | None,
    gloved: bool,
    found: bool,
) -> Expected:
    """Guesses the color of every region from what was seen of it.

    Args:
        body: the body model.
        region: (V,) into ``REGIONS``.
        bare: (V,) bool, where the clothes end.
        rest: (V, 3).
        color: (V, 3) of the photo, with trust ``seen`` (V,).
        exposure: brightness of white things in the photo.
        hair_pixels: (n, 3) colors of hair.
        cheeks: (3,) skin in the light that falls on the face; None where no face is seen.
        gloved: the hands show hardly any skin. found: a detector found one of them.
    """
    is_in = {name: region == k for k, name in enumerate(REGIONS)}

    def usual(rgb: tuple[float, float, float]) -> torch.Tensor:
        return color.new_tensor(rgb) * exposure

    skin = _or_else(dominant_color(color[is_in["skin"]], seen[is_in["skin"]]), usual(_SKIN))
    hair = hair_pixels.median(0).values if len(hair_pixels) > _ENOUGH_HAIR else skin  # of lit strands and of shade
    cloth, limbs = is_in["clothes"] & ~bare, is_in["clothes"] & bare
    clothes = _clothes_by_joint(body, cloth, rest, color, seen, skin)
    arms, legs = (limb(body, f"left_{end}") | limb(body, f"right_{end}") for end in ("hand", "foot"))
    tone = skin if cheeks is None else _HAND_LIGHT * cheeks
    lit = _in_light(color, seen * (limbs | is_in["hands"]), tone)
    for part in (arms, legs, ~(arms | legs)):
        naked = limbs & part
        like, total = seen[naked] * like_shaded(color[naked], tone), float(seen[naked].sum())
        sheer = total > _LIMB_SEEN and float(like.sum()) < _MISLED * total  # a stocking, or a sleeve that skin shines through
        own = dominant_color(color[naked], seen[naked] if sheer else like) if total > _LIMB_SEEN else None
        clothes[naked] = tone if own is None else own if sheer else _lighter(own, lit)
    white = usual(_WHITE)
    redness = color[:, 0] - 0.5 * (color[:, 1] + color[:, 2])
    red = (12.0 * (redness - (skin[0] - 0.5 * (skin[1] + skin[2])))).clamp(-4.0, 4.0).exp()
    usual_lips = skin * skin.new_tensor([0.92, 0.72, 0.74])
    lips = _or_else(dominant_color(color[is_in["lips"]], (seen * red)[is_in["lips"]], 0.1), usual_lips)
    front = rest[is_in["lips"], 2].max() if is_in["lips"].any() else rest[:, 2].max()
    depth = (front - rest[:, 2]).clamp(min=0.0)[:, None]  # meters behind the lips: the cavity darkens
    hand = is_in["hands"]
    forearms = limbs & (limb(body, "left_hand", outer=True) | limb(body, "right_hand", outer=True))
    near = clothes[forearms].mean(0) if forearms.any() else tone
    near = near if float(like_shaded(near[None], tone)) > 0.5 else tone
    palm = _hand_color(color[hand], seen[hand], near, clothes[hand].mean(0), gloved, found)
    hands = palm * (1.0 + body.part("nails")[:, None] * skin.new_tensor([0.12, 0.06, 0.08]))
    table = {
        "clothes": (clothes, 1 / 8),
        "skin": (skin, 1 / 300),
        "scalp": (hair, 1 / 10),
        "hands": (hands, 1 / 4),
        "lips": (0.85 * lips + 0.15 * usual_lips, 1 / 20),
        "feet": (0.4 * clothes, 1 / 50),
        "mouth": (usual(_MOUTH) * (1.1 - depth / 0.06).clamp(0.4, 1.0), 100.0),
        "teeth": (white * (1.3 - depth / 0.06).clamp(0.3, 1.0), 100.0),
        "tongue": (usual(_TONGUE) * (1.15 - depth / 0.08).clamp(0.35, 1.0), 100.0),
        "eyes": (white, 100.0),
    }
    wanted, strength = torch.zeros_like(color), torch.zeros_like(seen)
    for name, (expected, pull) in table.items():
        mask = is_in[name]
        wanted[mask] = expected.expand_as(color)[mask]
        strength[mask] = pull
    strength[limbs] = 1 / 4
    return Expected(wanted, strength, skin, white, palm)


def _or_else(found: torch.Tensor | None, fallback: torch.Tensor) -> torch.Tensor:
    return fallback if found is None else found


def _clothes_by_joint(
    body: BodyModel,
    cloth: torch.Tensor,
    rest: torch.Tensor,
    color: torch.Tensor,
    seen: torch.Tensor,
    skin: torch.Tensor,
) -> torch.Tensor:
    """(V, 3) what each part of the limbs and trunk wears, both sides alike.

    What was not seen wears what the limb's next part does, or the trunk.
    """
    clothes = _or_else(dominant_color(color[cloth], seen[cloth]), 0.7 * skin.mean().expand(3))
    low = cloth & (rest[:, 1] < rest[cloth, 1].median()) if cloth.any() else cloth
    trousers = _or_else(dominant_color(color[low], seen[low]), clothes)
    joint, other = strongest_joint(body), body.mirror()[1]
    pooled = torch.minimum(joint, other[joint])
    arms, legs = ({j for side in ("left", "right") for j in limb_joints(body, f"{side}_{end}")} for end in ("hand", "foot"))
    by_joint: list[torch.Tensor] = []
    for number, parent in enumerate(body.parents):
        here = cloth & (pooled == min(number, int(other[number])))
        enough = float(seen[here].sum()) > max(4.0, _ENOUGH * int(here.sum()))
        found = dominant_color(color[here], seen[here]) if enough else None
        worn = by_joint[parent] if parent in arms or parent in legs else trousers if number in legs else clothes
        by_joint.append(_or_else(found, worn))
    worn_there = torch.stack(by_joint)[joint]
    # The back of an open jacket is like its sides, not like the shirt in front.
    back = vertex_normals(rest, body.faces)[:, 2]
    upper = cloth & ~low & ~torch.isin(joint, torch.tensor(sorted(arms | legs)))
    side = dominant_color(color[upper], seen[upper] * (1.0 - back[upper]).clamp(0.0, 1.0) ** 4)
    return worn_there if side is None else torch.where((upper & (back < 0.0))[:, None], side, worn_there)


def _hand_color(
    color: torch.Tensor, seen: torch.Tensor, near: torch.Tensor, sleeve: torch.Tensor, gloved: bool, found: bool
) -> torch.Tensor:
    """Return the color (3,) of hands: of gloves, else of skin like that of arms or cheeks.

    A face that is lit from one side misleads: hands that agree in another brightness of skin, and are not the sleeve, have that.

    Args:
        color: (n, 3) of the hands' surface, seen with trust ``seen`` (n,).
        near: (3,) of arms or cheeks. sleeve: (3,) of what the forearms wear.
        gloved: the hands show hardly any skin. found: a detector found one of them.
    """
    own, total = dominant_color(color, seen), float(seen.sum())
    if gloved and total > _GLOVE_SEEN:
        return _or_else(own, near)
    like = seen * like_shaded(color, near)
    misled = own is not None and float(like.sum()) < _MISLED * total and float((own - sleeve).norm()) > _NOT_SLEEVE
    if own is not None and found and misled and float(_light_and_hue(own[None], near)[1]) < _OFF_HUE[1]:
        near, like = own, seen * like_shaded(color, own)
    share = float(like.sum()) / (float(like.sum()) + _HAND_SEEN)
    return torch.lerp(near, _lighter(color[like > 0.1].median(0).values, near), share) if (like > 0.1).any() else near


def _in_light(color: torch.Tensor, seen: torch.Tensor, tone: torch.Tensor) -> torch.Tensor:
    """(3,) ``tone`` (3,), about as bright as skin of limbs and hands that lies in light; colors (n, 3) seen with trust (n,)."""
    like = luminance(color[seen * like_shaded(color, tone) > 0.3])
    if len(like) < 2 * _HAND_SEEN:
        return tone
    return tone * (like.quantile(0.75) / luminance(tone).clamp(min=1e-3)).clamp(*_IN_LIGHT)


def _lighter(seen: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """(3,) color of skin of which the photo may show only what lies in shade: nearly as bright as the ``usual`` (3,) at least."""
    own, wanted = luminance(seen), luminance(usual)
    return torch.lerp(seen, usual, ((_SHADED * wanted - own) / (wanted - own).clamp(min=1e-3)).clamp(0.0, 1.0))


def like_shaded(color: torch.Tensor, own: torch.Tensor, light: tuple[float, float, float, float] = USUAL_LIGHT) -> torch.Tensor:
    """(n,) 0 to 1: colors (n, 3) that one color (3,), or each of (n, 3), takes on in more or less light.

    ``light``: as ``USUAL_LIGHT``.
    """
    brightness, off = _light_and_hue(color, own)
    lit = smoothstep(brightness, *light[:2]) * (1.0 - smoothstep(brightness, *light[2:]))
    return lit * (1.0 - smoothstep(off, *_OFF_HUE))


def _light_and_hue(color: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how much brighter than ``own`` (3,) or (n, 3) colors (n, 3) are, a factor (n,), and how far from its hue (n,)."""
    ratio = color / own.clamp(min=0.1)
    light = ratio.mean(1, keepdim=True)
    return light[:, 0], (ratio / light.clamp(min=0.05) - 1.0).abs().amax(1)


def hair_strands(direction: torch.Tensor) -> torch.Tensor:
    """(n,) about -1 to 1: strands that run down from the crown; directions (n, 3) are seen from the head's center."""
    crown = direction.new_tensor([0.0, 0.88, -0.48])
    side = direction.new_tensor([1.0, 0.0, 0.0])
    front = torch.linalg.cross(side, crown)
    down = (direction @ crown).clamp(-1.0, 1.0).acos()
    turn = torch.atan2(direction @ side, direction @ front)
    total = torch.zeros_like(turn)
    for k, waves in enumerate((17, 29, 53, 83, 131)):
        bend = 0.10 * torch.sin(2.3 * down + 1.7 * k) + 0.03 * torch.sin(7.0 * down + 3 * turn + k)
        total = total + torch.sin(waves * (turn + bend) + 2.4 * k) * torch.cos(3.1 * down + 5 * turn + 1.9 * k)
    return total * smoothstep(down, 0.02, 0.25) / math.sqrt(5.0)


def dental_arc(rest: torch.Tensor, teeth: torch.Tensor) -> torch.Tensor:
    """(V,) meters along the row of teeth from its middle, for rest vertices (V, 3); ``teeth`` (V,) bool are theirs."""
    if not teeth.any():
        return torch.zeros(len(rest))
    front = rest[teeth, 2].max()
    return torch.hypot(rest[:, 0], (front - rest[:, 2]).clamp(min=0.0)) * rest[:, 0].sign()


def tooth_gaps(arc: torch.Tensor) -> torch.Tensor:
    """(n,) 0 to 0.25, darkness between neighboring teeth at a place along the row in meters."""
    borders = arc.new_tensor([0.0, 8.0, 15.0, 23.0, 31.0, 40.0, 50.0]) * 1e-3
    off = (arc.abs()[:, None] - borders).abs().amin(1)
    return 0.25 * torch.exp(-0.5 * (off / 0.6e-3) ** 2)


@dataclass(frozen=True)
class EyeColors:
    """Colors of an eyeball by the angle from its axis.

    Attributes:
        iris, sclera: (3,).
    """

    iris: torch.Tensor
    sclera: torch.Tensor

    @classmethod
    def estimate(cls, angle: torch.Tensor, color: torch.Tensor, seen: torch.Tensor, expected: Expected) -> EyeColors:
        """From points of both eyes: degrees off the axis (n,), colors (n, 3), trust (n,)."""
        iris = dominant_color(color, seen * ((angle > 13) & (angle < 24)), 0.1)
        bright = seen * ((angle > 36) & (angle < 65)) * smoothstep(luminance(color), 0.25, 0.6)
        sclera = dominant_color(color, bright, 0.12)
        if sclera is None or float(sclera.max() - sclera.min()) > 0.35 * float(sclera.max()):
            sclera = expected.white
        return cls(expected.skin * 0.35 if iris is None else iris, 0.47 * (sclera + expected.white))

    def __call__(self, axis: torch.Tensor) -> torch.Tensor:
        """(n, 3) colors at unit directions (n, 3) from the center of the eyeball; the axis is +z."""
        angle = axis[:, 2].clamp(-1.0, 1.0).acos().rad2deg()
        pupil = 1.0 - smoothstep(angle, 9.0, 12.0)
        limbus = 1.0 - 0.45 * smoothstep(angle, 22.0, 28.0)
        white = smoothstep(angle, 27.0, 31.0)[:, None]
        return self.iris * (limbus * (1.0 - 0.85 * pupil))[:, None] * (1.0 - white) + self.sclera * white
