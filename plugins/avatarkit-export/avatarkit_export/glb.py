"""A rigged, skinned, textured mesh with blend shapes and an animation, as binary glTF 2.0."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from avatarkit import __version__
from avatarkit.errors import PluginError
from avatarkit.interfaces import AvatarModel, Context
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.gaussians import SH0
from avatarkit.utils.text import one_line
from avatarkit_export.bake import bake_texture
from avatarkit_export.config import GlbConfig, VrmConfig
from avatarkit_export.files import SYNTHETIC, check_options, check_suffix, write_file
from avatarkit_export.formats import missing_bone
from avatarkit_export.gaussians import posed_gaussians
from avatarkit_export.gltf import INDICES, VERTICES, Gltf
from avatarkit_export.rigging.rig import Rig, make_rig
from avatarkit_export.rigging.skeleton import Bones, bones_in_time, mixamo_bones, own_bones

__all__ = ["GlbExporter", "RiggedGltf", "rigged_gltf", "splats_gltf"]

_STILL = 1e-5  # meters, or about radians, below which a bone does not move


@dataclass(frozen=True)
class RiggedGltf:
    """A glTF document with an avatar in it.

    Attributes:
        gltf: the document.
        rig: what it shows.
        mesh_node: number of the node with the mesh.
        joint_nodes: number of each joint's node.
        bones: the skeleton.
    """

    gltf: Gltf
    rig: Rig
    mesh_node: int
    joint_nodes: tuple[int, ...]
    bones: Bones


class GlbExporter:
    """GLB of the mesh in the rest pose: skin, ARKit-named morph targets, texture baked from the Gaussians, one clip."""

    def __init__(self, config: GlbConfig, context: Context) -> None:
        self.config, self.context = config, context

    def write(self, avatar: AvatarModel, params: BodyParams, path: Path, **options: Any) -> None:
        """See ``Exporter.write``.

        Of ``params`` only the shape counts, unless splats are asked for.

        Args:
            avatar: with a mesh on its body model.
            params: of the person.
            path: ends in .glb.
            options: ``consent``, what the person agreed to.

        Raises:
            ConfigError, InputError, StoreError: unknown option; wrong suffix or motion; disk.
            PluginError: the avatar has no mesh.
        """
        check_options("glb", options)
        check_suffix(path, ".glb")
        if self.config.splats:
            write_file(path, *splats_gltf(avatar, params, self.context, options).glb())
            return
        motion = self._motion()
        made = rigged_gltf(avatar, params, self.config, self.context, options, self.config.bones == "mixamo", visemes=True)
        if motion is not None:
            _add_clip(made, motion)
        write_file(path, *made.gltf.glb())

    def _motion(self) -> Motion | None:
        wanted = self.config.motion
        if wanted in ("", "none"):
            return None
        source = self.context.get("motions")
        return source.motion(next((n for n in source.names() if n.startswith(wanted)), wanted))


def rigged_gltf(
    avatar: AvatarModel,
    params: BodyParams,
    config: VrmConfig,
    context: Context,
    options: dict[str, Any],
    mixamo: bool = False,
    visemes: bool = False,
) -> RiggedGltf:
    """Put an avatar's mesh, skin, shapes and texture into a new document.

    Args:
        avatar: with a mesh on its body model.
        params: of the person.
        config: options of the exporter.
        context: gives the body model.
        options: of ``Exporter.write``.
        mixamo: bones with Mixamo's names, tree and axes, below a node ``Armature``.
        visemes: visemes are shapes, too.

    Raises:
        PluginError: the avatar has no mesh, or its body model lacks bones of a human, which Mixamo's names need.
    """  # fmt: skip
    body = context.get("body")
    rig = make_rig(avatar, body, params, config.influences)
    if mixamo and (missing := missing_bone(body)):
        raise PluginError(f"The body model {body.name!r} has no {missing}, which Mixamo's skeleton has. Leave out bones=mixamo.")
    bones = mixamo_bones(body, rig.joint_positions) if mixamo else own_bones(body)
    gltf = _document(options)
    context.progress("texture", None)
    with torch.no_grad():
        own = avatar.pose(params).mesh
    if own is None or own.texture is None:
        texture = bake_texture(avatar, body, params, config.texture)
        material = _add_material(gltf, texture, format="JPEG", quality=93, subsampling=0)
    else:  # the avatar's own texture, without loss
        material = _add_material(gltf, own.texture.rgb.cpu().clamp(0, 1), format="PNG")
    mesh = _add_mesh(gltf, rig, material, visemes)
    mesh_node = gltf.add("nodes", {"name": "avatar", "mesh": mesh, "skin": 0})
    joint_nodes = _add_skeleton(gltf, rig, bones)
    roots = [mesh_node, joint_nodes[0]]
    if mixamo:
        roots = [gltf.add("nodes", {"name": "Armature", "children": roots})]
    gltf.document["scenes"] = [{"nodes": roots}]
    gltf.document["scene"] = 0
    return RiggedGltf(gltf, rig, mesh_node, joint_nodes, bones)


def splats_gltf(avatar: AvatarModel, params: BodyParams, context: Context, options: dict[str, Any]) -> Gltf:
    """Return the Gaussians of one pose as points that KHR_gaussian_splatting explains; other readers show colored points."""
    g = posed_gaussians(avatar, params, context.get("body"), "Leave out splats=true, which writes them instead of the mesh.")
    gltf = _document(options)
    prefix, (rotation, scales) = "KHR_gaussian_splatting:", g.axes()
    colors = torch.cat([g.colors.clamp(0, 1), g.opacities[:, None].clamp(0, 1)], 1)
    attributes = {
        "POSITION": gltf.accessor(_float32(g.means), VERTICES, bounds=True),
        "COLOR_0": gltf.accessor((colors * 255).round().numpy().astype(np.uint8), VERTICES, normalized=True),
        prefix + "ROTATION": gltf.accessor(_float32(rotation[:, [1, 2, 3, 0]]), VERTICES),
        prefix + "SCALE": gltf.accessor(_float32(scales), VERTICES),
        prefix + "OPACITY": gltf.accessor(_float32(g.opacities.clamp(0, 1)), VERTICES),
        prefix + "SH_DEGREE_0_COEF_0": gltf.accessor(_float32((g.colors - 0.5) / SH0), VERTICES),
    }
    for k, coefficient in enumerate(() if g.sh is None else g.sh.unbind(1), 1):
        degree = math.isqrt(k)
        attributes[f"{prefix}SH_DEGREE_{degree}_COEF_{k - degree**2}"] = gltf.accessor(_float32(coefficient), VERTICES)
    splatting = {
        "kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }  # fmt: skip
    primitive = {"attributes": attributes, "mode": 0, "extensions": {"KHR_gaussian_splatting": splatting}}
    mesh = gltf.add("meshes", {"name": "avatar", "primitives": [primitive]})
    gltf.document["scenes"] = [{"nodes": [gltf.add("nodes", {"name": "avatar", "mesh": mesh})]}]
    gltf.document |= {"scene": 0, "extensionsUsed": ["KHR_gaussian_splatting"]}
    return gltf


def _float32(tensor: torch.Tensor) -> np.ndarray:
    return tensor.numpy().astype(np.float32)


def _document(options: dict[str, Any]) -> Gltf:
    """Return an empty document that says what it is."""
    extras = {"provenance": SYNTHETIC, "consent": one_line(options.get("consent") or "none was recorded")}
    return Gltf(f"avatarkit {__version__}", extras)


def _add_material(gltf: Gltf, texture: torch.Tensor, **how: Any) -> int:
    """Add an unlit material (KHR_materials_unlit): the colors already contain the light; ``how`` the picture is saved."""
    stream = io.BytesIO()
    pixels = (texture * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(stream, **how)
    kind = f"image/{how['format'].lower()}"
    image = gltf.add("images", {"name": "skin", "mimeType": kind, "bufferView": gltf.view(stream.getvalue())})
    sampler = gltf.add("samplers", {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071})
    number = gltf.add("textures", {"source": image, "sampler": sampler})
    surface = {"baseColorTexture": {"index": number}, "metallicFactor": 0.0, "roughnessFactor": 1.0}
    gltf.document["extensionsUsed"] = ["KHR_materials_unlit"]
    return gltf.add("materials", {
        "name": "skin", "pbrMetallicRoughness": surface, "doubleSided": True, "extensions": {"KHR_materials_unlit": {}},
    })  # fmt: skip


def _add_mesh(gltf: Gltf, rig: Rig, material: int, visemes: bool) -> int:
    """Return attributes, triangles and sparse morph targets."""
    attributes = {
        "POSITION": gltf.accessor(rig.vertices.astype(np.float32), VERTICES, bounds=True),
        "NORMAL": gltf.accessor(rig.normals.astype(np.float32), VERTICES),
        "TEXCOORD_0": gltf.accessor(rig.uv.astype(np.float32), VERTICES),
    }
    joint_type = np.uint8 if len(rig.joint_positions) <= 256 else np.uint16
    for k in range(0, rig.joints.shape[1], 4):
        attributes[f"JOINTS_{k // 4}"] = gltf.accessor(_four(rig.joints[:, k : k + 4], joint_type), VERTICES)
        attributes[f"WEIGHTS_{k // 4}"] = gltf.accessor(_four(rig.weights[:, k : k + 4], np.float32), VERTICES)
    count = len(rig.vertices)
    index_type = np.uint16 if count < 1 << 16 else np.uint32
    indices = gltf.accessor(rig.faces.reshape(-1).astype(index_type), INDICES)
    names, targets = [], []
    for name, numbers, values in rig.morphs(visemes):
        names.append(name)
        targets.append({"POSITION": gltf.sparse(count, numbers, values)})
    primitive: dict[str, Any] = {"attributes": attributes, "indices": indices, "material": material}
    if not targets:
        return gltf.add("meshes", {"name": "avatar", "primitives": [primitive]})
    return gltf.add("meshes", {
        "name": "avatar", "primitives": [{**primitive, "targets": targets}], "weights": [0.0] * len(targets),
        "extras": {"targetNames": names},
    })  # fmt: skip


def _four(columns: np.ndarray, dtype: Any) -> np.ndarray:
    """Return (P, <= 4) padded with zeros to (P, 4)."""
    return np.pad(columns, ((0, 0), (0, 4 - columns.shape[1]))).astype(dtype)


def _add_skeleton(gltf: Gltf, rig: Rig, bones: Bones) -> tuple[int, ...]:
    """Return one node per joint, at rest."""
    at = rig.joint_positions
    first = len(gltf.document["nodes"])
    rotations, translations = bones.local(Rotation.from_quat(np.tile([0.0, 0.0, 0.0, 1.0], (len(at), 1))), at)
    for j, name in enumerate(bones.names):
        node: dict[str, Any] = {"name": name, "translation": translations[j].tolist()}
        if np.abs(rotations[j, :3]).max() > 1e-9:
            node["rotation"] = rotations[j].tolist()
        children = [first + k for k, p in enumerate(bones.parents) if p == j]
        gltf.add("nodes", {**node, "children": children} if children else node)
    undo = bones.axes.inv().as_matrix()
    inverse = np.tile(np.eye(4), (len(at), 1, 1))
    inverse[:, :3, :3] = undo
    inverse[:, :3, 3] = -np.einsum("jab,jb->ja", undo, at)
    columns = inverse.transpose(0, 2, 1).reshape(-1, 16).astype(np.float32)  # glTF stores columns
    nodes = tuple(range(first, first + len(at)))
    gltf.add("skins", {"joints": list(nodes), "skeleton": first, "inverseBindMatrices": gltf.accessor(columns)})
    return nodes


def _add_clip(made: RiggedGltf, motion: Motion) -> None:
    """One animation: root, the joints that move, morph weights."""
    gltf, rig, p = made.gltf, made.rig, motion.params.to("cpu")
    time = gltf.accessor((np.arange(len(motion)) / motion.fps).astype(np.float32), bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def animate(node: int, path: str, values: np.ndarray) -> None:
        samplers.append({"input": time, "output": gltf.accessor(values.astype(np.float32)), "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    rotations, translations = bones_in_time(made.bones, p, rig.body, rig.joint_positions)
    for j, node in enumerate(made.joint_nodes):
        still = gltf.document["nodes"][node]
        if j == 0 or np.abs(translations[:, j] - still["translation"]).max() > _STILL:
            animate(node, "translation", translations[:, j])
        turned = 1 - np.abs(rotations[:, j] @ np.array(still.get("rotation", [0.0, 0.0, 0.0, 1.0])))
        if j == 0 or turned.max() > _STILL**2:
            animate(node, "rotation", rotations[:, j])
    if p.expression.shape[1]:
        shapes = len(gltf.document["meshes"][0]["weights"])
        weights = np.pad(p.expression.numpy(), ((0, 0), (0, shapes - p.expression.shape[1])))  # a clip uses no viseme
        animate(made.mesh_node, "weights", weights.reshape(-1))
    gltf.add("animations", {"name": one_line(motion.name), "samplers": samplers, "channels": channels})
