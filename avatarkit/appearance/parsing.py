"""Which part of a person each pixel of a photo shows.

Three cues are multiplied: how far a pixel lies from where the fitted mesh or the landmarks put a part, how well its color fits
the colors of the part in this very photo, and, by a random walk (Grady, Random Walks for Image Segmentation, 2006), what its
neighbors show that no edge of the picture sets apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy import ndimage
from skimage.color import rgb2lab
from torch.nn import functional

from avatarkit.appearance.color_mixture import CLUSTERS, ColorMixture, color_clusters
from avatarkit.appearance.hands import seen_hands
from avatarkit.appearance.skin import gray_skin, skin_likeness
from avatarkit.geometry.mesh_graph import REGIONS, screened_poisson, surface_regions, vertices_below
from avatarkit.interfaces import BodyModel, MeshRasterizer, Renderer
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh, MeshRendering
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte, Subject

__all__ = ["LABELS", "Parsing", "colored", "grid_edges", "held_things", "parse", "pixels_to", "vertex_labels"]

_SIDES = ("left", "right")
_LIMBS = tuple(f"{side}_{part}" for part in ("upper_arm", "forearm", "hand", "leg", "foot") for side in _SIDES)
LABELS = ("hair", "face", "neck", "trunk", *_LIMBS, "held", "other")
"""What a pixel may show; ``held``: a thing in a hand, ``other``: not the person."""
_HEAD = [LABELS.index(name) for name in ("hair", "face", "neck")]
_ARMS = [[k for k, name in enumerate(LABELS) if name.startswith(side) and name.endswith(("arm", "hand"))] for side in _SIDES]

_PIXEL = 0.004  # meters of a pixel of the grid
_SOFT = {
    "face": 0.012,
    "neck": 0.015,
    "trunk": 0.05,
    "upper_arm": 0.03,
    "forearm": 0.035,
    "hand": 0.02,
    "leg": 0.04,
    "foot": 0.03,
}
"""Meters beside the fitted part in which cloth and errors of the fit are usual (one standard deviation)."""
_FOUND_HAND, _FOUND = 0.01, 1.5  # the same beside a hand that a detector found; cost of anything else within it
_GUESSED = 2.0  # times that for arms that were not fully seen
_HAIR, _FALL, _LENGTH, _ASIDE = 0.06, 0.8, 0.45, 0.20  # meters: standing hair; cost of falling hair, its length, how far aside
_HELD, _HELD_REACH = 1.5, 0.08  # cost of a held thing; meters from the hand (one standard deviation)
_OTHER, _OTHER_NEAR, _OTHER_REACH = 1.5, 4.5, 0.04  # cost of what the matte took in by mistake: far off, more at the mesh; meters
_NEVER = 12.0  # cost of the impossible
_LEAST = 40  # pixels from which a part's colors are learned
_GLOVED = 0.2  # part of the hands that looks like skin, below which they wear gloves
_GLARE = 12.0  # CIELAB lightness above nine tenths of the hand that is not the hand's
_SHINES = 5.0  # cost of taking it for a hand or forearm beside the mesh
_SHADE = 0.5  # weight of lightness where skin is told from cloth
_FITS, _MISFITS, _BELIEF = 5.0, -5.0, 0.7  # bounds of the logarithm of how well a color fits; how much of it counts
_INSIDE, _SURE = 0.012, 0.8  # meters inside of the fitted part, and probability, from which a pixel teaches colors
_PRIOR, _CONTRAST, _TIGHTEST = (
    0.05,
    3.0,
    1e-3,
)  # random walk: pull of the cues; usual differences to an edge; conductance across it
_BEFORE = 0.12  # meters around a hand in which a held thing may hide clothes
_WITHIN = 0.8  # part of a piece inside of a hand, from which it is the hand's
_THING, _MOST = 0.004, 0.5  # of a large held thing: square meters, and how much of the trunk's size it has at most
_ONE_PIECE, _FILLED = 0.8, 0.9  # least part of its color in one piece; see ``_filled``
_ANOTHER, _ON_ARM, _SEAM = 14.0, 0.02, 3  # contrast; part of it on arms and hands; half the pixels of seams that divide it
_OPEN = 0.1  # part of it that may lie on legs, and of its outline that may touch legs and the picture's edge
_PALE = 0.5  # chroma against that of the face below which a color is gray
_WORN, _KNOT = 0.85, 0.02  # part of it that may lie on one arm, and meters that may touch the head
_TOUCHING = 0.02  # meters from the hand in which a held thing touches it
_AROUND_THING = 0.03  # meters around a large held thing in which nothing else teaches its colors: its shaded side may lie there
_FAR = 1e6  # pixels: nowhere
_BACKGROUND = 0.02  # alpha of the background: it teaches the colors of ``other`` and is nothing else
_SMALLEST = {"hair": 4e-4, "held": 3e-3}  # square meters of a piece: less is a speck, or a thing that is worn


@dataclass(frozen=True)
class Parsing:
    """Parts of a person in a photo, on a grid of about 4 mm.

    Attributes:
        camera: of the grid; it shows the whole photo. meter: size of its pixels on the body.
        probability: (L, h, w) of ``LABELS``, sums to one.
        fitted: (h, w) int64, the label of the mesh there; -1 off the mesh. drawn: the mesh, seen by ``camera``.
        gloved: the hands show hardly any skin.
        skin: (h, w) 0 to 1, bare skin, 0 in the background; in black and white of forearms only, 0 if no face tells it.
    """

    camera: Camera
    meter: float
    probability: torch.Tensor
    fitted: torch.Tensor
    drawn: MeshRendering
    gloved: bool
    skin: torch.Tensor

    def at(self, height: int, width: int) -> torch.Tensor:
        """(L, height, width) probabilities on another grid."""
        return functional.interpolate(self.probability[None], (height, width), mode="bilinear", align_corners=False)[0]


def colored(parsing: Parsing, photo: torch.Tensor) -> torch.Tensor:
    """(H, W, 3) a photo (H, W, 3) on which each label has a color of its own, for the report."""
    hue = torch.arange(len(LABELS)) * 0.618  # turns; the golden ratio keeps neighbors in the list apart
    colors = 0.5 + 0.5 * torch.cos(2 * torch.pi * (hue[:, None] + torch.tensor([0.0, 1 / 3, 2 / 3])))
    colors[LABELS.index("other")] = 1.0
    labels = parsing.at(*photo.shape[:2]).argmax(0)
    return 0.4 * photo + 0.6 * colors[labels]


def vertex_labels(body: BodyModel, shape: torch.Tensor) -> torch.Tensor:
    """(V,) int64 into ``LABELS``: the part that each vertex belongs to, for an identity (S,)."""
    with torch.no_grad():
        regions = surface_regions(body, body.rest(shape, torch.zeros(1, len(body.expression_names)))[0].float())
    label = torch.full((len(regions),), LABELS.index("trunk"))

    def put(name: str, mask: torch.Tensor) -> None:
        label[mask] = LABELS.index(name)

    put("neck", vertices_below(body, "neck"))
    put("face", body.part("head") > 0.5)
    put("hair", regions == REGIONS.index("scalp"))
    for side in _SIDES:
        put(f"{side}_leg", vertices_below(body, f"{side}_hip"))
        put(f"{side}_foot", body.part(f"{side}_foot") > 0.5)
        put(f"{side}_upper_arm", vertices_below(body, f"{side}_shoulder"))
        put(f"{side}_forearm", vertices_below(body, f"{side}_elbow"))
        put(f"{side}_hand", body.part(f"{side}_hand") > 0.5)
    return label


def parse(subject: Subject, vertices: torch.Tensor, labels: torch.Tensor, body: BodyModel, renderer: Renderer) -> Parsing:
    """Parse a tracked photo; deterministic.

    Args:
        vertices: (V, 3) in the photo's pose, world. labels: (V,) from ``vertex_labels``.
    """
    camera, drawn, meter = _grid(subject.camera, Mesh(vertices, body.faces), renderer.meshes)
    fitted = torch.where(drawn.face_index >= 0, labels[body.faces[drawn.face_index.clamp(min=0), 0]], -1)
    rgb, alpha = _picture(subject.photo, subject.matte, *fitted.shape)
    person = alpha >= _BACKGROUND
    lab, skin = torch.from_numpy(rgb2lab(rgb.numpy())).float(), skin_likeness(rgb, subject.keypoints, alpha)
    hands = seen_hands(subject.keypoints, *fitted.shape)
    holding = _holding(fitted, hands, subject.quality.visible)
    thing = _thing(lab, fitted, holding, alpha, meter)
    cost = _shape_costs(fitted, hands, holding, thing, subject, meter)
    cost[:, alpha < 0.05] = _NEVER
    cost[LABELS.index("other"), alpha < 0.05] = 0.0
    chance = (-cost).softmax(0)
    teachers, fall = _teachers(fitted, hands, holding, subject.quality.partially_visible, alpha, meter), _fall(fitted, meter)
    teachers &= pixels_to(thing) * meter > _AROUND_THING
    teachers[LABELS.index("held")] = thing
    if skin is not None:
        glare = _glare(skin, lab[..., 0], teachers, holding, meter)
        skin = torch.where(glare, 0.0, skin)
        cost[[LABELS.index(name) for name in (*_pair("hand"), *_pair("forearm"))]] += _SHINES * (glare & (fitted < 0))
    for _ in range(2):
        fit, gloved = _color_fit(lab, teachers & (chance > 0.5 * chance.amax(0)), fall, skin, person)
        chance = (_BELIEF * fit - cost).softmax(0)
        teachers = teachers | (chance > _SURE)
    chance = _walk(chance, lab, alpha > 0.05)
    nowhere = torch.zeros_like(holding)
    chance = _where_it_hangs(chance, "hair", _scalp(fitted), nowhere, meter)
    chance = _where_it_hangs(chance, "held", holding | thing, torch.stack([nowhere, *hands.values()]).any(0), meter)
    gray = gray_skin(rgb, subject.keypoints) if skin is None else None
    bare = torch.zeros_like(alpha)
    if skin is not None:
        bare = _bare(lab, chance > 0.5, skin > 0.5, skin, person)
    elif gray is not None:  # brightness alone tells forearms from sleeves, but not a face from a shirt
        bare = _bare(lab, chance > 0.5, gray, bare, person) * chance[[LABELS.index(name) for name in _pair("forearm")]].sum(0)
    return Parsing(camera, meter, chance, fitted, drawn, gloved, bare * person)


def held_things(
    photo: Photo,
    matte: Matte,
    keypoints: Keypoints,
    visible: Mapping[str, bool],
    camera: Camera,
    mesh: Mesh,
    labels: torch.Tensor,
    rasterizer: MeshRasterizer,
) -> torch.Tensor:
    """(H, W) bool, large things that a photo shows before the person, for those who have no tracked ``Subject`` yet.

    Args:
        visible: as in ``Quality``. camera: of the photo.
        mesh: the person in the photo's pose. labels: (V,) from ``vertex_labels``.
    """
    _, drawn, meter = _grid(camera, mesh, rasterizer)
    fitted = torch.where(drawn.face_index >= 0, labels[mesh.faces[drawn.face_index.clamp(min=0), 0]], -1)
    rgb, alpha = _picture(photo, matte, *fitted.shape)
    holding = _holding(fitted, seen_hands(keypoints, *fitted.shape), visible)
    thing = _thing(torch.from_numpy(rgb2lab(rgb.numpy())).float(), fitted, holding, alpha, meter)
    return functional.interpolate(thing[None, None].float(), matte.alpha.shape)[0, 0] > 0.5


def _picture(photo: Photo, matte: Matte, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(height, width, 3) colors, without the background's where the matte mixes them, and (height, width) alpha."""
    alpha = matte.alpha[..., None]
    shown = torch.lerp(photo.image.float(), matte.foreground, alpha)
    small = functional.interpolate(torch.cat([shown, alpha], -1).permute(2, 0, 1)[None], (height, width), mode="area")[0]
    return small[:3].permute(1, 2, 0).contiguous(), small[3]


