"""The photo as a source of colors: what the mesh shows in it, and how far each pixel can be trusted."""

from __future__ import annotations

import torch
from torch.nn import functional

from avatarkit.appearance.color_priors import luminance
from avatarkit.appearance.openings import face_openings
from avatarkit.appearance.parsing import LABELS, Parsing, pixels_to
from avatarkit.geometry.mesh_graph import REGIONS, smoothstep
from avatarkit.interfaces import Renderer
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Subject

__all__ = ["FACING", "GRID", "LOOKUP", "TRUST", "PhotoMaps"]

_UPPER_ARMS, _FOREARMS, _HANDS, _LEGS, _FEET = (
    (f"left_{part}", f"right_{part}") for part in ("upper_arm", "forearm", "hand", "leg", "foot")
)
_TAKES = (
    (("trunk", "neck", *_LEGS, *_FEET), ("trunk", "neck", "face", "hair", *_LEGS, *_FEET, *_UPPER_ARMS)),
    (_UPPER_ARMS, (*_UPPER_ARMS, *_FOREARMS, "trunk")),
    *(((forearm,), (*_FOREARMS, *_UPPER_ARMS, hand)) for forearm, hand in zip(_FOREARMS, _HANDS, strict=True)),
    *(((hand,), (*_HANDS, forearm)) for forearm, hand in zip(_FOREARMS, _HANDS, strict=True)),
    (("hair", "face"), ("hair", "face", "neck", "trunk", *_UPPER_ARMS)),
)
"""Parts of the surface, and of which parts in the photo they take colors."""
_GLOVES = [4, 5]  # rows that take all colors where only the body's landmarks tell of a hand, and nothing there looks like skin
_SLEEVES = [1, 2, 3]  # rows that take those of hands that no detector found, too: a fist under the other arm rests there
LOOKUP, FACING, TRUST = 6 + len(_TAKES), 3, 4
"""Numbers per point that a look needs; which of them is the cosine between normal and camera, and which the trust."""
GRID = slice(0, 2)
"""Which numbers say the place in the photo, -1 to 1."""
_DEPTH, _ROWS, _KINDS, _INSIDE = 2, slice(5, LOOKUP), slice(5, LOOKUP - 1), LOOKUP - 1
"""The others: meters, and rows of the trust that hold for the point, those of ``_TAKES`` and the last one."""

_WORKING_SIZE = 1024  # pixels along the photo's longer side for the visibility test
_INNER = REGIONS.index("mouth")
_SHADE = 0.02  # meters beside a forearm in which the trunk lies in its shade
_OWN = 0.5, 0.8  # probability that a pixel shows a part, below which the part takes no color from it, and from which it does
_OFF_HELD = 0.004, 0.012  # meters beside a held thing up to which its border bleeds into clothes and arms, and from which not
_LONG_HAIR = 2e-3  # square meters below the chin
_SOLID = 2.0  # pixels inside the person in which no light of the background shines through hair
_SHOWN = 0.3, 0.6  # the same, of what the photo shows at all


