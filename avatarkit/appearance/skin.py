"""Which pixels of a photo show bare skin, judged by the colors of the face."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from avatarkit.geometry.mesh_graph import limb, mesh_edges, screened_poisson
from avatarkit.interfaces import BodyModel, MeshRasterizer
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh

__all__ = ["bare_surface", "gray_skin", "hem", "skin_color", "skin_likeness"]

_SPREAD = 0.018  # of chromaticity, at least
_DARKEST, _LIGHTEST = -1.4, 0.7  # natural logarithm of brightness, against the face
_LIKE, _UNLIKE = 2.2, 3.6  # standard deviations up to which a color is skin's, and from which it is not
_LEAST_SEEN = 200.0  # weight of what is seen of a limb from which it tells where its sleeve ends
_PIXELS = 512  # longer side of the picture in which bare skin is told from clothes
_SURE, _MIRRORED, _DRESSED = 20.0, 4.0, 0.02  # weights of what is seen, of its mirror image, and of clothes everywhere
_BEYOND_SEEN = 0.1  # of the way from the last cloth that is seen to the first skin
_HEM = 0.02  # meters on both sides of a hem over which the likelihood of bare skin goes from 0 to 1
_SLOPES = [(0.0, 0.0)] + [(r * math.cos(k * math.pi / 4), r * math.sin(k * math.pi / 4)) for r in (0.5, 1.0) for k in range(8)]
_SLOPING = 0.03  # part of what is seen that a hem of slope 1 must explain better than a straight one
_APART = 0.25  # part of what is seen of a limb that its hem must explain better per meter away from that of both
_ARMHOLE = 0.05  # meters from a sloping hem in which the photo itself says what is bare
_SEAT = 0.2  # meters below the hips that are dressed, if no skin is seen farther down
_GRAY = 0.015  # redness of a face in black and white, or in blue light, which tells no skin
_ONE_TONE = 0.02  # spread of chromaticity among pixels of one brightness, below which the picture has one tone, as sepia
_SHADES, _JUMP = 24, 0.05  # steps of brightness; change of chromaticity from one to the next that no tone has
_AS_BRIGHT = 0.5  # natural logarithm of brightness up to which gray may be that of the face
_VIVID = 0.7  # how much more vivid than the face skin may be
_PALE, _WARM = 0.35, 0.55  # redness against the face's up to which a color is gray, and from which it may be skin's


def skin_likeness(image: torch.Tensor, keypoints: Keypoints | None, alpha: torch.Tensor | None = None) -> torch.Tensor | None:
    """(H, W) 0 to 1; None where no face tells what skin looks like: none is seen, or in one tone, or in blue light.

    Skin in shade keeps its hue, or glows in it where skin lights skin, so colors are compared by chromaticity, with the
    spread that the face itself has.

    Args:
        image: (H, W, 3) sRGB 0 to 1.
        keypoints: of the photo, in its own pixels.
        alpha: (H, W) where the person is; None = everywhere.
    """
    cheeks = _cheeks(image, keypoints)
    if cheeks is None or _of_one_tone(image, torch.ones(image.shape[:2]) if alpha is None else alpha):
        return None
    smooth, row, column = cheeks
    total = smooth.sum(-1, keepdim=True).clamp(min=0.02)
    tone = torch.cat([smooth[..., :2] / total, total.log()], -1)  # (H, W, 3) r, g, brightness
    face = tone[row, column]
    middle = face.median(0).values
    if float(middle[0] - 1 / 3) < _GRAY:
        return None
    off = (face - middle)[:, :2]
    near = off[off.norm(dim=1) <= off.norm(dim=1).median() * 2.5]
    covariance = near.T @ near / max(len(near) - 1, 1) + _SPREAD**2 * torch.eye(2)
    away = tone - middle
    hue = functional.normalize(middle[:2] - 1 / 3, dim=0)
    glow = (away[..., :2] @ hue).clamp(0.0, _VIVID * float((middle[:2] - 1 / 3).norm()))
    away[..., :2] -= glow[..., None] * hue
    distance = (away[..., :2] @ torch.linalg.inv(covariance) * away[..., :2]).sum(-1).clamp(min=0.0).sqrt()
    like = ((_UNLIKE - distance) / (_UNLIKE - _LIKE)).clamp(0.0, 1.0)
    redness = (tone[..., 0] - 1 / 3) / (middle[0] - 1 / 3).clamp(min=0.01)  # fair skin is close to gray, but never gray
    like = like * ((redness - _PALE) / (_WARM - _PALE)).clamp(0.0, 1.0)
    return like * ((away[..., 2] > _DARKEST) & (away[..., 2] < _LIGHTEST))


def _of_one_tone(image: torch.Tensor, alpha: torch.Tensor) -> bool:
    """Tell whether color follows from brightness in (H, W, 3) where ``alpha`` (H, W) is, as in black and white or sepia."""
    step = max(1, max(image.shape) // 300)
    total = image[::step, ::step].sum(-1)
    lit = (total > 0.3) & (alpha[::step, ::step] > 0.95)
    chroma, shade = (image[::step, ::step, :2] / total[..., None])[lit], (total[lit] * (_SHADES / 3)).long()
    groups = [c for k in range(_SHADES + 1) if len(c := chroma[shade == k]) > len(chroma) / 100]
    if not groups:
        return True
    middle = torch.stack([c.median(0).values for c in groups])
    off = torch.cat([(c - m).norm(dim=1) for c, m in zip(groups, middle, strict=True)])
    jumps = middle.diff(dim=0).norm(dim=1)  # from a shirt to skin, where all that is worn has plain colors
    return float(off.quantile(0.95)) < _ONE_TONE and not bool((jumps > _JUMP).any())


def gray_skin(image: torch.Tensor, keypoints: Keypoints | None) -> torch.Tensor | None:
    """(H, W) bool, what is nearly as bright as the face; None where no face is seen. Arguments as ``skin_likeness``."""
    cheeks = _cheeks(image, keypoints)
    if cheeks is None:
        return None
    smooth, row, column = cheeks
    light = smooth.mean(-1).clamp(min=0.01).log()
    return (light - light[row, column].median()).abs() < _AS_BRIGHT


def skin_color(image: torch.Tensor, keypoints: Keypoints | None) -> torch.Tensor | None:
    """(3,) sRGB of the skin of cheeks and nose in the light that falls on them; arguments and None as ``skin_likeness``."""
    cheeks = _cheeks(image, keypoints)
    if cheeks is None:
        return None
    smooth, row, column = cheeks
    return smooth[row, column].median(0).values


def _cheeks(image: torch.Tensor, keypoints: Keypoints | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """Return the image (H, W, 3) a little smoothed, and rows (n,) and columns (n,) of pixels on cheeks and nose."""
    cheeks = None if keypoints is None else keypoints.region("bare_face")
    if keypoints is None or cheeks is None:
        return None
    height, width = image.shape[:2]
    points = torch.as_tensor(cheeks, dtype=torch.float32)
    column, row = (points * torch.tensor([width / keypoints.width, height / keypoints.height])).long().unbind(-1)
    inside = (row >= 0) & (column >= 0) & (row < height) & (column < width)
    if int(inside.sum()) < len(points) // 2:
        return None
    smooth = functional.avg_pool2d(image.permute(2, 0, 1)[None], 3, 1, 1, count_include_pad=False)[0].permute(1, 2, 0)
    return smooth, row[inside], column[inside]


def bare_surface(
    body: BodyModel,
    vertices: torch.Tensor,
    camera: Camera,
    alpha: torch.Tensor,
    likeness: torch.Tensor | None,
    rasterizer: MeshRasterizer,
    beyond_seen: float = _BEYOND_SEEN,
) -> torch.Tensor:
    """(V,) 0 to 1: how likely each vertex is bare skin; where the photo does not show it, its surroundings decide.

    Sleeves and trouser legs end at one place all around a limb, or at a plane that slopes, as armholes do. It crosses one half
    there, so that it can be interpolated.

    Args:
        vertices: (V, 3) in the photo's pose.
        camera: of the photo.
        alpha: (H, W) its matte.
        likeness: (H, W) from ``skin_likeness``; without it everything is dressed.
        rasterizer: draws the mesh.
        beyond_seen: where hidden cloth ends, as a part of the way from the last cloth that is seen to the first skin.
    """
    if likeness is None:
        return torch.zeros(len(vertices))
    small = camera.scaled_to(_PIXELS)
    both = torch.stack([likeness, alpha])[None]
    likeness, alpha = functional.interpolate(both, (small.height, small.width), mode="area")[0]
    drawn = rasterizer.render(Mesh(vertices, body.faces), small)
    solid = (drawn.face_index >= 0) & (alpha > 0.95)
    corners = body.faces[drawn.face_index[solid]].reshape(-1)
    share = drawn.barycentric[solid]
    weight = torch.zeros(len(vertices)).index_add(0, corners, share.reshape(-1))
    bare = torch.zeros(len(vertices)).index_add(0, corners, (share * likeness[solid][:, None]).reshape(-1))
    bare = bare / weight.clamp(min=1e-6)
    mirror = body.mirror()[0]
    own, other = _SURE * weight.clamp(max=1.0), _MIRRORED * weight[mirror].clamp(max=1.0)
    known = own + other
    value = (own * bare + other * bare[mirror]) / known.clamp(min=1e-6)
    rest = body.rest(body.neutral().shape, torch.zeros(1, len(body.expression_names)))[0]
    for end in ("hand", "foot"):
        limbs, place = [], torch.zeros(len(rest), 3)
        for part in (f"left_{end}", f"right_{end}"):
            tip = body.part(part) > 0.5
            on_limb = limb(body, part) & ~tip
            place[on_limb] = _on_limb(rest[on_limb], rest[tip])
            limbs.append(on_limb)
            if end == "foot" and on_limb.any():  # hands that no detector found may lie before the hips
                seat = on_limb & (place[:, 0] < place[on_limb, 0].amin() + _SEAT)
                if float((own * bare)[on_limb & ~seat].sum()) < _LEAST_SEEN:
                    value[seat], known[seat] = 0.0, _SURE
        if min(float(own[on_limb].sum()) for on_limb in limbs) < _LEAST_SEEN:
            limbs = [limbs[0] | limbs[1]]
        both = limbs[0] | limbs[-1]
        usual = hem(place[both, 0], value[both], known[both], _LEAST_SEEN, beyond_seen)
        for on_limb in limbs:
            found = _hem_plane(place[on_limb], value[on_limb], known[on_limb], beyond_seen, usual)
            if found is not None:
                beyond, slopes = found
                value[on_limb] = torch.lerp(
                    (0.5 + beyond / (2 * _HEM)).clamp(0.0, 1.0),
                    bare[on_limb],
                    weight[on_limb].clamp(max=1.0) * (beyond.abs() < _ARMHOLE) * slopes,
                )
                known[on_limb] = _SURE
    edges = mesh_edges(body.faces)
    prior = torch.zeros(len(vertices), 1)
    weak = torch.full((len(vertices),), _DRESSED)
    return screened_poisson(edges, torch.ones(len(edges)), value[:, None], known, prior, weak)[:, 0].clamp(0.0, 1.0)


def _on_limb(points: torch.Tensor, tip: torch.Tensor) -> torch.Tensor:
    """(n, 3) meters of a limb's points (n, 3) towards its hand or foot (m, 3), to the front, and away from the body's middle."""
    along = functional.normalize(tip.mean(0) - points.mean(0), dim=0)
    front = points.new_tensor([0.0, 0.0, 1.0])
    front = functional.normalize(front - (front @ along) * along, dim=0)
    outward = torch.linalg.cross(along, front)
    outward = outward * (outward[0] * points[:, 0].mean()).sign()
    return (points - tip.mean(0)) @ torch.stack([along, front, outward], 1)


def _hem_plane(
    place: torch.Tensor, bare: torch.Tensor, weight: torch.Tensor, beyond_seen: float, usual: float | None
) -> tuple[torch.Tensor, bool] | None:
    """Find the plane where the cloth of a limb ends.

    Args:
        place: (n, 3) of ``_on_limb``.
        bare: (n,) 0 to 1, with weight (n,).
        beyond_seen: see ``bare_surface``.
        usual: meters along the limb at which cloth ends on both of them, see ``hem``; None where that is not known.

    Returns:
        (n,) meters beyond it, and whether it slopes; None where less than ``_LEAST_SEEN`` was seen.
    """
    best, least = None, torch.inf
    for slope in _SLOPES:
        steep = math.hypot(1.0, *slope)
        at = place @ place.new_tensor([1.0, *slope]) / steep
        end = hem(at, bare, weight, _LEAST_SEEN, beyond_seen, None if usual is None else usual / steep)
        if end is None:
            return None
        wrong = float((weight * torch.where(at > end, 1.0 - bare, bare)).sum() / weight.sum()) + _SLOPING * math.hypot(*slope)
        if wrong < least:
            best, least = (at - end, any(slope)), wrong
    return best


def hem(
    along: torch.Tensor,
    bare: torch.Tensor,
    weight: torch.Tensor,
    least_seen: float,
    beyond_seen: float = _BEYOND_SEEN,
    usual: float | None = None,
) -> float | None:
    """Where on limbs cloth ends: the place that fewest points contradict. None where less than ``least_seen`` of them was seen.

    Args:
        along: (n,) how far points are toward the end of the limb.
        bare: (n,) 0 to 1, with weight (n,).
        least_seen: sum of the weights.
        beyond_seen: see ``bare_surface``.
        usual: where it ends on both limbs together; they wear the same unless the photo tells otherwise.
    """
    if float(weight.sum()) < least_seen:
        return None
    along, order = along.sort()
    wrong = torch.cumsum((weight * (2.0 * bare - 1.0))[order], 0)  # skin that would be covered, less cloth that would be
    wrong = torch.cat([torch.zeros(1), wrong])
    if usual is not None:
        away = torch.cat([along[:1], along]) - along.new_tensor(usual).clamp(along[0], along[-1])
        wrong = wrong + _APART * weight.sum() * away.abs()
    best = torch.nonzero(wrong <= wrong.min() + 1e-3)[:, 0].tolist()
    # Cloth ends a little beyond where it was last seen, if there is skin farther on, and else at the end of the limb.
    if best[-1] == len(along):
        return float(along[-1])
    return float(torch.lerp(along[best[0] - 1], along[best[-1]], beyond_seen)) if best[0] else -torch.inf
