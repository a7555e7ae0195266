"""Bones of an exported file: those of the body model, or Mixamo's names, tree and axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from avatarkit.interfaces import BodyModel
from avatarkit.types.body import BodyParams
from avatarkit_export.formats import humanoid_joints

__all__ = ["Bones", "bones_in_time", "mixamo_bones", "own_bones", "t_pose"]

_MIDDLE = {
    "hips": "Hips", "spine": "Spine", "chest": "Spine1", "upperChest": "Spine2", "neck": "Neck", "head": "Head",
}  # fmt: skip
_SIDE = {
    "Eye": "Eye", "UpperLeg": "UpLeg", "LowerLeg": "Leg", "Foot": "Foot", "Shoulder": "Shoulder", "UpperArm": "Arm",
    "LowerArm": "ForeArm", "Hand": "Hand",
    "ThumbMetacarpal": "HandThumb1", "ThumbProximal": "HandThumb2", "ThumbDistal": "HandThumb3",
    **{
        f"{ours}{part}": f"Hand{theirs}{k}"
        for ours, theirs in (("Index", "Index"), ("Middle", "Middle"), ("Ring", "Ring"), ("Little", "Pinky"))
        for k, part in enumerate(("Proximal", "Intermediate", "Distal"), start=1)
    },
}  # fmt: skip

_UP = np.eye(3)  # columns: a bone's x, y and z in the world; y runs along the bone
_AXES = {
    "arm": {"Left": [[0, 1, 0], [0, 0, -1], [-1, 0, 0]], "Right": [[0, -1, 0], [0, 0, -1], [1, 0, 0]]},
    "leg": {"Left": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]], "Right": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]},
}


@dataclass(frozen=True)
class Bones:
    """The skeleton of a file, with one bone per joint of the body model.

    Attributes:
        names: of the bones.
        parents: of the bones; -1 for the root.
        axes: (J,) from a bone's own axes at rest to those of the world.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    axes: Rotation

    def local(self, turns: Rotation, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what nodes hold for bones in the world.

        Args:
            turns: (J,) from rest.
            positions: (J, 3) meters.

        Returns:
            Rotations (J, 4) x y z w, and translations (J, 3), in the axes of each bone's parent.
        """
        world = turns * self.axes
        above = [max(parent, 0) for parent in self.parents]
        undo = world[above].inv().as_matrix()
        undo[[j for j, parent in enumerate(self.parents) if parent < 0]] = np.eye(3)
        start = np.where(np.array(self.parents)[:, None] < 0, 0.0, positions[above])
        rotations = Rotation.from_matrix(undo @ world.as_matrix()).as_quat()
        return rotations, np.einsum("jab,jb->ja", undo, positions - start)


def own_bones(body: BodyModel) -> Bones:
    """Return the joints of the body model, with the axes of the world."""
    return Bones(tuple(body.joint_names), tuple(body.parents), Rotation.from_matrix(np.tile(_UP, (len(body.parents), 1, 1))))


def mixamo_bones(body: BodyModel, positions: np.ndarray) -> Bones:
    """Return bones that players of Mixamo's and Ready Player Me's animations turn as they turn those characters'.

    In a T-pose the y axis of a bone runs along it, and hinges bend about x. Joints that Mixamo lacks hang below the bone that
    they divide, so that bones are as long as they look.

    Args:
        body: has the bones that VRM requires.
        positions: (J, 3) of its joints at rest.
    """
    humanoid = humanoid_joints(body)
    ours = {joint: _MIDDLE[bone] for bone, joint in humanoid.items() if bone in _MIDDLE}
    for side in ("left", "right"):
        named = {side + bone: side.title() + name for bone, name in _SIDE.items()}
        ours |= {joint: named[bone] for bone, joint in humanoid.items() if bone in named}
        ours |= {g.joints[0]: f"{side.title()}ToeBase" for g in body.pose_groups if g.name == f"{side}_foot"}
    parents = list(body.parents)
    for joint in ours:
        while parents[joint] >= 0 and parents[joint] not in ours:
            parents[joint] = body.parents[parents[joint]]
    straight = _world(t_pose(humanoid, body.parents, positions), body.parents)
    number = {name: joint for joint, name in ours.items()}
    axes: list[Rotation] = []
    for joint, parent in enumerate(parents):
        if joint not in ours:
            axes.append(axes[parent] if parent >= 0 else Rotation.identity())
            continue
        name = ours[joint]
        in_t_pose = Rotation.from_matrix(_usual_axes(name))
        end = _end(name, number)
        if end is not None:
            along = straight[joint].apply(positions[end] - positions[joint])
            in_t_pose = _shortest(in_t_pose.apply([0.0, 1.0, 0.0]), along / np.linalg.norm(along)) * in_t_pose
        elif parent >= 0 and "Hand" in name:  # the tip of a finger goes on as the bone before it
            in_t_pose = straight[parent] * axes[parent]
        axes.append(straight[joint].inv() * in_t_pose)
    names = tuple(ours.get(joint, name) for joint, name in enumerate(body.joint_names))
    return Bones(names, tuple(parents), Rotation.concatenate(axes))


def _usual_axes(name: str) -> np.ndarray:
    side = next((side for side in ("Left", "Right") if name.startswith(side)), None)
    if side is None or name.endswith("Eye"):
        return _UP
    return np.array(_AXES["leg" if any(part in name for part in ("Leg", "Foot", "Toe")) else "arm"][side], float)


_NEXT = {
    "Spine": "Spine1", "Spine1": "Spine2", "Spine2": "Neck", "Neck": "Head", "Shoulder": "Arm", "Arm": "ForeArm",
    "ForeArm": "Hand", "Hand": "HandMiddle1", "UpLeg": "Leg", "Leg": "Foot", "Foot": "ToeBase",
    **{f"Hand{f}{k}": f"Hand{f}{k + 1}" for f in ("Thumb", "Index", "Middle", "Ring", "Pinky") for k in (1, 2)},
}  # fmt: skip


def _end(name: str, number: dict[str, int]) -> int | None:
    """Return the joint where a bone ends; None where that is not known."""
    side = next((side for side in ("Left", "Right") if name.startswith(side)), "")
    following = _NEXT.get(name.removeprefix(side))
    return None if following is None else number.get(side + following)


def bones_in_time(bones: Bones, p: BodyParams, body: BodyModel, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what nodes hold while the body moves: rotations (T, J, 4) x y z w, and translations (T, J, 3).

    Args:
        bones: of the file.
        p: (T,) poses.
        body: of the poses.
        positions: (J, 3) of the joints at rest.
    """
    T, J = p.root.shape[0], len(positions)
    turn: list[Rotation] = []
    at = np.empty((T, J, 3))
    for j, parent in enumerate(body.parents):
        own = Rotation.from_rotvec((p.joints[:, j] if j else p.root).double().numpy())
        turn.append(own if parent < 0 else turn[parent] * own)
        if parent < 0:
            at[:, j] = p.translation.double().numpy() + positions[j]
        else:
            at[:, j] = at[:, parent] + turn[parent].apply(positions[j] - positions[parent])
    matrices = np.stack([one.as_matrix() for one in turn], 1)  # (T, J, 3, 3)
    found = [bones.local(Rotation.from_matrix(matrices[t]), at[t]) for t in range(T)]
    rotations = np.stack([rotation for rotation, _ in found])
    same_way = (rotations[1:] * rotations[:-1]).sum(-1) >= 0
    signs = np.cumprod(np.where(same_way, 1.0, -1.0), axis=0)
    rotations[1:] *= signs[..., None]  # the next key is never on the other side of the sphere
    return rotations, np.stack([translation for _, translation in found])


def t_pose(bones: dict[str, int], parents: tuple[int, ...], positions: np.ndarray) -> dict[int, Rotation]:
    """Return local rotations of joints that bring arms and hands level, legs and feet straight.

    Args:
        bones: VRM bone -> joint.
        parents: of the joints, before their children.
        positions: (J, 3) at rest.

    Returns:
        joint -> rotation from the rest pose, in the parent's axes, since joints at rest have those of the world.
    """
    aims: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # joint -> its bone at rest, and where it shall point
    for side, x in (("left", 1.0), ("right", -1.0)):
        out, down = np.array([x, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])
        arm, leg = ("UpperArm", "LowerArm", "Hand", "MiddleProximal"), ("UpperLeg", "LowerLeg", "Foot")
        for names, direction in ((arm, out), (leg, down)):
            joints = [bones[side + name] for name in names if side + name in bones]
            for joint, end in pairwise(joints):
                aims[joint] = (positions[end] - positions[joint], direction)
    level = {bones["leftFoot"], bones["rightFoot"]}
    world: dict[int, Rotation] = {-1: Rotation.identity()}
    turns: dict[int, Rotation] = {}
    for joint, parent in enumerate(parents):
        world[joint] = world[parent]
        if joint in aims:
            bone, direction = aims[joint]
            now = world[parent].apply(bone / np.linalg.norm(bone))
            world[joint] = _shortest(now, direction) * world[parent]
        elif joint in level:
            world[joint] = Rotation.identity()
        if joint in aims or joint in level:
            turns[joint] = world[parent].inv() * world[joint]
    return turns


def _shortest(a: np.ndarray, b: np.ndarray) -> Rotation:
    """Return the shortest rotation that turns the unit vector ``a`` into ``b``."""
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    return Rotation.identity() if sine < 1e-9 else Rotation.from_rotvec(axis / sine * np.arctan2(sine, a @ b))


def _world(turns: Mapping[int, Rotation], parents: Sequence[int]) -> list[Rotation]:
    """Return the rotations of all joints in the world, from local ones of some."""
    out: list[Rotation] = []
    for joint, parent in enumerate(parents):
        above = out[parent] if parent >= 0 else Rotation.identity()
        out.append(above * turns[joint] if joint in turns else above)
    return out
