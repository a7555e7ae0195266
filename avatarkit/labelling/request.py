"""The request of one clip: what a generator sees of the photo, and the poses that it must show, as pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from avatarkit.animation import place
from avatarkit.errors import InputError
from avatarkit.interfaces import BodyModel, Context
from avatarkit.labelling.driving import HeadPainter
from avatarkit.labelling.frames import cut_out, thinned
from avatarkit.labelling.framing import Window, crop, subject_window
from avatarkit.labelling.poses import observe
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, vertex_normals
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject

__all__ = ["PARTS", "PART_COLORS", "ClipRequest", "MapKind", "body_parts"]

MapKind = Literal["depth", "normal", "part"]

_SIDED = ("upper_arm", "lower_arm", "hand", "upper_leg", "lower_leg", "foot")
PARTS = ("torso", "head", *(f"{side}_{part}" for part in _SIDED for side in ("left", "right")))
"""Names of the parts in part maps; the number of a part is its place here."""
PART_COLORS = np.array(
    [[round(255 * c) for c in colorsys.hsv_to_rgb(k / len(PARTS), 1.0, 1.0)] for k in range(len(PARTS))], np.uint8
)
"""(14, 3) uint8: colors of the parts in part maps."""

# Starts of the names of SMPL-X's joints, and of the groups that other models add, without the side.
_JOINTS = {
    "head": ("neck", "head", "jaw", "eye"),
    "upper_arm": ("shoulder", "upper_arm"),
    "lower_arm": ("elbow", "forearm"),
    "hand": ("wrist", "metacarpal", "thumb", "index", "middle", "ring", "pinky"),
    "upper_leg": ("hip",),
    "lower_leg": ("knee",),
    "foot": ("ankle", "foot"),
}
_FAR_LEVEL = 51  # of 255, brightness of the farthest point of the body in a depth map; the background is black


@dataclass(frozen=True)
class ClipRequest:
    """What one clip asks of a generator. All pictures have the size of ``reference`` and are seen by ``camera``.

    Attributes:
        context: of the generator.
        subject: the tracked photo.
        name: of the clip.
        window: the part of the photo that the generator sees.
        reference: (H, W, 3) uint8, that part.
        params: (T,) poses to show, in the world.
        camera: camera of the reference picture.
    """

    context: Context
    subject: Subject
    name: str
    window: Window
    reference: torch.Tensor
    params: BodyParams
    camera: Camera

    @classmethod
    def of(
        cls,
        context: Context,
        subject: Subject,
        motion: Motion,
        *,
        fps: float,
        size: tuple[int, int] = (512, 512),
        window: Window | None = None,
    ) -> ClipRequest:
        """Prepare the request of a body clip.

        Args:
            context: of the generator.
            subject: the tracked photo.
            motion: relative, see ``Motion``.
            fps: frames per second to generate; other frames of the motion are skipped.
            size: height and width of a landscape picture; a person who fills portrait better gets it swapped.
            window: the part of the photo to show; None = a window around the whole person.

        Raises:
            InputError: the matte is empty.
        """
        window = window or subject_window(subject, size)
        if window is None:
            raise InputError("A label generator needs a person in the photo, and the matte is empty.")
        params = place(thinned(motion, fps), subject.params, context.get("body"))
        picture = crop(subject.photo.image, window)
        return cls(context, subject, f"body-{motion.name}", window, picture, params, window.camera(subject.camera))

    def __len__(self) -> int:
        return int(self.params.batch_shape[0])

    @cached_property
    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (T, 133, 2) in pixels that a detector would see, NaN for unknown ones, and their scores (T, 133)."""
        return self.observed(self.params)

    def observed(self, params: BodyParams) -> tuple[np.ndarray, np.ndarray]:
        """Return ``points`` of other poses (T,)."""
        body, renderer = self.context.get("body"), self.context.get("renderer")
        return observe(body, params, self.camera, self.subject.vertex_offsets, None if renderer is None else renderer.meshes)

    def pose_maps(self, style: Any = None) -> np.ndarray:
        """Draw stick figures, (T, H, W, 3) uint8.

        Args:
            style: a ``pose_maps.PoseStyle``; None = DWPose's.
        """
        from avatarkit.labelling.pose_maps import DWPOSE, draw_poses

        pictures = []
        for number, (xy, score) in enumerate(zip(*self.points, strict=True)):
            self.context.progress("drawing poses", number / len(self))
            pictures.append(draw_poses(xy[None], score[None], self.camera.height, self.camera.width, style or DWPOSE))
        return np.stack(pictures)

    def maps(self, *kinds: MapKind) -> dict[str, np.ndarray]:
        """Draw the posed body surface, (T, H, W, 3) uint8 for each kind; the background is black.

        Args:
            kinds: ``depth``: linear in 1 / depth over the whole clip, near is white. ``normal``: x right, y up, z to the camera,
                -1 to 1 as 0 to 255. ``part``: ``PARTS`` in ``PART_COLORS``.
        """
        body, renderer, camera = self.context.get("body"), self.context.get("renderer"), self.camera
        with torch.no_grad():
            surfaces = [body.vertices(self.params[n].batched(), self.subject.vertex_offsets)[0].float() for n in range(len(self))]
        near, far = _disparities(surfaces, camera)
        parts = body_parts(body)[body.faces]  # (F, 3)
        drawn: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
        for number, vertices in enumerate(surfaces):
            self.context.progress("drawing the body", number / len(self))
            with torch.no_grad():
                seen = renderer.meshes.render(Mesh(vertices, body.faces), camera)
            hit = seen.face_index >= 0
            corners, weights = body.faces[seen.face_index[hit]], seen.barycentric[hit]
            for kind in kinds:
                picture = np.zeros((camera.height, camera.width, 3), np.uint8)
                if kind == "depth":
                    share = (1 / seen.depth[hit] - far) / max(near - far, 1e-9)
                    values = (_FAR_LEVEL + (255 - _FAR_LEVEL) * share.clamp(0, 1))[:, None].expand(-1, 3)
                elif kind == "normal":
                    normals = vertex_normals(vertices, body.faces) @ camera.T_camera_world[:3, :3].to(vertices).T
                    smooth = F.normalize((normals[corners] * weights[..., None]).sum(1), dim=-1)
                    values = (smooth * torch.tensor([1.0, -1.0, -1.0]) + 1) * 127.5
                else:
                    nearest = weights.argmax(1, keepdim=True)
                    values = torch.from_numpy(PART_COLORS)[parts[seen.face_index[hit]].gather(1, nearest)[:, 0]].float()
                picture[hit.numpy()] = values.round().to(torch.uint8).numpy()
                drawn[kind].append(picture)
        return {kind: np.stack(pictures) for kind, pictures in drawn.items()}

    def drawings(self) -> np.ndarray:
        """Draw the body in the photo's colors, (T, H, W, 3) uint8 on gray."""
        painter = HeadPainter(self.subject, self.context.get("body"), self.context.get("renderer"))
        report = self.context.progress
        return np.stack(painter.draw(self.params, self.camera, lambda part: report("drawing the person", part)))

    def clip(self, frames: torch.Tensor, confidence: float = 1.0, facts: Mapping[str, Any] | None = None) -> LabelClip:
        """Cut the person out of generated frames.

        Args:
            frames: (T, H, W, 3) uint8.
            confidence: 0 to 1, of frames that show a person.
            facts: for the manifest, see ``LabelClip``.
        """
        cut = cut_out(frames, self.context.get("matting"), self.name, confidence, self.context.progress)
        cameras = (self.camera,) * len(frames)
        params = self.params
        return LabelClip(self.name, "body", cut.colors, cut.alpha, cut.confidence, params, params, cameras, facts=facts or {})


