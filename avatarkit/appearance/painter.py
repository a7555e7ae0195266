"""Colors any point of a tracked person's surface from the one photo.

Three layers, best first: the photo where it shows the point; the photo where it shows the point's mirror image,
corrected for the difference in light between the sides; colors spread over the surface from what is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from avatarkit.appearance.color_priors import (
    ANY_LIGHT,
    USUAL_LIGHT,
    Expected,
    EyeColors,
    dental_arc,
    expected_colors,
    hair_strands,
    like_shaded,
    luminance,
    tooth_gaps,
)
from avatarkit.appearance.fabric import Fabric
from avatarkit.appearance.hand_map import NO_HAND, hand_coordinates, hand_shading
from avatarkit.appearance.parsing import LABELS, parse, vertex_labels
from avatarkit.appearance.skin import bare_surface, hem, skin_color
from avatarkit.appearance.visibility import FACING, GRID, LOOKUP, TRUST, PhotoMaps
from avatarkit.geometry.mesh_graph import (
    REGIONS,
    dilate,
    limb,
    mesh_edges,
    near,
    remove_small_components,
    screened_poisson,
    smoothstep,
    surface_regions,
)
from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.types.mesh import barycentric, vertex_normals
from avatarkit.types.subject import Subject

__all__ = ["FOLDED", "Paint", "PhotoPainter"]

_MIRRORED, _SPREAD = 0.4, 0.08  # confidence of completed colors against seen ones
_ODD = 0.2, 0.45  # difference from the clothes around up to which a color is theirs, and from which it is not
_ONE_SIDED = 0.1, 0.3  # the same, of what the other side would be painted with
_WORN, _HEM = 0.45, 0.05  # bareness of clothes at most; half the width of the border between skin and cloth, in bareness
_SHOWS = 0.7  # probability from which a pixel is an example of its garment
_LIGHT = 0.0, 0.15, 0.18  # logarithm of the light on bare limbs by their normal at rest: half of what photos show
_WRIST = 0.06  # meters from the hand over which it fades
_LEAST_BARE = 40  # vertices of a patch of bare skin: clothes, too, are skin-colored here and there
_ARM = "upper_arm", "forearm", "hand"
_CUFF_SEEN, _CUFF_END = 3.0, 0.45  # vertices of a palm that show cloth, from which a sleeve covers some; palms that it may cover
_TOUCHING = 0.02  # meters off a forearm up to which it hides the trunk
_AROUND_EYE = 8  # rings of vertices around the lids whose skin tells theirs
_BEYOND = 1e-3  # pull of expected colors on the other side of a hem
_KNOWN, _LID_TONE, _LID_SKIN = 0.3, 0.5, 0.8  # least trust in that skin, its quantile, and how much of a lid's color it makes
_LASH = 0.0015  # meters off the eyeball up to which lids are their rim
_LASH_SHADE, _RIM_SHADE = 0.45, 0.75  # brightness of the rims of upper lids, with their lashes, and of lower ones against the lid
FOLDED = 0.3
"""Share from which folded skin is taken for a part of the lid."""
_UNFOLDING = ("eyeBlinkLeft", "eyeBlinkRight")  # expressions that bring folded skin to light
_INNER = REGIONS.index("mouth")


@dataclass(frozen=True)
class Paint:
    """Colors of surface points.

    Attributes:
        rgb: (n, 3) sRGB 0 to 1.
        confidence: (n,) 0 to 1: 1 = seen frontally, well inside of every border; little where completed.
        seen: (n,) bool, the color is the photo's own.
        shown: (n,) 0 to 1, the photo shows the point, whatever its colors are worth there: 0 = hidden or seen edge-on.
        skin: (n,) bool, bare skin of arms and hands.
    """

    rgb: torch.Tensor
    confidence: torch.Tensor
    seen: torch.Tensor
    shown: torch.Tensor
    skin: torch.Tensor


class _Layers(NamedTuple):
    """What lies below the photo at vertices, or at points between them.

    Attributes:
        skin, worn: (n, 3) colors of bare skin and of clothes there. light: (n, 3) difference to the mirror image.
        direction: (n, 3) on eyes and scalp, from the ball's center. usual: (n, 3) expected color.
        hand: (n, 5) of ``hand_coordinates``. eye, scalp, teeth, cloth: (n,) 0 or 1. arc: (n,) meters along the row of teeth.
        bareness: (n,) see ``PhotoPainter``.
    """

    skin: torch.Tensor
    light: torch.Tensor
    direction: torch.Tensor
    usual: torch.Tensor
    worn: torch.Tensor
    hand: torch.Tensor
    eye: torch.Tensor
    scalp: torch.Tensor
    teeth: torch.Tensor
    arc: torch.Tensor
    cloth: torch.Tensor
    bareness: torch.Tensor

    def table(self) -> torch.Tensor:
        """(n, 26) all of it side by side, to be interpolated at once."""
        return torch.cat([x if x.ndim == 2 else x[:, None] for x in self], 1)

    @classmethod
    def of(cls, table: torch.Tensor) -> _Layers:
        """Take what ``table`` put side by side apart."""
        columns = [*table[:, :15].split(3, 1), table[:, 15:20], *table[:, 20:].unbind(1)]
        return cls(*columns)


class PhotoPainter:
    """Knows the color of every point of a subject's surface; deterministic.

    Attributes:
        regions: (V,) int64 into ``surface.REGIONS``.
        labels: (V,) int64 into ``parsing.LABELS``. parsing: what each pixel of the photo shows.
        vertices: (V, 3) of the subject in the photo's pose, world.
        folded: (V,) 0 to 1, skin that open eyes fold away.
        bareness: (V,) 0 to 1, above one half where the surface is bare skin, and not clothes.
    """

    def __init__(self, subject: Subject, body: BodyModel, renderer: Renderer) -> None:
        self._faces, mirror = body.faces, body.mirror()[0]
        with torch.no_grad():
            self.vertices = body.vertices(subject.params.batched(), subject.vertex_offsets)[0].float()
            self._rest = body.rest(subject.params.shape, torch.zeros(1, len(body.expression_names)))[0].float()
        self.regions = surface_regions(body, self._rest)
        matte = subject.matte
        self.folded = _folded_away(subject, body)
        self._lids = dilate(body.part("eyelids") > 0.5, body.faces, 3) | (self.folded > FOLDED)
        self.labels = labels = vertex_labels(body, subject.params.shape)
        self._uv = _uv_in_meters(body, self._rest, labels)
        self._hand = hand_coordinates(body, subject.params)
        self.parsing = parse(subject, self.vertices, labels, body, renderer)
        self._photo = PhotoMaps(subject, self.vertices, body.faces, self.regions, labels, self.parsing, renderer)
        clear = matte.alpha * ~self._photo.covered  # a hand before clothes does not bare them
        skin = functional.interpolate(self.parsing.skin[None, None], matte.alpha.shape, mode="bilinear")[0, 0]
        bare = bare_surface(body, self.vertices, subject.camera, clear, skin, renderer.meshes)
        self._bare = remove_small_components(bare > 0.5, mesh_edges(body.faces), _LEAST_BARE)
        bare_hands = not self.parsing.gloved and bool((self.parsing.skin > 0.5).any())
        cuffs = {side: self._cuff(subject, body, side) for side in ("left", "right") if bare_hands}
        for side, cuff in cuffs.items():
            self.regions[cuff], labels[cuff] = REGIONS.index("clothes"), LABELS.index(f"{side}_forearm")
        if any(cuff.any() for cuff in cuffs.values()):
            self._photo = PhotoMaps(subject, self.vertices, body.faces, self.regions, labels, self.parsing, renderer)
        dressed = (self.regions == REGIONS.index("clothes")) & ~self._bare
        worn = dressed | (self.regions == REGIONS.index("feet"))
        if self.parsing.gloved:
            worn |= self.regions == REGIONS.index("hands")
        bareness = torch.where(self._bare, bare, 1.0)
        self.bareness = torch.where(worn, bare.clamp(max=_WORN) * dressed, bareness)
        normals, trust = vertex_normals(self.vertices, body.faces), _vertex_trust(subject, body, self.regions)
        trust = trust * (1.0 - self.folded)
        direct = self._photo.lookup(self.vertices, normals, trust, self.regions)
        arms, forearms = (
            torch.isin(labels, torch.tensor([i for i, name in enumerate(LABELS) if name.endswith(parts)]))
            for parts in (_ARM, _ARM[1:])
        )
        direct[~arms & near(self.vertices, self.vertices[forearms], _TOUCHING), FACING] = -1.0  # it faces a forearm
        color, seen = self._look_strictly(direct)
        expected = expected_colors(
            body, self.regions, self._bare, self._rest, color, seen, self._photo.exposure, self._photo.hair,
            skin_color(matte.foreground, subject.keypoints), self.parsing.gloved,
            any(subject.quality.visible.get(f"{side}_hand", True) for side in ("left", "right")),
        )  # fmt: skip
        hands = (self.regions == REGIONS.index("hands")) & (self.bareness > 0.5) & (body.part("nails") < 0.5)
        direct[hands, TRUST] *= like_shaded(color[hands], expected.hand)  # what shines between fingers is not theirs
        limbs = (self.regions == REGIONS.index("clothes")) & self._bare
        self._naked, self._bare_hands = (limbs | hands).float(), hands
        self._bare_arms = self._naked * arms
        direct[limbs, TRUST] *= like_shaded(color[limbs], expected.color[limbs], ANY_LIGHT)
        self._attributes = torch.cat([direct, direct[mirror]], 1)
        self._fill(body, direct, expected)
        self._fabrics = self._find_fabrics(subject, body)

    def _cuff(self, subject: Subject, body: BodyModel, side: str) -> torch.Tensor:
        """(V,) bool, vertices of a found hand that the sleeve covers: clothes that go on from the forearm.

        The sleeve ends at one place all around the hand, before the root of its thumb, where the photo shows cloth and then skin.
        """
        hand = body.part(f"{side}_hand") > 0.5
        sleeve = limb(body, f"{side}_hand", outer=True) & ~hand & ~self._bare
        palm = hand & (self._hand[:, 0] > NO_HAND) & (self._hand[:, 0] < 0)
        if not subject.quality.visible.get(f"{side}_hand", True) or not (sleeve.any() and palm.any()):
            return torch.zeros_like(hand)
        normals, all_of_it = vertex_normals(self.vertices, body.faces), torch.ones(len(palm))
        at = self._photo.lookup(self.vertices, normals, all_of_it, self.regions)[palm]
        grid, skin = at[None, None, :, GRID], self.parsing.skin[None, None]
        bare = functional.grid_sample(skin, grid, padding_mode="border", align_corners=False)[0, 0, 0]
        up, seen = self._hand[palm, 2], self._photo.shown(at)
        end = hem(up, bare, seen, _CUFF_SEEN)
        if end is None or float((seen * (1.0 - bare))[up <= end].sum()) < _CUFF_SEEN:
            return torch.zeros_like(hand)
        return palm & (self._hand[:, 2] <= min(end, _CUFF_END))

    def _find_fabrics(self, subject: Subject, body: BodyModel) -> list[tuple[torch.Tensor, Fabric]]:
        """Return what each garment looks like close up, and on which triangles (F,) bool it is worn."""
        camera, drawn = self.parsing.camera, self.parsing.drawn
        height, width = subject.photo.height, subject.photo.width
        face = drawn.face_index.clamp(min=0)
        a, b, c = (self.vertices[body.faces[:, k]] for k in range(3))
        normals = functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
        facing = (normals * functional.normalize(camera.position - a, dim=-1)).sum(-1)[face] * (drawn.face_index >= 0)
        facing = functional.interpolate(facing[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
        meter = self.parsing.meter * camera.width / width
        shown, legs = self.parsing.at(height, width), ("left_leg", "right_leg")
        of_legs = torch.isin(self.labels, torch.tensor([LABELS.index(name) for name in legs]))[body.faces].any(1)
        found = []
        clothes = (self.regions == REGIONS.index("clothes"))[body.faces].all(1)
        for names, worn in ((("trunk",), clothes & ~of_legs), (legs, clothes & of_legs)):
            shows = shown[[LABELS.index(name) for name in names]].sum(0) > _SHOWS
            fabric = Fabric.find(subject.matte.foreground, shows & (subject.matte.alpha > 0.99), facing, meter)
            if fabric is not None:
                found.append((worn, fabric))
        return found

    def suits(self, face_index: torch.Tensor, weights: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
        """(n,) bool: colors (n, 3) that bare limbs and hands may have at surface points, as in ``paint``; all elsewhere."""
        return self._suit(face_index, weights, rgb) > 0.5

    def _suit(
        self,
        face_index: torch.Tensor,
        weights: torch.Tensor,
        rgb: torch.Tensor,
        light: tuple[float, float, float, float] = USUAL_LIGHT,
    ) -> torch.Tensor:
        """(n,) 0 to 1: how well colors suit bare limbs and hands in some ``light``; 1 elsewhere."""
        at = barycentric(torch.cat([_Layers.of(self._below).usual, self._naked[:, None]], 1), self._faces[face_index], weights)
        return torch.where(at[:, 3] > 0.5, like_shaded(rgb, at[:, :3], light), 1.0)

    def _look_strictly(self, direct: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Colors (V, 3) and trust (V,), which is low at borders: they are nearest to what is hidden."""
        color, seen = self._photo.look(direct, soft=True)
        return color, seen * smoothstep(seen, 0.05, 0.5)

    def _fill(self, body: BodyModel, direct: torch.Tensor, expected: Expected) -> None:
        """Solves for the layers below the photo, per vertex."""
        region, mirror = self.regions, body.mirror()[0]
        color, seen = self._look_strictly(direct)
        other, other_seen = color[mirror], seen[mirror]
        edges = mesh_edges(self._faces)
        pair = region[edges].sort(1).values
        conductance = torch.where(pair[:, 0] == pair[:, 1], 1.0, 0.02)
        conductance[(pair[:, 0] == REGIONS.index("clothes")) & (pair[:, 1] == REGIONS.index("skin"))] = 1.0  # a bare neck
        wrist = self._naked[edges].bool().all(1) & (region[edges] == REGIONS.index("hands")).any(1)
        conductance[wrist] = 1.0
        # Light differs a little between the sides; where they differ much, one of them shows something else.
        difference = color - other
        alike = torch.minimum(seen, other_seen) * torch.exp(-(difference.norm(dim=1) / 0.25).square())
        none, weak = torch.zeros_like(color), torch.full_like(seen, 0.03)
        light = screened_poisson(edges, conductance, difference, 20.0 * alike, none, weak)
        mirrored = 0.3 * other_seen
        value = color * seen[:, None] + (other + light) * mirrored[:, None]
        value = value / (seen + mirrored).clamp(min=1e-6)[:, None]
        cloth = (region == REGIONS.index("clothes")) & ~self._bare
        odd = cloth * smoothstep((value - expected.color).norm(dim=1), *_ODD)
        # Cuffs, badges and ties end where they are seen to, and the other side has none.
        known = (seen + mirrored) * (1.0 - odd)
        limbs = (region == REGIONS.index("clothes")) & self._bare  # on which the fit may have a sleeve
        known = torch.where(limbs, known * like_shaded(value, expected.color), known)
        guessed = (region >= _INNER) | (region == REGIONS.index("lips")) | self._lids  # lashes and brow shade the lids
        known = torch.where(guessed, 0.0, known)
        scalp = region == REGIONS.index("scalp")
        to_hair, to_skin = (value - expected.color).norm(dim=1), (value - expected.skin).norm(dim=1)
        hair_like = smoothstep(to_skin / (to_hair + to_skin).clamp(min=1e-6), 0.35, 0.6)
        known = torch.where(scalp, known * hair_like, known)  # or the forehead would spread to the nape
        # Skin and cloth are spread apart, and meet where the one ends, not where triangles do.
        bare = self.bareness > 0.5
        shade = self._limb_shading()
        value = value / shade
        skin, cloths = (
            screened_poisson(
                edges, conductance, value, 30.0 * known * own, expected.color, torch.where(own, expected.strength, _BEYOND)
            )
            for own in (bare, ~bare)
        )
        skin, cloths = (shade * skin).clamp(0.0, 1.0), cloths.clamp(0.0, 1.0)
        skin = self._close_lids(body, skin, known, color)

        eye = region == REGIONS.index("eyes")
        direction = torch.zeros_like(self._rest)
        left = self._rest[:, 0] > 0
        for ball in (eye & left, eye & ~left, scalp):
            if ball.any():
                center = 0.5 * (self._rest[ball].amin(0) + self._rest[ball].amax(0))
                direction[ball] = functional.normalize(self._rest[ball] - center, dim=-1)
        teeth = region == REGIONS.index("teeth")
        arc = torch.where(teeth, dental_arc(self._rest, teeth), 0.0)
        flags = (x.float() for x in (eye, scalp, teeth, arc, cloth, self.bareness))
        layers = _Layers(skin, light, direction, expected.color, cloths, self._hand, *flags)
        self._below = layers.table()
        self._eyes = self._estimate_eyes(direction, expected)
        self._strand_contrast = self._measure_strands()

    def _limb_shading(self) -> torch.Tensor:
        """(V, 1) factor of light on bare limbs, which falls from above and from the front; 1 elsewhere, and at the hands."""
        hand, limbs = self._rest[self.regions == REGIONS.index("hands")], (self._naked > 0.5) & ~self._bare_hands
        normals, shade = vertex_normals(self._rest, self._faces)[limbs], torch.ones(len(self._rest), 1)
        away = torch.cdist(self._rest[limbs], hand).amin(1) if len(hand) else torch.ones(len(normals))
        light = (normals @ normals.new_tensor(_LIGHT)) * (away / _WRIST).clamp(max=1.0)
        shade[limbs] = light.exp()[:, None]
        return shade

    def _close_lids(self, body: BodyModel, base: torch.Tensor, known: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
        """(V, 3) colors in which upper lids are skin like that around the eye, and the rims of both are darker.

        Args:
            base: (V, 3). known: (V,) 0 to 1, how far each color is the photo's. color: (V, 3) of the photo.
        """
        lids, base = body.part("eyelids") > 0.5, base.clone()
        share = _LID_SKIN * torch.maximum(lids.float(), self.folded)[:, None]
        around = dilate(lids, body.faces, _AROUND_EYE) & ~self._lids & (self.regions == REGIONS.index("skin"))
        for side in (self._rest[:, 0] > 0, self._rest[:, 0] <= 0):
            lid = lids & side
            skin = around & side & (known > _KNOWN) & (self._rest[:, 1] < self._rest[lid, 1].mean())  # no brow
            if not lid.any() or not skin.any():
                continue
            upper = side & (self._rest[:, 1] > self._rest[lid, 1].mean())
            base[upper] = torch.lerp(base[upper], base[skin].quantile(_LID_TONE, dim=0), share[upper])
            ball = self._rest[side & (self.regions == REGIONS.index("eyes"))]
            if not len(ball):
                continue
            center = 0.5 * (ball.amin(0) + ball.amax(0))
            off = (self._rest - center).norm(dim=1) - (ball - center).norm(dim=1).max()
            for rim, shade in ((lid & upper & (off < _LASH), _LASH_SHADE), (lid & ~upper & (off < _LASH), _RIM_SHADE)):
                base[rim] = torch.minimum(base[rim] * shade, color[rim])
        return base

    def _dense(self, region: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Face numbers and weights of 28 points on each triangle that lies in a region."""
        faces = torch.nonzero((self.regions == REGIONS.index(region))[self._faces].all(1))[:, 0]
        grid = torch.tensor([(a, b, 6 - a - b) for a in range(7) for b in range(7 - a)]) / 6.0
        return faces.repeat_interleave(len(grid)), grid.repeat(len(faces), 1)

    def _estimate_eyes(self, direction: torch.Tensor, expected: Expected) -> EyeColors:
        face, weights = self._dense("eyes")
        color, seen = self._photo.look(barycentric(self._attributes[:, :LOOKUP], self._faces[face], weights))
        axis = functional.normalize(barycentric(direction, self._faces[face], weights), dim=-1)
        return EyeColors.estimate(axis[:, 2].clamp(-1.0, 1.0).acos().rad2deg(), color, seen, expected)

    def _measure_strands(self) -> float:
        """How much the brightness of the hair varies, as a share of it."""
        face, weights = self._dense("scalp")
        at = barycentric(self._attributes[:, :LOOKUP], self._faces[face], weights)
        color, seen = self._photo.look(at)
        mean = luminance(self._photo.look(at, soft=True)[0]).clamp(min=0.03)
        if float(seen.sum()) < 1.0:
            return 0.0
        variance = (((luminance(color) - mean) / mean).square() * seen).sum() / seen.sum()
        return float(variance.sqrt().clamp(max=0.15))

    def paint(self, face_index: torch.Tensor, weights: torch.Tensor) -> Paint:
        """Colors points on the surface.

        Args:
            face_index: (n,) int64 triangle numbers.
            weights: (n, 3) barycentric.
        """
        triangles = self._faces[face_index]
        at = barycentric(self._attributes[:, :LOOKUP], triangles, weights)
        rgb, seen = self._photo.look(at)
        seen = seen * self._suit(face_index, weights, rgb, ANY_LIGHT)
        own = smoothstep(seen, 0.02, 0.35)
        skin = barycentric(self._bare_arms[:, None], triangles, weights)[:, 0] > 0.5
        confidence = seen.clone()
        lacking = torch.nonzero(own < 1.0)[:, 0]
        if len(lacking):
            below, trust = self._paint_below(face_index[lacking], weights[lacking])
            share = own[lacking]
            rgb[lacking] = share[:, None] * rgb[lacking] + (1.0 - share)[:, None] * below
            confidence[lacking] = share * seen[lacking] + (1.0 - share) * trust
        return Paint(rgb.clamp(0.0, 1.0), confidence, seen > 0.2, self._photo.shown(at), skin)

    def _paint_below(self, face_index: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Completed colors (n, 3) and their confidence (n,)."""
        value = torch.cat([self._attributes[:, LOOKUP:], self._below], 1)
        value = barycentric(value, self._faces[face_index], weights)
        color, seen = self._photo.look(value[:, :LOOKUP])
        at = _Layers.of(value[:, LOOKUP:])
        place, worn = (self._uv[face_index] * weights[..., None]).sum(1), at.worn
        for where, fabric in self._fabrics:
            mine = where[face_index]
            worn[mine] += fabric(place[mine])
        light = hand_shading(at.hand)
        if self.parsing.gloved:
            worn = worn * light
        base = torch.lerp(worn, at.skin * light, smoothstep(at.bareness, 0.5 - _HEM, 0.5 + _HEM)[:, None])
        direction = functional.normalize(at.direction, dim=-1)
        base = base * (1.0 + self._strand_contrast * at.scalp * hair_strands(direction))[:, None]
        base = base * (1.0 - at.teeth * tooth_gaps(at.arc))[:, None]
        base = torch.where(at.eye[:, None] > 0.5, self._eyes(direction), base)
        color = color + at.light
        odd = at.cloth * smoothstep((color - at.usual).norm(dim=1), *_ONE_SIDED)
        copied = smoothstep(seen, 0.05, 0.5) * (at.eye <= 0.5) * (1.0 - odd) * self._suit(face_index, weights, color)
        rgb = copied[:, None] * color + (1.0 - copied)[:, None] * base
        return rgb, copied * _MIRRORED * seen + (1.0 - copied) * _SPREAD


def _vertex_trust(subject: Subject, body: BodyModel, regions: torch.Tensor) -> torch.Tensor:
    """(V,) 0 or 1: nothing for unseen forearms, shins and the cavity of the mouth."""
    trust = torch.ones(body.skinning_indices.shape[0])
    seen = subject.quality.visible
    for side in ("left", "right"):
        if not seen.get(f"{side}_arm", True):
            trust[limb(body, f"{side}_hand", outer=True)] = 0.0
        if not seen.get("legs", True):
            trust[limb(body, f"{side}_foot", outer=True)] = 0.0
        if subject.quality.hidden(f"{side}_hand"):
            trust[body.part(f"{side}_hand") > 0.5] = 0.0
        if not seen.get("feet", True):
            trust[body.part(f"{side}_foot") > 0.5] = 0.0
    for name in ("mouth", "tongue"):
        trust[regions == REGIONS.index(name)] = 0.0
    return trust


def _folded_away(subject: Subject, body: BodyModel) -> torch.Tensor:
    """(V,) 0 to 1: skin that closing the eyes brings to light."""
    folded = torch.zeros(len(body.skinning_weights))
    names = [n for n in _UNFOLDING if n in body.expression_names]
    if not names:
        return folded
    expression = subject.params.expression.detach().expand(len(names) + 1, -1).clone()
    for row, name in enumerate(names):
        expression[row, body.expression_names.index(name)] = 1.0
    with torch.no_grad():
        area = _face_area(body.rest(subject.params.shape, expression), body.faces)
    growth = (area[:-1] / area[-1].clamp(min=1e-12)).amax(0)
    most = folded.scatter_reduce(0, body.faces.reshape(-1), growth.repeat_interleave(3), "amax", include_self=False)
    folded = smoothstep(most, 1.4, 2.6)
    i, j = mesh_edges(body.faces).T
    count = torch.zeros(len(most)).index_add(0, i, torch.ones(len(i))).index_add(0, j, torch.ones(len(j)))
    for _ in range(2):  # no hard border between lid and brow
        mean = torch.zeros(len(most)).index_add(0, i, folded[j]).index_add(0, j, folded[i]) / count.clamp(min=1.0)
        folded = 0.5 * (folded + mean)
    return folded


def _uv_in_meters(body: BodyModel, rest: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(F, 3, 2) texture coordinates of corners, scaled so that on most of each part (V,) lengths are meters at rest (V, 3)."""
    flat = functional.pad(body.uv, (0, 1))[None]
    stretch = (_face_area(rest[None], body.faces)[0] / _face_area(flat, body.uv_faces)[0].clamp(min=1e-12)).sqrt()
    part, scale = labels[body.faces[:, 0]], torch.ones_like(stretch)
    for number in part.unique().tolist():
        scale[part == number] = stretch[part == number].median()
    return body.uv[body.uv_faces] * scale[:, None, None]


def _face_area(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """(B, F) areas for vertices (B, V, 3)."""
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    return 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=-1)
