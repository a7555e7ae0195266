"""The built-in motions on the default body model: smooth, natural, apart from the body, and the same every time."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from avatarkit.config.options import make_config
from avatarkit.errors import ConfigError, InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.motion.pose_solver import swing_twist
from avatarkit.types.body import Motion
from avatarkit.types.mesh import vertex_normals
from avatarkit_motions.clips import CLIPS
from avatarkit_motions.config import BuiltinConfig
from avatarkit_motions.source import BuiltinMotions

NAMES = tuple(CLIPS)
TALKS = tuple(n for n in NAMES if n.startswith("talk"))


@pytest.fixture(scope="module")
def motions(source: BuiltinMotions) -> dict[str, Motion]:
    return {n: source.motion(n) for n in source.names()}


def _joints(body, motion: Motion, stride: int = 1) -> torch.Tensor:
    """(T, J, 3) positions."""
    p = motion.params[torch.arange(0, len(motion), stride)]
    skeleton = body.skeleton(p.shape)
    A = body.joint_transforms(skeleton, p.root, p.translation, p.joints)
    return (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]


def _at(body, joints: torch.Tensor, name: str) -> torch.Tensor:
    group = next(g for g in body.pose_groups if g.name == name)
    return joints[:, group.joints[0]]


def _action(body, motion: Motion, name: str) -> torch.Tensor:
    return motion.params.expression[:, body.expression_names.index(name)]


def test_names_start_with_somebody_who_stands_still(source):
    assert source.names()[0] == "idle"
    assert {"talk", "talk-4", "wave", "turn", "count", "expressions", "look", "nod", "shrug"} <= set(source.names())
    assert all(source.describe(n) for n in source.names())
    with pytest.raises(InputError, match="did you mean 'wave'"):
        source.motion("waev")
    with pytest.raises(InputError, match="there are: idle, talk"):
        source.describe("x")


@pytest.mark.parametrize("name", NAMES)
def test_length_range_and_shapes(name, body, motions):
    m = motions[name]
    assert 3 <= len(m) / m.fps <= 10
    assert m.fps == 30
    assert m.loop
    p = m.params
    assert p.model == body.name
    assert p.joints.shape == (len(m), len(body.joint_names), 3)
    assert all(torch.isfinite(v).all() and v.dtype == torch.float32 for v in (p.joints, p.root, p.translation))
    assert p.expression.min() >= 0
    assert p.expression.max() <= 1
    assert p.translation.abs().max() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_loop_runs_into_its_beginning_without_a_jerk(name, body, motions):
    joints = _joints(body, motions[name])
    step = torch.diff(torch.cat([joints, joints[:2]]), dim=0)
    speed = step.norm(dim=-1).amax(-1) * 30
    change = torch.diff(step, dim=0).norm(dim=-1).amax(-1) * 900
    seam = len(joints) - 2
    assert speed.max() < 3.5  # meters per second: a brisk gesture of a fingertip
    assert speed[seam:].max() <= speed[:seam].max()
    assert change[seam - 1 :].max() <= change[: seam - 1].max()
    face = motions[name].params.expression
    lids = [i for i, n in enumerate(body.expression_names) if "Blink" in n or "Squint" in n or "Wide" in n]
    rest = [i for i in range(face.shape[1]) if i not in lids]
    assert torch.diff(torch.cat([face, face[:1]]), dim=0)[:, rest].abs().max() < 0.28


@pytest.mark.parametrize("name", NAMES)
def test_joints_keep_to_what_people_can_do(name, body, solver, motions):
    m = motions[name]
    R = axis_angle_to_matrix(m.params.joints.double())
    degrees = torch.rad2deg(m.params.joints.norm(dim=-1))
    index = {g.name: g.joints for g in body.pose_groups}
    for side in ("left", "right"):
        joints = _joints(body, m)
        shoulder, elbow, wrist = (_at(body, joints, f"{side}_{n}") for n in ("shoulder", "elbow", "wrist"))
        u, f = elbow - shoulder, wrist - elbow
        bend = torch.rad2deg(torch.acos(torch.nn.functional.cosine_similarity(u, f, dim=-1).clamp(-1, 1)))
        assert bend.min() > 2  # never straight, never backwards
        assert bend.max() < 150
        forearm = index[f"{side}_elbow"] + index[f"{side}_forearm_twist"] + index[f"{side}_wrist"]
        axis = solver.frames[f"{side}_elbow"][:, 1]
        twist = sum(swing_twist(R[:, j], axis) for j in forearm[1:])
        assert torch.rad2deg(twist).abs().max() < 95
        assert degrees[:, index[f"{side}_wrist"][0]].max() < 75
        assert degrees[:, index[f"{side}_shoulder"][0]].max() < 130
        assert sum(degrees[:, j] for j in index[f"{side}_collar"]).max() < 40
        for finger in ("index", "middle", "ring", "pinky"):
            for k, most in ((1, 100), (2, 115), (3, 90)):
                assert degrees[:, index[f"{side}_{finger}{k}"][0]].max() < most
        assert degrees[:, index[f"{side}_eye_smplhf"][0]].max() < 32
        assert degrees[:, index[f"{side}_knee"][0]].max() < 25
    assert sum(degrees[:, j] for n in ("neck", "head") for j in index[n]).max() < 60
    assert sum(degrees[:, j] for n in ("spine1", "spine2", "spine3") for j in index[n]).max() < 30


def _sunk(vertices: np.ndarray, normals: np.ndarray, part: np.ndarray, other: np.ndarray) -> float:
    """Meters that vertices of one part lie under the surface of another."""
    distance, nearest = cKDTree(vertices[other]).query(vertices[part], distance_upper_bound=0.08)
    near = np.isfinite(distance)
    if not near.any():
        return 0.0
    surface = other[nearest[near]]
    above = ((vertices[part[near]] - vertices[surface]) * normals[surface]).sum(1)
    return max(0.0, float(-above.min()))


def _parts(body) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices of the trunk, thighs and head, of the left and of the right forearm and hand."""
    strongest = body.skinning_indices.gather(1, body.skinning_weights.argmax(1, keepdim=True))[:, 0]
    names = np.array(body.joint_names)[strongest.numpy()]
    trunk = np.char.startswith(names, ("spine",)) | np.isin(names, ("root", "head", "upperleg01.L", "upperleg01.R"))
    arm = np.zeros(len(names), bool)
    for start in ("lowerarm", "wrist", "finger", "metacarpal"):
        arm |= np.char.startswith(names, start)
    left = np.char.endswith(names, ".L")
    return np.nonzero(trunk)[0], np.nonzero(arm & left)[0], np.nonzero(arm & ~left)[0]