def _holding(fitted: torch.Tensor, hands: dict[str, torch.Tensor], visible: Mapping[str, bool]) -> torch.Tensor:
    """(h, w) bool, hands that may hold something: found by a detector, or fitted to an arm that was seen."""
    found = torch.zeros_like(fitted, dtype=torch.bool)
    for side in _SIDES:
        if side in hands:
            found |= hands[side]
        elif visible.get(f"{side}_arm", True):
            found |= fitted == LABELS.index(f"{side}_hand")
    return found


def _grid(photo_camera: Camera, mesh: Mesh, rasterizer: MeshRasterizer) -> tuple[Camera, MeshRendering, float]:
    """Return the camera of a grid with pixels of ``_PIXEL`` on the body, the mesh seen by it, and meters of a pixel."""
    depth = float(photo_camera.to_camera(mesh.vertices)[:, 2].median().clamp(min=0.1))
    longest = max(photo_camera.width, photo_camera.height)
    camera = photo_camera.scaled_to(max(32, round(longest * depth / float(photo_camera.K[0, 0]) / _PIXEL)))
    with torch.no_grad():
        drawn = rasterizer.render(mesh, camera)
    hit = drawn.face_index >= 0
    return camera, drawn, float(drawn.depth[hit].median() / camera.K[0, 0]) if hit.any() else _PIXEL


