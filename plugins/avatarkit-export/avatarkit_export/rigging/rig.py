"""An avatar's mesh as engines want it: one vertex per UV corner, few joints per vertex, sparse shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from avatarkit.errors import PluginError
from avatarkit.interfaces import AvatarModel, BodyModel
from avatarkit.motion.visemes import viseme_actions
from avatarkit.types.body import BodyParams
from avatarkit.types.mesh import vertex_normals
from avatarkit_export.formats import has_rig, what_works

__all__ = ["Rig", "make_rig"]

_MICRON = 1e-6
_LETTERS = {"ih": "I", "oh": "O", "ou": "U"}  # visemes whose shapes players call otherwise


@dataclass(frozen=True)
class Rig:
    """A skinned mesh in the rest pose; meters, y up, facing +z, soles at y = 0.

    Attributes:
        body: where it comes from.
        shape: (S,) of the person.
        offsets: (V, 3) dT of eq. 5.
        ground: added to y.
        source: (P,) body vertex of each vertex; vertices on UV seams come several times.
        vertices: (P, 3).
        normals: (P, 3) unit.
        uv: (P, 2) 0 to 1, v down as in glTF.
        faces: (F, 3) int64.
        joints: (P, K) int64.
        weights: (P, K), rows sum to one, largest first; unused joints are 0.
        joint_positions: (J, 3).
    """

    body: BodyModel
    shape: torch.Tensor
    offsets: torch.Tensor
    ground: float
    source: np.ndarray
    vertices: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    joint_positions: np.ndarray

    def morphs(self, visemes: bool = False) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield name, (n,) numbers of the vertices that move by more than a micron, and how far (n, 3), per shape.

        Args:
            visemes: after the expressions of the body model, yield Oculus' 15 visemes, where the body model has their actions.
        """
        names = self.body.expression_names
        recipes = {name: {name: 1.0} for name in names}
        if visemes and any(action in recipes for actions in viseme_actions().values() for action in actions):
            recipes |= {f"viseme_{_LETTERS.get(name, name)}": actions for name, actions in viseme_actions().items()}
        with torch.no_grad():
            rest = self.body.rest(self.shape, torch.zeros(1, len(names)))[0]
            for name, actions in recipes.items():
                weights = torch.tensor([[actions.get(action, 0.0) for action in names]])
                delta = (self.body.rest(self.shape, weights)[0] - rest).numpy()[self.source]
                moved = np.flatnonzero(np.abs(delta).max(1) > _MICRON)
                yield name, moved, delta[moved]


def make_rig(avatar: AvatarModel, body: BodyModel, params: BodyParams, influences: int) -> Rig:
    """Make the rig of an avatar whose mesh is its body model's.

    Args:
        avatar: its ``pose`` gives a mesh and the field ``dT``.
        body: its body model.
        params: of the person; only the shape counts.
        influences: joints per vertex.

    Raises:
        PluginError: the avatar has no such mesh.
    """
    with torch.no_grad():
        posed = avatar.pose(params)
        if not has_rig(posed, body):
            works = what_works(avatar, params, body)
            raise PluginError(f"{type(avatar).__name__} has no mesh on the body model {body.name!r}. {works}")
        offsets, shape = posed.fields["dT"].detach().cpu(), params.shape.cpu()
        rest = body.rest(shape, torch.zeros(1, len(body.expression_names)))[0] + offsets
        normals = vertex_normals(rest, body.faces)
        positions = body.skeleton(shape).positions
    ground = -float(rest[:, 1].min())
    lift = np.array([0.0, ground, 0.0])
    source, uv_number, faces = _split_seams(body)
    joints, weights = _strongest(body, influences)
    normals_np = normals.double().numpy()
    normals_np[np.linalg.norm(normals_np, axis=1) < 0.5] = [0.0, 0.0, 1.0]  # vertices that no triangle uses
    return Rig(
        body=body,
        shape=shape,
        offsets=offsets,
        ground=ground,
        source=source,
        vertices=(rest.double().numpy() + lift)[source],
        normals=normals_np[source],
        uv=np.stack([body.uv[:, 0].double().numpy(), 1 - body.uv[:, 1].double().numpy()], 1)[uv_number],
        faces=faces,
        joints=joints[source],
        weights=weights[source],
        joint_positions=positions.double().numpy() + lift,
    )


def _split_seams(body: BodyModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (P,) body vertices, (P,) uv numbers of all pairs that corners use, and the triangles (F, 3) between them."""
    corner = body.faces.numpy().astype(np.int64) * len(body.uv) + body.uv_faces.numpy()
    pairs, faces = np.unique(corner, return_inverse=True)
    return pairs // len(body.uv), pairs % len(body.uv), faces.reshape(corner.shape)


def _strongest(body: BodyModel, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` joints (V, count) that move each vertex most, and their weights, which sum to one."""
    dense = np.zeros((len(body.skinning_weights), len(body.joint_names)))
    rows = np.arange(len(dense))[:, None]
    np.add.at(dense, (rows, body.skinning_indices.numpy()), body.skinning_weights.double().numpy())
    count = min(count, dense.shape[1])
    joints = np.argsort(-dense, axis=1, kind="stable")[:, :count]
    weights = dense[rows, joints]
    weights[weights < 1e-4] = 0.0
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return np.where(weights > 0, joints, 0), weights