def _deepest(body, motion: Motion, stride: int) -> float:
    trunk, left, right = _parts(body)
    vertices = body.vertices(motion.params[torch.arange(0, len(motion), stride)])
    normals = vertex_normals(vertices, body.faces).numpy()
    pairs = ((left, trunk), (right, trunk), (left, right))
    return max(_sunk(v, n, a, b) for v, n in zip(vertices.numpy(), normals, strict=True) for a, b in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_arms_stay_out_of_the_body_and_of_each_other(name, body, motions):
    assert _deepest(body, motions[name], 15) < 0.002


def test_the_check_of_arms_sees_a_hand_in_the_belly(body, source, motions):
    p = CLIPS["idle"].make(source._stage(0))
    for channel, value in (("x", -0.3), ("y", -0.6), ("z", 0.1)):
        p.channels[f"left.{channel}"][:] = value
    assert _deepest(body, p.motion("x", source._solver), 60) > 0.02


@pytest.mark.slow
def test_segments_for_labels_stay_out_of_the_body(body, source):
    assert max(_deepest(body, m, 12) for seed in (1, 2) for m in source.motions(11, seed)) < 0.015


@pytest.mark.parametrize("name", TALKS)
def test_talking_moves_mouth_lids_head_and_both_hands(name, body, motions):
    m = motions[name]
    jaw = _action(body, m, "jawOpen")
    assert 0.3 < jaw.max() < 0.6
    assert jaw.quantile(0.1) < 0.03  # closes too
    openings = ((jaw[1:-1] > jaw[:-2]) & (jaw[1:-1] >= jaw[2:]) & (jaw[1:-1] > 0.08)).sum() / (len(m) / m.fps)
    assert 1.2 < openings < 6  # syllables per second
    lids = _action(body, m, "eyeBlinkLeft")
    assert lids.max() > 0.9
    assert max(_action(body, m, a).max() for a in ("mouthPucker", "mouthFunnel")) > 0.2
    joints = _joints(body, m)
    chest = _at(body, joints, "neck")
    for side in ("left", "right"):
        hand = _at(body, joints, f"{side}_wrist") - chest
        assert hand.amax(0)[1] > -0.4  # comes up in front of the body
        assert (hand.amax(0) - hand.amin(0)).norm() > 0.12
    neck = next(g for g in body.pose_groups if g.name == "neck").joints
    assert torch.rad2deg(m.params.joints[:, list(neck)].sum(1)).norm(dim=-1).std() > 0.5


def test_turning_reaches_thirty_degrees_on_feet_that_stand(body, motions):
    m = motions["turn"]
    joints = _joints(body, m)
    across = _at(body, joints, "left_shoulder") - _at(body, joints, "right_shoulder")
    yaw = torch.rad2deg(torch.atan2(-across[:, 2], across[:, 0]))
    assert yaw.max() > 25
    assert yaw.min() < -25
    for n in NAMES:
        ankle = _at(body, _joints(body, motions[n]), "left_ankle")
        assert (ankle - ankle[0]).abs().max() < 0.005


def test_counting_shows_one_finger_more_at_a_time(body, source):
    m = source.motion("count")
    for side in ("left", "right"):
        joints = _joints(body, m)
        palm = _at(body, joints, f"{side}_wrist")
        reach = torch.stack(
            [(_at(body, joints, f"{side}_{f}3") - palm).norm(dim=-1) for f in ("index", "middle", "ring", "pinky")], -1
        )
        straight = (reach > reach.amax(0) * 0.93).sum(-1)
        raised = palm[:, 1] > 0.4
        assert [int((straight[raised] == k).sum()) > 5 for k in range(5)] == [True] * 5


def test_same_seed_same_motions_and_a_larger_count_only_adds(source):
    a, b, c = list(source.motions(3, 5)), list(source.motions(5, 5)), next(iter(source.motions(1, 6)))
    for x, y in zip(a, b, strict=False):
        assert x.name == y.name
        assert torch.equal(x.params.joints, y.params.joints)
        assert torch.equal(x.params.expression, y.params.expression)
        assert torch.equal(x.params.root, y.params.root)
    assert a[0].params.joints.shape != c.params.joints.shape or not torch.equal(a[0].params.joints, c.params.joints)
    assert len({m.name for m in b}) == 5


def test_headings_of_label_segments_keep_to_their_ranges(default):
    config = BuiltinConfig(label_pitch=(-30, 30), label_yaw=(20, 21), fps=10, label_seconds=1)
    source = BuiltinMotions(config, default.context)
    pitch, yaw = [], []
    for m in source.motions(12, 0):
        assert len(m) == 10
        assert not m.loop
        forward = axis_angle_to_matrix(m.params.root.double())[..., 2].mean(0)
        yaw.append(float(torch.rad2deg(torch.atan2(forward[0], forward[2]))))
        pitch.append(float(torch.rad2deg(torch.asin(-forward[1] / forward.norm()))))
    assert 10 < min(yaw) < max(yaw) < 40  # the motion's own turning comes on top, up to 20 degrees
    assert min(pitch) < -12
    assert max(pitch) > 12


def test_mirrored_performances_are_mirror_images(body, source):
    p = CLIPS["wave"].make(source._stage(3))
    plain, mirrored = p.motion("a", source._solver), p.mirrored().motion("b", source._solver)
    _, other = body.mirror()
    flip = torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(_joints(body, mirrored, 9), _joints(body, plain, 9)[:, other] * flip, atol=3e-3)
    left = _action(body, plain, "eyeBlinkLeft")
    assert torch.equal(left, _action(body, mirrored, "eyeBlinkRight"))


def test_frames_per_second_change_the_frames_and_not_the_motion(default, body, source):
    fine = BuiltinMotions(BuiltinConfig(fps=60), default.context).motion("nod")
    coarse = source.motion("nod")
    assert len(fine) == 2 * len(coarse)
    assert (_joints(body, fine, 2) - _joints(body, coarse)).norm(dim=-1).max() < 0.004


def test_bad_options_are_refused():
    for bad in ({"fps": 1}, {"liveliness": 3}, {"label_yaw": (10, -10)}, {"label_seconds": 0}):
        with pytest.raises(ConfigError, match="must be"):
            make_config(BuiltinConfig, bad)


def test_options_come_from_a_recipe(build):
    motions = build(fps=24, label_yaw=[-5, 5]).get("motions")
    assert motions.config.fps == 24
    assert tuple(motions.config.label_yaw) == (-5, 5)