class PhotoMaps:
    """The photo, what is visible in it, and how far each pixel's color may be taken.

    Attributes:
        exposure: brightness of white things, 0.5 to 1.
        hair: (n, 3) colors of hair.
        covered: (H, W) bool, pixels that show a thing, perhaps a hand or forearm where the mesh shows trunk or legs, or another
            part where it shows an arm's.
    """

    def __init__(
        self,
        subject: Subject,
        vertices: torch.Tensor,
        faces: torch.Tensor,
        regions: torch.Tensor,
        labels: torch.Tensor,
        parsing: Parsing,
        renderer: Renderer,
    ) -> None:
        """For a posed mesh with ``regions`` (V,) and ``labels`` (V,) of ``vertex_labels``, and the parsed photo."""
        photo, matte = subject.photo, subject.matte
        self._camera = camera = subject.camera.scaled_to(_WORKING_SIZE, most=2.0)
        scale = camera.width / photo.width
        with torch.no_grad():
            drawn = renderer.meshes.render(Mesh(vertices, faces), camera)
        hit = drawn.face_index >= 0
        typical = drawn.depth[hit].median() if hit.any() else torch.tensor(1.0)
        meter = torch.where(hit, drawn.depth, typical) / camera.K[0, 0]  # size of a pixel on the surface
        shown = faces[drawn.face_index.clamp(min=0), 0]
        region = torch.where(hit, regions[shown], -1)
        alpha = _resize(matte.alpha[..., None], camera.height, camera.width)[..., 0]
        trust = _border_trust(alpha, drawn.depth, hit, region, meter, meter * scale)
        color = _resize(matte.foreground, camera.height, camera.width)
        outer, inner = _opening_trust(subject, camera, scale)
        weight = (alpha * trust * outer)[..., None].clamp(min=1e-4)
        soft = functional.avg_pool2d(_channels_first(torch.cat([color * weight, weight], -1)), 2)
        soft = _blur(soft, max(0.5, 0.0015 * float(camera.K[0, 0] / typical)))  # 3 mm, in pixels of the halved picture
        self._soft = soft[:, :3] / soft[:, 3:]
        self._color = _channels_first(matte.foreground)
        self._kinds = torch.stack([torch.isin(labels, _numbers(kinds)) for kinds, _ in _TAKES], 1).float()
        probability = parsing.at(*alpha.shape)
        lost = tuple(name for name in _HANDS if not subject.quality.visible.get(name, True))
        rows = [dict.fromkeys((*taken, *lost) if row in _SLEEVES else taken) for row, (_, taken) in enumerate(_TAKES)]
        if parsing.gloved:
            rows[_GLOVES[0]] = rows[_GLOVES[1]] = dict.fromkeys(_HANDS)
        own = torch.stack([probability[_numbers(tuple(row))].sum(0) for row in rows])
        held = probability[_numbers(("held",))].sum(0) > _OWN[0]
        own[: _GLOVES[0]] *= smoothstep(pixels_to(held, _farthest(_OFF_HELD[1], meter)) * meter, *_OFF_HELD)
        if subject.quality.partially_visible and parsing.gloved:
            own[_GLOVES] = 1.0
        limb = probability[_numbers((*_FOREARMS, *_HANDS, "held"))].sum(0) > _OWN[0]
        fitted = torch.where(hit, labels[shown], -1)
        trunk = torch.isin(fitted, _numbers(("trunk", *_LEGS)))
        lit = torch.where(trunk, smoothstep(pixels_to(limb, _farthest(_SHADE, meter)) * meter, 0.0, _SHADE), 1.0)
        things = probability[_numbers(("held", "other"))].sum(0) > _OWN[0]
        # What looks like the trunk on an upper arm is its sleeve, unless it may be hair, and its own forearm may reach up to it.
        sleeve = () if _long_hair(probability, fitted, meter) else ("trunk",)
        for upper_arm, forearm in zip(_UPPER_ARMS, _FOREARMS, strict=True):
            for part, shows in ((upper_arm, (*_UPPER_ARMS, forearm, *sleeve)), (forearm, _FOREARMS)):
                things |= (fitted == LABELS.index(part)) & (probability[_numbers(shows)].sum(0) < _OWN[0])
        self.covered = functional.interpolate((trunk & limb | things)[None, None].float(), matte.alpha.shape)[0, 0] > 0.5
        self._shows = smoothstep(own, *_SHOWN)[None]
        self._trust = alpha * trust * torch.cat([outer * lit * smoothstep(own, *_OWN), inner[None]])[None]
        assert LABELS[0] == "hair"  # so that of equals it is the one that argmax, which takes 20 times as long, would find
        hair = probability[0] >= probability[1:].amax(0)
        self.hair = color[hair & (pixels_to(alpha < 0.95, _SOLID + 1.0) > _SOLID)]
        far = functional.max_pool2d(drawn.depth[None, None], 3, stride=1, padding=1)
        self._depth_limit = torch.where(far > 0, far + 0.002 + 1.5 * far / camera.K[0, 0], far)[0, 0].reshape(-1)
        inside = matte.alpha > 0.9
        light = luminance(matte.foreground[inside]).sort().values if inside.any() else torch.tensor([0.85])
        self.exposure = float((light[int(0.95 * (len(light) - 1))] / 0.85).clamp(0.5, 1.0))

    def lookup(self, points: torch.Tensor, normals: torch.Tensor, trust: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        """(n, LOOKUP) what ``look`` needs of vertices: x, y (-1 to 1 over the photo), depth, facing, trust, kinds, inner.

        The last ones say to which row of ``_TAKES`` points belong, and which show only between lids or lips.

        It may be interpolated over triangles, which are so small that perspective does not matter within one.
        """
        camera = self._camera
        grid = camera.project(points) / torch.tensor([camera.width, camera.height]) * 2.0 - 1.0
        toward = functional.normalize(camera.position - points, dim=-1)
        facing = (toward * functional.normalize(normals, dim=-1)).sum(-1)
        inner = (regions >= _INNER).float()[:, None]
        kinds = torch.cat([self._kinds * (1.0 - inner), inner], 1)
        return torch.cat([grid, torch.stack([camera.to_camera(points)[:, 2], facing, trust], 1), kinds], 1)

    def look(self, at: torch.Tensor, soft: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Colors (n, 3) in the photo of points (n, LOOKUP) from ``lookup``, and how far they can be trusted (n,)."""
        grid = at[None, None, :, GRID]
        trust = functional.grid_sample(self._trust, grid, padding_mode="border", align_corners=False)[0, :, 0]
        trust = (trust.T * at[:, _ROWS]).sum(1) * at[:, TRUST] * smoothstep(at[:, FACING], 0.2, 0.65) * self._in_front(at)
        picture = self._soft if soft else self._color
        return functional.grid_sample(picture, grid, padding_mode="border", align_corners=False)[0, :, 0].T, trust

    def shown(self, at: torch.Tensor) -> torch.Tensor:
        """(n,) 0 to 1: points (n, LOOKUP) from ``lookup`` that face the camera, and that pixels show rather than another part."""
        own = functional.grid_sample(self._shows, at[None, None, :, GRID], padding_mode="border", align_corners=False)[0, :, 0]
        own = (own.T * at[:, _KINDS]).sum(1) + at[:, _INSIDE]
        return smoothstep(at[:, FACING], 0.1, 0.35) * self._in_front(at) * own

    def _in_front(self, at: torch.Tensor) -> torch.Tensor:
        """(n,) bool: the photo's frame holds the point, and the mesh does not hide it."""
        grid = at[:, GRID]
        size = torch.tensor([self._camera.width, self._camera.height])
        pixel = ((grid + 1.0) * 0.5 * size).long().clamp(min=0)
        pixel = torch.minimum(pixel, size - 1)
        near = at[:, _DEPTH] <= self._depth_limit[pixel[:, 1] * self._camera.width + pixel[:, 0]]
        return near & (grid.abs() <= 1.0).all(1) & (at[:, _DEPTH] > 0.01)


def _long_hair(probability: torch.Tensor, fitted: torch.Tensor, meter: torch.Tensor) -> bool:
    """Tell whether hair hangs below the chin, for (L, H, W), (H, W) labels of the mesh, and (H, W) meters of a pixel."""
    face = torch.nonzero((fitted == LABELS.index("face")).any(1))[:, 0]
    below = int(face[-1]) + 1 if len(face) else len(fitted)
    hair = probability[LABELS.index("hair"), below:] > _OWN[0]
    return float(meter[below:][hair].square().sum()) > _LONG_HAIR


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
    trust = _far_from(~(alpha > 0.5), meter, reach, 0.15)
    # The fit may be off where one part hides another, so that colors of both sides are suspect there.
    least = torch.where(on_head, 0.02, 0.015)
    jump = _largest_step(depth, hit & ~inner) > torch.maximum(8.0 * meter, least)
    reach = torch.maximum(2.0 * photo_pixel, torch.where(on_head, 0.006, 0.02))
    trust = trust * _far_from(jump, meter, reach, 0.1)
    rim = _largest_step(inner.float(), hit) > 0.5
    reach = torch.maximum(photo_pixel, torch.full_like(meter, 0.0008))
    return trust * _far_from(rim, meter, reach, 0.0)


def _far_from(area: torch.Tensor, meter: torch.Tensor, reach: torch.Tensor, low: float) -> torch.Tensor:
    """(H, W) 0 up to ``low`` times ``reach`` from an area, 1 from ``reach`` on; all (H, W), pixels have ``meter``."""
    return smoothstep(pixels_to(area, _farthest(reach, meter)) * meter / reach, low, 1.0)


def _farthest(reach: torch.Tensor | float, meter: torch.Tensor) -> float:
    """Return the most pixels, each of ``meter`` (H, W), that ``reach`` meters are, and one for rounding."""
    return float((reach / meter).max()) + 1.0


def _opening_trust(subject: Subject, camera: Camera, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(H, W) each, 0 to 1: pixels that can show skin, and pixels that can show eyes and teeth, by the landmarks.

    The fit closes lips and lids a little differently from the photo; without this, teeth would stick to the lips.
    """
    opening = face_openings(subject.keypoints, camera.height, camera.width)
    if opening is None:
        return torch.ones(camera.height, camera.width), torch.ones(camera.height, camera.width)
    most = 2.0 * scale + 8.0  # pixels; distances within the softening's window differ by less than 6
    outside, inside = (  # softened, or the steps of the pixel grid would show
        functional.avg_pool2d(pixels_to(~mask, most)[None, None] / scale, 5, 1, 2, count_include_pad=False)[0, 0]
        for mask in (~opening, opening)
    )
    return smoothstep(outside, 0.2, 2.0), smoothstep(inside, 0.2, 1.5)  # lashes and the edge of the lips are nobody's


def _numbers(names: tuple[str, ...]) -> torch.Tensor:
    """(n,) int64 of ``LABELS``."""
    return torch.tensor([LABELS.index(name) for name in names])


def _channels_first(image: torch.Tensor) -> torch.Tensor:
    return image.permute(2, 0, 1)[None].contiguous()


def _resize(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(H, W, C) on another pixel grid, averaged where it shrinks."""
    x = functional.interpolate(
        _channels_first(image).float(), (height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return x[0].permute(1, 2, 0)


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
