"""Tables from SMPL-X's own landmarks and skinning weights: pose groups, parts of the mesh, landmark sets."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree

from avatarkit.types.body import SMPLX_JOINTS, JointLandmarks, PoseGroup, SurfaceLandmarks

__all__ = ["PARTS", "face478", "joint_landmarks", "mirror", "parts", "pose_groups"]

PARTS = ("head", "face", "lips", "eyelids", "ears", "nails", "mouth_inside", "teeth", "tongue", "eyes", "left_hand", "right_hand",
         "left_foot", "right_foot", "skin")  # fmt: skip

# Radians that joints usually stray from rest.
_SIGMA = {
    "pelvis": 0.15, "spine1": 0.15, "spine2": 0.15, "spine3": 0.12, "neck": 0.35, "head": 0.25, "jaw": 0.2, "hip": 0.5,
    "knee": 0.6, "ankle": 0.2, "foot": 0.2, "collar": 0.2, "shoulder": 0.8, "elbow": 1.0, "wrist": 0.4, "eye_smplhf": 0.3,
}  # fmt: skip
_FINGER_SIGMA = 0.35

# iBUG's points 17 to 67, in whose order the model file holds landmarks, as numbers of MediaPipe's 478.
_IBUG = (
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301), *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181), *(78, 82, 13, 312, 308, 317, 14, 87),
)  # fmt: skip
# Neighbors of those on lids and lips, which stand for points that the file does not have: number -> a row of ``_IBUG``.
_NEAR = {159: 20, 145: 24, 386: 26, 374: 30, 81: 44, 178: 50, 311: 46, 402: 48, 468: 19, 473: 28}
_UNKNOWN = 10.0  # meters: the positions of these points are unknown, so they get no weight

# The package's numbers of vertices of nose, ears, toes, heels, finger tips.
_TIPS = ("thumb", "index", "middle", "ring", "pinky")


def pose_groups() -> tuple[PoseGroup, ...]:
    """Return one group for each joint."""
    groups = []
    for j, name in enumerate(SMPLX_JOINTS):
        part = name.removeprefix("left_").removeprefix("right_")
        groups.append(PoseGroup(name, (j,), (1.0,), _SIGMA.get(part, _FINGER_SIGMA)))
    return tuple(groups)


def mirror(vertices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (V,) and (J,): the vertex and the joint on the other side, of (V, 3) at rest."""
    middle = np.median(vertices[:, 0])
    flipped = (vertices - (middle, 0, 0)) * (-1, 1, 1) + (middle, 0, 0)
    other = cKDTree(vertices).query(flipped)[1]
    swapped = [n.replace("left", "#").replace("right", "left").replace("#", "right") for n in SMPLX_JOINTS]
    return torch.from_numpy(other.astype(np.int64)), torch.tensor([SMPLX_JOINTS.index(n) for n in swapped])


def parts(vertices: np.ndarray, weights: np.ndarray, landmarks: np.ndarray, vertex_ids: dict[str, int]) -> dict[str, np.ndarray]:
    """Return the weight of each part, (V,) float32 0 to 1.

    It follows from the vertices' joints and nearby landmarks.
    """

    def owned(*names: str) -> np.ndarray:
        share = weights[:, [SMPLX_JOINTS.index(n) for n in names]].sum(1)
        return np.clip(1.5 * share - 0.25, 0, 1)

    def near(points: np.ndarray, full: float, none: float) -> np.ndarray:
        distance = cKDTree(points).query(vertices)[0]
        return np.clip((none - distance) / (none - full), 0, 1)

    eyes = owned("left_eye_smplhf", "right_eye_smplhf")
    head = owned("head", "jaw", "left_eye_smplhf", "right_eye_smplhf")
    skin = head * (1 - eyes)
    hands = {
        side: owned(*(n for n in SMPLX_JOINTS if n.startswith(side) and (n.endswith("wrist") or n[-1] in "123")))
        for side in ("left", "right")
    }
    nothing = np.zeros(len(vertices))
    found = {
        "head": head,
        "face": skin * near(landmarks, 0.025, 0.04) * (vertices[:, 2] > landmarks[:, 2].min() - 0.03),
        "lips": skin * near(landmarks[31:], 0.005, 0.009),
        "eyelids": skin * near(landmarks[19:31], 0.006, 0.011),
        "ears": skin * near(vertices[[vertex_ids["lear"], vertex_ids["rear"]]], 0.025, 0.035),
        "eyes": eyes,
        **{f"{side}_hand": hand for side, hand in hands.items()},
        **{f"{side}_foot": owned(f"{side}_ankle", f"{side}_foot") for side in ("left", "right")},
        "skin": np.maximum(head, np.maximum(hands["left"], hands["right"])),
    }
    return {name: found.get(name, nothing).astype(np.float32) for name in PARTS}


