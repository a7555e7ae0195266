from dataclasses import replace

import pytest
import torch

from avatarkit.interfaces import BodyModel, Context
from avatarkit.types.body import BodyParams
from avatarkit_anny.config import AnnyConfig
from avatarkit_anny.model import AnnyBody


def random_params(body, seed=0, frames=2) -> BodyParams:
    g = torch.Generator().manual_seed(seed)
    shape = body.neutral().shape.clone()
    shape[:11] = 0.1 + 0.8 * torch.rand(11, generator=g)
    shape[1] = 0.6 + 0.3 * shape[1]
    shape[11:] = 0.2 * torch.randn(254, generator=g)
    return BodyParams(
        model="anny",
        shape=shape,
        expression=0.5 * torch.rand(frames, 52, generator=g),
        root=torch.randn(frames, 3, generator=g),
        translation=torch.randn(frames, 3, generator=g),
        joints=0.3 * torch.randn(frames, len(body.joint_names), 3, generator=g),
    )


def swapped(names: tuple[str, ...]) -> list[int]:
    """Number of the name on the other side of the body."""

    def other(name: str) -> str:
        for one, two in (("l-", "r-"), ("r-", "l-")):
            if name.startswith(one):
                return two + name[2:]
        for one, two in (("Left", "Right"), ("Right", "Left")):
            if name.endswith(one):
                return name.removesuffix(one) + two
        return name

    return [names.index(other(name)) for name in names]


def test_is_a_body_model(body):
    assert isinstance(body, BodyModel)
    assert body.name == "anny"
    assert len(body.joint_names) == len(body.parents) == 104
    assert len(body.shape_names) == 265
    assert len(body.expression_names) == 52
    assert body.parents[0] == -1
    assert all(parent < joint for joint, parent in enumerate(body.parents))


