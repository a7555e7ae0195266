"""Pictures of the person's own head in other poses, as driving input of networks.

Some networks read motion from pictures. The fitted body model with the photo's colors, rendered by the photo's camera, shows
exactly the requested motion of the same face. What these renderings lack (hair, teeth) is also missing in the first one, so it
cancels out in networks that use differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from avatarkit.animation import place
from avatarkit.appearance.painter import PhotoPainter
from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Subject

__all__ = ["HeadPainter", "head_motion"]

HEAD_GROUPS = ("neck", "head", "jaw", "left_eye_smplhf", "right_eye_smplhf")
GRAY = 0.5  # background around the head
SAMPLES = 2  # supersampling per axis


def head_motion(motion: Motion, subject: Subject, body: BodyModel) -> BodyParams:
    """Return the photo's parameters (T,) with head, eyes and expression of a motion.

    Everything else stays as in the photo.
    """
    person = subject.params
    placed = place(motion, person, body)
    joints = person.joints.expand_as(placed.joints).clone()
    for group in body.pose_groups:
        if group.name in HEAD_GROUPS:
            joints[:, list(group.joints)] = placed.joints[:, list(group.joints)]
    return replace(
        placed,
        joints=joints,
        root=person.root.expand_as(placed.root),
        translation=person.translation.expand_as(placed.translation),
    )


class HeadPainter:
    """Renders a subject with the photo's colors."""

    def __init__(self, subject: Subject, body: BodyModel, renderer: Renderer) -> None:
        self._subject, self._body, self._renderer = subject, body, renderer
        self._painter = PhotoPainter(subject, body, renderer)

    @torch.no_grad()
    def draw(
        self, params: BodyParams, camera: Camera | Sequence[Camera], report: Callable[[float], None] = lambda part: None
    ) -> list[np.ndarray]:
        """Return a picture (H, W, 3) uint8 for each frame of ``params``.

        The camera is one for all frames, or one for each.
        """
        count = params.batch_shape[0]
        cameras = [camera] * count if isinstance(camera, Camera) else camera
        pictures = []
        for number, seen_by in zip(range(count), cameras, strict=True):
            report(number / count)
            fine = seen_by.resized(seen_by.width * SAMPLES, seen_by.height * SAMPLES)
            vertices = self._body.vertices(params[number].batched(), self._subject.vertex_offsets)[0].float()
            drawn = self._renderer.meshes.render(Mesh(vertices, self._body.faces), fine)
            hit = drawn.face_index >= 0
            image = torch.full((*hit.shape, 3), GRAY)
            image[hit] = self._painter.paint(drawn.face_index[hit], drawn.barycentric[hit]).rgb
            small = F.avg_pool2d(image.permute(2, 0, 1)[None], SAMPLES)[0].permute(1, 2, 0)
            pictures.append((small.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
        return pictures
