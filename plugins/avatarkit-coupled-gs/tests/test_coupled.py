"""The coupled avatar: what the paper's equations say must hold."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import avatarkit
import avatarkit_coupled_gs
import avatarkit_cpu
from avatarkit.errors import PluginError, StoreError
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.interfaces import Context, TrainStep
from avatarkit.registry import Registry
from avatarkit.testing import TinyBody, memory_registry, tiny_build, tiny_context, tiny_motion, tiny_subject
from avatarkit.types.gaussians import quaternion_to_matrix
from avatarkit.types.mesh import Mesh, barycentric
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit_coupled_gs.config import CoupledConfig, LaplacianConfig
from avatarkit_coupled_gs.deformation.skinning import ROW, skin_bound, transform
from avatarkit_coupled_gs.linear import LinearMap
from avatarkit_coupled_gs.losses.photometric import LabelColors
from avatarkit_coupled_gs.losses.regularizers import Laplacian, MeshGaussianConsistency, MeshMask, NormalConsistency
from avatarkit_coupled_gs.model import CoupledAvatar
from avatarkit_coupled_gs.placement.binding import bind_to_surface, part_factors, photo_factors
from avatarkit_coupled_gs.topology import neighbors


@pytest.fixture(scope="module")
def context() -> Context:
    renderer = Registry.load().get("renderer", "cpu").create({}, Context())
    return tiny_context(renderer=renderer)


@pytest.fixture(scope="module")
def subject(context):
    return tiny_subject(context, size=96)


@pytest.fixture
def avatar(context, subject) -> CoupledAvatar:
    made = CoupledAvatar(CoupledConfig(resolution=96, grow=False), context)
    made.create(subject, [])
    return made


def _step(avatar, subject, context) -> TrainStep:
    posed = avatar.pose(subject.params)
    drawn = context.get("renderer").gaussians.render(posed.gaussians, subject.camera, torch.zeros(3))
    alpha = subject.matte.alpha
    return TrainStep(
        step=0, kind="photo", target=subject.matte.foreground * alpha[..., None], alpha=alpha,
        confidence=torch.ones_like(alpha), camera=subject.camera, background=torch.zeros(3), rendering=drawn, posed=posed,
        avatar=avatar, mesh_mask=lambda: context.get("renderer").meshes.render(posed.mesh, subject.camera).mask,
        generator=torch.Generator().manual_seed(0), foreground=subject.matte.foreground,
    )  # fmt: skip


def test_a_build_learns_colors_that_depend_on_the_view(tmp_path):
    """From the photo to a loaded avatar, with a renderer that draws them."""
    tables = {"avatar": {"use": "coupled-gs", "resolution": 64, "grow": False, "sh_degree": 1}, "renderer": {"use": "cpu"}}
    path = tiny_build(tmp_path, avatarkit_coupled_gs, avatarkit_cpu, **tables)
    avatar = avatarkit.load(path, registry=memory_registry(avatarkit_coupled_gs, avatarkit_cpu))
    with torch.no_grad():
        sh = avatar.model.pose(avatar.photo_params).gaussians.sh
    assert sh.shape[1:] == (3, 3)
    assert sh.abs().max() > 1e-4
    state, sides = avatar.model.state(), {}
    for learned in (True, False):
        avatar.model.load(state | {"sh": state["sh"] * learned})
        sides[learned] = avatar.render(yaw=40)
    assert not (sides[True] == sides[False]).all()


def test_eq3_binding_lies_on_the_surface_once_per_texel():
    body = TinyBody()
    binding = bind_to_surface(body, 64, part_factors(body, {"head": 2}))
    assert torch.allclose(binding.barycentric.sum(1), torch.ones(len(binding)), atol=1e-5)
    assert (binding.barycentric >= -1e-5).all()
    assert len(torch.unique(binding.texel, dim=0)) == len(binding)
    head = body.part("head")[binding.triangles].mean(1) > 0.5
    plain = bind_to_surface(body, 64, part_factors(body, {}))
    plain_head = body.part("head")[plain.triangles].mean(1) > 0.5
    assert 3.3 < head.sum() / plain_head.sum() < 4.7


def test_hidden_surface_is_as_fine_as_the_photo(context, subject):
    body, camera = context.get("body"), subject.camera
    fine = part_factors(body, {"head": 2})
    factors = photo_factors(subject, body, 32, fine, 4)
    vertices = body.vertices(subject.params, subject.vertex_offsets)[0]
    drawn = context.get("renderer").meshes.render(Mesh(vertices, body.faces), camera)
    seen = torch.zeros(len(fine), dtype=torch.bool)
    seen[drawn.face_index[drawn.face_index >= 0].unique()] = True
    assert 0.2 < seen.float().mean() < 0.8
    assert abs(float(factors[seen].float().mean() - factors[~seen].float().mean())) < 0.2 * factors.float().mean()
    assert (factors <= 4 * fine).all() and factors.max() > 2
    quarter = replace(subject, camera=camera.cropped(0, 0, camera.width // 2, camera.height // 2))
    outside = (camera.project(vertices)[body.faces].mean(1) > 0.6 * max(camera.width, camera.height)).any(1)
    assert outside.any() and (photo_factors(quarter, body, 32, fine, 4)[outside] <= fine[outside]).all()
    wide = replace(subject, camera=camera.cropped(0, 0, camera.width, camera.height // 2))  # cut at the waist
    below = camera.project(vertices)[body.faces].mean(1)[:, 1] > 0.56 * camera.height
    assert (photo_factors(wide, body, 32, fine, 4)[below] <= fine[below]).all() and (factors[below] > fine[below]).any()
    half = replace(subject, camera=camera.resized(camera.width // 2, camera.height // 2))
    assert photo_factors(half, body, 32, fine, 4).float().mean() < factors.float().mean()


def test_eq4_and_5_gaussians_and_mesh_move_with_the_body(context, subject):
    avatar = CoupledAvatar(CoupledConfig(resolution=64, grow=False, inset=0.0, max_offset=1.0), context)
    avatar.create(subject, [])
    body, motion = avatar.body, tiny_motion()
    params = replace(motion.params[2], shape=avatar.shape)
    posed = avatar.pose(params)
    expected = body.vertices(params)[0]
    assert torch.allclose(posed.mesh.vertices, expected, atol=1e-5)
    on_surface = barycentric(expected, avatar.triangles, avatar.weights)
    # rest positions are blended before the transform, the transform is blended too: equal where a triangle is rigid
    assert (posed.gaussians.means - on_surface).norm(dim=1).quantile(0.8) < 1e-5
    with torch.no_grad():
        avatar.dX += torch.tensor([0.0, 0.1, 0.0])
    moved = avatar.pose(params).gaussians.means - posed.gaussians.means
    assert torch.allclose(moved.norm(dim=1).median(), torch.tensor(0.1), atol=1e-4)


def test_gaussians_are_opaque_isotropic_and_bounded(avatar, subject):
    with torch.no_grad():
        avatar.log_scale[0], avatar.log_scale[1] = 5.0, -50.0
    g = avatar.pose(subject.params).gaussians
    on_surface = torch.arange(len(g)) < len(g) - len(avatar.seed_joints)
    assert torch.allclose(g.opacities[on_surface], torch.tensor(0.99)) and g.scales.shape == (len(g),)
    assert g.scales.max() <= avatar.config.max_scale * 1.001 and g.scales.min() >= avatar.config.min_scale * 0.999


def test_what_is_drawn_ends_where_the_surface_does(context, subject):
    """Gaussians on the surface would make a body fatter by their width."""
    beyond = []
    for inset in (0.0, CoupledConfig.inset):
        avatar = CoupledAvatar(CoupledConfig(resolution=96, grow=False, inset=inset), context)
        avatar.create(subject, [])
        step = _step(avatar, subject, context)
        mesh = context.get("renderer").meshes.render(avatar.pose(subject.params).mesh, subject.camera).face_index >= 0
        below_head = torch.arange(len(mesh))[:, None] > 0.6 * len(mesh)
        beyond.append(int(((step.rendering.alpha > 0.5) & ~mesh & below_head).sum()))
        assert (step.rendering.alpha[mesh & below_head] > 0.5).float().mean() > 0.97
    assert beyond[1] < 0.5 * beyond[0]


def test_it_looks_like_the_photo_before_training(avatar, subject, context):
    drawn = _step(avatar, subject, context).rendering
    inside = subject.matte.alpha > 0.5
    assert ((drawn.rgb - subject.matte.foreground)[inside] ** 2).mean() < 0.01
    assert (drawn.alpha[inside] > 0.5).float().mean() > 0.97


def test_ellipsoids_and_harmonics_turn_with_the_body(context, subject):
    """The same picture when person and camera turn together; without turning one of the two it is another."""
    avatar = CoupledAvatar(CoupledConfig(resolution=64, anisotropic=True, sh_degree=3, grow_layers=1), context)
    avatar.create(subject, [])
    with torch.no_grad():
        avatar.sh += 0.3 * torch.randn(avatar.sh.shape, generator=torch.Generator().manual_seed(0))
    R = axis_angle_to_matrix(torch.tensor([0.4, 1.1, -0.3]))
    camera, turned = subject.camera, torch.eye(4)
    turned[:3, :3], turned[:3, 3] = R, subject.params.translation - R @ subject.params.translation
    moved = replace(camera, T_camera_world=camera.T_camera_world @ torch.linalg.inv(turned))
    params = replace(subject.params, root=matrix_to_axis_angle(R @ axis_angle_to_matrix(subject.params.root)))
    draw = context.get("renderer").gaussians.render
    with torch.no_grad():
        before, after = avatar.pose(subject.params).gaussians, avatar.pose(params).gaussians
        still, same = (draw(g, c, torch.zeros(3)).rgb for g, c in ((before, camera), (after, moved)))
        assert (still - same).abs().mean() < 1e-3  # rounding changes the order of a few at one depth
        for stays in ("rotations", "sh"):
            other = draw(replace(after, **{stays: getattr(before, stays)}), moved, torch.zeros(3)).rgb
            assert (still - other).abs().mean() > 0.01, stays


def test_ellipsoids_lie_flat_and_learn(context, subject):
    avatar = CoupledAvatar(CoupledConfig(resolution=64, anisotropic=True, sh_degree=1, grow=False), context)
    avatar.create(subject, [])
    step = _step(avatar, subject, context)
    inside = subject.matte.alpha > 0.5
    assert ((step.rendering.rgb - subject.matte.foreground)[inside] ** 2).mean() < 0.01
    thin = quaternion_to_matrix(avatar.rotation.detach())[..., 2]
    a, b, c = (avatar.template[avatar.triangles[:, k]] for k in range(3))
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    assert ((thin * normal).sum(-1).abs() > 0.99).float().mean() > 0.95
    groups = {g.name: g.tensors[0] for g in avatar.parameter_groups()}
    (step.rendering.rgb - step.target).square().sum().backward()
    assert all(groups[name].grad.any() and groups[name].grad.isfinite().all() for name in ("aspect", "rotation", "sh"))
    again = CoupledAvatar(avatar.config, context)
    again.load(avatar.state())
    ours, theirs = (m.pose(subject.params).gaussians for m in (avatar, again))
    assert all(torch.equal(getattr(ours, k), getattr(theirs, k)) for k in ("scales", "rotations", "sh"))
    with pytest.raises(StoreError, match="rotation missing"):
        again.load({k: v for k, v in avatar.state().items() if k != "rotation"})


def test_eq8_ties_both_fields_and_is_zero_at_the_start(avatar, subject, context):
    loss = MeshGaussianConsistency(None, context)
    assert loss(_step(avatar, subject, context)).item() < 1e-7
    with torch.no_grad():
        avatar.dX += 0.01
    value = loss(_step(avatar, subject, context))
    assert value.item() == pytest.approx(0.03, rel=1e-3)
    gX, gT = torch.autograd.grad(value, [avatar.dX, avatar.dT])
    assert gX.abs().sum() > 0 and torch.allclose(gX.sum(0), -gT.sum(0), atol=1e-5)


def test_no_gaussian_leaves_the_mesh(avatar, subject):
    before = avatar.pose(subject.params).gaussians.means.detach()
    with torch.no_grad():
        avatar.dX[0] += 0.5
        avatar.dX[1] += 1e-3
    after = avatar.pose(subject.params).gaussians.means
    most = CoupledConfig.max_offset * math.sqrt(3)
    assert (after[0] - before[0]).norm().item() == pytest.approx(most, rel=0.2)  # the mesh may be stretched there
    assert torch.autograd.grad(after[:2].sum(), avatar.dX)[0].abs().amax(1)[:2].gt(0).tolist() == [False, True]
    stored = avatar.state()["dX"]
    assert (stored[0] - stored[1]).abs().max() < 0.01


def test_normal_consistency_costs_nothing_at_rest_and_punishes_noise(avatar, subject, context):
    loss = NormalConsistency(None, context)
    assert loss(_step(avatar, subject, context)).item() < 1e-6
    with torch.no_grad():
        avatar.dT += 0.01 * torch.randn(avatar.dT.shape, generator=torch.Generator().manual_seed(0))
    assert loss(_step(avatar, subject, context)).item() > 0.01


def test_laplacian_is_zero_for_what_is_smooth(avatar, subject, context):
    loss = Laplacian(LaplacianConfig(), context)
    with torch.no_grad():
        avatar.dX += 0.02
    assert loss(_step(avatar, subject, context)).item() < 1e-6
    with torch.no_grad():
        avatar.dX[::7] += 0.01
    assert loss(_step(avatar, subject, context)).item() > 1e-3


def test_hands_keep_the_colors_that_shade_makes_of_skin(subject, context):
    avatar = CoupledAvatar(CoupledConfig(resolution=64), context)
    avatar.create(subject, [])
    low, _ = avatar._bounds
    hand = low.isfinite().all(1)
    assert hand.any() and not hand.all()
    painted = avatar.colors(torch.ones(1, 1)).detach().clone()
    with torch.no_grad():
        avatar.sh0.fill_(-10.0)  # black, as a sleeve beside the hand
    assert torch.allclose(avatar.colors(torch.ones(1, 1))[hand], 0.45 * painted[hand], atol=1e-5)
    assert (avatar.colors(torch.ones(1, 1))[~hand] < 0).all()
    stored, now = avatar.state(), avatar.colors(torch.ones(1, 1)).detach()
    played = CoupledAvatar(CoupledConfig(resolution=64), context)
    played.load(stored)
    assert torch.equal(played.colors(torch.ones(1, 1)).detach(), now)


def test_hands_are_held_smoother_than_the_rest(avatar, subject, context):
    """Single Gaussians that leave a hand cost more than as many that leave the trunk."""

    def cost(where: torch.Tensor) -> float:
        with torch.no_grad():
            avatar.dX.zero_()
            avatar.dX[where[::7]] += 0.01
        return Laplacian(LaplacianConfig(delicate=30.0), context)(_step(avatar, subject, context)).item() / len(where[::7])

    assert cost(torch.nonzero(avatar.delicate > 0.9)[:, 0]) > 10 * cost(torch.nonzero(avatar.delicate == 0)[:, 0])


def test_mesh_mask_pulls_the_mesh_to_the_matte(avatar, subject, context):
    loss = MeshMask(None, context)
    fits = loss(_step(avatar, subject, context))
    with torch.no_grad():
        avatar.dT += 0.03 * torch.nn.functional.normalize(avatar.template * torch.tensor([1.0, 0.0, 1.0]), dim=1)
    too_wide = loss(_step(avatar, subject, context))
    assert too_wide > fits
    (gradient,) = torch.autograd.grad(too_wide, avatar.dT)
    with torch.no_grad():
        avatar.dT -= 0.01 * gradient / gradient.abs().max()
    assert loss(_step(avatar, subject, context)) < too_wide


def test_growth_covers_what_the_mesh_leaves_bare(context, subject):
    alpha = subject.matte.alpha.clone()
    rows, columns = (alpha > 0.5).nonzero(as_tuple=True)
    top, middle = int(rows.min()), int(columns.float().mean())
    alpha[top - 4 : top + 1, middle - 3 : middle + 4] = 1  # a hat
    hat = replace(subject, matte=replace(subject.matte, alpha=alpha))
    avatar = CoupledAvatar(CoupledConfig(resolution=96), context)
    avatar.create(hat, [])
    drawn = _step(avatar, hat, context).rendering
    assert drawn.alpha[top - 3, middle] > 0.5
    grown = torch.arange(len(avatar.triangles)) >= len(avatar.triangles) - len(avatar.seed_joints)
    assert 0 < int(grown.sum()) <= avatar.config.grow_limit
    depth = avatar.pose(hat.params).gaussians.means[grown][:, 2]
    assert depth.max() - depth.min() > 0.005  # holds from the side


def test_what_grows_is_as_thin_as_the_matte_and_learns_to_be(context, subject):
    alpha = subject.matte.alpha.clone()
    rows, columns = (alpha > 0.5).nonzero(as_tuple=True)
    top, middle = int(rows.min()), int(columns.float().mean())
    alpha[top - 6 : top, middle - 6 : middle + 7] = 0.4  # hair that stands on end
    wild = replace(subject, matte=replace(subject.matte, alpha=alpha))
    avatar = CoupledAvatar(CoupledConfig(resolution=96), context)
    avatar.create(wild, [])
    drawn = _step(avatar, wild, context).rendering
    assert drawn.alpha[top - 4, middle].item() == pytest.approx(0.4, abs=0.15)
    (gradient,) = torch.autograd.grad(drawn.alpha.sum(), avatar.opacity)
    grown = torch.arange(len(avatar.triangles)) >= len(avatar.triangles) - len(avatar.seed_joints)
    assert (gradient[~grown] == 0).all() and (gradient[grown] != 0).any()


def test_state_round_trip_is_exact_and_damage_is_named(avatar, context, subject):
    state = avatar.state()
    other = CoupledAvatar(avatar.config, context)
    other.load(state)
    a, b = avatar.pose(subject.params).gaussians, other.pose(subject.params).gaussians
    assert torch.equal(a.means, b.means) and torch.equal(a.colors, b.colors)
    older = CoupledAvatar(avatar.config, context)
    older.load({k: v for k, v in state.items() if k not in ("seed_joints", "seed_weights")})
    assert torch.equal(older.pose(subject.params).gaussians.means, a.means)
    with pytest.raises(StoreError, match="dT"):
        other.load({k: v for k, v in state.items() if k != "dT"})
    with pytest.raises(StoreError, match="another version"):
        other.load({**state, "dT": state["dT"][:-1]})
    with pytest.raises(StoreError, match="damaged"):
        other.load({**state, "triangles": state["triangles"] + 10**6})
    with pytest.raises(StoreError, match="joints"):
        other.load({**state, "seed_joints": torch.full((1, 4), 99), "seed_weights": torch.ones(1, 4)})
    with pytest.raises(StoreError, match="played"):
        _ = other.topology
    with pytest.raises(StoreError, match="use pose"):
        other.pose_for_photo(subject.params)


def test_mesh_terms_refuse_another_avatar(avatar, subject, context):
    step = replace(_step(avatar, subject, context), avatar=object())
    with pytest.raises(PluginError, match="coupled-gs"):
        NormalConsistency(None, context)(step)


def test_linear_map_is_the_gather_and_its_gradient_the_scatter():
    g = torch.Generator().manual_seed(0)
    triangles = torch.randint(0, 9, (20, 3), generator=g)
    weights = torch.rand(20, 3, generator=g)
    x = torch.randn(9, 4, generator=g, requires_grad=True)
    ours = LinearMap.of_triangles(triangles, weights, 9)(x)
    expected = barycentric(x, triangles, weights)
    assert torch.allclose(ours, expected, atol=1e-6)
    up = torch.randn(20, 4, generator=g)
    assert torch.allclose(*(torch.autograd.grad(y, x, up)[0] for y in (ours, expected)), atol=1e-5)


def test_derivative_of_linear_maps_equals_finite_differences():
    g = torch.Generator().manual_seed(0)
    place = torch.randint(0, 6, (2, 15), generator=g)
    linear = LinearMap(place[0], place[1], torch.randn(15, generator=g), (6, 6))
    x = torch.randn(6, 3, generator=g, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(linear, x)


def _bound(dtype: torch.dtype) -> list[torch.Tensor]:
    """Vertices, triangles, weights, offset and dX of 40 points on 9 vertices, some points on one vertex or on an edge."""
    g = torch.Generator().manual_seed(0)
    weights = torch.rand(40, 3, generator=g).softmax(-1)
    weights[:3], weights[3:6, 2] = torch.eye(3), 0
    floats = [torch.randn(9, ROW, generator=g), weights, torch.randn(40, 3, generator=g), torch.randn(40, 3, generator=g)]
    vertices, weights, offset, dX = (t.to(dtype) for t in floats)
    return [vertices, torch.randint(0, 9, (40, 3), generator=g), weights, offset, dX.requires_grad_()]


def test_skinning_is_eq4_written_out_and_its_derivative_is_right():
    vertices, triangles, weights, offset, dX = _bound(torch.float64)
    means, stretch = skin_bound(vertices, triangles, weights, offset, dX)
    rows = barycentric(vertices, triangles, weights)
    expected = transform(rows[:, 3:15], rows[:, :3] + offset + dX)
    torch.testing.assert_close(means, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(stretch, rows[:, 15], rtol=1e-12, atol=1e-12)
    assert not stretch.requires_grad
    assert torch.autograd.gradcheck(lambda x: skin_bound(vertices, triangles, weights, offset, x)[0], dX)


def test_what_is_kept_without_a_graph_follows_the_parameters(avatar, subject):
    with torch.no_grad():
        before = avatar.pose(subject.params)
        avatar.sh0 += 0.1
        avatar.dT += 0.01
        after = avatar.pose(subject.params)
    assert torch.equal(after.gaussians.colors, avatar.pose(subject.params).gaussians.colors)
    assert not torch.equal(before.gaussians.colors, after.gaussians.colors)
    assert not torch.equal(before.mesh.vertices, after.mesh.vertices)


def test_surfaces_grow_where_they_are_spread(avatar, subject):
    """The stretch of a pose follows from the body alone and is at least 1."""
    rows = avatar.surface(tiny_motion().params[2]).vertices
    assert rows.shape == (len(avatar.dT), ROW)
    assert (rows[:, 15] >= 1).all()
    with torch.no_grad():
        avatar.dT += 1.0
    assert torch.equal(avatar.surface(tiny_motion().params[2]).vertices, rows)


def test_stretch_is_the_largest_singular_value_of_the_deformation(avatar):
    surface, faces = avatar._surface, avatar.body.faces
    generator = torch.Generator().manual_seed(0)
    rest = surface.template
    posed = rest @ torch.randn(3, 3, generator=generator)
    edges = [torch.stack([x[faces[:, 1]] - x[faces[:, 0]], x[faces[:, 2]] - x[faces[:, 0]]], -1).double() for x in (rest, posed)]
    longest = torch.linalg.svdvals(edges[1] @ torch.linalg.pinv(edges[0]))[:, 0].clamp(1.0, 5.0)
    around = [longest[(faces == v).any(1)].mean() for v in range(len(rest))]
    torch.testing.assert_close(surface._stretch(posed).double(), torch.stack(around), rtol=2e-3, atol=2e-3)


def test_neighbors_close_seams_and_never_leave_the_surface():
    row, column = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    left = torch.stack([torch.zeros(16, dtype=torch.int64), row.flatten(), column.flatten()], 1)
    right = left + torch.tensor([0, 0, 10])  # another chart whose surface goes on where the first one ends
    texel = torch.cat([left, right])
    place = torch.stack([column.flatten(), row.flatten(), torch.zeros(16)], 1).float()
    positions = torch.cat([place, place + torch.tensor([4.0, 0.0, 0.0])])
    near = neighbors(texel, positions, torch.tensor([[0.0, 0.0, 1.0]]).expand(32, 3))
    assert set(near[5].tolist()) == {1, 4, 6, 9}
    assert 16 in near[3].tolist()  # across the seam
    gap = (positions[near] - positions[:, None]).norm(dim=-1)
    assert gap.max() <= 2.0


@pytest.mark.parametrize(("from_photo", "teaches"), [(True, False), (False, True)])
def test_labels_teach_colors_that_the_photo_does_not_show(context, subject, from_photo, teaches):
    rgb, alpha = torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.zeros(1, 8, 8, dtype=torch.uint8)
    params = subject.params.batched()
    clip = LabelClip("a", "body", rgb, alpha, alpha, params, params, (subject.camera,), from_photo=from_photo)
    avatar = CoupledAvatar(CoupledConfig(resolution=48, label_color=0.0), context)
    avatar.create(subject, [clip])
    colors = avatar.pose(subject.params).gaussians.colors
    assert not torch.autograd.grad(colors.sum(), avatar.sh0)[0].any()  # not by what else sees the whole frame
    turned = replace(subject.params, root=torch.tensor([0.0, torch.pi, 0.0]))  # seen from behind
    step = _step(avatar, replace(subject, params=turned), context)
    loss = LabelColors(None, context)(replace(step, foreground=torch.ones_like(step.foreground)))
    assert bool(loss > 0) == teaches
    if teaches:
        shape, color = torch.autograd.grad(loss, (avatar.dX, avatar.sh0), allow_unused=True)
        assert shape is None
        assert color.any() and not color[avatar.hidden[:, 0] == 0].any()


def test_a_gap_is_closed_by_the_nearest_that_fit_in_the_order_of_free_places():
    draw = torch.Generator().manual_seed(0)
    texel = torch.cat([torch.randint(0, 8, (150, 3), generator=draw).unique(dim=0), torch.full((50, 3), -1)])
    positions = torch.rand(len(texel), 3, generator=draw)
    normals = torch.nn.functional.normalize(torch.randn(len(texel), 3, generator=draw), dim=1)
    near = neighbors(texel, positions, normals)
    place = {tuple(t): i for i, t in enumerate(texel.tolist())}
    distance, order = torch.cdist(positions.double(), positions.double()).sort(1)
    for i, (number, row, column) in enumerate(texel.tolist()):
        steps = ((0, 1), (0, -1), (1, 0), (-1, 0))
        wanted = [place.get((number, row + y, column + x), i) if number >= 0 else i for y, x in steps]
        fits = [
            j for j, d in zip(order[i, :9].tolist(), distance[i, :9], strict=True)
            if j not in (i, *wanted) and d <= 2 * distance[i, 1:5].mean() and normals[i] @ normals[j] > 0.3
        ]  # fmt: skip
        free = [k for k in range(4) if wanted[k] == i]
        for k, j in zip(free, fits, strict=False):
            wanted[k] = j
        assert near[i].tolist() == wanted
    assert (near != torch.arange(len(texel))[:, None]).any()
