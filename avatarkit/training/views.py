"""Training views: the whole photo, details at full resolution, label frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, label

from avatarkit.geometry.mesh_graph import limb
from avatarkit.interfaces import BodyModel, ColorTarget, Renderer
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject

_OVERHANG = 0.03  # meters

__all__ = ["PhotoViews", "View", "label_view", "photo_confidence", "photo_views"]


@dataclass(frozen=True)
class View:
    """One training picture.

    Attributes:
        kind: ``photo``, ``body`` or ``head``.
        image: (H, W, 3) foreground colors.
        alpha: (H, W) matte.
        confidence: (H, W) 0 to 1.
        camera: camera of the picture.
        params: parameters of the person in it.
    """

    kind: Literal["photo", "body", "head"]
    image: torch.Tensor
    alpha: torch.Tensor
    confidence: torch.Tensor
    camera: Camera
    params: BodyParams


@dataclass(frozen=True)
class PhotoViews:
    """Views of the photo.

    Attributes:
        full: the whole photo at working resolution.
        details: face and hands at the photo's own resolution (at most the working resolution across).
    """

    full: View
    details: tuple[View, ...]

    def color_targets(self, detail_share: float) -> list[ColorTarget]:
        """Return what colors should explain; the details have a share of the weight, which sums to one."""
        share = detail_share if self.details else 0.0
        views = [(self.full, 1 - share), *((view, share / len(self.details)) for view in self.details)]
        return [_color_target(view, part) for view, part in views if part > 0]


def photo_views(subject: Subject, resolution: int, confidence: torch.Tensor | None = None) -> PhotoViews:
    """Create the views of the tracked photo.

    Args:
        subject: the tracked photo.
        resolution: longest side of each view, pixels.
        confidence: (H, W) confidence of the photo's pixels; None = one everywhere.
    """
    trust = torch.ones_like(subject.matte.alpha) if confidence is None else confidence
    whole = (0, 0, subject.photo.width, subject.photo.height)
    details = tuple(_photo_view(subject, trust, window, resolution) for window in _details(subject.keypoints))
    return PhotoViews(_photo_view(subject, trust, whole, resolution), details)


def photo_confidence(subject: Subject, body: BodyModel, renderer: Renderer) -> torch.Tensor:
    """Return how reliable the photo's background is as evidence, (H, W) 0 or 1.

    An undetected arm may be occluded by a table or a helmet. Where the fit guesses its position and the matte shows no person,
    the confidence is 0. If the guess extends beyond the matte by at most ``_OVERHANG``, the confidence stays 1: there the arm
    is not occluded, the fit is only slightly too wide, as at a shoulder.
    """
    limbs = torch.zeros(len(body.skinning_weights), dtype=torch.bool)
    for side in ("left", "right"):
        seen = subject.quality.visible
        if not (seen.get(f"{side}_arm", True) and seen.get(f"{side}_hand", True)):
            limbs |= limb(body, f"{side}_hand")
    trust = torch.ones_like(subject.matte.alpha)
    if limbs.any():
        with torch.no_grad():
            vertices = body.vertices(subject.params, subject.vertex_offsets)[0]
            drawn = renderer.meshes.render(Mesh(vertices, body.faces), subject.camera)
        face = drawn.face_index.clamp(min=0)
        guessed = (drawn.face_index >= 0) & limbs[body.faces[face]].any(-1)
        reach = 2 * max(1, round(0.006 * max(trust.shape))) + 1
        outside = guessed & (subject.matte.alpha < 0.5)
        pixel = drawn.depth / float(subject.camera.K[0, 0])
        deep = torch.from_numpy(distance_transform_edt(subject.matte.alpha < 0.5)) * pixel > _OVERHANG
        patches, count = label(outside.numpy(), np.ones((3, 3)))
        hiding = np.zeros(count + 1, dtype=bool)
        hiding[patches[(outside & deep).numpy()]] = True
        guessed = torch.from_numpy(hiding[patches])
        near = F.max_pool2d(guessed[None, None].float(), reach, stride=1, padding=reach // 2)[0, 0]
        trust = torch.where((near > 0) & (subject.matte.alpha < 0.5), torch.zeros_like(trust), trust)
    return trust


def label_view(clip: LabelClip, index: int) -> View:
    """Return one frame of a clip as a view."""
    return View(
        kind=clip.region,
        image=clip.frames[index].float() / 255,
        alpha=clip.alpha[index].float() / 255,
        confidence=clip.confidence[index].float() / 255,
        camera=clip.cameras[index],
        params=clip.params[index],
    )


def _photo_view(subject: Subject, confidence: torch.Tensor, window: tuple[int, int, int, int], resolution: int) -> View:
    x, y, w, h = window
    camera = subject.camera.cropped(x, y, w, h)
    alpha = subject.matte.alpha[y : y + h, x : x + w]
    trust = confidence[y : y + h, x : x + w]
    image = subject.matte.foreground[y : y + h, x : x + w]
    scale = resolution / max(w, h)
    if scale < 1:
        size = (max(1, round(h * scale)), max(1, round(w * scale)))
        layers = [image * alpha[..., None], alpha[..., None], image, trust[..., None]]
        weighted = torch.cat(layers, -1).permute(2, 0, 1)[None]
        small = F.interpolate(weighted, size=size, mode="area")[0].permute(1, 2, 0)
        alpha = small[..., 3]
        # weight colors by alpha, so that background colors do not leak in when pixels are merged
        image = torch.where(alpha[..., None] > 0.02, small[..., :3] / alpha[..., None].clamp(min=0.02), small[..., 4:7])
        trust = small[..., 7]
        camera = camera.resized(size[1], size[0])
    return View("photo", image.contiguous(), alpha.contiguous(), trust.contiguous(), camera, subject.params)


def _color_target(view: View, part: float) -> ColorTarget:
    weight = view.alpha * view.confidence
    return ColorTarget(view.image, part * weight / weight.sum().clamp(min=1e-6), view.camera, view.params)


def _details(keypoints: Keypoints) -> list[tuple[int, int, int, int]]:
    """Return windows (x, y, width, height) around face with hair and around each hand."""
    windows = []
    for name in (*keypoints.sets("face"), *keypoints.sets("hand")):
        points, margin = keypoints.points[name].astype(np.float64), 0.6 if name.startswith("face") else 0.4
        low, high = points.min(0), points.max(0)
        center, side = (low + high) / 2, float((high - low).max()) * (1 + 2 * margin)
        x0, y0 = (max(0, int(v - side / 2)) for v in center)
        x1 = min(keypoints.width, int(center[0] + side / 2) + 1)
        y1 = min(keypoints.height, int(center[1] + side / 2) + 1)
        if x1 - x0 >= 24 and y1 - y0 >= 24:
            windows.append((x0, y0, x1 - x0, y1 - y0))
    return windows