def face478(faces: np.ndarray, triangle: np.ndarray, barycentric: np.ndarray) -> SurfaceLandmarks:
    """Return MediaPipe's face points that the model file's 51 landmarks cover.

    The other points get no weight.
    """
    row = np.full(478, 13)  # tip of the nose
    sigma = np.full(478, _UNKNOWN, np.float32)
    for k, number in enumerate(_IBUG):
        row[number], sigma[number] = k, 0.003
    for number, k in _NEAR.items():
        row[number], sigma[number] = k, 0.006 if number < 468 else _UNKNOWN
    return SurfaceLandmarks(
        triangles=torch.from_numpy(faces[triangle[row]].astype(np.int64)),
        barycentric=torch.from_numpy(barycentric[row].astype(np.float32)),
        sigma=torch.from_numpy(sigma),
    )


def joint_landmarks(name: str, joints: np.ndarray, vertices: np.ndarray, vertex_ids: dict[str, int]) -> JointLandmarks | None:
    """Return ``pose33``, ``hand21_left`` and ``hand21_right``: joints, and vertices that move with one.

    Args:
        name: of the set.
        joints: (J, 3), vertices: (V, 3) of the neutral shape at rest.
        vertices: (V, 3) of the neutral shape at rest.
        vertex_ids: name -> vertex.

    Returns:
        None for other sets.
    """
    rows: dict[int, tuple[str, np.ndarray | None]] = {}  # point -> joint, place (None = the joint's own)
    if name == "pose33":
        rows = {0: ("head", vertices[vertex_ids["nose"]])}
        rows |= {7: ("head", vertices[vertex_ids["lear"]]), 8: ("head", vertices[vertex_ids["rear"]])}
        for side, odd in (("left", 0), ("right", 1)):
            letter = side[0].upper()
            for point, joint in ((11, "shoulder"), (13, "elbow"), (15, "wrist"), (23, "hip"), (25, "knee"), (27, "ankle")):
                rows[point + odd] = (f"{side}_{joint}", None)
            for point, finger in ((17, "pinky1"), (19, "index1"), (21, "thumb2")):
                rows[point + odd] = (f"{side}_{finger}", None)
            rows[29 + odd] = (f"{side}_ankle", vertices[vertex_ids[f"{letter}Heel"]])
            rows[31 + odd] = (f"{side}_foot", vertices[vertex_ids[f"{letter}BigToe"]])
        sigma = 0.02
    elif name in ("hand21_left", "hand21_right"):
        side = name.removeprefix("hand21_")
        rows = {0: (f"{side}_wrist", None)}
        for k, finger in enumerate(_TIPS):
            for phalanx in (1, 2, 3):
                rows[4 * k + phalanx] = (f"{side}_{finger}{phalanx}", None)
            rows[4 * k + 4] = (f"{side}_{finger}3", vertices[vertex_ids[side[0] + finger]])
        sigma = 0.006
    else:
        return None
    return _table(rows, joints, sigma)


def _table(rows: dict[int, tuple[str, np.ndarray | None]], joints: np.ndarray, sigma: float) -> JointLandmarks:
    index = sorted(rows)
    joint = [SMPLX_JOINTS.index(rows[k][0]) for k in index]
    offset = np.stack([np.zeros(3) if (at := rows[k][1]) is None else at - joints[j] for k, j in zip(index, joint, strict=True)])
    bone = np.array([_bone(SMPLX_JOINTS[j]) for j in joint])
    length = np.linalg.norm(joints[bone[:, 0]] - joints[bone[:, 1]], axis=1)
    return JointLandmarks(
        index=torch.tensor(index),
        joint=torch.tensor(joint),
        offset=torch.from_numpy(offset.astype(np.float32)),
        bone=torch.from_numpy(bone),
        bone_length=torch.from_numpy(length.astype(np.float32)),
        sigma=torch.full((len(index),), sigma),
    )


def _bone(joint: str) -> tuple[int, int]:
    """Return the bone with which offsets in a joint's frame grow."""
    side = "left_" if joint.startswith("left_") else "right_"
    part = joint.removeprefix(side)
    if part == "head":
        ends = ("neck", "head")
    elif part == "foot":
        ends = (f"{side}ankle", f"{side}foot")
    elif part == "ankle":
        ends = (f"{side}knee", f"{side}ankle")
    elif part[-1] == "3":
        ends = (f"{side}{part[:-1]}2", f"{side}{part}")
    else:
        ends = (f"{side}shoulder", f"{side}elbow")
    return SMPLX_JOINTS.index(ends[0]), SMPLX_JOINTS.index(ends[1])
