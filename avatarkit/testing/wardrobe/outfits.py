"""What the synthetic people look like: builds, garments, hair and skin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from avatarkit.geometry.mesh_graph import REGIONS, smoothstep, surface_regions
from avatarkit.interfaces import BodyModel
from avatarkit.testing.wardrobe.fabric import RGB, Pattern, checks, dots, locks, noise, plain, stripes
from avatarkit.testing.wardrobe.pieces import Figure, Piece, clipped, loft, shell, smoothed

__all__ = ["PEOPLE", "Look", "dressed_pieces"]

_TUCKED = 0.02  # meters that skin goes on below a hem; more of it would come through the cloth when limbs bend


@dataclass(frozen=True)
class Top:
    """A garment of the trunk and arms.

    Attributes:
        pattern: of the cloth. sleeve: where it ends: 1 = elbow, 2 = wrist. flare: meters that its end stands away.
        neck: meters of the neckline below the chin's joint. hem: meters of the lower edge above the hip joints.
        ease: meters between cloth and body.
    """

    pattern: Pattern
    sleeve: float
    flare: float = 0.0
    neck: float = 0.115
    hem: float = 0.02
    ease: float = 0.010


@dataclass(frozen=True)
class Look:
    """One person.

    Attributes:
        crop: of the photo, see ``CROPS``. build: shape name -> value. skin: color. hair: dark and light color.
        volume: meters that hair stands off the head. curl: see ``locks``. length: meters that long hair falls below the chin's
            joint; 0 = short. top, trousers, skirt: garments; the skirt ends at the knees.
    """

    crop: str
    build: Mapping[str, float]
    skin: RGB
    hair: tuple[RGB, RGB]
    top: Top
    volume: float
    curl: float = 0.3
    length: float = 0.0
    trousers: Pattern | None = None
    skirt: Pattern | None = None
    lips: RGB = field(default=(0.86, 0.58, 0.58))


_WHITE, _NAVY = (0.90, 0.89, 0.86), (0.13, 0.18, 0.36)

PEOPLE: dict[str, Look] = {
    # Long hair over the shoulders; a skirt that is no body's shape; bare forearms before striped cloth.
    "skirt": Look(
        crop="knees", build={"gender": 0.95, "weight": 0.42, "height": 0.55}, skin=(0.90, 0.71, 0.61),
        hair=((0.20, 0.11, 0.06), (0.47, 0.29, 0.16)), volume=0.018, length=0.20,
        top=Top(stripes(_WHITE, _NAVY, 0.045, 0.42, 3), sleeve=0.75, neck=0.13),
        skirt=dots((0.16, 0.42, 0.42), ((0.93, 0.82, 0.42), (0.90, 0.88, 0.82), (0.80, 0.36, 0.30)), 0.055, 0.013, 5),
    ),
    # Short hair; a loose checked shirt over jeans; hands beside the hem.
    "shirt": Look(
        crop="thighs", build={"gender": 0.05, "weight": 0.55, "muscle": 0.55, "height": 0.65}, skin=(0.80, 0.60, 0.48),
        hair=((0.07, 0.06, 0.06), (0.25, 0.21, 0.19)), volume=0.016, curl=0.6,
        top=Top(checks((0.62, 0.16, 0.15), (0.14, 0.15, 0.24), (0.92, 0.86, 0.72), 0.075, 7), sleeve=1.9, hem=-0.02, ease=0.016),
        trousers=plain((0.26, 0.33, 0.48), 9),
    ),
    # Hair of much volume; wide sleeves that are far from the arms; a printed tunic; dark skin.
    "sleeves": Look(
        crop="knees", build={"gender": 0.8, "weight": 0.55, "height": 0.5}, skin=(0.50, 0.33, 0.24),
        hair=((0.05, 0.035, 0.03), (0.22, 0.14, 0.10)), volume=0.055, curl=3.0,
        top=Top(
            dots((0.89, 0.55, 0.20), ((0.96, 0.91, 0.80), (0.45, 0.14, 0.22)), 0.07, 0.021, 11),
            sleeve=1.72, flare=0.075, neck=0.125, hem=-0.16, ease=0.014,
        ),
        trousers=plain((0.17, 0.16, 0.19), 13), lips=(0.80, 0.50, 0.48),
    ),
}  # fmt: skip


def dressed_pieces(look: Look, body: BodyModel) -> tuple[Figure, list[Piece]]:
    """Return the body of a person and all that is drawn of them."""
    shape = body.neutral().shape
    for name, value in look.build.items():
        if name in body.shape_names:
            shape[body.shape_names.index(name)] = value
    figure = Figure(body, shape)
    covered, pieces = [], []
    inside = _top(figure, look.top)
    covered.append(inside)
    pieces.append(shell(figure, inside, _ease(figure, look.top), look.top.pattern))
    if look.trousers is not None:
        inside = _trousers(figure)
        covered.append(inside)
        pieces.append(shell(figure, inside, 0.007 + 0.002 * noise(figure.rest, 9, 21).clamp(-1, 1), look.trousers))
    if look.skirt is not None:
        pieces.append(_skirt(figure, look.skirt))
    pieces += _hair(figure, look)
    bare = _TUCKED - torch.stack(covered).amax(0)
    skin = Piece(figure.rest, body.faces, figure.weights, _skin(figure, look), _tint(figure, look))
    return figure, [clipped(skin, bare), *pieces]


# -------------------------------------------------------------------------------------------------------------- garments


def _top(figure: Figure, top: Top) -> torch.Tensor:
    """(V,) meters inside of its edges."""
    _, y, z = figure.rest.unbind(1)
    chin, hip = figure.joints["head"][1], figure.joints["left_hip"][1]
    drop = top.neck + 0.25 * (z - figure.joints["neck"][2]).clamp(min=0)  # the neckline falls towards the front
    trunk = torch.minimum(chin - drop - y, y - hip - top.hem)
    length = (figure.joints["left_wrist"] - figure.joints["left_elbow"]).norm()
    sleeve = (top.sleeve - figure.reach) * length
    inside = torch.where(figure.arm, sleeve, trunk)
    return torch.where(figure.head | figure.hands, torch.minimum(inside, torch.tensor(-0.01)), inside)


def _ease(figure: Figure, top: Top) -> torch.Tensor:
    """(V,) meters between body and cloth: folds, and sleeves and hems that stand away."""
    y = figure.rest[:, 1]
    hip = figure.joints["left_hip"][1]
    folds = 0.35 * top.ease * noise(figure.rest, 10, 31, (1.0, 0.5, 1.0)).clamp(-1.5, 1.5)
    wide = top.flare * smoothstep(figure.reach, 0.7, top.sleeve)
    below = 0.02 * smoothstep(-(y - hip - 0.12), 0.0, 0.25) * (~figure.arm).float()
    return smoothed(top.ease + folds + wide + below, figure.edges, 3)


def _trousers(figure: Figure) -> torch.Tensor:
    """(V,) meters inside of their edges: from the waist to above the ankles."""
    y = figure.rest[:, 1]
    waist, ankle = figure.joints["left_hip"][1] + 0.06, figure.joints["left_ankle"][1] + 0.04
    inside = torch.minimum(waist - y, y - ankle)
    return torch.where(figure.arm, torch.tensor(-0.05), inside)


def _skirt(figure: Figure, pattern: Pattern) -> Piece:
    """From the waist to the knees, in folds that widen downwards."""
    top, knee = figure.joints["left_hip"][1] + 0.13, figure.joints["left_knee"][1] + 0.02
    trunk = figure.rest[~figure.arm]
    t = torch.linspace(0, 1, 36)[:, None]
    angle = torch.arange(120)[None] / 120 * 2 * math.pi
    y = (top + (knee - top) * t).expand(-1, 120)
    waist = trunk[(trunk[:, 1] - top).abs() < 0.02]
    middle, half = (waist.amax(0) + waist.amin(0)) / 2, (waist.amax(0) - waist.amin(0)) / 2 + 0.010
    fold = t * (0.018 * (9 * angle).sin() + 0.010 * (14 * angle + 1).sin())
    wide = 0.15 * t**0.8 + fold
    x = middle[0] + (half[0] + wide) * angle.sin()
    z = middle[2] + (half[2] + 0.8 * wide) * angle.cos()
    return loft(figure, torch.stack([x, y, z], -1), True, 0.012, pattern, ~(figure.arm | figure.head))


# ------------------------------------------------------------------------------------------------------------------ hair


def _hair(figure: Figure, look: Look) -> list[Piece]:
    """Return a cap that stands off the head, and where hair is long a sheet that falls from it behind the ears."""
    scalp = (surface_regions(figure.body, figure.rest) == REGIONS.index("scalp")).float()
    inside = smoothed(scalp, figure.edges, 3) - 0.45
    crown = figure.rest[scalp > 0.5]
    center = (crown.amax(0) + crown.amin(0)) / 2
    pattern = locks(*look.hair, center, look.curl, 41)
    away = figure.rest - center
    around = torch.atan2(away[:, 0], away[:, 2])
    ridges = (40 * around).sin() * 0.0015 + 0.12 * look.volume * look.curl * noise(figure.rest, 22, 43).clamp(-1, 1)
    full = smoothstep(inside, 0.0, 0.45)
    cap = shell(figure, inside, 0.003 + (look.volume + ridges) * full, pattern)
    if not look.length:
        return [cap]
    low = figure.joints["head"][1] - look.length
    high = center[1] + 0.02
    t = torch.linspace(0, 1, 30)[:, None]
    columns = 90
    angle = math.pi + torch.linspace(-2.0, 2.0, columns)[None]  # from one temple around the back to the other
    half = (crown.amax(0) - crown.amin(0)) / 2 + look.volume
    wave = t * 0.006 * (22 * angle).sin() + 0.010 * t * (7 * angle + 2).sin()
    wide = 1 + 0.18 * t
    x = center[0] + (half[0] * wide + wave) * angle.sin()
    z = center[2] + (half[2] * (1 - 0.25 * t) + wave) * angle.cos()
    y = (high + (low + 0.03 * (5 * angle).sin() * 0.5 - high) * t).expand(-1, columns)
    near = ~(figure.arm | (figure.rest[:, 1] < figure.joints["spine3"][1]))
    return [cap, loft(figure, torch.stack([x, y, z], -1), False, 0.012, pattern, near)]


# ------------------------------------------------------------------------------------------------------------------ skin


def _tint(figure: Figure, look: Look) -> torch.Tensor:
    """(V, 3) what parts of the body do to the color of skin."""
    body = figure.body
    tint = torch.ones(len(figure.rest), 3)
    for part, factor in (("lips", look.lips), ("nails", (1.06, 0.97, 0.97)), ("ears", (1.0, 0.93, 0.92))):
        share = body.part(part)[:, None]
        tint = tint * (1 - share) + tint * torch.tensor(factor) * share
    dark = body.part("mouth_inside")[:, None]
    return tint * (1 - 0.6 * dark)


def _skin(figure: Figure, look: Look) -> Pattern:
    """Skin with uneven tone; brows and eyes by their places."""
    body, rest = figure.body, figure.rest
    eyes = rest[body.part("eyes") > 0.5]
    sides = [eyes[eyes[:, 0] > 0], eyes[eyes[:, 0] < 0]]
    centers = [(s.amax(0) + s.amin(0)) / 2 for s in sides]
    radii = [float((s - c).norm(dim=1).mean()) for s, c in zip(sides, centers, strict=True)]
    brow, base = torch.tensor(look.hair[0]) * 1.3, torch.tensor(look.skin)

    def color(places: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        tone = 0.025 * noise(places, 25, 51) + 0.012 * noise(places, 120, 52)
        out = base * (1 + tone[:, None] * torch.tensor([0.7, 1.0, 1.1]))
        for center, radius in zip(centers, radii, strict=True):
            off = places - center
            sideways = off[:, 0].abs() / 0.022
            arch = 0.024 - 0.006 * sideways**2
            near = (1 - ((off[:, 1] - arch) / 0.0035) ** 2 - sideways**4).clamp(0, 1) * (off[:, 2] > 0).float()
            out = torch.lerp(out, brow.expand_as(out), 0.75 * near[:, None])
            ball = (off.norm(dim=1) < 1.04 * radius) & (off[:, 2] > 0)
            across = off[:, :2].norm(dim=1)
            iris = torch.where((across < 0.0025)[:, None], torch.tensor([0.03, 0.03, 0.03]), torch.tensor([0.30, 0.20, 0.12]))
            eye = torch.where((across < 0.0060)[:, None], iris, torch.tensor([0.93, 0.92, 0.90]))
            out = torch.where(ball[:, None], eye, out)
        return out.clamp(0, 1)

    return color
