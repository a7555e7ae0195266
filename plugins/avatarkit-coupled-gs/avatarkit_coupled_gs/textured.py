"""A person as a textured mesh: the tracked body in the colors of the photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from avatarkit.appearance.shared_painter import shared_painter
from avatarkit.appearance.texture import texture_from_photo
from avatarkit.errors import StoreError
from avatarkit.interfaces import BodyModel, Context, ParameterGroup, Posed, Subject, TensorSpec
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.mesh import Mesh, MeshTexture
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit_coupled_gs.config import TexturedConfig

__all__ = ["TexturedMeshAvatar"]


class TexturedMeshAvatar:
    """The skinned body model with the tracker's offsets and one texture; no Gaussians.

    The texture learns from photo and labels. The shape stays as tracked: silhouettes alone would tear the mesh.

    Tensors:
        shape: (S,) identity of the body model. dT: (V, 3) meters, offsets at rest. texture: (R, R, 3) sRGB, row 0 is v = 1.
    """

    def __init__(self, config: TexturedConfig, context: Context) -> None:
        self.config, self.context = config, context
        self.body: BodyModel = context.get("body")
        self.shape = self.dT = self.texture = torch.zeros(0)

    def create(self, subject: Subject, labels: Sequence[LabelClip]) -> None:
        """See ``AvatarModel.create``."""
        body, renderer = self.body, self.context.get("renderer")
        painter = shared_painter(subject, body, renderer, keep=False)
        painted = texture_from_photo(subject, body, renderer, self.config.resolution, painter)
        self._take({"shape": subject.params.shape, "dT": subject.vertex_offsets, "texture": painted.rgb.clamp(0, 1)})

    def _take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for name in ("shape", "dT", "texture"):
            setattr(self, name, tensors[name].float().clone().contiguous().to(self.context.device))
        self.texture.requires_grad_()

    def pose(self, params: BodyParams) -> Posed:
        """See ``AvatarModel.pose``; ``fields``: dT."""
        with torch.no_grad():
            own = replace(params, shape=self.shape).to("cpu").batched()
            vertices = self.body.vertices(own, self.dT.cpu())[0].to(self.texture)
        device = vertices.device
        texture = MeshTexture(self.body.uv.to(vertices), self.body.uv_faces.to(device), self.texture)
        none = vertices[:0]
        gaussians = Gaussians(none, none[:, 0], none, none[:, 0])
        return Posed(gaussians, Mesh(vertices, self.body.faces.to(device), texture), {"dT": self.dT})

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the texture."""
        return [ParameterGroup("texture", (self.texture,), self.config.lr_texture)]

    def state(self) -> dict[str, torch.Tensor]:
        """See ``AvatarModel.state``."""
        return {name: getattr(self, name).detach().cpu().contiguous().clone() for name in ("shape", "dT", "texture")}

    def specs(self) -> dict[str, TensorSpec]:
        """See ``AvatarModel.specs``."""
        V, S, R = len(self.body.skinning_weights), len(self.body.shape_names), self.config.resolution
        return {
            "shape": TensorSpec((S,), low=-100.0, high=100.0),
            "dT": TensorSpec((V, 3), low=-10.0, high=10.0),
            "texture": TensorSpec((R, R, 3), low=-1e3, high=1e3),
        }

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """See ``AvatarModel.load``."""
        for name, spec in self.specs().items():
            if name not in state or tuple(state[name].shape) != spec.shape:
                found = tuple(state[name].shape) if name in state else "missing"
                raise StoreError(f"the avatar's tensor {name} is {found} where {spec.shape} belongs: build it again")
        self._take(state)