def _shape_costs(
    fitted: torch.Tensor,
    hands: dict[str, torch.Tensor],
    holding: torch.Tensor,
    thing: torch.Tensor,
    subject: Subject,
    meter: float,
) -> torch.Tensor:
    """(L, h, w) how little each pixel is where a part should be: squared distances over twice the variance."""
    cost = torch.full((len(LABELS), *fitted.shape), _NEVER)
    for number, name in enumerate(LABELS):
        side, _, part = name.partition("_") if name in _LIMBS else ("", "", name)
        soft, area = _SOFT.get(part, 0.0), fitted == number
        if part not in ("leg", "foot") and not subject.quality.visible.get(f"{side}_arm", True):
            soft *= _GUESSED
        if part == "hand" and side in hands:
            soft, area = _FOUND_HAND, hands[side]
        if soft and area.any():
            cost[number] = 0.5 * (pixels_to(area) * meter / soft).square()
    cost[LABELS.index("hair")] = _hair_cost(fitted, meter)
    near, inside = pixels_to(fitted >= 0) * meter, pixels_to(fitted < 0) * meter
    cost[LABELS.index("other")] = _OTHER + _OTHER_NEAR * torch.exp((inside - near) / _OTHER_REACH)
    for side, found in hands.items():
        cost[:, found] += _FOUND
        cost[LABELS.index(f"{side}_hand"), found] -= _FOUND
    cost[LABELS.index("held")] = _HELD + 0.5 * (pixels_to(holding | thing) * meter / _HELD_REACH).square()
    cost[:, thing] += _FOUND
    cost[LABELS.index("held"), thing] = 0.0
    return cost.clamp(max=_NEVER)


