"""Matches the colors of a label clip to the photo: generators shift exposure and tint."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from avatarkit.interfaces import BodyModel, Renderer, Subject
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh
from avatarkit.types.pseudo_labels import LabelClip

__all__ = ["ColorMap", "calibrated"]

_FRAMES = 6  # frames of a clip that are compared
_BLUR = 0.01  # of the picture's height: colors of slightly misplaced points are still right
_FEWEST = 200  # points needed for a reliable fit
_GAIN, _OFFSET = (0.6, 1.6), 0.2  # plausible shifts of a generator; larger fits are errors


@dataclass(frozen=True)
class ColorMap:
    """Linear color map per sRGB channel: photo = gain * clip + offset.

    Attributes:
        gain: (3,) factor.
        offset: (3,) added after the gain.
    """

    gain: torch.Tensor
    offset: torch.Tensor

    @staticmethod
    def fit(clip: torch.Tensor, photo: torch.Tensor) -> ColorMap | None:
        """Fit a robust line to pairs of colors (n, 3); None if there are too few."""
        if len(clip) < _FEWEST:
            return None
        weight = torch.ones(len(clip))
        gain, offset = torch.ones(3), torch.zeros(3)
        for _ in range(8):
            w = weight[:, None] / weight.sum()
            x, y = (w * clip).sum(0), (w * photo).sum(0)
            spread = (w * (clip - x).square()).sum(0)
            # a single color does not determine the contrast: keep the gain near 1
            gain = ((w * (clip - x) * (photo - y)).sum(0) + 1e-3) / (spread + 1e-3)
            gain = gain.clamp(*_GAIN)
            offset = (y - gain * x).clamp(-_OFFSET, _OFFSET)
            error = (gain * clip + offset - photo).norm(dim=1)
            weight = 1 / (1 + (error / 0.05).square()).square()
        return ColorMap(gain, offset)

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Apply the map to colors (..., 3) uint8."""
        return ((frames.float() / 255 * self.gain + self.offset).clamp(0, 1) * 255).round().to(torch.uint8)


def calibrated(clip: LabelClip, subject: Subject, body: BodyModel, renderer: Renderer) -> tuple[LabelClip, ColorMap | None]:
    """Return the clip in the photo's colors, and the color map.

    The colors of vertices that are visible in both are compared.

    Args:
        clip: clip after re-tracking.
        subject: the tracked photo.
        body: the body model.
        renderer: draws meshes and Gaussians.
    """
    matte = subject.matte
    photo, seen = _look(matte.foreground, matte.alpha, subject.params, subject, subject.camera, body, renderer)
    pairs = []
    for k in sorted({round(float(f)) for f in torch.linspace(0, len(clip) - 1, min(_FRAMES, len(clip)))}):
        image, alpha = clip.frames[k].float() / 255, clip.alpha[k].float() / 255
        color, there = _look(image, alpha, clip.params[k], subject, clip.cameras[k], body, renderer)
        both = seen & there
        pairs.append((color[both], photo[both]))
    found = ColorMap.fit(torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs]))
    return (clip if found is None else replace(clip, frames=found(clip.frames))), found


def _look(
    image: torch.Tensor,
    alpha: torch.Tensor,
    params: BodyParams,
    subject: Subject,
    camera: Camera,
    body: BodyModel,
    renderer: Renderer,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the color (V, 3) of each posed vertex and whether the picture shows it."""
    with torch.no_grad():
        vertices = body.vertices(replace(params, shape=subject.params.shape).batched(), subject.vertex_offsets)[0].float()
        drawn = renderer.meshes.render(Mesh(vertices, body.faces), camera)
    pixel, depth = camera.project(vertices), camera.to_camera(vertices)[:, 2]
    column, row = pixel.floor().long().T
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    column, row = column.clamp(0, camera.width - 1), row.clamp(0, camera.height - 1)
    front = (drawn.face_index[row, column] >= 0) & ((drawn.depth[row, column] - depth).abs() < 0.01)
    reach = 2 * max(1, round(_BLUR * camera.height / 2)) + 1
    layers = torch.cat([image * alpha[..., None], alpha[..., None]], -1).permute(2, 0, 1)[None]
    blurred = functional.avg_pool2d(layers, reach, stride=1, padding=reach // 2)[0]
    at = blurred[:, row, column].T
    return at[:, :3] / at[:, 3:].clamp(min=1e-3), inside & front & (at[:, 3] > 0.5)
