"""An avatar of flat ellipsoids: one lies on each triangle of the body, stretches with it and shines to one side."""

# --8<-- [start:imports]
from dataclasses import dataclass, replace

import torch

from avatarkit import Gaussians, Mesh, StoreError, hookimpl
from avatarkit.geometry.rotations import matrix_to_quaternion
from avatarkit.interfaces import ParameterGroup, Posed
from avatarkit.types.gaussians import rotate_sh

# --8<-- [end:imports]

LEARNT = {"colors": 0.02, "sizes": 0.01, "shine": 0.001}
"""Tensor -> learning rate."""


@dataclass(frozen=True)
class Config:
    size: float = 0.45
    """Standard deviation along an edge or a height of the triangle, as a part of its length."""
    thickness: float = 0.002
    """Standard deviation along the normal, in meters."""


class Flakes:
    def __init__(self, config, context):
        self.config, self.body, self.tensors = config, context.get("body"), {}

    def create(self, subject, labels):
        faces, offsets = self.body.faces, subject.vertex_offsets
        centers = self.body.vertices(subject.params, offsets)[0][faces].mean(1)
        x, y = subject.camera.project(centers).long().unbind(-1)
        x, y = x.clamp(0, subject.photo.width - 1), y.clamp(0, subject.photo.height - 1)
        F = len(faces)
        start = {"colors": subject.matte.foreground[y, x], "sizes": torch.full((F, 2), self.config.size)}
        self.load(start | {"shine": torch.zeros(F, 3, 3), "offsets": offsets, "shape": subject.params.shape})

    # --8<-- [start:pose]
    def pose(self, params):
        t = self.tensors
        vertices = self.body.vertices(replace(params, shape=t["shape"]), t["offsets"])[0]
        a, b, c = vertices[self.body.faces].unbind(1)
        edge, normal = b - a, torch.linalg.cross(b - a, c - a)
        length, double = edge.norm(dim=-1).clamp(min=1e-9), normal.norm(dim=-1).clamp(min=1e-12)
        axes = torch.nn.functional.normalize(torch.stack([edge, torch.linalg.cross(normal, edge), normal], -1), dim=1)
        flat = t["sizes"].clamp(0.05, 2) * torch.stack([length, double / length], -1)
        scales = torch.cat([flat, torch.full_like(flat[:, :1], self.config.thickness)], -1)
        gaussians = Gaussians(
            (a + b + c) / 3, scales, t["colors"], torch.ones(len(scales)),
            rotations=matrix_to_quaternion(axes), sh=rotate_sh(t["shine"], axes),
        )  # fmt: skip
        return Posed(gaussians, Mesh(vertices, self.body.faces))
    # --8<-- [end:pose]

    def parameter_groups(self):
        return [ParameterGroup(name, (self.tensors[name],), lr) for name, lr in LEARNT.items()]

    def state(self):
        return {name: tensor.detach().clone().contiguous() for name, tensor in self.tensors.items()}

    def load(self, state):
        for name in (*LEARNT, "offsets", "shape"):
            if name not in state:
                raise StoreError(f"The avatar lacks {name!r}.")
        self.tensors = {name: t.detach().clone().requires_grad_(name in LEARNT) for name, t in state.items()}


# --8<-- [start:hook]
@hookimpl
def register_avatars(register):
    register("flakes", target="flakes:Flakes", config="flakes:Config", features=("anisotropic", "sh"),
             summary="one flat ellipsoid for each triangle of the body")  # fmt: skip
# --8<-- [end:hook]
