"""Which of the formats of this plugin can hold an avatar."""

from __future__ import annotations

import torch

from avatarkit.interfaces import AvatarModel, BodyModel, Posed
from avatarkit.types.body import BodyParams
from avatarkit_export.bones import missing_bone

__all__ = ["has_rig", "is_bound", "what_works"]


def has_rig(posed: Posed, body: BodyModel) -> bool:
    """Return whether the avatar has a mesh on its body model, with the field ``dT``: it can be skinned."""
    offsets, V = posed.fields.get("dT"), len(body.skinning_weights)
    return posed.mesh is not None and len(posed.mesh.vertices) == V and offsets is not None and tuple(offsets.shape) == (V, 3)


def is_bound(avatar: AvatarModel, posed: Posed, body: BodyModel) -> bool:
    """Return whether the avatar's Gaussians are bound to triangles of such a mesh: a page can move them."""
    return has_rig(posed, body) and len(posed.gaussians) > 0 and {"triangles", "weights"} <= set(avatar.state())


def what_works(avatar: AvatarModel, params: BodyParams, body: BodyModel) -> str:
    """Return the sentence that names the formats for an avatar, for messages about one that cannot hold it."""
    with torch.no_grad():
        posed = avatar.pose(params)
    rigged = has_rig(posed, body)
    works = {
        "glb": rigged,
        "vrm": rigged and not missing_bone(body),
        "ply": len(posed.gaussians) > 0,
        "spz": len(posed.gaussians) > 0,
        "web": is_bound(avatar, posed, body),
    }
    named = " or ".join(f"--to {name}" for name, fits in works.items() if fits)
    return f"Export it with {named}." if named else "No format of the plugin 'export' can hold it."
