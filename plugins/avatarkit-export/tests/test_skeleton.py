"""Bones with Mixamo's names, tree and axes: turned as its characters are, they stand as those do."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarkit.interfaces import BodyModel, Context
from avatarkit.registry import Registry
from avatarkit_export.rigging.skeleton import Bones, bones_in_time, mixamo_bones, own_bones

SIDES = (("Left", 1.0), ("Right", -1.0))


@pytest.fixture(scope="module")
def body(registry: Registry) -> BodyModel:
    return registry.get("body", "anny").create({}, Context())


@pytest.fixture(scope="module")
def positions(body: BodyModel) -> np.ndarray:
    return body.skeleton(body.neutral().shape).positions.double().numpy()


@pytest.fixture(scope="module")
def bones(body: BodyModel, positions: np.ndarray) -> Bones:
    return mixamo_bones(body, positions)


def stand(bones: Bones, positions: np.ndarray, turns: dict[str, Rotation]) -> dict[str, tuple[np.ndarray, Rotation]]:
    """Bone -> place and turn in the world, of nodes at rest but for some."""
    rest = Rotation.identity(len(positions))
    rotations, translations = bones.local(rest, positions)
    order = sorted(range(len(positions)), key=lambda j: depth(bones.parents, j))
    found: dict[int, tuple[np.ndarray, Rotation]] = {-1: (np.zeros(3), Rotation.identity())}
    for j in order:
        place, turn = found[bones.parents[j]]
        own = turns.get(bones.names[j], Rotation.from_quat(rotations[j]))
        found[j] = (place + turn.apply(translations[j]), turn * own)
    return {bones.names[j]: found[j] for j in order}


def depth(parents: tuple[int, ...], j: int) -> int:
    return 0 if j < 0 else 1 + depth(parents, parents[j])


def direction(at: dict[str, tuple[np.ndarray, Rotation]], a: str, b: str) -> np.ndarray:
    step = at[b][0] - at[a][0]
    return step / np.linalg.norm(step)


def test_at_rest_the_joints_are_where_they_were(bones: Bones, positions: np.ndarray, body: BodyModel) -> None:
    at = stand(bones, positions, {})
    for j, name in enumerate(bones.names):
        assert np.allclose(at[name][0], positions[j], atol=1e-9), name
    assert len(set(bones.names)) == len(body.joint_names)


def test_bones_hang_in_mixamos_tree(bones: Bones) -> None:
    parent = {name: bones.names[p] if p >= 0 else None for name, p in zip(bones.names, bones.parents, strict=True)}
    spine = ["Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"]
    chains = [spine]
    for side, _ in SIDES:
        chains += [["Head", f"{side}Eye"], ["Spine2", *(side + n for n in ("Shoulder", "Arm", "ForeArm", "Hand"))]]
        chains += [["Hips", *(side + n for n in ("UpLeg", "Leg", "Foot", "ToeBase"))]]
        fingers = ("Thumb", "Index", "Middle", "Ring", "Pinky")
        chains += [[f"{side}Hand", *(f"{side}Hand{finger}{k}" for k in (1, 2, 3))] for finger in fingers]
    for chain in chains:
        for above, name in pairwise(chain):
            assert parent[name] == above, name


def test_turned_as_a_t_pose_of_mixamo_arms_are_level_and_legs_straight(bones: Bones, positions: np.ndarray) -> None:
    turns = {"Hips": Rotation.identity()}
    for side, x in SIDES:
        turns[f"{side}Shoulder"] = Rotation.from_euler("XYZ", [90, 0, -90 * x], degrees=True)
        turns[f"{side}UpLeg"] = Rotation.from_euler("z", 180, degrees=True)
        turns |= {side + name: Rotation.identity() for name in ("Arm", "ForeArm", "Hand", "Leg")}
    turns |= dict.fromkeys(("Spine", "Spine1", "Spine2"), Rotation.identity())
    at = stand(bones, positions, turns)
    for side, x in SIDES:
        for a, b in (("Arm", "ForeArm"), ("ForeArm", "Hand"), ("Hand", "HandMiddle1")):
            assert np.allclose(direction(at, side + a, side + b), [x, 0, 0], atol=1e-6)
        for a, b in (("UpLeg", "Leg"), ("Leg", "Foot")):
            assert np.allclose(direction(at, side + a, side + b), [0, -1, 0], atol=1e-6)
        forward = direction(at, f"{side}Foot", f"{side}ToeBase")
        assert forward[2] > 0.5 > abs(forward[0])


def test_hinges_bend_about_x(bones: Bones, positions: np.ndarray) -> None:
    """A knee goes back, and fingers curl to the palm."""
    rotations, _ = bones.local(Rotation.identity(len(positions)), positions)
    rest = stand(bones, positions, {})
    for side, _ in SIDES:
        for bent, end, degrees in ((f"{side}Leg", f"{side}Foot", -60), (f"{side}HandIndex1", f"{side}HandIndex2", 60)):
            own = Rotation.from_quat(rotations[bones.names.index(bent)])
            at = stand(bones, positions, {bent: own * Rotation.from_euler("x", degrees, degrees=True)})
            before, after = direction(rest, bent, end), direction(at, bent, end)
            assert before @ after == pytest.approx(0.5, abs=0.03)  # about all of the turn bends the bone
            if bent.endswith("Leg"):
                assert after[2] < -0.7
            else:
                thumb = rest[f"{side}HandThumb3"][0] - rest[bent][0]  # the thumb is before the palm
                assert (after - before) @ thumb > 0


@pytest.mark.parametrize("names", ["own", "mixamo"])
def test_nodes_move_joints_as_the_body_model_does(body: BodyModel, positions: np.ndarray, names: str) -> None:
    made = mixamo_bones(body, positions) if names == "mixamo" else own_bones(body)
    generator = torch.Generator().manual_seed(0)
    J = len(positions)
    p = replace(
        body.neutral(), root=torch.randn(4, 3, generator=generator), translation=torch.randn(4, 3, generator=generator),
        joints=0.4 * torch.randn(4, J, 3, generator=generator), expression=torch.zeros(4, len(body.expression_names)),
    )  # fmt: skip
    rotations, translations = bones_in_time(made, p, body, positions)
    skeleton = body.skeleton(p.shape)
    A = body.joint_transforms(skeleton, p.root, p.translation + skeleton.positions[0], p.joints).double().numpy()
    for t in range(4):
        found: dict[int, tuple[np.ndarray, Rotation]] = {-1: (np.zeros(3), Rotation.identity())}
        for j in sorted(range(J), key=lambda j: depth(made.parents, j)):
            place, turn = found[made.parents[j]]
            found[j] = (place + turn.apply(translations[t, j]), turn * Rotation.from_quat(rotations[t, j]))
            expected = A[t, j, :3, :3] @ positions[j] + A[t, j, :3, 3]
            assert np.allclose(found[j][0], expected, atol=1e-5)
            assert np.allclose((found[j][1] * made.axes[j].inv()).as_matrix(), A[t, j, :3, :3], atol=1e-5)
    assert ((rotations[1:] * rotations[:-1]).sum(-1) >= 0).all()
