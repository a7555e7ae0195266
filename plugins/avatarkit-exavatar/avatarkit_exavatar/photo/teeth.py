"""Puts the upper teeth where a photo shows them.

Body models are fitted to landmarks, and no landmark says where teeth are. Without a correction, smiles may show the tongue in
place of the teeth. So the row of teeth is lowered until it covers what is bright between the lips.
"""

from __future__ import annotations

import torch

from avatarkit.appearance.openings import face_openings
from avatarkit.interfaces import BodyModel, MeshRasterizer
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Matte

__all__ = ["lower_teeth", "upper_teeth"]

_SHIFTS = (0.0, 0.002, 0.004, 0.006, 0.008, 0.01)  # meters down
_USUAL = 0.005  # where the photo does not tell: a little less than smiles ask for
_PIXELS = 192  # the mouth is looked at this wide
_BRIGHT, _PALE = 0.5, 0.4  # of the brightest between the lips; largest saturation of teeth
_LEAST = 0.3  # part of the opening that is bright where teeth show
_GAIN = 0.01  # overlap that another step down must add


def upper_teeth(body: BodyModel, shape: torch.Tensor) -> torch.Tensor:
    """(V,) bool, teeth that do not move with the jaw; none where the model has no teeth or no jaw."""
    teeth = body.part("teeth") > 0.5
    if not teeth.any() or "jawOpen" not in body.expression_names:
        return torch.zeros_like(teeth)
    expression = torch.zeros(2, len(body.expression_names))
    expression[1, body.expression_names.index("jawOpen")] = 1.0
    closed, opened = body.rest(shape, expression)
    moved = (opened - closed).norm(dim=1)
    return teeth & (moved < moved[teeth].mean())


def lower_teeth(
    body: BodyModel,
    params: BodyParams,
    offsets: torch.Tensor,
    camera: Camera,
    matte: Matte,
    keypoints: Keypoints,
    rasterizer: MeshRasterizer,
) -> torch.Tensor:
    """``offsets`` (V, 3) in rest space with the upper teeth moved down to where the photo shows them."""
    upper = upper_teeth(body, params.shape)
    if not upper.any():
        return offsets

    def lowered(by: float) -> torch.Tensor:
        moved = offsets.clone()
        moved[upper, 1] -= by
        return moved

    window = _mouth(keypoints, camera)
    if window is None:
        return lowered(_USUAL)
    x, y, width, height = window
    image = matte.foreground[y : y + height, x : x + width]
    opening = face_openings(keypoints, camera.height, camera.width)
    assert opening is not None  # there are points of a face
    opening = opening[y : y + height, x : x + width]
    light = image.mean(-1)
    pale = (image.amax(-1) - image.amin(-1)) < _PALE * image.amax(-1)
    bright = opening & pale & (light > _BRIGHT * light[opening].quantile(0.9)) if opening.any() else opening
    if float(bright.sum()) < _LEAST * max(float(opening.sum()), 1.0):
        return lowered(_USUAL)
    close = camera.cropped(x, y, width, height).scaled_to(_PIXELS, most=8.0)
    bright, opening = (
        torch.nn.functional.interpolate(m[None, None].float(), (close.height, close.width))[0, 0] > 0.5 for m in (bright, opening)
    )
    teeth = (body.part("teeth") > 0.5)[body.faces].all(1)
    best, least = 0.0, -1.0
    for shift in _SHIFTS:
        drawn = rasterizer.render(Mesh(body.vertices(params, lowered(shift))[0], body.faces), close).face_index
        shown = (drawn >= 0) & teeth[drawn.clamp(min=0)] & opening
        overlap = float((shown & bright).sum()) / max(float((shown | bright).sum()), 1.0)
        if overlap > least + _GAIN:
            best, least = shift, overlap
    return lowered(best)


def _mouth(keypoints: Keypoints, camera: Camera) -> tuple[int, int, int, int] | None:
    """Window (x, y, width, height) around the mouth; None where no mouth is open enough to see into."""
    regions = [keypoints.region(name) for name in ("mouth_rim", "mouth_middle")]
    if regions[0] is None or regions[1] is None:
        return None
    scale = torch.tensor([camera.width / keypoints.width, camera.height / keypoints.height])
    rim, inner = (torch.as_tensor(region, dtype=torch.float32) * scale for region in regions)
    low, high = rim.amin(0), rim.amax(0)
    if float((inner[1] - inner[0]).norm()) < max(2.0, 0.05 * float((high - low)[0])):
        return None
    x0, y0 = (low - 2).floor().long().clamp(min=0).tolist()
    x1, y1 = min(int(high[0]) + 3, camera.width), min(int(high[1]) + 3, camera.height)
    return (x0, y0, x1 - x0, y1 - y0) if x1 - x0 >= 8 and y1 - y0 >= 4 else None
