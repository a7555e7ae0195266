"""Which of the formats of this plugin can hold an avatar, and the bones of a humanoid that VRM wants."""

from __future__ import annotations

import torch

from avatarkit.interfaces import AvatarModel, BodyModel, Posed
from avatarkit.types.body import BodyParams

__all__ = ["has_rig", "humanoid_joints", "is_bound", "missing_bone", "what_works"]

# Pose group -> VRM bone; those of the left side are repeated on the right.
_MIDDLE = {
    "pelvis": "hips", "spine1": "spine", "spine2": "chest", "spine3": "upperChest", "neck": "neck", "head": "head",
}  # fmt: skip
_SIDE = {
    "eye_smplhf": "Eye", "hip": "UpperLeg", "knee": "LowerLeg", "ankle": "Foot", "collar": "Shoulder",
    "shoulder": "UpperArm", "elbow": "LowerArm", "wrist": "Hand",
    "thumb1": "ThumbMetacarpal", "thumb2": "ThumbProximal", "thumb3": "ThumbDistal",
    **{
        f"{ours}{k}": f"{theirs}{part}"
        for ours, theirs in (("index", "Index"), ("middle", "Middle"), ("ring", "Ring"), ("pinky", "Little"))
        for k, part in enumerate(("Proximal", "Intermediate", "Distal"), start=1)
    },
}  # fmt: skip
_REQUIRED = (
    *("hips", "spine", "head", "leftUpperLeg", "leftLowerLeg", "leftFoot", "rightUpperLeg", "rightLowerLeg"),
    *("rightFoot", "leftUpperArm", "leftLowerArm", "leftHand", "rightUpperArm", "rightLowerArm", "rightHand"),
)


def has_rig(posed: Posed, body: BodyModel) -> bool:
    """Return whether the avatar has a mesh on its body model, with the field ``dT``: it can be skinned."""
    offsets, V = posed.fields.get("dT"), len(body.skinning_weights)
    return posed.mesh is not None and len(posed.mesh.vertices) == V and offsets is not None and tuple(offsets.shape) == (V, 3)


def is_bound(avatar: AvatarModel, posed: Posed, body: BodyModel) -> bool:
    """Return whether the avatar's Gaussians are bound to triangles of such a mesh: a page can move them."""
    return has_rig(posed, body) and len(posed.gaussians) > 0 and {"triangles", "weights"} <= set(avatar.state())


def humanoid_joints(body: BodyModel) -> dict[str, int]:
    """Return VRM bone -> joint of the body model, by the names of its pose groups."""
    first = {group.name: group.joints[0] for group in body.pose_groups}
    first.setdefault("pelvis", 0)
    names = dict(_MIDDLE)
    for side in ("left", "right"):
        names |= {f"{side}_{ours}": side + theirs for ours, theirs in _SIDE.items()}
    return {theirs: first[ours] for ours, theirs in names.items() if ours in first}


def missing_bone(body: BodyModel) -> str:
    """Return the first bone that VRM requires and the body model lacks; "" if it has all."""
    bones = humanoid_joints(body)
    return next((name for name in _REQUIRED if name not in bones), "")


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
