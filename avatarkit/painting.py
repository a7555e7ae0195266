"""Colours any point of a tracked person's surface from the one photo.

Three layers, best first: the photo where it shows the point; the photo where it shows the point's mirror image,
corrected for the difference in light between the sides; colours spread over the surface from what is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional

from avatarkit.camera import Camera
from avatarkit.completion import (
    Expected,
    EyeColors,
    dental_arc,
    expected_colors,
    hair_strands,
    luminance,
    tooth_gaps,
)
from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.mesh import Mesh, barycentric, vertex_normals
from avatarkit.openings import face_openings, hand_areas
from avatarkit.skin import bare_surface, skin_likeness
from avatarkit.subject import Subject
from avatarkit.surface import REGIONS, grown, limb, mesh_edges, smoothstep, spread, surface_regions

__all__ = ["Paint", "PhotoPainter"]

_WORKING_SIZE = 1024  # pixels along the photo's longer side for the visibility test
_MIRRORED, _SPREAD = 0.4, 0.08  # confidence of completed colours against seen ones
_UNFOLDING = ("eyeBlinkLeft", "eyeBlinkRight")  # expressions that bring folded skin to light
_INNER = REGIONS.index("mouth")
_GLOVED = 0.2  # part of a hand that looks like skin, below which it wears a glove
_LOOKUP = 7  # numbers per point that a look into the photo needs


@dataclass(frozen=True)
class Paint:
    """Colours of surface points.

    Attributes:
        rgb: (n, 3) sRGB 0 to 1.
        confidence: (n,) 0 to 1: 1 = seen frontally, well inside of every border; little where completed.
        seen: (n,) bool, the colour is the photo's own.
        shown: (n,) 0 to 1, the photo shows the point, whatever its colours are worth there: 0 = hidden or seen edge-on.
    """

    rgb: torch.Tensor
    confidence: torch.Tensor
    seen: torch.Tensor
    shown: torch.Tensor


class PhotoPainter:
    """Knows the colour of every point of a subject's surface; deterministic.

    Attributes:
        regions: (V,) int64 into ``surface.REGIONS``.
        vertices: (V, 3) of the subject in the photo's pose, world.
    """

    def __init__(self, subject: Subject, body: BodyModel, renderer: Renderer) -> None:
        self._faces, mirror = body.faces, body.mirror()[0]
        with torch.no_grad():
            self.vertices = body.vertices(subject.params.batched(), subject.vertex_offsets)[0].float()
            self._rest = body.rest(subject.params.shape, torch.zeros(1, len(body.expression_names)))[0].float()
        self.regions = surface_regions(body, self._rest)
        matte, meshes = subject.matte, renderer.meshes
        self._bare = bare_surface(body, self.vertices, subject.camera, matte, subject.keypoints, meshes) > 0.5
        self._lids = grown(body.part("eyelids") > 0.5, body.faces, 3)
        self._photo = _PhotoMaps(subject, self.vertices, body.faces, self.regions, renderer)
        normals, trust = vertex_normals(self.vertices, body.faces), _vertex_trust(subject, body, self.regions)
        direct = self._photo.lookup(self.vertices, normals, trust, self.regions)
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
        conductance[self._bare[edges[:, 0]] != self._bare[edges[:, 1]]] = 0.02  # but of a sleeve the photo says it
        # Light differs a little between the sides; where they differ much, one of them shows something else.
        difference = color - other
        alike = torch.minimum(seen, other_seen) * torch.exp(-(difference.norm(dim=1) / 0.25).square())
        none, weak = torch.zeros_like(color), torch.full_like(seen, 0.03)
        light = spread(edges, conductance, difference, 20.0 * alike, none, weak)
        expected = expected_colors(body, region, self._bare, self._rest, color, seen, photo.exposure, photo.hair)
        known = seen + 0.3 * other_seen
        value = color * seen[:, None] + 0.3 * (other + light) * other_seen[:, None]
        value = value / known.clamp(min=1e-6)[:, None]
        guessed = (region >= _INNER) | (region == REGIONS.index("lips")) | self._lids  # lashes and brow shade the lids
        known = torch.where(guessed, 0.0, known)
        scalp = region == REGIONS.index("scalp")
        to_hair, to_skin = (value - expected.color).norm(dim=1), (value - expected.skin).norm(dim=1)
        hair_like = smoothstep(to_skin / (to_hair + to_skin).clamp(min=1e-6), 0.35, 0.6)
        known = torch.where(scalp, known * hair_like, known)  # or the forehead would spread to the nape
        base = spread(edges, conductance, value, 30.0 * known, expected.color, expected.strength).clamp(0.0, 1.0)

        eye = region == REGIONS.index("eyes")
        direction = torch.zeros_like(self._rest)
        left = self._rest[:, 0] > 0
        for ball in (eye & left, eye & ~left, scalp):
            if ball.any():
                centre = 0.5 * (self._rest[ball].amin(0) + self._rest[ball].amax(0))
                direction[ball] = functional.normalize(self._rest[ball] - centre, dim=-1)
        teeth = region == REGIONS.index("teeth")
        arc = torch.where(teeth, dental_arc(self._rest, teeth), 0.0)
        flags = torch.stack([eye, scalp, teeth, arc], 1)
        self._below = torch.cat([base, light, direction, flags], 1)
        self._eyes = self._estimate_eyes(expected)
        self._strand_contrast = self._measure_strands()

    def _dense(self, region: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Face numbers and weights of 28 points on each triangle that lies in a region."""
        faces = torch.nonzero((self.regions == REGIONS.index(region))[self._faces].all(1))[:, 0]
        grid = torch.tensor([(a, b, 6 - a - b) for a in range(7) for b in range(7 - a)]) / 6.0
        return faces.repeat_interleave(len(grid)), grid.repeat(len(faces), 1)

    def _estimate_eyes(self, expected: Expected) -> EyeColors:
        face, weights = self._dense("eyes")
        color, seen = self._photo.look(barycentric(self._attributes[:, :_LOOKUP], self._faces[face], weights))
        axis = functional.normalize(barycentric(self._below[:, 6:9], self._faces[face], weights), dim=-1)
        return EyeColors.estimate(axis[:, 2].clamp(-1.0, 1.0).acos().rad2deg(), color, seen, expected)

    def _measure_strands(self) -> float:
        """How much the brightness of the hair varies, as a share of it."""
        face, weights = self._dense("scalp")
        at = barycentric(self._attributes[:, :_LOOKUP], self._faces[face], weights)
        color, seen = self._photo.look(at)
        mean = luminance(self._photo.look(at, soft=True)[0]).clamp(min=0.03)
        if float(seen.sum()) < 1.0:
            return 0.0
        variance = (((luminance(color) - mean) / mean).square() * seen).sum() / seen.sum()
        return float(variance.sqrt().clamp(max=0.15))

    def paint(self, face_index: torch.Tensor, weights: torch.Tensor) -> Paint:
        """Colours points on the surface.

        Args:
            face_index: (n,) int64 triangle numbers.
            weights: (n, 3) barycentric.
        """
        triangles = self._faces[face_index]
        at = barycentric(self._attributes[:, :_LOOKUP], triangles, weights)
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
        """Completed colours (n, 3) and their confidence (n,)."""
        value = barycentric(torch.cat([self._attributes[:, _LOOKUP:], self._below], 1), triangles, weights)
        color, seen = self._photo.look(value[:, :_LOOKUP])
        value = value[:, _LOOKUP:]
        base, light, direction = value[:, :9].split(3, -1)
        is_eye, hair, teeth, arc = value[:, 9:].unbind(-1)
        direction = functional.normalize(direction, dim=-1)
        base = base * (1.0 + self._strand_contrast * hair * hair_strands(direction))[:, None]
        base = base * (1.0 - teeth * tooth_gaps(arc))[:, None]
        base = torch.where(is_eye[:, None] > 0.5, self._eyes(direction), base)
        copied = smoothstep(seen, 0.05, 0.5) * (is_eye <= 0.5)
        rgb = copied[:, None] * (color + light) + (1.0 - copied)[:, None] * base
        return rgb, copied * _MIRRORED * seen + (1.0 - copied) * _SPREAD


