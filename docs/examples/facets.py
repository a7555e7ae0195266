"""An avatar of one Gaussian for each triangle: at its center, lifted off along its normal, as large as the triangle."""

from dataclasses import dataclass, replace

import torch

from avatarkit import Gaussians, Mesh, StoreError, hookimpl
from avatarkit.interfaces import ParameterGroup, Posed

LEARNT = ("colors", "sizes", "lift")


@dataclass(frozen=True)
class Config:
    size: float = 0.7
    """Standard deviation of a new Gaussian, as a part of the root of its triangle's area."""


class Facets:
    def __init__(self, config, context):
        self.config, self.body, self.tensors = config, context.get("body"), {}

    def create(self, subject, labels):
        faces, offsets = self.body.faces, subject.vertex_offsets
        centers = self.body.vertices(subject.params, offsets)[0][faces].mean(1)
        x, y = subject.camera.project(centers).long().unbind(-1)
        x, y = x.clamp(0, subject.photo.width - 1), y.clamp(0, subject.photo.height - 1)
        F = len(faces)
        start = (subject.matte.foreground[y, x], torch.full((F,), self.config.size), torch.zeros(F))
        self.load(dict(zip(LEARNT, start, strict=True)) | {"offsets": offsets, "shape": subject.params.shape})

    def pose(self, params):
        t = self.tensors
        vertices = self.body.vertices(replace(params, shape=t["shape"]), t["offsets"])[0]
        a, b, c = vertices[self.body.faces].unbind(1)
        normal = torch.linalg.cross(b - a, c - a)  # twice the area long
        double = normal.norm(dim=-1).clamp(min=1e-12)
        centers = (a + b + c) / 3 + t["lift"][:, None] * normal / double[:, None]
        scales = t["sizes"].clamp(min=0.05) * (double / 2).sqrt()
        return Posed(Gaussians(centers, scales, t["colors"], torch.ones(len(scales))), Mesh(vertices, self.body.faces))

    def parameter_groups(self):
        return [ParameterGroup(name, (self.tensors[name],), lr) for name, lr in zip(LEARNT, (0.02, 0.01, 1e-4), strict=True)]

    def state(self):
        return {name: tensor.detach().clone().contiguous() for name, tensor in self.tensors.items()}

    def load(self, state):
        for name in (*LEARNT, "offsets", "shape"):
            if name not in state:
                raise StoreError(f"The avatar lacks {name!r}.")
        self.tensors = {name: t.detach().clone().requires_grad_(name in LEARNT) for name, t in state.items()}


@hookimpl
def register_avatars(register):
    register("facets", target="facets:Facets", config="facets:Config", summary="one Gaussian for each triangle of the body")
