"""Colors any point of a tracked person's surface from the one photo.

Three layers, best first: the photo where it shows the point; the photo where it shows the point's mirror image,
corrected for the difference in light between the sides; colors spread over the surface from what is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from avatarkit.appearance.color_priors import (
    Expected,
    EyeColors,
    dental_arc,
    expected_colors,
    hair_strands,
    luminance,
    tooth_gaps,
)
from avatarkit.appearance.parsing import LABELS, parse, vertex_labels
from avatarkit.appearance.skin import bare_surface, skin_likeness
from avatarkit.appearance.visibility import FACING, LOOKUP, PhotoMaps
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

__all__ = ["Paint", "PhotoPainter"]

_MIRRORED, _SPREAD = 0.4, 0.08  # confidence of completed colors against seen ones
_ODD = 0.2, 0.45  # difference from the clothes around up to which a color is theirs, and from which it is not
_ONE_SIDED = 0.1, 0.3  # the same, of what the other side would be painted with
_LEAST_BARE = 40  # vertices of a patch of bare skin: clothes, too, are skin-colored here and there
_ARM = "upper_arm", "forearm", "hand"
_TOUCHING = 0.02  # meters off a forearm up to which it hides the trunk
_AROUND_EYE = 8  # rings of vertices around the lids whose skin tells theirs
_KNOWN, _LID_TONE, _LID_SKIN = 0.3, 0.5, 0.8  # least trust in that skin, its quantile, and how much of a lid's color it makes
_LASH, _LASH_SHADE = 0.0015, 0.45  # meters from the eyeball in which lashes grow, and their brightness against the lid
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
    """

    rgb: torch.Tensor
    confidence: torch.Tensor
    seen: torch.Tensor
    shown: torch.Tensor


