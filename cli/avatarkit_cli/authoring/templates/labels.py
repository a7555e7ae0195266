"""A generator of pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch

from avatarkit import Context, LabelClip, Mesh, Motion, Subject
from avatarkit.config.options import Range


@dataclass(frozen=True)
class Config:
    """Options of the generator."""

    region: Literal["body", "head"] = "body"
    """What the frames show: ``body`` or ``head``."""
    frames: Annotated[int, Range(1, 1000)] = 8
    """Frames per clip."""


class Example:
    """Colors every vertex with its pixel in the photo, moves the mesh and renders it."""

    exact = True  # the frames show exactly the requested poses, so they need no re-tracking

    def __init__(self, config: Config, context: Context) -> None:
        self.config, self.body, self.renderer = config, context.get("body"), context.get("renderer")

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        photo, camera, faces = subject.photo, subject.camera, self.body.faces
        vertices = self.body.vertices(subject.params, subject.vertex_offsets)[0]
        x, y = camera.project(vertices).unbind(-1)
        y, x = y.long().clamp(0, photo.height - 1), x.long().clamp(0, photo.width - 1)
        colors = photo.image[y, x]
        seen = torch.zeros(len(vertices))
        front = self.renderer.meshes.render(Mesh(vertices, faces), camera).face_index
        seen[faces[front[front >= 0]].flatten()] = 1  # corners of triangles that the photo shows
        seen *= subject.matte.alpha[y, x]  # unless something else occludes the person

        picked = motion.params[torch.linspace(0, len(motion) - 1, self.config.frames).round().long()]
        T = self.config.frames
        params = replace(picked, shape=subject.params.shape, translation=picked.translation + subject.params.translation)
        drawn = [self.renderer.meshes.render(Mesh(v, faces), camera)
                 for v in self.body.vertices(params, subject.vertex_offsets)]  # fmt: skip
        layers = torch.cat([colors, seen[:, None]], -1)
        pictures = torch.stack([(layers[faces[d.face_index.clamp(min=0)]] * d.barycentric[..., None]).sum(-2) for d in drawn])
        pictures = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
        alpha = (torch.stack([d.mask for d in drawn]).detach().clamp(0, 1) * 255).round().to(torch.uint8)
        name = f"example {self.config.region} {motion.name}"
        return LabelClip(
            name, self.config.region, pictures[..., :3].contiguous(), alpha, pictures[..., 3].contiguous(), params, params,
            (camera,) * T,
        )  # fmt: skip
