"""A representation of an animatable person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch

from avatarkit import BodyParams, Context, Gaussians, LabelClip, Mesh, StoreError, Subject
from avatarkit.config.options import Range
from avatarkit.interfaces import ParameterGroup, Posed, TensorSpec


@dataclass(frozen=True)
class Config:
    """Options of the avatar."""

    scale: Annotated[float, Range(0.0001, 1, "m")] = 0.012
    """Standard deviation of a new Gaussian in meters."""
    lr_color: Annotated[float, Range(1e-6, 1)] = 0.02
    """Learning rate of the colors."""
    lr_scale: Annotated[float, Range(1e-6, 1)] = 0.01
    """Learning rate of the logarithm of the scales."""


class Example:
    """An opaque Gaussian at every vertex of the body model, with learned color and size."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config, self.body = config, context.get("body")
        self.tensors: dict[str, torch.Tensor] = {}

    def create(self, subject: Subject, labels: Sequence[LabelClip]) -> None:
        vertices = self.body.vertices(subject.params, subject.vertex_offsets)[0]
        x, y = subject.camera.project(vertices).unbind(-1)
        x, y = x.long().clamp(0, subject.photo.width - 1), y.long().clamp(0, subject.photo.height - 1)
        self.load({
            "colors": subject.matte.foreground[y, x],
            "log_scales": torch.full((len(vertices),), self.config.scale).log(),
            "offsets": subject.vertex_offsets,
            "shape": subject.params.shape,
        })  # fmt: skip

    def pose(self, params: BodyParams) -> Posed:
        own = replace(params, shape=self.tensors["shape"])
        vertices = self.body.vertices(own, self.tensors["offsets"])[0]
        opaque = torch.ones(len(vertices))
        gaussians = Gaussians(vertices, self.tensors["log_scales"].exp(), self.tensors["colors"], opaque)
        return Posed(gaussians, Mesh(vertices, self.body.faces))

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup("colors", (self.tensors["colors"],), self.config.lr_color),
            ParameterGroup("scales", (self.tensors["log_scales"],), self.config.lr_scale),
        ]

    def state(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in self.tensors.items()}

    def specs(self) -> dict[str, TensorSpec]:
        V, S = len(self.body.skinning_weights), len(self.body.shape_names)
        return {
            "colors": TensorSpec((V, 3), low=-100, high=100),
            "log_scales": TensorSpec((V,), low=-100, high=2),
            "offsets": TensorSpec((V, 3), low=-10, high=10),
            "shape": TensorSpec((S,), low=-100, high=100),
        }

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        missing = {"colors", "log_scales", "offsets", "shape"} - set(state)
        if missing:
            raise StoreError(f"The avatar lacks {', '.join(sorted(missing))}.")
        self.tensors = {name: tensor.detach().clone() for name, tensor in state.items()}
        for name in ("colors", "log_scales"):
            self.tensors[name].requires_grad_()
