"""The photo as a source of colors: what the mesh shows in it, and how far each pixel can be trusted."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from avatarkit.appearance.color_priors import dominant_color, luminance
from avatarkit.appearance.openings import face_openings, hand_areas
from avatarkit.appearance.overhang import arm_overhang
from avatarkit.appearance.skin import skin_likeness
from avatarkit.geometry.mesh_graph import REGIONS, smoothstep
from avatarkit.interfaces import Renderer
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Subject

__all__ = ["FACING", "LOOKUP", "PhotoMaps"]

LOOKUP, FACING = 7, 3
"""Numbers per point that a look into the photo needs, and which of them is the cosine between its normal and the camera."""

_WORKING_SIZE = 1024  # pixels along the photo's longer side for the visibility test
_INNER = REGIONS.index("mouth")
_WORN = 0.05  # meters from a hand at which its watch and cuff end
_GOES_ON = 0.05  # part of a thing that lies farther off, from which it is not the hand's
_ODD = 0.25  # difference of sRGB colors from which something is not made of the clothes around it
_SHADE = 0.02  # meters beside a forearm in which the trunk lies in its shade
_PERHAPS = 0.35  # chance that it shows an arm from which nobody takes a pixel's color for the trunk's
_SURELY = 0.55  # the same from which the trunk learns nothing of what a pixel shows, either
_GLOVED = 0.2  # part of a hand that looks like skin, below which it wears a glove


class PhotoMaps:
    """The photo, what is visible in it, and how far each pixel's color may be taken.

    Attributes:
        exposure: brightness of white things, 0.5 to 1.
        hair: (n, 3) colors of the scalp, and around it where the person is larger than the mesh.
        misaligned: (H, W) bool, pixels of the photo that show a hand where the mesh shows clothes.
        occluded: (H, W) bool, pixels of the photo that may show a hand or forearm where the mesh shows the trunk.
    """

    def __init__(
        self,
        subject: Subject,
        vertices: torch.Tensor,
        faces: torch.Tensor,
        regions: torch.Tensor,
        arms: torch.Tensor,
        renderer: Renderer,
    ) -> None:
        """For a posed mesh with ``regions`` and ``arms`` (V,): 1 for upper arms, 2 for forearms and hands, else 0."""
        photo, matte = subject.photo, subject.matte
        self._camera = camera = subject.camera.scaled_to(_WORKING_SIZE, most=2.0)
        scale = camera.width / photo.width
        with torch.no_grad():
            drawn = renderer.meshes.render(Mesh(vertices, faces), camera)
        hit = drawn.face_index >= 0
        typical = drawn.depth[hit].median() if hit.any() else torch.tensor(1.0)
        meter = torch.where(hit, drawn.depth, typical) / camera.K[0, 0]  # size of a pixel on the surface
        shown = faces[drawn.face_index.clamp(min=0), 0]
        region, arm = torch.where(hit, regions[shown], -1), torch.where(hit, arms[shown], -1)
        forearm, trunk = arm == 2, (arm == 0) & (region == REGIONS.index("clothes"))
        alpha = _resize(matte.alpha[..., None], camera.height, camera.width)[..., 0]
        trust = _border_trust(alpha, drawn.depth, hit, region, meter, meter * scale)
        color = _resize(matte.foreground, camera.height, camera.width)
        outer, inner = _opening_trust(subject, camera, scale)
        weight = (alpha * trust * outer)[..., None].clamp(min=1e-4)
        soft = functional.avg_pool2d(_channels_first(torch.cat([color * weight, weight], -1)), 2)
        soft = _blur(soft, max(0.5, 0.0015 * float(camera.K[0, 0] / typical)))  # 3 mm, in pixels of the halved picture
        self._soft = soft[:, :3] / soft[:, 3:]
        self._color = _channels_first(matte.foreground)
        off_hands, on_hands, misaligned = _hand_trust(subject, region, color, meter)
        likely = arm_overhang(color, alpha, forearm, trunk, float(typical / camera.K[0, 0]))
        overhang = likely > _PERHAPS
        lit = torch.where(trunk, smoothstep(_distance(~(forearm | overhang)) * meter, 0.0, _SHADE), 1.0)
        off_hands = off_hands * lit
        self._occluded = (misaligned | (likely > _SURELY)).float()[None, None]  # what hides it, the trunk does not learn
        self.misaligned, self.occluded = (
            functional.interpolate(m[None, None].float(), matte.alpha.shape)[0, 0] > 0.5
            for m in (misaligned, trunk & misaligned | overhang)
        )
        self._trust = (alpha * trust * torch.stack([outer * off_hands, inner, outer * on_hands]))[None]
        self.hair = _hair_pixels(alpha, region, meter, color)
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
        """Colors (n, 3) in the photo of points (n, 7) from ``lookup``, and how far they can be trusted (n,)."""
        grid = at[None, None, :, :2]
        trust = functional.grid_sample(self._trust, grid, padding_mode="border", align_corners=False)[0, :, 0]
        trust = trust[0] + at[:, 5] * (trust[1] - trust[0]) + at[:, 6] * (trust[2] - trust[0])
        trust = trust * at[:, 4] * smoothstep(at[:, FACING], 0.2, 0.65) * self._in_front(at)
        picture = self._soft if soft else self._color
        return functional.grid_sample(picture, grid, padding_mode="border", align_corners=False)[0, :, 0].T, trust

    def shown(self, at: torch.Tensor) -> torch.Tensor:
        """(n,) 0 to 1: points (n, 7) from ``lookup`` that face the camera with nothing before them, no hand or arm either."""
        other = functional.grid_sample(self._occluded, at[None, None, :, :2], padding_mode="border", align_corners=False)[0, 0, 0]
        return smoothstep(at[:, FACING], 0.1, 0.35) * self._in_front(at) * (1.0 - other * (1.0 - at[:, 6]))

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
    meter: torch.Tensor,
    photo_pixel: torch.Tensor,
) -> torch.Tensor:
    """(H, W) 0 to 1: little near the matte's border, where one part hides another, and at the rims of eyes and mouth.

    Args:
        alpha, depth, hit, region: (H, W) the matte; the mesh's depth, coverage and ``REGIONS``.
        meter, photo_pixel: (H, W) size of a pixel of this grid and of the photo, in meters on the surface.
    """
    on_head = (region > 0) & (region != REGIONS.index("hands")) & (region != REGIONS.index("feet"))
    inner = region >= _INNER
    reach = torch.maximum(2.0 * photo_pixel, torch.full_like(meter, 0.006))
    trust = smoothstep(_distance(alpha > 0.5) * meter / reach, 0.15, 1.0)
    # The fit may be off where one part hides another, so that colors of both sides are suspect there.
    least = torch.where(on_head, 0.02, 0.015)
    jump = _largest_step(depth, hit & ~inner) > torch.maximum(8.0 * meter, least)
    reach = torch.maximum(2.0 * photo_pixel, torch.where(on_head, 0.006, 0.02))
    trust = trust * smoothstep(_distance(~jump) * meter / reach, 0.1, 1.0)
    rim = _largest_step(inner.float(), hit) > 0.5
    reach = torch.maximum(photo_pixel, torch.full_like(meter, 0.0008))
    return trust * smoothstep(_distance(~rim) * meter / reach, 0.0, 1.0)


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


def _hand_trust(
    subject: Subject, region: torch.Tensor, color: torch.Tensor, meter: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(H, W) each: 0 to 1, pixels that can show anything but hands, and that can show hands, by the landmarks; bool, misaligned.

    The fit may have put a hand elsewhere; without this, fingers, watches and cuffs would stick to sleeves and jackets.
    """
    sure, maybe = hand_areas(subject.keypoints, *region.shape)
    likeness = skin_likeness(color, subject.keypoints)
    skin = torch.ones(region.shape, dtype=torch.bool) if likeness is None else likeness > 0.5
    on_hands = (4.0 * _softened(sure)).clamp(max=1.0)
    gloved = False
    if subject.quality.partially_visible:  # only skin says where such a hand is; if it has hardly any, it wears a glove
        gloved = _gloved((region == REGIONS.index("hands")) & (on_hands < 0.1), skin)
        on_hands = torch.ones(region.shape) if gloved else torch.maximum(on_hands, skin.float())
    elif not sure.any():
        on_hands = torch.ones(region.shape)
    around = _softened(sure if gloved else sure | (maybe & skin))
    off_hands, misaligned = 1.0 - (2.0 * around).clamp(max=1.0), torch.zeros_like(skin)
    if likeness is not None:
        clothes = region == REGIONS.index("clothes")
        misaligned = (around > 0.3) & skin & clothes
        worn = _worn(misaligned, clothes & ~skin, color, meter)
        off_hands, misaligned = off_hands * ~worn, misaligned | worn
    return off_hands, on_hands, misaligned


