import math

import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarkit_anny import phenotype
from avatarkit_anny.kinematics import Tree, nearest_rotations

PARENTS = (-1, 0, 1, 2, 3, 1, 5, 0, 7, 4)


def one_by_one(parents, heads, root, translation, joints):
    """Down the tree, a joint at a time."""
    worlds = []
    for j, parent in enumerate(parents):
        rotation = roma.rotvec_to_rotmat(root if parent < 0 else joints[j])
        own = torch.eye(4, dtype=heads.dtype)
        own[:3, :3] = rotation
        own[:3, 3] = (translation if parent < 0 else heads[j]) - rotation @ heads[j]
        worlds.append(own if parent < 0 else worlds[parent] @ own)
    return torch.stack(worlds)


def inputs(seed=0, batch=3):
    g = torch.Generator().manual_seed(seed)
    draw = [torch.randn(*size, generator=g, dtype=torch.float64) for size in ((10, 3), (batch, 3), (batch, 3))]
    return (*draw, torch.randn(batch, 10, 3, generator=g, dtype=torch.float64))


def test_equals_one_joint_at_a_time():
    heads, root, translation, joints = inputs()
    got = Tree(PARENTS).transforms(heads, root, translation, joints)
    for b in range(3):
        expected = one_by_one(PARENTS, heads, root[b], translation[b], joints[b])
        torch.testing.assert_close(got[b], expected)


def test_a_chain_of_any_depth():
    for depth in range(1, 11):
        parents = tuple(range(-1, depth - 1))
        heads, root, translation, joints = (x[..., :depth, :] if x.shape[-2] == 10 else x for x in inputs())
        got = Tree(parents).transforms(heads, root, translation, joints)
        torch.testing.assert_close(got[0], one_by_one(parents, heads, root[0], translation[0], joints[0]))


def test_gradients():
    heads, root, translation, joints = (x.requires_grad_() for x in inputs(batch=2))
    assert torch.autograd.gradcheck(Tree(PARENTS).transforms, (heads, root, translation, joints))


def test_gradients_at_the_rest_pose():
    heads, root, translation, joints = inputs(batch=1)
    arguments = (heads, 0 * root, translation, 0 * joints)
    assert torch.autograd.gradcheck(Tree(PARENTS).transforms, tuple(x.requires_grad_() for x in arguments))


def test_the_root_row_is_ignored():
    heads, root, translation, joints = inputs()
    other = joints.clone()
    other[:, 0] += 1.0
    tree = Tree(PARENTS)
    assert torch.equal(
        tree.transforms(heads, root, translation, joints), tree.transforms(heads, root, translation, other)
    )


def test_body_joints_are_differentiable_and_orientations_constant(body):
    shape = body.neutral().shape.requires_grad_()
    skeleton = body.skeleton(shape)
    assert not skeleton.orientations.requires_grad
    skeleton.positions.square().sum().backward()
    assert shape.grad.abs().sum() > 0
    identity = skeleton.orientations @ skeleton.orientations.mT
    torch.testing.assert_close(identity, torch.eye(3).expand(104, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(skeleton.orientations), torch.ones(104))


def test_nearest_rotations():
    g = torch.Generator().manual_seed(0)
    rotation = roma.rotvec_to_rotmat(torch.randn(5, 3, generator=g))
    stretch = torch.diag(torch.tensor([3.0, 2.0, 0.5]))
    torch.testing.assert_close(nearest_rotations(rotation @ stretch), rotation, atol=1e-5, rtol=0)


def test_phenotype_gradients():
    # Away from anchors, where the derivative jumps.
    values = torch.linspace(0.11, 0.43, 11, dtype=torch.float64).requires_grad_()
    table = phenotype.factor_table(
        ["universal:male-child-minmuscle-maxweight", "race:asian-male-baby", "breast:female-young-maxmuscle-minweight"]
    )
    assert torch.autograd.gradcheck(lambda v: phenotype.coefficients(v, table), values)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-0.5, 1.5), min_size=11, max_size=11))
def test_phenotype_weights_are_shares(values):
    table = phenotype.factor_table(
        [
            f"universal:{g}-{a}-{m}-{w}"
            for g in phenotype.ANCHORS["gender"]
            for a in phenotype.ANCHORS["age"]
            for m in phenotype.ANCHORS["muscle"]
            for w in phenotype.ANCHORS["weight"]
        ]
    )
    shares = phenotype.coefficients(torch.tensor(values, dtype=torch.float64), table)
    assert math.isclose(float(shares.sum()), 1.0, abs_tol=1e-9)
    assert shares.min() >= 0