def _hair_cost(fitted: torch.Tensor, meter: float) -> torch.Tensor:
    """(h, w) cost of hair: it stands off the scalp a little, and falls beside and below the head."""
    standing, falling = (0.5 * (pixels_to(area) * meter / _HAIR).square() for area in (_scalp(fitted), _fall(fitted, meter)))
    return torch.minimum(standing, _FALL + falling)


def _scalp(fitted: torch.Tensor) -> torch.Tensor:
    """(h, w) bool, where hair grows: the scalp, or the head of a body that knows none."""
    scalp = fitted == LABELS.index("hair")
    return scalp if scalp.any() else fitted == LABELS.index("face")


def _fall(fitted: torch.Tensor, meter: float) -> torch.Tensor:
    """(h, w) bool, where long hair may fall: beside and below the head."""
    head, fall = (fitted == LABELS.index("hair")) | (fitted == LABELS.index("face")), torch.zeros_like(fitted, dtype=torch.bool)
    if head.any():
        (top, bottom), (left, right) = ((int(k[0]), int(k[-1])) for k in (torch.nonzero(head.any(i))[:, 0] for i in (1, 0)))
        aside = round(_ASIDE / meter)
        fall[top : bottom + round(_LENGTH / meter), max(0, left - aside) : right + aside] = True
    return fall


