import pytest
import torch

from avatarkit_anny import register_body_models


def points(body, name, shape):
    skeleton, table = body.skeleton(shape), body.landmarks(name)
    length = (skeleton.positions[table.bone[:, 0]] - skeleton.positions[table.bone[:, 1]]).norm(dim=1)
    offset = table.offset * (length / table.bone_length)[:, None]
    at = skeleton.positions[table.joint] + (skeleton.orientations[table.joint] @ offset[..., None])[..., 0]
    return dict(zip(table.index.tolist(), at, strict=True))


def test_face_points_lie_on_the_face(body):
    table = body.landmarks("face478")
    assert table.triangles.shape == table.barycentric.shape == (478, 3)
    torch.testing.assert_close(table.barycentric.sum(1), torch.ones(478))
    assert (table.sigma > 0).all()
    corners = table.triangles[:468]
    assert (body.part("head")[corners] > 0.5).all()
    assert (body.part("eyes")[table.triangles[468:]] > 0.5).all()
    v = body.shaped(body.neutral().shape)
    at = (v[table.triangles] * table.barycentric[..., None]).sum(1)
    nose_tip, chin, forehead, right_iris, left_iris = at[1], at[152], at[10], at[468], at[473]
    assert nose_tip[2] > max(chin[2], forehead[2], left_iris[2])
    assert forehead[1] > left_iris[1] > nose_tip[1] > chin[1]
    assert left_iris[0] > 0.02
    torch.testing.assert_close(left_iris * torch.tensor([-1.0, 1, 1]), right_iris, atol=1e-3, rtol=0)


def test_hand_points_follow_the_hands(body):
    shape = body.neutral().shape
    left, right = points(body, "hand21_left", shape), points(body, "hand21_right", shape)
    assert sorted(left) == sorted(right) == list(range(21))
    v = body.shaped(shape)
    for k, point in left.items():
        assert (v - point).norm(dim=1).min() < 0.02, k
        torch.testing.assert_close(point * torch.tensor([-1.0, 1, 1]), right[k], atol=1e-3, rtol=0)
    nails = v[(body.part("nails") > 0.5) & (v[:, 0] > 0)]
    for tip in (4, 8, 12, 16, 20):
        assert (nails - left[tip]).norm(dim=1).min() < 0.012


def test_body_points(body):
    shape = body.neutral().shape
    at = points(body, "pose33", shape)
    assert {0, 7, 8, *range(11, 33)} == set(at)
    for k in range(11, 33, 2):
        assert at[k][0] > 0 > at[k + 1][0]  # odd numbers are the person's left
    heights = [float(at[k][1]) for k in (0, 11, 23, 25, 27)]
    assert heights == sorted(heights, reverse=True)
    table = body.landmarks("pose33")
    assert ((table.sigma > 0.005) & (table.sigma < 0.05)).all()


def test_points_grow_with_the_body(body):
    shape = body.neutral().shape
    grown = points(body, "hand21_left", shape)
    shape[1] = 0.0
    baby = points(body, "hand21_left", shape)
    assert (grown[12] - grown[9]).norm() > 1.4 * (baby[12] - baby[9]).norm()


def test_unknown_sets(body):
    assert body.landmarks("coco133") is None


def test_pose_groups_cover_smplx(body):
    groups = {group.name: group for group in body.pose_groups}
    assert len(groups) == len(body.pose_groups)
    fingers = [f"{side}_{f}{k}" for side in ("left", "right") for f in ("index", "thumb") for k in (1, 2, 3)]
    middle = ["pelvis", "spine1", "spine2", "spine3", "neck", "head", "left_eye_smplhf", "right_collar", "left_wrist"]
    assert set(fingers + middle + ["left_metacarpal4", "right_upper_arm_twist", "left_forearm_twist"]) <= set(groups)
    used = [joint for group in body.pose_groups for joint in group.joints]
    assert len(used) == len(set(used))
    for group in body.pose_groups:
        assert sum(group.share) == pytest.approx(1.0)
        assert len(group.share) == len(group.joints)
        assert group.sigma > 0
    assert [body.joint_names[j] for j in groups["left_elbow"].joints] == ["lowerarm01.L"]


def test_registers_without_importing_the_model():
    registered = {}
    register_body_models(lambda name, **rest: registered.update({name: rest}))
    assert registered["anny"]["license"].commercial is True
    assert registered["anny"]["needs"].modules == ("anny",)
