"""Pseudo-labels from one color for each vertex: read from the photo, carried along by the moving mesh, drawn again."""

# --8<-- [start:config]
from dataclasses import dataclass, replace
from typing import Literal

import torch

from avatarkit import LabelClip, Mesh, hookimpl


@dataclass(frozen=True)
class Config:
    region: Literal["body", "head"] = "body"
    """What the frames show."""
    frames: int = 8
    """Frames per clip."""
# --8<-- [end:config]


# --8<-- [start:class]
class VertexColors:
    exact = True  # frames show just the pose that was asked for: no need to track them again

    def __init__(self, config, context):
        self.config = config
        self.body, self.renderer = context.get("body"), context.get("renderer")
# --8<-- [end:class]

    # --8<-- [start:colors]
    def colors(self, subject):
        """(V, 4): red, green, blue of each vertex, and 1 where the photo shows it."""
        vertices = self.body.vertices(subject.params, subject.vertex_offsets)[0]
        x, y = subject.camera.project(vertices).long().unbind(-1)
        x, y = x.clamp(0, subject.photo.width - 1), y.clamp(0, subject.photo.height - 1)
        front = self.renderer.meshes.render(Mesh(vertices, self.body.faces), subject.camera).face_index
        seen = torch.zeros(len(vertices))
        seen[self.body.faces[front[front >= 0]].unique()] = 1.0
        seen *= subject.matte.alpha[y, x]  # what stands before the person, or beyond the picture's edge, is not the person
        return torch.cat([subject.matte.foreground[y, x], seen[:, None]], -1)
    # --8<-- [end:colors]

    # --8<-- [start:generate]
    def generate(self, subject, motion, seed):
        step = max(1, len(motion) // self.config.frames)
        params = motion.params[::step]
        params = replace(params, shape=subject.params.shape, translation=params.translation + subject.params.translation)
        colors, pictures, masks = self.colors(subject), [], []
        for vertices in self.body.vertices(params, subject.vertex_offsets):
            drawn = self.renderer.meshes.render(Mesh(vertices, self.body.faces), subject.camera)
            corners = colors[self.body.faces[drawn.face_index.clamp(min=0)]]  # (H, W, 3 corners, 4)
            pictures.append((corners * drawn.barycentric[..., None]).sum(-2))
            masks.append(drawn.mask.detach())
        pictures = (torch.stack(pictures).clamp(0, 1) * 255).to(torch.uint8)
        alpha = (torch.stack(masks).clamp(0, 1) * 255).to(torch.uint8)
        frames, confidence = pictures[..., :3].contiguous(), pictures[..., 3].contiguous()
        cameras = (subject.camera,) * len(frames)
        return LabelClip(motion.name, self.config.region, frames, alpha, confidence, params, params, cameras)
    # --8<-- [end:generate]


# --8<-- [start:hook]
@hookimpl
def register_pseudo_labelers(register):
    register(
        "vertex-colors",
        target="vertex_colors:VertexColors",
        config="vertex_colors:Config",
        summary="body or head clips from one color per vertex",
    )
# --8<-- [end:hook]
