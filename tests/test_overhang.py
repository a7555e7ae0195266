"""Forearms before the trunk: what a sleeve hides is not the trunk's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.ndimage import binary_dilation
from torch.nn import functional

from avatarkit.appearance.overhang import arm_overhang
from avatarkit.appearance.painter import PhotoPainter
from avatarkit.geometry.mesh_graph import near, remove_small_components, vertices_below
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.testing import ReferenceRenderer, TinyBody, tiny_subject
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Matte

JACKET = torch.tensor([0.20, 0.22, 0.30])
CUFF = torch.tensor([0.90, 0.90, 0.92])
SIZE, METER = 120, 0.004


@pytest.fixture
def crossed():
    """A fitted forearm across a trunk, 12 pixels high, and the picture of a sleeve that ends 8 pixels (3 cm) below it."""
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    arm = (row >= 40) & (row < 52)
    sleeve = (row >= 40) & (row < 60)
    noise = 0.004 * torch.randn(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))
    image = torch.where(sleeve[..., None], JACKET, 0.7 * JACKET) + noise
    image[(row >= 44) & (row < 60) & (column >= 50) & (column < 60)] = CUFF
    image[(row < 40) & (column >= 80) & (column < 88)] = torch.tensor([0.7, 0.2, 0.2])  # a tie that comes down to the arm
    return image, arm


def _chance(image, arm):
    return arm_overhang(image.clamp(0, 1), torch.ones(SIZE, SIZE), arm, ~arm, METER)


def test_a_sleeve_ends_at_an_edge_of_the_picture(crossed):
    image, arm = crossed
    chance = _chance(image, arm)
    inside = slice(10, -10)
    assert (chance[53:58, inside] > 0.5).float().mean() > 0.95  # with its cuff
    assert (chance[53:58, 52:58] > 0.5).all()
    assert (chance[63:, inside] < 0.2).all()
    assert (chance[:36, 81:87] < 0.2).all()
    assert not chance[arm].any()


def test_without_an_edge_it_ends_soon(crossed):
    _, arm = crossed
    chance = _chance(JACKET.expand(SIZE, SIZE, 3), arm)
    assert chance[53].mean() > 0.5
    assert (chance[52 + round(0.06 / METER) :] < 0.35).all()


def test_where_no_arm_is_there_is_no_sleeve(crossed):
    image, arm = crossed
    assert not _chance(image, torch.zeros_like(arm)).any()
    assert not arm_overhang(image, torch.ones(SIZE, SIZE), arm, torch.zeros_like(arm), METER).any()


def test_forearms_end_at_the_elbows():
    body = TinyBody()
    names = {body.joint_names[k] for k in body._owner[vertices_below(body, "left_elbow", "right_elbow")].unique().tolist()}
    assert names == {"left_elbow", "right_elbow"}


def test_near():
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert near(points, torch.tensor([[0.1, 0.0, 0.0]]), 0.2).tolist() == [True, False]
    assert not near(points, torch.zeros(0, 3), 0.2).any()


def _turn(one, other):
    """(3,) axis-angle that turns one direction into another the short way."""
    a, b = (functional.normalize(torch.tensor(v), dim=0) for v in (one, other))
    return functional.normalize(torch.linalg.cross(a, b), dim=0) * (a @ b).acos()


def test_specks_are_small_connected_parts():
    edges = torch.tensor([[0, 1], [1, 2], [3, 4], [2, 3]])
    mask = torch.tensor([True, True, True, False, True, True])
    assert remove_small_components(mask, edges, 2).tolist() == [True, True, True, False, False, False]
    assert not remove_small_components(mask, edges, 4).any()


def test_the_trunk_behind_a_forearm_is_painted_as_beside_it():
    """The photo shows a white sleeve, wider than the arm, before a dark trunk."""
    body, renderer = TinyBody(), ReferenceRenderer()
    subject = tiny_subject(size=240)
    shoulder, elbow = (body.joint_names.index(f"left_{name}") for name in ("shoulder", "elbow"))
    joints = subject.params.joints.clone()
    joints[shoulder] = _turn([0.19, -0.24, 0.0], [0.1, -0.2, 1.0])
    across = axis_angle_to_matrix(joints[shoulder]).T @ torch.tensor([-1.0, 0.0, 0.0])
    joints[elbow] = _turn([0.16, -0.22, 0.0], across.tolist())
    params = replace(subject.params, joints=joints)
    vertices = body.vertices(params)[0]
    drawn = renderer.meshes.render(Mesh(vertices, body.faces), subject.camera)
    owner = body._owner[body.faces[drawn.face_index.clamp(min=0), 0]]
    person = drawn.face_index >= 0
    sleeve = torch.from_numpy(binary_dilation(((owner == elbow) & person).numpy(), iterations=5)) & person
    image = torch.where(sleeve[..., None], CUFF, JACKET)
    worn = replace(subject, params=params, matte=Matte(person.float(), image))
    chest = torch.nonzero((body._owner == 1)[body.faces].all(1))[:, 0]
    paint = PhotoPainter(worn, body, renderer).paint(chest, torch.full((len(chest), 3), 1 / 3))
    assert ((paint.rgb - JACKET).norm(dim=1) < 0.05).all()
    assert paint.seen.any() and not paint.seen.all()
