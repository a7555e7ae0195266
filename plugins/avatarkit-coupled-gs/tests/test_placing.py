"""What stands off the surface: carried to rest and back without loss, bound to its own part, and never in strings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.ndimage import distance_transform_edt

from avatarkit.appearance.painter import PhotoPainter
from avatarkit.appearance.parsing import LABELS, Parsing
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.interfaces import Context
from avatarkit.registry import Registry
from avatarkit.testing import tiny_context, tiny_subject
from avatarkit.types.mesh import Mesh
from avatarkit_coupled_gs.config import CoupledConfig
from avatarkit_coupled_gs.deformation.rigid import blend, dual_quaternions, strongest, undo
from avatarkit_coupled_gs.deformation.skinning import transform
from avatarkit_coupled_gs.model import CoupledAvatar
from avatarkit_coupled_gs.placement.placing import _FLAP, _pieces, before, place_parts, same_surface


def _joints(count: int, angle: float) -> torch.Tensor:
    """(count, 12) rigid transforms with turns up to ``angle`` radians."""
    g = torch.Generator().manual_seed(0)
    turn = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=1) * angle * torch.rand(count, 1, generator=g)
    return torch.cat([axis_angle_to_matrix(turn), torch.randn(count, 3, 1, generator=g)], 2).reshape(-1, 12)


def _binding(points: int, joints: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return strongest((4 * torch.randn(points, joints, generator=g)).softmax(1))


def test_rest_of_a_pose_is_the_start():
    joints, (indices, weights) = dual_quaternions(_joints(9, 3.0)), _binding(500, 9)
    rows, x = blend(joints, indices, weights), torch.randn(500, 3)
    assert (undo(rows, transform(rows, x)) - x).abs().max() < 1e-5
    R = rows.reshape(-1, 3, 4)[..., :3]
    assert torch.allclose(R @ R.transpose(1, 2), torch.eye(3).expand_as(R), atol=1e-5)  # rigid, whatever is blended
    assert torch.allclose(torch.linalg.det(R), torch.ones(500), atol=1e-5)


def test_one_joint_moves_as_it_does():
    A = _joints(5, 3.1)
    indices, weights = strongest(torch.eye(5))
    assert torch.allclose(blend(dual_quaternions(A), indices, weights), A, atol=1e-5)
    assert indices[:, 0].tolist() == [0, 1, 2, 3, 4] and torch.equal(weights[:, 0], torch.ones(5))


def test_a_blend_of_two_turns_is_the_turn_between():
    half = torch.cat([axis_angle_to_matrix(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])), torch.zeros(2, 3, 1)], 2)
    rows = blend(dual_quaternions(half.reshape(-1, 12)), torch.tensor([[0, 1, 0, 0]]), torch.tensor([[0.5, 0.5, 0.0, 0.0]]))
    expected = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 1.0]))
    assert torch.allclose(rows.reshape(3, 4)[:, :3], expected, atol=1e-6)


def _number(*names: str) -> torch.Tensor:
    return torch.tensor([LABELS.index(n) for n in names])


def test_what_lies_before_what():
    fitted = _number("trunk")
    assert before(_number("left_hand", "held", "right_forearm"), fitted).all()
    assert not before(_number("trunk", "hair", "left_upper_arm", "face"), fitted).any()
    assert before(_number("hair"), _number("left_forearm")).all()
    assert (
        same_surface(_number("hair"), _number("face")).all()
        and not same_surface(_number("left_hand"), _number("right_hand")).any()
    )


def test_cloth_beside_the_mesh_hangs_in_large_pieces_alone():
    label = torch.full((60, 60), LABELS.index("trunk"))
    label[:, 30:] = LABELS.index("left_leg")
    beside = torch.zeros(60, 60, dtype=torch.bool)
    beside[2:8, 2:8] = beside[20:50, 20:50] = beside[2:4, 28:32] = True
    kept = _pieces(label, beside, _FLAP, 0.004)  # of 6, 48 and 96 square centimeters, and slivers
    assert kept[20:50, 20:50].all() and int(kept.sum()) == 900
    assert torch.equal(_pieces(label, beside, _FLAP, 0.01), kept | (beside & (torch.arange(60) < 10)))


@pytest.fixture(scope="module")
def context() -> Context:
    return tiny_context(renderer=Registry.load().get("renderer", "cpu").create({}, Context()))


@pytest.fixture(scope="module")
def dressed(context: Context):
    """The tiny person with a hat, and sleeves that hang 4 cm below the forearms."""
    subject = tiny_subject(context, size=192)
    alpha, image = subject.matte.alpha.clone(), subject.matte.foreground.clone()
    sleeve = torch.zeros_like(alpha, dtype=torch.bool)
    rows, columns = (alpha > 0.5).nonzero(as_tuple=True)
    body = context.get("body")
    v = subject.camera.project(body.vertices(subject.params)[0])
    for owner in (4, 6):
        low = v[body._owner == owner]
        x0, x1 = int(low[:, 0].min()) + 2, int(low[:, 0].max()) - 2
        for x in range(x0, x1):
            column = torch.nonzero(alpha[:, x] > 0.5)[:, 0]
            if len(column):
                sleeve[int(column[-1]) + 1 : int(column[-1]) + 4, x] = True
    top, middle = int(rows.min()), int(columns.float().mean())
    hat = torch.zeros_like(sleeve)
    hat[top - 6 : top + 1, middle - 5 : middle + 6] = True
    added = (hat | sleeve) & (alpha < 0.5)
    near = distance_transform_edt((alpha < 0.5).numpy(), return_distances=False, return_indices=True)
    image[added] = image[torch.from_numpy(near[0]), torch.from_numpy(near[1])][added]
    photo = replace(subject.photo, image=torch.where(added[..., None], image, subject.photo.image))
    return replace(subject, photo=photo, matte=replace(subject.matte, alpha=torch.where(added, 1.0, alpha), foreground=image))


def _of(parsing: Parsing, name: str) -> torch.Tensor:
    return parsing.probability.argmax(0) == LABELS.index(name)


def test_a_part_beside_the_mesh_moves_with_its_own_joints(context, dressed):
    body, painter = context.get("body"), PhotoPainter(dressed, context.get("body"), context.get("renderer"))
    places = place_parts(painter.parsing, body, painter.labels, painter.vertices, painter.bareness > 0.5, held=True)
    off = (painter.parsing.fitted < 0) & (places.label >= 0)
    for name, joint in (("hair", "head"), ("left_hand", "left_elbow"), ("right_hand", "right_elbow")):
        mine = off & (places.label == LABELS.index(name))
        assert mine.any(), name
        assert places.weights[mine.reshape(-1), body.joint_names.index(joint)].min() > 0.4, name
    sums = places.weights[(places.label >= 0).reshape(-1)].sum(1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-4)


def test_what_looks_like_cloth_along_a_hand_is_its_shade(context, dressed):
    body, painter = context.get("body"), PhotoPainter(dressed, context.get("body"), context.get("renderer"))
    parsing, trunk = painter.parsing, LABELS.index("trunk")
    away = torch.from_numpy(distance_transform_edt((parsing.fitted != trunk).numpy())) * (parsing.fitted < 0)
    label = torch.where((away > 0) & (away < 6), trunk, parsing.probability.argmax(0))
    label[(away > 3) & (away <= 4)] = LABELS.index("left_hand")
    shown = torch.nn.functional.one_hot(label, len(LABELS)).permute(2, 0, 1).float()
    parsing = replace(parsing, probability=shown)
    placed = place_parts(parsing, body, painter.labels, painter.vertices, painter.bareness > 0.5, held=True).label >= 0
    assert placed[(away > 0) & (away < 2)].float().mean() > 0.3  # the rest lies beside the legs
    assert not placed[(away > 4) & (away < 6)].any()


def test_what_is_grown_stays_with_its_part_in_motion(context, dressed):
    avatar = CoupledAvatar(CoupledConfig(resolution=96), context)
    avatar.create(dressed, [])
    n = len(avatar.triangles) - len(avatar.seed_joints)
    assert len(avatar.seed_joints) > 20
    photo = avatar.pose(dressed.params)
    grown = photo.gaussians.means[n:]
    pixel = dressed.camera.project(grown)
    assert (dressed.matte.alpha[pixel[:, 1].long().clamp(0, 191), pixel[:, 0].long().clamp(0, 191)] > 0).all()
    first = torch.cdist(grown, photo.mesh.vertices).amin(1)
    joints = dressed.params.joints.clone()
    joints[3, 2], joints[4, 0], joints[6, 2] = 1.2, -1.5, -1.0
    moved = avatar.pose(replace(dressed.params, joints=joints))
    later = torch.cdist(moved.gaussians.means[n:], moved.mesh.vertices).amin(1)
    # the tiny mesh has a vertex every 3 cm, and at a bent elbow the nearest one may be the other part's
    assert (later < 1.05 * first + 0.02).float().mean() > 0.97
    # neighbours stay neighbours: at most threefold
    gap = torch.cdist(grown, grown)
    near = (gap > 0) & (gap < 1.5 * gap[gap > 0].min())
    stretched = torch.cdist(moved.gaussians.means[n:], moved.gaussians.means[n:])[near] / gap[near]
    assert stretched.max() < 3


def test_it_survives_storage(context, dressed):
    avatar = CoupledAvatar(CoupledConfig(resolution=96), context)
    avatar.create(dressed, [])
    other = CoupledAvatar(avatar.config, context)
    other.load(avatar.state())
    assert torch.equal(avatar.pose(dressed.params).gaussians.means, other.pose(dressed.params).gaussians.means)


@pytest.fixture(scope="module")
def holding(context: Context):
    """The tiny person with a green ball on the left hand."""
    subject, body = tiny_subject(context, size=192), context.get("body")
    wrist = subject.camera.project(body.vertices(subject.params)[0][body._owner == 4].mean(0)[None])[0]
    drawn = context.get("renderer").meshes.render(Mesh(body.vertices(subject.params)[0], body.faces), subject.camera)
    naked = torch.isin(body._owner, torch.tensor([2, 4, 6]))[body.faces[drawn.face_index.clamp(min=0), 0]]
    person = torch.where(naked[..., None], torch.tensor([0.8, 0.6, 0.5]), torch.tensor([0.2, 0.3, 0.6]))
    y, x = torch.meshgrid(torch.arange(192), torch.arange(192), indexing="ij")
    ball = (x - wrist[0] - 6) ** 2 + (y - wrist[1]) ** 2 < 64
    image = torch.where(ball[..., None], torch.tensor([0.1, 0.7, 0.1]), person)
    alpha = torch.where(ball, 1.0, subject.matte.alpha)
    photo = replace(subject.photo, image=torch.where(alpha[..., None] > 0.5, image, torch.tensor([0.1, 0.5, 0.2])))
    return replace(subject, photo=photo, matte=replace(subject.matte, alpha=alpha, foreground=image))


def test_what_a_hand_holds_moves_as_one_rigid_body(context, holding):
    avatar = CoupledAvatar(CoupledConfig(resolution=96), context)
    avatar.create(holding, [])
    n = len(avatar.triangles) - len(avatar.seed_joints)
    green = avatar.colors(torch.ones(1, 1))[:, 1] > 0.6
    ball = torch.nonzero(green & (torch.arange(len(green)) >= n))[:, 0]
    assert len(ball) > 20
    joints = holding.params.joints.clone()
    joints[3, 2], joints[4, 0] = 1.2, -1.5
    photo, moved = (avatar.pose(replace(holding.params, joints=j)) for j in (holding.params.joints, joints))
    before, after = (torch.cdist(p.gaussians.means[ball], p.gaussians.means[ball]) for p in (photo, moved))
    held = ((before - after).abs() < 1e-4).float().mean(1) > 0.5
    assert held.float().mean() > 0.9  # not what its border shares with the arm
    ball = ball[held]
    hand = context.get("body")._owner == 4
    for posed in (photo, moved):
        assert torch.cdist(posed.gaussians.means[ball], posed.mesh.vertices[hand]).min() < 0.05  # and stays in touch
    dropped = CoupledAvatar(CoupledConfig(resolution=96, held="drop"), context)
    dropped.create(holding, [])
    grown = dropped.colors(torch.ones(1, 1))[len(dropped.triangles) - len(dropped.seed_joints) :]
    assert (grown[:, 1] > 0.6).sum() < 0.2 * len(ball)


def test_a_thing_that_no_hand_touches_moves_with_the_arm_that_it_hides(context, holding):
    body, painter = context.get("body"), PhotoPainter(holding, context.get("body"), context.get("renderer"))
    parsing = painter.parsing
    arm = parsing.fitted == LABELS.index("left_upper_arm")
    y, x = (v.float() for v in torch.meshgrid(*(torch.arange(n) for n in arm.shape), indexing="ij"))
    thing = (x - x[arm].mean()) ** 2 + (y - y[arm].mean()) ** 2 < (0.06 / parsing.meter) ** 2
    label = torch.where(thing, LABELS.index("held"), parsing.fitted.clamp(min=0))
    shown = torch.nn.functional.one_hot(label, len(LABELS)).permute(2, 0, 1).float()
    placed = place_parts(
        replace(parsing, probability=shown), body, painter.labels, painter.vertices, painter.bareness > 0.5, held=True
    )
    assert (placed.label[thing] == LABELS.index("held")).all()
    moved = placed.weights[thing.reshape(-1)]
    assert torch.equal(moved[:, body.joint_names.index("left_shoulder")], torch.ones(len(moved)))