def _teachers(
    fitted: torch.Tensor,
    hands: dict[str, torch.Tensor],
    holding: torch.Tensor,
    partially_visible: tuple[str, ...],
    alpha: torch.Tensor,
    meter: float,
) -> torch.Tensor:
    """(L, h, w) bool, pixels that surely show a part, by mesh and landmarks alone; ``partially_visible``: as in ``Quality``."""
    found = torch.zeros(len(LABELS), *fitted.shape, dtype=torch.bool)
    for number, name in enumerate(LABELS):
        if name == "other":
            found[number] = alpha < _BACKGROUND
        elif name.endswith("hand"):
            on_mesh = (fitted == number) & (alpha > 0.95)
            if name[:-5] in hands:
                seen = hands[name[:-5]] & (alpha > 0.95)
                on_mesh &= seen  # what shines around the fingers teaches nothing
                found[number] = on_mesh if int(on_mesh.sum()) >= _LEAST else seen
            elif name in partially_visible:
                found[number] = on_mesh
        else:
            inside = pixels_to(fitted != number) * meter
            found[number] = (inside > min(_INSIDE, 0.5 * float(inside.max()))) & (alpha > 0.95)
            if name == "trunk" or name.endswith("leg"):
                found[number] &= pixels_to(holding) * meter > _BEFORE
    return found


