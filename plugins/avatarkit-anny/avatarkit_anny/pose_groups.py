"""How the rotations of SMPL-X's joints are spread over Anny's bones."""

from __future__ import annotations

from avatarkit.types.body import PoseGroup

__all__ = ["pose_groups"]

_FINGERS = ("thumb", "index", "middle", "ring", "pinky")

# name: (bones that share the rotation equally, prior sigma in radians)
_MIDDLE: dict[str, tuple[tuple[str, ...], float]] = {
    "pelvis": (("root",), 0.15),  # BodyParams.root turns the body; the group is there so that the names are complete
    "spine1": (("spine05", "spine04"), 0.15),
    "spine2": (("spine03", "spine02"), 0.15),
    "spine3": (("spine01",), 0.12),
    "neck": (("neck01", "neck02", "neck03"), 0.35),
    "head": (("head",), 0.25),
}
_SIDES: dict[str, tuple[tuple[str, ...], float]] = {
    "hip": (("upperleg01",), 0.5),
    "knee": (("lowerleg01",), 0.6),
    "ankle": (("foot",), 0.2),
    "foot": (tuple(f"toe{k}-1" for k in range(1, 6)), 0.2),
    "collar": (("clavicle", "shoulder01"), 0.2),
    "shoulder": (("upperarm01",), 0.8),
    "upper_arm_twist": (("upperarm02",), 0.25),
    "elbow": (("lowerarm01",), 1.0),
    "forearm_twist": (("lowerarm02",), 0.6),
    "wrist": (("wrist",), 0.4),
    "eye_smplhf": (("eye",), 0.3),
    **{f"metacarpal{k}": ((f"metacarpal{k}",), 0.06) for k in range(1, 5)},
    **{f"{finger}{joint}": ((f"finger{k}-{joint}",), 0.35) for k, finger in enumerate(_FINGERS, start=1) for joint in (1, 2, 3)},
}


def pose_groups(joint_names: tuple[str, ...]) -> tuple[PoseGroup, ...]:
    """Return all groups: the middle of the body, then left, then right."""
    named = dict(_MIDDLE)
    for side, letter in (("left", "L"), ("right", "R")):
        for name, (bones, sigma) in _SIDES.items():
            named[f"{side}_{name}"] = (tuple(f"{bone}.{letter}" for bone in bones), sigma)
    return tuple(
        PoseGroup(
            name=name,
            joints=tuple(joint_names.index(bone) for bone in bones),
            share=(1.0 / len(bones),) * len(bones),
            sigma=sigma,
        )
        for name, (bones, sigma) in named.items()
    )
