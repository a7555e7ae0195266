"""Data of the web page: a JSON head and typed arrays, gzipped.

The page does what ``AvatarModel.pose`` does: it blends joint transforms and expressions at the vertices and interpolates them at
each Gaussian from its triangle; the last Gaussians, outside the surface, have skinning weights of their own.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from avatarkit.animation import place
from avatarkit.errors import PluginError
from avatarkit.interfaces import AvatarModel, BodyModel
from avatarkit.motion.visemes import viseme_actions
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import barycentric
from avatarkit.utils.text import one_line
from avatarkit_export.formats import is_bound, what_works

__all__ = ["avatar_arrays", "motion_arrays", "pack", "page_head"]

_TYPES = {"uint8": "u8", "uint16": "u16", "int16": "i16", "uint32": "u32", "float32": "f32"}
_MOVED = 1e-5  # meters; vertices that an expression moves less are left out
_ANGLE = np.pi / 32767  # radians, step of the motions' rotations


def avatar_arrays(avatar: AvatarModel, body: BodyModel, params: BodyParams) -> dict[str, np.ndarray]:
    """Return the avatar in the rest pose.

    Args:
        avatar: Gaussians bound to its body model's mesh: ``state`` has ``triangles`` and ``weights``, ``pose`` a field ``dT``.
        body: its body model.
        params: of the person; only the shape counts.

    Returns:
        name -> array; ``splat_*`` are stored by column, which compresses better. Rotations (x y z w) and spherical harmonics are
        those of the rest pose: the page turns both with the body.

    Raises:
        PluginError: it is not of that kind, or too large for the page's 16-bit vertex numbers.
    """
    state, V = avatar.state(), len(body.skinning_weights)
    skeleton = body.skeleton(params.shape)
    E, J = len(body.expression_names), len(body.joint_names)
    rest = replace(
        params,
        expression=torch.zeros(E),
        root=torch.zeros(3),
        translation=skeleton.positions[0].detach().clone(),  # the root stays where it is: world = rest space
        joints=torch.zeros(J, 3),
    )
    with torch.no_grad():
        posed = avatar.pose(rest)
        template = body.rest(params.shape, torch.zeros(1, E))[0]
    if not is_bound(avatar, posed, body):
        works = what_works(avatar, params, body)
        raise PluginError(f"{type(avatar).__name__} has no Gaussians on a mesh of the body model {body.name!r}. {works}")
    offsets = posed.fields["dT"]
    if V > 1 << 16:
        raise PluginError(f"The mesh is too large for a web page: {V} vertices where {1 << 16} are the most.")
    triangles, weights = state["triangles"].long(), state["weights"].float()
    g = posed.gaussians
    stands_off = g.means.cpu() - barycentric(template, triangles, weights)
    none = torch.zeros(0, 4)
    return {
        "template": _f32(template),
        "offsets": _f32(offsets),
        "faces": body.faces.numpy().astype(np.uint16),
        "joint_positions": _f32(skeleton.positions),
        "skin_joints": body.skinning_indices.numpy().astype(np.uint16),
        "skin_weights": _unorm16(body.skinning_weights),
        "splat_corners": triangles.T.numpy().astype(np.uint16),
        "splat_weights": _unorm16(weights[:, :2].T),
        "splat_offset": _half(stands_off.T),
        "seed_joints": state.get("seed_joints", none).numpy().astype(np.uint16),
        "seed_weights": _unorm16(state.get("seed_weights", none)),
        "splat_scale": _half(g.scales if g.isotropic else g.scales.T),
        "splat_opacity": _half(g.opacities),
        "splat_color": (g.colors.detach().cpu().clamp(0, 1).T * 255).round().to(torch.uint8).numpy(),
        **({} if g.isotropic else {"splat_rotation": _half(g.axes()[0][:, [1, 2, 3, 0]].T)}),
        **({} if g.sh is None else {"splat_sh": _half(g.sh.flatten(1).T)}),
        **_expressions(body, params.shape, template),
    }


def _expressions(body: BodyModel, shape: torch.Tensor, template: torch.Tensor) -> dict[str, np.ndarray]:
    """Return sparse shapes of the expressions.

    Expression e moves ``vertex[start[e]:start[e + 1]]`` by ``delta * step[e]`` meters.
    """
    E = len(body.expression_names)
    start, vertex, delta, step = [0], [], [], []
    for e in range(E):
        one = torch.zeros(1, E)
        one[0, e] = 1.0
        with torch.no_grad():
            moves = (body.rest(shape, one)[0] - template).numpy()
        moved = np.flatnonzero(np.abs(moves).max(1) > _MOVED)
        largest = float(np.abs(moves[moved]).max()) if len(moved) else 1.0
        step.append(largest / 32767)
        vertex.append(moved.astype(np.uint16))
        delta.append(np.round(moves[moved] / step[-1]).astype(np.int16))
        start.append(start[-1] + len(moved))
    return {
        "expression_start": np.array(start, np.uint32),
        "expression_vertex": np.concatenate(vertex) if vertex else np.zeros(0, np.uint16),
        "expression_delta": np.concatenate(delta) if delta else np.zeros((0, 3), np.int16),
        "expression_step": np.array(step, np.float32),
    }


def motion_arrays(
    motions: Sequence[Motion], params: BodyParams, body: BodyModel, fps: float
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return motions as the person plays them where they stand.

    Args:
        motions: relative, as ``Motion`` says.
        params: the person.
        body: of both.
        fps: at most so many frames per second.

    Returns:
        A description and arrays of each; joints and expressions that do not move are left out.
    """
    heads: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for number, motion in enumerate(motions):
        every = max(1, round(motion.fps / fps))
        world = place(motion, params, body)[::every]
        turns = torch.cat([world.root[:, None], world.joints[:, 1:]], 1)  # the root takes the row that is ignored
        joints = torch.nonzero(turns.abs().amax((0, 2)) > _ANGLE / 2)[:, 0]
        faces = torch.nonzero(world.expression.abs().amax(0) > 1 / 512)[:, 0]
        name = f"motion{number}"
        arrays |= {
            f"{name}_translation": _f32(world.translation),
            f"{name}_joints": joints.numpy().astype(np.uint16),
            f"{name}_turns": np.round(turns[:, joints].numpy() / _ANGLE).clip(-32767, 32767).astype(np.int16),
            f"{name}_faces": faces.numpy().astype(np.uint16),
            f"{name}_expression": (world.expression[:, faces].clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
        }
        frames = world.batch_shape[0]
        heads.append({"name": one_line(motion.name), "fps": motion.fps / every, "frames": frames, "loop": motion.loop})
    return heads, arrays


def page_head(body: BodyModel, params: BodyParams, camera: Camera, center: torch.Tensor, box: Sequence[float]) -> dict[str, Any]:
    """Return the data that is not in arrays.

    Names, the initial pose, the camera, the point that it turns around, the person's box.
    """
    return {
        "joints": list(body.joint_names),
        "parents": list(body.parents),
        "influences": int(body.skinning_weights.shape[1]),
        "expressions": list(body.expression_names),
        "groups": [{"name": g.name, "joints": list(g.joints), "share": list(g.share)} for g in body.pose_groups],
        "pose": {k: getattr(params, k).flatten().tolist() for k in ("root", "translation", "joints", "expression")},
        "camera": {
            "K": camera.K.tolist(),
            "T_world_camera": torch.linalg.inv(camera.T_camera_world).tolist(),
            "width": camera.width,
            "height": camera.height,
            "box": list(box),
        },
        "center": center.tolist(),
        "visemes": viseme_actions(),
    }


def pack(head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Pack head and arrays as gzip.

    Content: u32 length of the head, the head (JSON, with type, offset and length of each array), the arrays.
    """
    listed, parts, offset = {}, [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
        listed[name] = {"type": _TYPES[array.dtype.name], "offset": offset, "count": int(array.size)}
        parts.append(data + b"\0" * (-len(data) % 4))
        offset += len(parts[-1])
    text = json.dumps({**head, "arrays": listed}, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return gzip.compress(len(text).to_bytes(4, "little") + text + b"".join(parts), mtime=0)


def _f32(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()


def _unorm16(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.detach().cpu().double().clamp(0, 1) * 65535).round().numpy().astype(np.uint16)


def _half(tensor: torch.Tensor) -> np.ndarray:
    """Return half floats, as their bits."""
    return tensor.detach().cpu().numpy().astype(np.float16).view(np.uint16)
