"""Which joints of a body model are the bones of a humanoid, as VRM names them."""

from __future__ import annotations

from avatarkit.interfaces import BodyModel

__all__ = ["humanoid_joints", "missing_bone"]

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