def test_mesh_is_whole(body):
    V = len(body.skinning_weights)
    assert torch.unique(body.faces).tolist() == list(range(V))
    assert torch.unique(body.uv_faces).tolist() == list(range(len(body.uv)))
    assert body.faces.shape == body.uv_faces.shape
    assert body.uv.min() > 0
    assert body.uv.max() < 1
    edges = torch.cat([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    assert len(torch.unique(edges, dim=0)) == len(edges)  # every directed edge once: consistently oriented


def test_faces_look_outwards_and_the_body_stands_upright_facing_z(body):
    v = body.vertices(body.neutral())[0]
    a, b, c = v[body.faces].unbind(1)
    assert (a * torch.linalg.cross(b, c)).sum() / 6 == pytest.approx(0.07, abs=0.01)  # cubic meters
    extent = v.max(0).values - v.min(0).values
    assert extent.argmax() == 1
    head, eyes = (v[body.part(name) > 0.5].mean(0) for name in ("head", "eyes"))
    assert head[1] > v[:, 1].mean() + 0.5
    assert eyes[2] > head[2]
    assert v[body.part("left_hand") > 0.5, 0].min() > 0.3


def test_teeth_have_a_place_of_their_own_in_the_atlas(body):
    teeth = (body.part("teeth") > 0.5)[body.faces].all(1)
    corners = body.uv[body.uv_faces]
    low, high = corners[teeth].amin((0, 1)), corners[teeth].amax((0, 1))
    others = corners[~teeth]
    outside = ((others < low).all(1) | (others > high).all(1)).any(-1)
    assert teeth.sum() == 2 * 96
    assert outside.all()


def test_skinning_weights(body):
    torch.testing.assert_close(body.skinning_weights.sum(1), torch.ones(len(body.skinning_weights)))
    assert body.skinning_weights.shape == body.skinning_indices.shape == (13854, 8)
    assert body.skinning_weights.min() >= 0
    teeth = body.part("teeth") > 0.5
    assert (body.skinning_indices[teeth, 0] == body.joint_names.index("head")).all()
    assert (body.skinning_weights[teeth, 0] == 1).all()


def test_zero_pose_is_rest(body):
    p = random_params(body)
    skeleton = body.skeleton(p.shape)
    still = replace(p, root=0 * p.root, joints=0 * p.joints, translation=skeleton.positions[:1].expand(2, 3))
    torch.testing.assert_close(body.vertices(still), body.rest(p.shape, p.expression), atol=1e-6, rtol=0)


def test_offsets_are_added_at_rest(body):
    p = random_params(body)
    offsets = torch.randn(len(body.skinning_weights), 3, generator=torch.Generator().manual_seed(1))
    still = replace(p, root=0 * p.root, joints=0 * p.joints)
    moved = body.vertices(still, offsets) - body.vertices(still)
    torch.testing.assert_close(moved, offsets.expand_as(moved), atol=1e-5, rtol=0)


def test_subset_equals_full(body):
    p = random_params(body)
    subset = torch.tensor([13853, 5, 5, 900, 0, 13700])
    full = body.rest(p.shape, p.expression)
    torch.testing.assert_close(body.rest(p.shape, p.expression, subset), full[:, subset], atol=1e-6, rtol=0)
    subset[0] = 17  # the same tensor with another content
    torch.testing.assert_close(body.rest(p.shape, p.expression, subset), full[:, subset], atol=1e-6, rtol=0)
    torch.testing.assert_close(body.shaped(p.shape, subset), body.shaped(p.shape)[subset], atol=1e-6, rtol=0)


def test_shape_changed_in_place_is_noticed(body):
    p = random_params(body)
    before = body.rest(p.shape, p.expression)
    p.shape[3] += 0.2
    after = body.rest(p.shape, p.expression)
    assert (after - before).norm(dim=-1).max() > 1e-3
    p.shape[3] -= 0.2
    torch.testing.assert_close(body.rest(p.shape, p.expression), before, atol=1e-6, rtol=0)


def test_gradient_of_subset_equals_that_of_full(body):
    p = random_params(body)
    subset = torch.arange(0, 13854, 13)
    target = torch.randn(2, len(subset), 3, generator=torch.Generator().manual_seed(0))
    gradients = []
    for part in (subset, None):
        shape, expression = p.shape.clone().requires_grad_(), p.expression.clone().requires_grad_()
        v = body.rest(shape, expression, part)
        ((v if part is not None else v[:, subset]) * target).sum().backward()
        gradients.append((shape.grad, expression.grad))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-3, rtol=1e-4)


def test_shape_at_its_default_can_leave_to_either_side(body):
    shape = body.neutral().shape.requires_grad_()
    points = body.rest(shape, torch.zeros(1, 52))
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    (points * noise).sum().backward()
    assert shape.grad.isfinite().all()
    assert (shape.grad != 0).all()


def test_inference_mode_leaves_nothing_behind_that_training_trips_over(body):
    p = random_params(body, seed=3)
    subset = torch.arange(7, 5000, 3)
    with torch.inference_mode():
        body.rest(p.shape, p.expression, subset)
        body.landmarks("pose33")
    expression = p.expression.clone().requires_grad_()
    body.rest(p.shape, expression, subset).sum().backward()
    assert expression.grad.abs().sum() > 0


def test_wrong_sizes_are_refused(body):
    p = body.neutral()
    with pytest.raises(ValueError, match="265"):
        body.rest(p.shape[:11], p.expression[None])
    with pytest.raises(ValueError, match="52"):
        body.rest(p.shape, p.expression)


def test_mirror_maps_are_involutions_that_agree(body):
    vertices, joints = body.mirror()
    assert (vertices[vertices] == torch.arange(len(vertices))).all()
    assert (joints[joints] == torch.arange(len(joints))).all()
    assert body.joint_names[joints[body.joint_names.index("wrist.L")]] == "wrist.R"
    mirrored_faces = vertices[body.faces].sort(1).values
    key = torch.tensor([13854**2, 13854, 1])
    assert torch.equal(
        (mirrored_faces * key).sum(1).sort().values, (body.faces.sort(1).values * key).sum(1).sort().values
    )
    for name, other in (("left_hand", "right_hand"), ("left_foot", "right_foot"), ("head", "head"), ("teeth", "teeth")):
        assert torch.equal(body.part(name)[vertices], body.part(other))


def test_mirrored_parameters_give_the_mirrored_body(body):
    p = random_params(body)
    vertices, joints = body.mirror()
    flip, flip_axis = torch.tensor([-1.0, 1.0, 1.0]), torch.tensor([1.0, -1.0, -1.0])
    # Local changes without a side may shift sideways themselves; their mirror image has no parameters.
    sided = torch.tensor([name[:2] in ("l-", "r-") for name in body.shape_names])
    sided[:11] = True
    p = replace(p, shape=torch.where(sided, p.shape, torch.zeros(())))
    other = replace(
        p,
        shape=p.shape[swapped(body.shape_names)],
        expression=p.expression[:, swapped(body.expression_names)],
        root=p.root * flip_axis,
        translation=p.translation * flip,
        joints=p.joints[:, joints] * flip_axis,
    )
    error = body.vertices(other)[:, vertices] * flip - body.vertices(p)
    assert error.norm(dim=-1).max() < 1.5e-3
    assert error.norm(dim=-1).mean() < 5e-4  # the data themselves are not symmetric to the last digit


def test_expression_moves_faces_and_lower_teeth_only_there(body):
    p = body.neutral()
    expression = torch.zeros(1, 52)
    expression[0, body.expression_names.index("jawOpen")] = 1.0
    moved = (body.rest(p.shape, expression) - body.rest(p.shape, 0 * expression))[0].norm(dim=-1)
    teeth = body.part("teeth") > 0.5
    assert (moved[teeth] > 0.01).sum() == (moved[teeth] == 0).sum() == 68  # the lower ones, not the upper ones
    assert moved[body.part("left_hand") > 0].max() == 0
    assert moved.max() == pytest.approx(0.04, abs=0.01)


@pytest.mark.parametrize(
    "part", ["head", "face", "lips", "eyelids", "ears", "nails", "mouth_inside", "teeth", "tongue", "eyes", "skin"]
)
def test_parts_of_the_head_are_there(body, part):
    mask = body.part(part)
    assert mask.shape == (13854,)
    assert mask.min() >= 0
    assert mask.max() == 1
    if part not in ("nails", "skin"):
        assert (mask[body.part("head") == 0] == 0).float().mean() > 0.999


def test_unknown_part(body):
    with pytest.raises(KeyError):
        body.part("tail")


def test_neutral_is_a_grown_up_at_the_origin(body):
    p = body.neutral()
    v = body.vertices(p)
    assert v.shape == (1, 13854, 3)
    assert v[0, :, 1].max() - v[0, :, 1].min() == pytest.approx(1.75, abs=0.2)
    assert p.batch_shape == ()


def test_age_shrinks(body):
    shape = body.neutral().shape
    heights = []
    for age in (0.0, 1 / 3, 2 / 3):
        shape[1] = age
        y = body.shaped(shape)[:, 1]
        heights.append(float(y.max() - y.min()))
    assert heights == sorted(heights)
    assert heights[0] < 1.0


def test_same_numbers_every_time(built):
    again = AnnyBody(AnnyConfig(), Context(cache=built.cache))
    p = random_params(again)
    assert torch.equal(again.vertices(p), built.body.vertices(p))
