"""Pictures of the person's own head in other poses, to drive networks with.

Some networks read motion off pictures. The photo's colours on the fitted body model, drawn by the photo's own camera, are
pictures of the very motion that is asked for, of the very same face; what such drawings lack (hair, teeth) is lacking in the
first one too, and cancels out where changes count.
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
GREY = 0.5  # around the head
SAMPLES = 2  # in each direction of a pixel


def head_motion(motion: Motion, subject: Subject, body: BodyModel) -> BodyParams:
    """(T,) parameters of the photo, of which head, eyes and expression follow a motion and nothing else moves."""
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
    """Draws a subject with the photo's colours."""

    def __init__(self, subject: Subject, body: BodyModel, renderer: Renderer) -> None:
        self._subject, self._body, self._renderer = subject, body, renderer
        self._painter = PhotoPainter(subject, body, renderer)

    @torch.no_grad()
    def draw(
        self, params: BodyParams, camera: Camera | Sequence[Camera], report: Callable[[float], None] = lambda part: None
    ) -> list[np.ndarray]:
        """A (H, W, 3) uint8 picture for each frame of ``params``, seen by one camera or by one for each frame."""
        count = params.batch_shape[0]
        cameras = [camera] * count if isinstance(camera, Camera) else camera
        pictures = []
        for number, seen_by in zip(range(count), cameras, strict=True):
            report(number / count)
            fine = seen_by.resized(seen_by.width * SAMPLES, seen_by.height * SAMPLES)
            vertices = self._body.vertices(params[number].batched(), self._subject.vertex_offsets)[0].float()
            drawn = self._renderer.meshes.render(Mesh(vertices, self._body.faces), fine)
            hit = drawn.face_index >= 0
            image = torch.full((*hit.shape, 3), GREY)
            image[hit] = self._painter.paint(drawn.face_index[hit], drawn.barycentric[hit]).rgb
            small = F.avg_pool2d(image.permute(2, 0, 1)[None], SAMPLES)[0].permute(1, 2, 0)
            pictures.append((small.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
        return pictures
