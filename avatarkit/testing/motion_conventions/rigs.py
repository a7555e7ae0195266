"""Names of joints in the rigs of programs."""

from __future__ import annotations

from avatarkit.testing.motion_conventions.clip import FINGERS, SIDES

__all__ = ["PREFIXED", "RIGS", "rig_names", "vrm_bone"]

_ARM = ("collar", "shoulder", "elbow", "wrist")
_LEG = ("hip", "knee", "ankle", "foot")
# Trunk from pelvis to head; mark of the left side (@ = the part) and arm; leg; pattern of fingers.
RIGS: dict[str, tuple[str, str, str, str]] = {
    "Mixamo": (
        "Hips Spine Spine1 Spine2 Neck Head", "Left:Shoulder Arm ForeArm Hand", "UpLeg Leg Foot ToeBase", "Hand{F}{k}"),
    "OptiTrack": ("Hip Ab Ab2 Chest Neck Head", "L:Shoulder UArm FArm Hand", "Thigh Shin Foot Toe", "{F}{k}"),
    "Valve": (
        "Pelvis Spine Spine1 Spine2 Neck1 Head1", "L_:Clavicle UpperArm Forearm Hand", "Thigh Calf Foot Toe0", "Finger{b}"),
    "Biped": ("Pelvis Spine Spine1 Spine2 Neck Head", "L :Clavicle UpperArm Forearm Hand", "Thigh Calf Foot Toe0", "Finger{b}"),
    "VRoid": (
        "C_Hips C_Spine C_Chest C_UpperChest C_Neck C_Head", "L_:Shoulder UpperArm LowerArm Hand",
        "UpperLeg LowerLeg Foot ToeBase", "{L}{k}"),
    "VRM": (
        "hips spine chest upperChest neck head", "left:Shoulder UpperArm LowerArm Hand", "UpperLeg LowerLeg Foot Toes", "{L}{p}"),
    "Second Life": (
        "mPelvis mTorso mSpine3 mChest mNeck mHead", "m@Left:Collar Shoulder Elbow Wrist", "Hip Knee Ankle Foot", "Hand{F}{k}"),
    "Rigify": (
        "spine spine.001 spine.002 spine.003 spine.004 spine.006", "@.L:shoulder upper_arm forearm hand", "thigh shin foot toe",
        "{r}.0{k}"),
    "Unreal": (
        "pelvis spine_01 spine_02 spine_03 neck_01 head", "@_l:clavicle upperarm lowerarm hand", "thigh calf foot ball",
        "{f}_0{k}"),
    "Daz": (
        "hip abdomenLower abdomenUpper chestLower neckLower head", "l:Collar ShldrBend ForearmBend Hand",
        "ThighBend Shin Foot Toe", "{M}{k}"),
    "Poser": ("hip abdomen chest chest2 neck head", "l:Collar Shldr ForeArm Hand", "Thigh Shin Foot Toe", "{M}{k}"),
    "MakeHuman": (
        "root spine05 spine03 spine01 neck01 head", "@.L:clavicle upperarm01 lowerarm01 wrist",
        "upperleg01 lowerleg01 foot toe1-1", "finger{n}-{k}"),
    "SMPL": ("Pelvis Spine1 Spine2 Spine3 Neck Head", "L_:Collar Shoulder Elbow Wrist", "Hip Knee Ankle Foot", "{F}{k}"),
    "Kinect": (
        "SpineBase SpineMid Spine2 SpineShoulder Neck Head", "@Left:Clavicle Shoulder Elbow Wrist", "Hip Knee Ankle Foot", ""),
    "Xsens": ("Hips Chest Chest2 Chest4 Neck Head", "Left:Collar Shoulder Elbow Wrist", "Hip Knee Ankle Toe", ""),
    "Character Creator": (
        "Hip Waist Spine01 Spine02 NeckTwist01 Head", "L_:Clavicle Upperarm Forearm Hand", "Thigh Calf Foot ToeBase", "{M}{k}"),
    "Acclaim": ("root lowerback upperback thorax lowerneck head", "l:clavicle humerus radius wrist", "femur tibia foot toes", ""),
    "ARKit": (
        "hips_joint spine_1_joint spine_4_joint spine_7_joint neck_1_joint head_joint",
        "left_@_joint:shoulder_1 arm forearm hand", "upLeg leg foot toes", "hand{F}_{k}"),
    "MikuMikuDance": ("センター 上半身 上半身2 上半身3 首 頭", "左:肩 腕 ひじ 手首", "足 ひざ 足首 つま先", ""),
}  # fmt: skip
PREFIXED = {
    "Mixamo": ("", "mixamorig:", "mixamorig1", "mixamorig_", "Character1_", "Armature|", "Bob:Bob_"),
    "Valve": ("ValveBiped.Bip01_",), "Biped": ("Bip01 ", "Bip001 "), "VRoid": ("J_Bip_",), "Rigify": ("", "DEF-"),
    "Character Creator": ("CC_Base_",), "OptiTrack": ("", "Skeleton 001_"), "Unreal": ("", "root|"), "VRM": ("", "Normalized_"),
}  # fmt: skip