def _softened(mask: torch.Tensor) -> torch.Tensor:
    """(H, W) 0 to 1, a mask with soft borders."""
    soft = mask[None, None].float()
    for _ in range(2):
        soft = functional.avg_pool2d(soft, 7, 1, 3, count_include_pad=False)
    return soft[0, 0]


def _worn(hands: torch.Tensor, clothes: torch.Tensor, color: torch.Tensor, meter: torch.Tensor) -> torch.Tensor:
    """(H, W) bool: what hands wear: small things among ``clothes``, close to ``hands``, of another color than those around them.

    What goes on away from the hand is hair, or another garment.
    """
    if not hands.any():
        return torch.zeros_like(hands)
    away = _distance(~hands) * meter
    cloth = clothes & (away > _WORN) & (away < 4 * _WORN)
    usual = dominant_color(color[cloth], torch.ones(int(cloth.sum())))
    if usual is None:
        return torch.zeros_like(hands)
    odd = clothes & (away < 2 * _WORN) & ((color - usual).norm(dim=-1) > _ODD)
    number, count = ndimage.label(odd.numpy())
    beyond = np.asarray(ndimage.mean(away.numpy() > _WORN, number, range(1, count + 1)))
    small = np.concatenate([[False], beyond < _GOES_ON])
    return torch.from_numpy(small[number]) & (away < _WORN)