def _thing(lab: torch.Tensor, fitted: torch.Tensor, holding: torch.Tensor, alpha: torch.Tensor, meter: float) -> torch.Tensor:
    """(h, w) bool, large held things, as a sheet of paper, a phone or a ball, whatever parts below the head they hide.

    Such a thing is the only piece of its color, or of its two shades, and fills its outline, as most garments and limbs do not.
    It touches a hand or lies before an arm and what is beside it, as no sleeve or glove does; it is unlike the skin of the face,
    and unlike clothes it reaches neither head, legs nor the picture's edge, and is small against the trunk.
    """
    found, part = np.zeros(fitted.shape, dtype=bool), fitted.numpy()
    within = (alpha > 0.95).numpy() & ~np.isin(part, _HEAD)
    face = (part == LABELS.index("face")) & (alpha > 0.95).numpy()
    if within.sum() < _LEAST * CLUSTERS:
        return torch.from_numpy(found)
    colors = (lab * torch.tensor([_SHADE, 1.0, 1.0])).numpy().astype(np.float64)
    cluster = np.full(found.shape, -1)
    cluster[within] = color_clusters(colors[within])
    near = (pixels_to(holding) * meter < _TOUCHING).numpy()
    rows, columns = (slice(max(k[0] - _SEAM, 0), k[-1] + 1 + _SEAM) for k in (np.flatnonzero(within.any(i)) for i in (1, 0)))
    box = np.s_[rows, columns]  # of the person; pictures may be much larger
    edge = np.pad(np.zeros_like(found), 2, constant_values=True)[rows.start : rows.stop + 4, columns.start : columns.stop + 4]
    part, within, cluster, near = part[box], within[box], cluster[box], near[box]
    head, legs = np.isin(part, _HEAD), np.isin(part, [LABELS.index(name) for name in _pair("leg")])
    arms = [np.isin(part, numbers) for numbers in _ARMS]
    most, around_it = _MOST * (part == LABELS.index("trunk")).sum(), np.ones((3, 3))
    things = []
    one_color = [(number,) for number in range(CLUSTERS)]
    for shades in [*one_color, *combinations(range(CLUSTERS), 2)]:
        own = np.isin(cluster, shades)
        closed = ndimage.binary_closing(np.pad(own, _SEAM), iterations=_SEAM)[_SEAM:-_SEAM, _SEAM:-_SEAM] & within
        pieces, count = ndimage.label(closed, around_it)
        size = np.bincount(pieces[own], minlength=count + 1)
        if size.max() < _ONE_PIECE * own.sum() or not size.max() < most:
            continue
        piece = ndimage.binary_fill_holes(pieces == size.argmax())
        area = piece.sum()
        if not _THING / meter**2 < area < most or _filled(piece) < _FILLED:
            continue
        ring = ndimage.binary_dilation(np.pad(piece, 2), around_it, 2) & ~np.pad(piece, 2)
        beside = ring[2:-2, 2:-2]
        worn = (piece & legs).sum() > _OPEN * area or max((piece & arm).sum() for arm in arms) > _WORN * area
        worn |= (ring & edge).sum() + (beside & legs).sum() > _OPEN * ring.sum() or (beside & head).sum() * meter > 2 * _KNOT
        beside &= within
        if worn or (piece & (near | arms[0] | arms[1])).sum() < _ON_ARM * area or not beside.any():
            continue
        color = np.median(colors[box][piece], 0)
        if np.linalg.norm(color - np.median(colors[box][beside], 0)) > _ANOTHER and _unlike_skin(color, colors[face]):
            things.append(piece)
    for piece in sorted(things, key=np.sum, reverse=True):  # a half of a thing may look like one
        if not (piece & found[box]).any():
            found[box] |= piece
    return torch.from_numpy(found)


def _unlike_skin(color: np.ndarray, face: np.ndarray) -> bool:
    """Tell whether a color (3,) has another hue than a face (n, 3), or is gray and brighter or darker than all of it."""
    if not len(face):
        return True
    middle, (darkest, brightest) = np.median(face, 0), np.quantile(face[:, 0], [0.01, 0.99])
    gray = np.hypot(*color[1:]) < _PALE * np.hypot(*middle[1:])
    outside = max(darkest - color[0], color[0] - brightest) > _SHADE * _ANOTHER
    return bool(np.linalg.norm((color - middle)[1:]) > _ANOTHER or (gray and outside))


def _filled(piece: np.ndarray) -> float:
    """Return how much of the ellipse of its extent a piece (h, w) fills: 1 for ellipses, 0.95 for rectangles, else less."""
    extent = float(np.linalg.det(np.cov(np.stack(np.nonzero(piece)))))
    return float(piece.sum()) / (4.0 * math.pi * math.sqrt(max(extent, 1e-6)))


def _glare(
    skin: torch.Tensor, lightness: torch.Tensor, teachers: torch.Tensor, holding: torch.Tensor, meter: float
) -> torch.Tensor:
    """(h, w) bool, what shines around hands: lamps and walls that are skin's in hue, but brighter than the hands."""
    on_hands = teachers[[LABELS.index(name) for name in _pair("hand")]].any(0)
    if int(on_hands.sum()) < _LEAST:
        return torch.zeros_like(on_hands)
    bright = lightness > lightness[on_hands].quantile(0.9) + _GLARE
    return bright & (skin > 0) & (pixels_to(holding) * meter < _BEFORE)