_VRM_PHALANGES = (("Proximal", "Intermediate", "Distal"), ("Metacarpal", "Proximal", "Distal"))  # of fingers, of the thumb


def rig_names(rig: str) -> dict[str, str]:
    """Return SMPL-X joint -> name, as programs that use the rig write it."""
    trunk, arm, leg, pattern = RIGS[rig]
    out = dict(zip(("pelvis", "spine1", "spine2", "spine3", "neck", "head"), trunk.split(" "), strict=True))
    mark, parts = arm.split(":")
    for side in SIDES:
        mine = mark if side == "left" else _right(mark)

        def sided(base: str, mine: str = mine) -> str:
            return mine.replace("@", base) if "@" in mine else mine + base

        out |= {f"{side}_{n}": sided(p) for n, p in zip((*_ARM, *_LEG), [*parts.split(" "), *leg.split(" ")], strict=True)}
        for n, finger in enumerate(FINGERS if pattern else ()):
            for k in (1, 2, 3):
                other = {"pinky": "Little"}.get(finger, finger.capitalize())
                filled = pattern.format(
                    f=finger, F=finger.capitalize(), L=other, k=k, n=n + 1, b=f"{n}{k - 1 or ''}",
                    M={"middle": "Mid"}.get(finger, finger.capitalize()), r="thumb" if finger == "thumb" else f"f_{finger}",
                    p=_VRM_PHALANGES[finger == "thumb"][k - 1],
                )  # fmt: skip
                out[f"{side}_{finger}{k}"] = sided(filled)
    return out


def _right(mark: str) -> str:
    pairs = (("Left", "Right"), ("left", "right"), ("左", "右"), ("L", "R"), ("_l", "_r"), ("l", "r"))
    for a, b in pairs:
        if a in mark:
            return mark.replace(a, b)
    return mark


_VRM_BONES = {
    "pelvis": "hips", "spine1": "spine", "spine2": "chest", "spine3": "upperChest", "neck": "neck", "head": "head",
    "collar": "Shoulder", "shoulder": "UpperArm", "elbow": "LowerArm", "wrist": "Hand", "hip": "UpperLeg", "knee": "LowerLeg",
    "ankle": "Foot", "foot": "Toes",
}  # fmt: skip


def vrm_bone(name: str) -> str:
    """Return the bone of VRM 1.0 of an SMPL-X joint."""
    side, _, part = name.rpartition("_")
    if part in _VRM_BONES:
        bone = _VRM_BONES[part]
    else:
        finger, k = part[:-1], int(part[-1])
        bone = {"pinky": "Little"}.get(finger, finger.capitalize()) + _VRM_PHALANGES[finger == "thumb"][k - 1]
    return side + bone