def body_parts(body: BodyModel) -> torch.Tensor:
    """Return the number in ``PARTS`` of each vertex, (V,) int64: the part whose joints move it most."""
    part = [0] * len(body.parents)
    named = {j: _part_of(group.name) for group in body.pose_groups for j in group.joints}
    for joint, parent in enumerate(body.parents):
        part[joint] = named.get(joint, part[parent] if parent >= 0 else 0)
    weights = torch.zeros(len(body.skinning_indices), len(PARTS))
    return weights.scatter_add(1, torch.tensor(part)[body.skinning_indices], body.skinning_weights).argmax(1)


def _part_of(joint: str) -> int:
    side = next((s for s in ("left", "right") if joint.startswith(f"{s}_")), "")
    bare = joint.removeprefix(f"{side}_")
    for part, starts in _JOINTS.items():
        if bare.startswith(starts):
            name = f"{side}_{part}" if part in _SIDED else part
            return PARTS.index(name) if name in PARTS else 0
    return 0


def _disparities(surfaces: list[torch.Tensor], camera: Camera) -> tuple[float, float]:
    """Return the largest and smallest 1 / depth of the vertices before the camera."""
    depths = torch.cat([camera.to_camera(vertices)[:, 2] for vertices in surfaces])
    depths = depths[depths > 0.01]
    return (float(1 / depths.min()), float(1 / depths.max())) if len(depths) else (1.0, 0.0)