class _PhotoMaps:
    """The photo, what is visible in it, and how far each pixel's colour may be taken.

    Attributes:
        exposure: brightness of white things, 0.5 to 1.
        hair: (n, 3) colours of the scalp, and around it where the person is larger than the mesh.
    """

    def __init__(
        self, subject: Subject, vertices: torch.Tensor, faces: torch.Tensor, regions: torch.Tensor, renderer: Renderer
    ) -> None:
        photo, matte = subject.photo, subject.matte
        self._camera = camera = subject.camera.scaled_to(_WORKING_SIZE, most=2.0)
        scale = camera.width / photo.width
        with torch.no_grad():
            drawn = renderer.meshes.render(Mesh(vertices, faces), camera)
        hit = drawn.face_index >= 0
        typical = drawn.depth[hit].median() if hit.any() else torch.tensor(1.0)
        metre = torch.where(hit, drawn.depth, typical) / camera.K[0, 0]  # size of a pixel on the surface
        region = torch.where(hit, regions[faces[drawn.face_index.clamp(min=0), 0]], -1)
        alpha = _resize(matte.alpha[..., None], camera.height, camera.width)[..., 0]
        trust = _border_trust(alpha, drawn.depth, hit, region, metre, metre * scale)
        color = _resize(matte.foreground, camera.height, camera.width)
        outer, inner = _opening_trust(subject, camera, scale)
        weight = (alpha * trust * outer)[..., None].clamp(min=1e-4)
        soft = functional.avg_pool2d(_channels_first(torch.cat([color * weight, weight], -1)), 2)
        soft = _blur(soft, max(0.5, 0.0015 * float(camera.K[0, 0] / typical)))  # 3 mm, in pixels of the halved picture
        self._soft = soft[:, :3] / soft[:, 3:]
        self._color = _channels_first(matte.foreground)
        off_hands, on_hands = _hand_trust(subject, region, color)
        self._trust = (alpha * trust * torch.stack([outer * off_hands, inner, outer * on_hands]))[None]
        self.hair = _hair_pixels(alpha, region, metre, color)
        far = functional.max_pool2d(drawn.depth[None, None], 3, stride=1, padding=1)
        self._depth_limit = torch.where(far > 0, far + 0.002 + 1.5 * far / camera.K[0, 0], far)[0, 0].reshape(-1)
        inside = matte.alpha > 0.9
        light = luminance(matte.foreground[inside]).sort().values if inside.any() else torch.tensor([0.85])
        self.exposure = float((light[int(0.95 * (len(light) - 1))] / 0.85).clamp(0.5, 1.0))

    def lookup(self, points: torch.Tensor, normals: torch.Tensor, trust: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        """(n, 7) what ``look`` needs of world points: x, y (-1 to 1 over the photo), depth, facing, trust, inner, hand.

        The last two say which points show only between lids or lips, and which belong to hands.

        It may be interpolated over triangles, which are so small that perspective does not matter within one.
        """
        camera = self._camera
        grid = camera.project(points) / torch.tensor([camera.width, camera.height]) * 2.0 - 1.0
        toward = functional.normalize(camera.position - points, dim=-1)
        facing = (toward * functional.normalize(normals, dim=-1)).sum(-1)
        inner, hand = (regions >= _INNER).float(), (regions == REGIONS.index("hands")).float()
        return torch.cat([grid, torch.stack([camera.to_camera(points)[:, 2], facing, trust, inner, hand], 1)], 1)

    def look(self, at: torch.Tensor, soft: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Colours (n, 3) in the photo of points (n, 7) from ``lookup``, and how far they can be trusted (n,)."""
        grid = at[None, None, :, :2]
        trust = functional.grid_sample(self._trust, grid, padding_mode="border", align_corners=False)[0, :, 0]
        trust = trust[0] + at[:, 5] * (trust[1] - trust[0]) + at[:, 6] * (trust[2] - trust[0])
        trust = trust * at[:, 4] * smoothstep(at[:, 3], 0.2, 0.65) * self._in_front(at)
        picture = self._soft if soft else self._color
        return functional.grid_sample(picture, grid, padding_mode="border", align_corners=False)[0, :, 0].T, trust

    def shown(self, at: torch.Tensor) -> torch.Tensor:
        """(n,) 0 to 1: points (n, 7) from ``lookup`` that face the camera with nothing in front of them."""
        return smoothstep(at[:, 3], 0.1, 0.35) * self._in_front(at)

    def _in_front(self, at: torch.Tensor) -> torch.Tensor:
        """(n,) bool: the photo's frame holds the point, and the mesh does not hide it."""
        grid = at[:, :2]
        size = torch.tensor([self._camera.width, self._camera.height])
        pixel = ((grid + 1.0) * 0.5 * size).long().clamp(min=0)
        pixel = torch.minimum(pixel, size - 1)
        near = at[:, 2] <= self._depth_limit[pixel[:, 1] * self._camera.width + pixel[:, 0]]
        return near & (grid.abs() <= 1.0).all(1) & (at[:, 2] > 0.01)


def _border_trust(
    alpha: torch.Tensor,
    depth: torch.Tensor,
    hit: torch.Tensor,
    region: torch.Tensor,
    metre: torch.Tensor,
    photo_pixel: torch.Tensor,
) -> torch.Tensor:
    """(H, W) 0 to 1: little near the matte's border, where one part hides another, and at the rims of eyes and mouth.

    Args:
        alpha, depth, hit, region: (H, W) the matte; the mesh's depth, coverage and ``REGIONS``.
        metre, photo_pixel: (H, W) size of a pixel of this grid and of the photo, in metres on the surface.
    """
    on_head = (region > 0) & (region != REGIONS.index("hands")) & (region != REGIONS.index("feet"))
    inner = region >= _INNER
    reach = torch.maximum(2.0 * photo_pixel, torch.full_like(metre, 0.006))
    trust = smoothstep(_distance(alpha > 0.5) * metre / reach, 0.15, 1.0)
    # The fit may be off where one part hides another, so that colours of both sides are suspect there.
    least = torch.where(on_head, 0.02, 0.015)
    jump = _largest_step(depth, hit & ~inner) > torch.maximum(8.0 * metre, least)
    reach = torch.maximum(2.0 * photo_pixel, torch.where(on_head, 0.006, 0.02))
    trust = trust * smoothstep(_distance(~jump) * metre / reach, 0.1, 1.0)
    rim = _largest_step(inner.float(), hit) > 0.5
    reach = torch.maximum(photo_pixel, torch.full_like(metre, 0.0008))
    return trust * smoothstep(_distance(~rim) * metre / reach, 0.0, 1.0)


def _opening_trust(subject: Subject, camera: Camera, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(H, W) each, 0 to 1: pixels that can show skin, and pixels that can show eyes and teeth, by the landmarks.

    The fit closes lips and lids a little differently from the photo; without this, teeth would stick to the lips.
    """
    opening = face_openings(subject.keypoints, camera.height, camera.width)
    if opening is None:
        return torch.ones(camera.height, camera.width), torch.ones(camera.height, camera.width)
    outside, inside = (  # softened, or the steps of the pixel grid would show
        functional.avg_pool2d(_distance(mask)[None, None] / scale, 5, 1, 2, count_include_pad=False)[0, 0]
        for mask in (~opening, opening)
    )
    return smoothstep(outside, 0.2, 2.0), smoothstep(inside, 0.2, 1.5)  # lashes and the edge of the lips are nobody's


def _hand_trust(subject: Subject, region: torch.Tensor, color: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(H, W) each, 0 to 1: pixels that can show anything but hands, and pixels that can show hands, by the landmarks.

    The fit may have put a hand elsewhere; without this, fingers would stick to sleeves and jackets.
    """
    sure, maybe = hand_areas(subject.keypoints, *region.shape)
    skin = skin_likeness(color, subject.keypoints)
    skin = torch.ones(region.shape, dtype=torch.bool) if skin is None else skin > 0.5
    around = torch.stack([sure, sure | (maybe & skin)])[None].float()
    for _ in range(2):
        around = functional.avg_pool2d(around, 7, 1, 3, count_include_pad=False)
    on_hands = (4.0 * around[0, 0]).clamp(max=1.0)
    if subject.quality.partly:  # no joints say where such a hand is, but skin does; if it has hardly any, it wears a glove
        loose = (region == REGIONS.index("hands")) & (on_hands < 0.1)
        gloved = bool(loose.any()) and float(skin[loose].float().mean()) < _GLOVED
        on_hands = torch.ones(region.shape) if gloved else torch.maximum(on_hands, skin.float())
    elif not sure.any():
        on_hands = torch.ones(region.shape)
    return 1.0 - (2.0 * around[0, 1]).clamp(max=1.0), on_hands


def _hair_pixels(alpha: torch.Tensor, region: torch.Tensor, metre: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    """(n, 3) colours that may be hair: of the scalp, and of the person up to 6 cm off it."""
    scalp = region == REGIONS.index("scalp")
    if not scalp.any():
        return torch.zeros(0, 3)
    solid = _distance(alpha > 0.95) > 2.0  # what shines around the border is no hair
    distance, (row, column) = distance_transform_edt((region < 0).numpy(), return_indices=True)
    near = region[torch.from_numpy(row), torch.from_numpy(column)] == REGIONS.index("scalp")
    off = (region < 0) & near & (torch.from_numpy(distance).float() * metre < 0.06)
    return color[solid & (off | scalp)]


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


def _channels_first(image: torch.Tensor) -> torch.Tensor:
    return image.permute(2, 0, 1)[None].contiguous()


def _resize(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(H, W, C) on another pixel grid, averaged where it shrinks."""
    x = functional.interpolate(
        _channels_first(image).float(), (height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return x[0].permute(1, 2, 0)


def _distance(mask: torch.Tensor) -> torch.Tensor:
    """(H, W) pixels to the nearest place where ``mask`` is False; large where there is none."""
    if bool(mask.all()):
        return torch.full(mask.shape, 1e6)
    return torch.from_numpy(distance_transform_edt(mask.numpy())).float()


def _largest_step(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(H, W) largest difference to a 4-neighbour, among ``valid`` pixels."""
    step = torch.zeros_like(image)
    for axis in (0, 1):
        n = image.shape[axis]
        d = image.diff(dim=axis).abs() * (valid.narrow(axis, 0, n - 1) & valid.narrow(axis, 1, n - 1))
        for start in (0, 1):
            part = step.narrow(axis, start, n - 1)
            part.copy_(torch.maximum(part, d))
    return step


def _blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (1, C, H, W)."""
    radius = max(1, round(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    x = functional.conv2d(image.transpose(0, 1), kernel[None, None, None], padding=(0, radius))
    return functional.conv2d(x, kernel[None, None, :, None], padding=(radius, 0)).transpose(0, 1).contiguous()