def _gloved(hands: torch.Tensor, skin: torch.Tensor) -> bool:
    """Whether no hand among the pixels ``hands`` (H, W) shows skin; one that does speaks for both."""
    number, count = ndimage.label(hands.numpy())
    numbers = range(1, count + 1)
    size = np.asarray(ndimage.sum_labels(hands.numpy(), number, numbers))
    share = np.asarray(ndimage.mean(skin.numpy().astype(np.float32), number, numbers))
    large = size > 0.1 * size.sum()
    return bool(large.any()) and bool((share[large] < _GLOVED).all())


def _hair_pixels(alpha: torch.Tensor, region: torch.Tensor, meter: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    """(n, 3) colors that may be hair: of the scalp, and of the person up to 6 cm off it."""
    scalp = region == REGIONS.index("scalp")
    if not scalp.any():
        return torch.zeros(0, 3)
    solid = _distance(alpha > 0.95) > 2.0  # what shines around the border is no hair
    distance, (row, column) = ndimage.distance_transform_edt((region < 0).numpy(), return_indices=True)
    near = region[torch.from_numpy(row), torch.from_numpy(column)] == REGIONS.index("scalp")
    off = (region < 0) & near & (torch.from_numpy(distance).float() * meter < 0.06)
    return color[solid & (off | scalp)]


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
    return torch.from_numpy(ndimage.distance_transform_edt(mask.numpy())).float()


def _largest_step(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(H, W) largest difference to a 4-neighbor, among ``valid`` pixels."""
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