class PhotoPainter:
    """Knows the color of every point of a subject's surface; deterministic.

    Attributes:
        regions: (V,) int64 into ``surface.REGIONS``.
        labels: (V,) int64 into ``parsing.LABELS``. parsing: what each pixel of the photo shows.
        vertices: (V, 3) of the subject in the photo's pose, world.
    """

    def __init__(self, subject: Subject, body: BodyModel, renderer: Renderer) -> None:
        self._faces, mirror = body.faces, body.mirror()[0]
        with torch.no_grad():
            self.vertices = body.vertices(subject.params.batched(), subject.vertex_offsets)[0].float()
            self._rest = body.rest(subject.params.shape, torch.zeros(1, len(body.expression_names)))[0].float()
        self.regions = surface_regions(body, self._rest)
        matte, skin = subject.matte, skin_likeness(subject.matte.foreground, subject.keypoints)
        self._lids = dilate(body.part("eyelids") > 0.5, body.faces, 3)
        self.labels = labels = vertex_labels(body, subject.params.shape)
        self.parsing = parse(subject, self.vertices, labels, body, renderer)
        self._photo = PhotoMaps(subject, self.vertices, body.faces, self.regions, labels, self.parsing, renderer)
        clear = matte.alpha * ~self._photo.covered  # a hand before clothes does not bare them
        bare = bare_surface(body, self.vertices, subject.camera, clear, skin, renderer.meshes) > 0.5
        self._bare = remove_small_components(bare, mesh_edges(body.faces), _LEAST_BARE)
        normals, trust = vertex_normals(self.vertices, body.faces), _vertex_trust(subject, body, self.regions)
        direct = self._photo.lookup(self.vertices, normals, trust, self.regions)
        arms, forearms = (
            torch.isin(labels, torch.tensor([i for i, name in enumerate(LABELS) if name.endswith(parts)]))
            for parts in (_ARM, _ARM[1:])
        )
        direct[~arms & near(self.vertices, self.vertices[forearms], _TOUCHING), FACING] = -1.0  # it faces a forearm
        self._attributes = torch.cat([direct, direct[mirror]], 1)
        self._fill(body, direct)

    def _fill(self, body: BodyModel, direct: torch.Tensor) -> None:
        """Solves for the layers below the photo, per vertex."""
        region, photo, mirror = self.regions, self._photo, body.mirror()[0]
        color, seen = photo.look(direct, soft=True)
        seen = seen * smoothstep(seen, 0.05, 0.5)  # borders are nearest to what is hidden: be strict
        other, other_seen = color[mirror], seen[mirror]
        edges = mesh_edges(self._faces)
        pair = region[edges].sort(1).values
        conductance = torch.where(pair[:, 0] == pair[:, 1], 1.0, 0.02)
        conductance[(pair[:, 0] == 0) & (pair[:, 1] == 1)] = 0.08  # nobody knows where a collar ends
        hem = (pair[:, 1] == 0) & (self._bare[edges[:, 0]] != self._bare[edges[:, 1]])
        conductance[hem] = 0.02  # but of a sleeve the photo says it
        # Light differs a little between the sides; where they differ much, one of them shows something else.
        difference = color - other
        alike = torch.minimum(seen, other_seen) * torch.exp(-(difference.norm(dim=1) / 0.25).square())
        none, weak = torch.zeros_like(color), torch.full_like(seen, 0.03)
        light = screened_poisson(edges, conductance, difference, 20.0 * alike, none, weak)
        expected = expected_colors(body, region, self._bare, self._rest, color, seen, photo.exposure, photo.hair)
        mirrored = 0.3 * other_seen
        value = color * seen[:, None] + (other + light) * mirrored[:, None]
        value = value / (seen + mirrored).clamp(min=1e-6)[:, None]
        cloth = (region == REGIONS.index("clothes")) & ~self._bare
        odd = cloth * smoothstep((value - expected.color).norm(dim=1), *_ODD)
        # Cuffs, badges and ties end where they are seen to, and the other side has none.
        known = (seen + mirrored) * (1.0 - odd)
        guessed = (region >= _INNER) | (region == REGIONS.index("lips")) | self._lids  # lashes and brow shade the lids
        known = torch.where(guessed, 0.0, known)
        scalp = region == REGIONS.index("scalp")
        to_hair, to_skin = (value - expected.color).norm(dim=1), (value - expected.skin).norm(dim=1)
        hair_like = smoothstep(to_skin / (to_hair + to_skin).clamp(min=1e-6), 0.35, 0.6)
        known = torch.where(scalp, known * hair_like, known)  # or the forehead would spread to the nape
        base = screened_poisson(edges, conductance, value, 30.0 * known, expected.color, expected.strength).clamp(0.0, 1.0)
        base = self._close_lids(body, base, known)

        eye = region == REGIONS.index("eyes")
        direction = torch.zeros_like(self._rest)
        left = self._rest[:, 0] > 0
        for ball in (eye & left, eye & ~left, scalp):
            if ball.any():
                center = 0.5 * (self._rest[ball].amin(0) + self._rest[ball].amax(0))
                direction[ball] = functional.normalize(self._rest[ball] - center, dim=-1)
        teeth = region == REGIONS.index("teeth")
        arc = torch.where(teeth, dental_arc(self._rest, teeth), 0.0)
        flags = torch.stack([eye, scalp, teeth, arc, cloth], 1)
        self._below = torch.cat([base, light, direction, expected.color, flags], 1)
        self._eyes = self._estimate_eyes(expected)
        self._strand_contrast = self._measure_strands()

    def _close_lids(self, body: BodyModel, base: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """(V, 3) colors in which lids are skin like that around the eye, with lashes along their edge.

        Args:
            base: (V, 3). known: (V,) 0 to 1, how far each color is the photo's.
        """
        lids, base = body.part("eyelids") > 0.5, base.clone()
        around = dilate(lids, body.faces, _AROUND_EYE) & ~self._lids & (self.regions == REGIONS.index("skin"))
        for side in (self._rest[:, 0] > 0, self._rest[:, 0] <= 0):
            lid, skin = lids & side, around & side & (known > _KNOWN)
            if not lid.any() or not skin.any():
                continue
            tone = base[skin].quantile(_LID_TONE, dim=0)
            base[lid] = torch.lerp(base[lid], tone, _LID_SKIN)
            lash = lid & near(self._rest, self._rest[side & (self.regions == REGIONS.index("eyes"))], _LASH)
            base[lash] = base[lash] * _LASH_SHADE
        return base

    def _dense(self, region: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Face numbers and weights of 28 points on each triangle that lies in a region."""
        faces = torch.nonzero((self.regions == REGIONS.index(region))[self._faces].all(1))[:, 0]
        grid = torch.tensor([(a, b, 6 - a - b) for a in range(7) for b in range(7 - a)]) / 6.0
        return faces.repeat_interleave(len(grid)), grid.repeat(len(faces), 1)

    def _estimate_eyes(self, expected: Expected) -> EyeColors:
        face, weights = self._dense("eyes")
        color, seen = self._photo.look(barycentric(self._attributes[:, :LOOKUP], self._faces[face], weights))
        axis = functional.normalize(barycentric(self._below[:, 6:9], self._faces[face], weights), dim=-1)
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
        own = smoothstep(seen, 0.02, 0.35)
        confidence = seen.clone()
        lacking = torch.nonzero(own < 1.0)[:, 0]
        if len(lacking):
            below, trust = self._paint_below(triangles[lacking], weights[lacking])
            share = own[lacking]
            rgb[lacking] = share[:, None] * rgb[lacking] + (1.0 - share)[:, None] * below
            confidence[lacking] = share * seen[lacking] + (1.0 - share) * trust
        return Paint(rgb.clamp(0.0, 1.0), confidence, seen > 0.2, self._photo.shown(at))

    def _paint_below(self, triangles: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Completed colors (n, 3) and their confidence (n,)."""
        value = barycentric(torch.cat([self._attributes[:, LOOKUP:], self._below], 1), triangles, weights)
        color, seen = self._photo.look(value[:, :LOOKUP])
        value = value[:, LOOKUP:]
        base, light, direction, usual = value[:, :12].split(3, -1)
        is_eye, hair, teeth, arc, cloth = value[:, 12:].unbind(-1)
        direction = functional.normalize(direction, dim=-1)
        base = base * (1.0 + self._strand_contrast * hair * hair_strands(direction))[:, None]
        base = base * (1.0 - teeth * tooth_gaps(arc))[:, None]
        base = torch.where(is_eye[:, None] > 0.5, self._eyes(direction), base)
        color = color + light
        odd = cloth * smoothstep((color - usual).norm(dim=1), *_ONE_SIDED)
        copied = smoothstep(seen, 0.05, 0.5) * (is_eye <= 0.5) * (1.0 - odd)
        rgb = copied[:, None] * color + (1.0 - copied)[:, None] * base
        return rgb, copied * _MIRRORED * seen + (1.0 - copied) * _SPREAD


def _vertex_trust(subject: Subject, body: BodyModel, regions: torch.Tensor) -> torch.Tensor:
    """(V,) 0 to 1: nothing for unseen forearms, shins and the cavity of the mouth, little for skin that lies folded."""
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
    names = [n for n in _UNFOLDING if n in body.expression_names]
    if not names:
        return trust
    expression = subject.params.expression.detach().expand(len(names) + 1, -1).clone()
    for row, name in enumerate(names):
        expression[row, body.expression_names.index(name)] = 1.0
    with torch.no_grad():
        area = _face_area(body.rest(subject.params.shape, expression), body.faces)
    growth = (area[:-1] / area[-1].clamp(min=1e-12)).amax(0)
    folded = torch.zeros(len(trust)).scatter_reduce(
        0, body.faces.reshape(-1), growth.repeat_interleave(3), "amax", include_self=False
    )
    folded = smoothstep(folded, 1.4, 2.6)
    i, j = mesh_edges(body.faces).T
    count = torch.zeros(len(trust)).index_add(0, i, torch.ones(len(i))).index_add(0, j, torch.ones(len(j)))
    for _ in range(2):  # no hard border between lid and brow
        mean = torch.zeros(len(trust)).index_add(0, i, folded[j]).index_add(0, j, folded[i]) / count.clamp(min=1.0)
        folded = 0.5 * (folded + mean)
    return trust * (1.0 - folded)


def _face_area(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """(B, F) areas for vertices (B, V, 3)."""
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    return 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=-1)