def _bare(
    lab: torch.Tensor, shown: torch.Tensor, like: torch.Tensor, otherwise: torch.Tensor, person: torch.Tensor
) -> torch.Tensor:
    """(h, w) 0 to 1, how far colors are those of this person's skin rather than those of the clothes.

    Skin in shade is unlike that of the face, but still less like the shirt.

    Args:
        lab: (h, w, 3). shown: (L, h, w) bool, what pixels show. like: (h, w) bool, what looks like the face.
        otherwise: (h, w) result for colors of neither, and outside of ``person`` (h, w) bool.
    """
    seen = (lab * torch.tensor([_SHADE, 1.0, 1.0])).double()

    def fit(names: tuple[str, ...], chosen: torch.Tensor) -> torch.Tensor | None:
        """(h, w) how well colors fit those of parts where they are ``chosen`` (h, w)."""
        known = shown[[LABELS.index(name) for name in names]].any(0) & chosen
        if int(known.sum()) < _LEAST:
            return None
        colors = ColorMixture.of([seen[known].numpy()], [np.ones(int(known.sum()), dtype=bool)], False)
        return torch.from_numpy(colors(seen.reshape(-1, 3).numpy(), person.reshape(-1).numpy())).float().reshape(like.shape)

    flesh = fit(("face", *_pair("hand")), like)
    cloth = None if flesh is None else fit(("trunk", *_pair("upper_arm"), *_pair("leg")), flesh < _FITS / 2)
    if flesh is None or cloth is None:
        return otherwise
    return torch.where(torch.maximum(flesh, cloth) > 0.0, (flesh - cloth).sigmoid(), otherwise)


def _color_fit(
    lab: torch.Tensor, teachers: torch.Tensor, fall: torch.Tensor, skin: torch.Tensor | None, person: torch.Tensor
) -> tuple[torch.Tensor, bool]:
    """(L, h, w) logarithm of how much likelier a color is among a part's than anywhere, and whether hands show no skin.

    It is 0 where a part's colors are not known, and in the background.

    Both arms wear the same: colors that only one of them shows, and that are neither skin nor the trunk's, are those of a thing
    before it. Hands look like the face unless nothing of them does, as in gloves.

    Args:
        lab: (h, w, 3). teachers: (L, h, w) pixels to learn from. fall: (h, w) where hair may fall: what looks like hair there
            teaches nothing about arms. skin: (h, w) 0 to 1, what looks like the face; None where no face is seen.
        person: (h, w) bool, all but the background.
    """
    fit, pixels = torch.zeros(teachers.shape), lab.reshape(-1, 3).numpy().astype(np.float64)
    flat, bare = teachers.reshape(len(LABELS), -1).numpy(), np.zeros(len(pixels), dtype=bool)
    if skin is not None:
        bare = skin.reshape(-1).numpy() > 0.5

    def learn(names: tuple[str, ...], usual: np.ndarray, without: np.ndarray | bool = False, both: bool = True) -> np.ndarray:
        """(n,) how well pixels fit."""
        chosen = [flat[LABELS.index(name)] & ~np.asarray(without) for name in names]
        chosen = [c for c in chosen if c.sum() >= _LEAST]
        if not chosen:
            return np.zeros(len(pixels))
        found = ColorMixture.of([pixels[c] for c in chosen], [usual[c] for c in chosen], both)(pixels, person.reshape(-1).numpy())
        for name in names:
            fit[LABELS.index(name)] = torch.from_numpy(found).float().reshape(lab.shape[:2])
        return found

    for name in ("face", "hair", "neck", "trunk", "held", "other"):
        learn((name,), bare)
    for part in ("leg", "foot"):
        learn(_pair(part), bare)
    hairy = fall.reshape(-1).numpy() & (fit[LABELS.index("hair")].reshape(-1).numpy() > _FITS / 2)
    clothes = bare | (fit[LABELS.index("trunk")].reshape(-1).numpy() > 0)
    upper = learn(_pair("upper_arm"), clothes, hairy)
    learn(_pair("forearm"), clothes | (upper > 0), hairy)
    on_hands = flat[[LABELS.index(name) for name in _pair("hand")]].any(0)
    gloved = skin is not None and bool((bare & on_hands).sum() < _GLOVED * on_hands.sum())
    learn(_pair("hand"), bare, both=gloved or skin is None)
    return fit.clamp(_MISFITS, _FITS), gloved


