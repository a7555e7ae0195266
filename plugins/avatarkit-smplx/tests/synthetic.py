"""A model file with SMPL-X's keys, sizes and joint tree, and made-up numbers: a person of sticks."""

from pathlib import Path

import numpy as np

from avatarkit.motion.pose_solver import PARENTS
from avatarkit.types.body import SMPLX_JOINTS

VERTICES, COMPONENTS, JOINTS = 10_475, 20, 55
_MIDDLE = {"pelvis": (0, -0.35, 0), "spine1": (0, -0.24, 0), "spine2": (0, -0.11, 0), "spine3": (0, -0.05, 0),
           "neck": (0, 0.1, -0.02), "head": (0, 0.26, 0), "jaw": (0, 0.25, 0.03)}  # fmt: skip
_LEFT = {"hip": (0.06, -0.45, 0), "knee": (0.1, -0.82, -0.01), "ankle": (0.08, -1.23, -0.05), "foot": (0.12, -1.28, 0.07),
         "collar": (0.05, 0.03, 0), "shoulder": (0.16, 0.08, -0.02), "elbow": (0.42, 0.05, -0.03), "wrist": (0.67, 0.05, -0.02),
         "eye_smplhf": (0.032, 0.3, 0.06)}  # fmt: skip
_KNUCKLES = {"index": (0.1, 0, 0.026), "middle": (0.105, 0, 0), "ring": (0.1, 0, -0.018), "pinky": (0.085, 0, -0.035),
             "thumb": (0.03, -0.015, 0.03)}  # fmt: skip


def joints() -> np.ndarray:
    """(55, 3) of the T-pose, meters, y up, facing +z."""
    at = {n: np.array(v, float) for n, v in _MIDDLE.items()}
    for side, sign in (("left", 1), ("right", -1)):
        flip = np.array([sign, 1, 1])
        at |= {f"{side}_{n}": np.array(v, float) * flip for n, v in _LEFT.items()}
        for finger, first in _KNUCKLES.items():
            step = np.array([0.025, -0.01, 0.02] if finger == "thumb" else [0.028, 0, first[2] / 8]) * flip
            for k in range(3):
                at[f"{side}_{finger}{k + 1}"] = at[f"{side}_wrist"] + np.array(first) * flip + k * step
    return np.stack([at[n] for n in SMPLX_JOINTS])


def parents() -> list[int]:
    return [-1 if PARENTS[n] is None else SMPLX_JOINTS.index(PARENTS[n]) for n in SMPLX_JOINTS]


def arrays(vertex_ids: dict[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """What ``SMPLX_NEUTRAL.npz`` holds, smaller where it can be."""
    rng = np.random.default_rng(seed)
    at, tree = joints(), parents()
    owner = np.sort(rng.integers(0, JOINTS, VERTICES))
    stars = slice(1000, 1000 + 6 * JOINTS)  # six points around each joint, whose mean it is
    owner[stars] = np.repeat(np.arange(JOINTS), 6)
    towards = at[[max(p, 0) for p in tree]] - at
    along = rng.uniform(0, 0.6, (VERTICES, 1))
    vertices = at[owner] + along * towards[owner] + rng.normal(0, 0.015, (VERTICES, 3))
    star = 0.02 * np.concatenate([np.eye(3), -np.eye(3)])
    vertices[stars] = (at[:, None] + star).reshape(-1, 3)
    head = SMPLX_JOINTS.index("head")
    placed = {"nose": (0, 0.27, 0.12), "lear": (0.07, 0.28, 0), "rear": (-0.07, 0.28, 0)}
    for side, letter in (("left", "L"), ("right", "R")):
        ankle, foot = (at[SMPLX_JOINTS.index(f"{side}_{n}")] for n in ("ankle", "foot"))
        placed |= {f"{letter}Heel": ankle + np.array([0, -0.04, -0.05])}
        placed |= {f"{letter}BigToe": foot + np.array([0, -0.01, 0.08])}
        for finger in _KNUCKLES:
            two, three = (at[SMPLX_JOINTS.index(f"{side}_{finger}{k}")] for k in (2, 3))
            placed[side[0] + finger] = three + (three - two)
    for name, place in placed.items():
        vertices[vertex_ids[name]] = place
        owner[vertex_ids[name]] = np.linalg.norm(at - place, axis=1).argmin()
    regressor = np.zeros((JOINTS, VERTICES))
    regressor[np.arange(JOINTS).repeat(6), np.arange(VERTICES)[stars]] = 1 / 6
    weights = np.zeros((VERTICES, JOINTS))
    share = rng.uniform(0.5, 1, VERTICES)
    weights[np.arange(VERTICES), owner] += share
    weights[np.arange(VERTICES), np.maximum(np.array(tree)[owner], 0)] += 1 - share
    first = np.flatnonzero((owner == head) & (np.arange(VERTICES) > stars.stop))[:153].reshape(51, 3)
    vertices[first] = np.array([0, 0.29, 0.09]) + rng.normal(0, (0.03, 0.04, 0.004), (51, 3, 3))
    faces = np.stack([np.arange(20_908) % (VERTICES - 2) + k for k in range(3)], 1)
    faces[:51] = first
    return {
        "v_template": vertices,
        "shapedirs": rng.normal(0, 0.002, (VERTICES, 3, COMPONENTS)),
        "posedirs": np.zeros((VERTICES, 3, 486), np.float16),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *tree[1:]], range(JOINTS)], np.int64),
        "f": faces.astype(np.uint32),
        "lmk_faces_idx": np.arange(51),
        "lmk_bary_coords": rng.dirichlet((1, 1, 1), 51),
        "hands_componentsl": np.zeros((45, 45)),
        "hands_componentsr": np.zeros((45, 45)),
        "hands_meanl": np.zeros(45),
        "hands_meanr": np.zeros(45),
        "vt": rng.uniform(0, 1, (11_313, 2)),
        "ft": rng.integers(0, 11_313, (20_908, 3)),
    }


def write(path: Path, vertex_ids: dict[str, int], without: tuple[str, ...] = (), **more: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: v for k, v in (arrays(vertex_ids) | more).items() if k not in without})
    return path