def _pair(part: str) -> tuple[str, str]:
    return f"left_{part}", f"right_{part}"


def _walk(chance: torch.Tensor, lab: torch.Tensor, solved: torch.Tensor) -> torch.Tensor:
    """(L, h, w) probabilities of a random walk that seldom crosses an edge and ends with ``chance`` (L, h, w)."""
    edges = grid_edges(solved)
    if not len(edges):
        return chance
    i, j = edges.T
    difference = (lab[solved][i] - lab[solved][j]).norm(dim=-1)
    usual = difference.median().clamp(min=0.5)
    conductance = torch.exp(-(difference / (_CONTRAST * usual)).square()).clamp(min=_TIGHTEST)
    value = chance[:, solved].T
    weight = torch.full((len(value),), _PRIOR)
    out = chance.clone()
    out[:, solved] = screened_poisson(edges, conductance, value, weight, torch.zeros_like(value), torch.zeros_like(weight)).T
    return out.clamp(min=0.0) / out.clamp(min=0.0).sum(0).clamp(min=1e-9)


def grid_edges(mask: torch.Tensor) -> torch.Tensor:
    """(E, 2) int64, pairs of pixels side by side in ``mask`` (h, w), numbered row by row among those of the mask."""
    number = torch.full(mask.shape, -1)
    number[mask] = torch.arange(int(mask.sum()))
    pairs = torch.cat([torch.stack([number[:-1], number[1:]], -1).reshape(-1, 2),
                       torch.stack([number[:, :-1], number[:, 1:]], -1).reshape(-1, 2)])  # fmt: skip
    return pairs[(pairs >= 0).all(1)]


def _where_it_hangs(chance: torch.Tensor, name: str, root: torch.Tensor, inside: torch.Tensor, meter: float) -> torch.Tensor:
    """Return the probabilities without some pieces of a label, where the next best counts.

    Without specks, those that do not touch the label's ``root`` (h, w), and those that lie ``inside`` (h, w) of something else:
    light and rings color fingers, too.
    """
    number, root = LABELS.index(name), pixels_to(root) * meter < max(_TOUCHING, 1.5 * meter)
    pieces, count = ndimage.label((chance.argmax(0) == number).numpy(), np.ones((3, 3)))
    size = np.bincount(pieces.ravel(), minlength=count + 1)
    wrong = (size * meter**2 < _SMALLEST[name]) | (np.bincount(pieces[inside.numpy()], minlength=count + 1) > _WITHIN * size)
    wrong[np.setdiff1d(np.arange(count + 1), pieces[root.numpy()])] = True
    wrong[0] = False
    out = chance.clone()
    out[number, torch.from_numpy(wrong[pieces])] = 0.0
    return out / out.sum(0).clamp(min=1e-9)


def pixels_to(area: torch.Tensor, most: float = math.inf) -> torch.Tensor:
    """(h, w) pixels to the nearest place of ``area``; large where there is none, and perhaps where it is farther than ``most``.

    The distance transform is the slow part. It runs where something is to be measured: around ``area``, and around its holes.
    """
    out = torch.where(area, 0.0, _FAR)
    if not bool(area.any()) or bool(area.all()):
        return out
    reach = math.ceil(most) if math.isfinite(most) else max(area.shape)
    around = []
    for axis in (1, 0):
        (first, last), (open_, close) = (_extent(mask.any(axis)) for mask in (area, ~area))
        around.append(slice(max(first - reach, open_ - 1, 0), min(last + reach, close + 1) + 1))
    inside = tuple(around)
    out[inside] = torch.from_numpy(ndimage.distance_transform_edt(~area[inside].numpy())).float()
    return out


def _extent(mask: torch.Tensor) -> tuple[int, int]:
    """Return the first and the last place of (n,) bool."""
    found = torch.nonzero(mask)[:, 0]
    return int(found[0]), int(found[-1])
