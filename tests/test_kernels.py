"""The reference rasterizers against hand-made numbers, finer pictures and finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarkit.reference.gaussians import project_gaussians, render_gaussians
from avatarkit.reference.meshes import render_mesh
from avatarkit.types.camera import Camera, front_camera, orbit
from avatarkit.types.gaussians import GaussianRendering, Gaussians, rotate_sh, sh_basis
from avatarkit.types.mesh import Mesh

BACKGROUND = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)


def scene(count: int, seed: int) -> list[torch.Tensor]:
    """Random means, scales, colors and opacities before a front camera, float64."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 8, generator=generator, dtype=torch.float64)
    means = (uniform[:, :3] - 0.5) * 1.4 - torch.tensor([0.0, 0.0, 2.0])
    return [means, 0.02 + 0.1 * uniform[:, 3], uniform[:, 4:7], 0.1 + 0.8 * uniform[:, 7]]


def sphere(rings: int, radius: float) -> Mesh:
    """A closed ball two meters before the camera, float64."""
    sides = 2 * rings
    polar = torch.linspace(0, math.pi, rings + 1, dtype=torch.float64)[1:-1, None]
    around = torch.arange(sides, dtype=torch.float64) * (2 * math.pi / sides) + 0.1
    band = torch.stack([polar.sin() * around.cos(), polar.cos().expand(-1, sides), polar.sin() * around.sin()], -1)
    poles = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    vertices = torch.cat([band.reshape(-1, 3), poles]) * radius + torch.tensor([0.013, 0.007, -2.0])
    top, bottom = len(vertices) - 2, len(vertices) - 1
    faces = []
    for side in range(sides):
        following = (side + 1) % sides
        faces.append([top, following, side])
        faces.append([bottom, (rings - 2) * sides + side, (rings - 2) * sides + following])
        for ring in range(rings - 2):
            a, b = ring * sides + side, ring * sides + following
            faces += [[a, b, a + sides], [b, b + sides, a + sides]]
    return Mesh(vertices, torch.tensor(faces))


def picture(gaussians: list[torch.Tensor], camera: Camera) -> GaussianRendering:
    return render_gaussians(Gaussians(*gaussians), camera, BACKGROUND)


def test_one_gaussian_by_hand() -> None:
    camera = front_camera(9, 9, focal=10.0)
    means = torch.tensor([[0.0, 0.0, -2.0]], dtype=torch.float64)
    scale, opacity = 0.3, 0.8
    ones = torch.ones(1, dtype=torch.float64)
    red = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    out = picture([means, scale * ones, red, opacity * ones], camera)
    variance = (scale * 10 / 2) ** 2 + 0.3
    alpha = opacity * math.exp(-0.5 * (2**2 + 1**2) / variance)  # the center is pixel (4, 4)
    assert out.alpha[4, 4].item() == pytest.approx(opacity)
    assert out.alpha[5, 6].item() == pytest.approx(alpha)
    expected = alpha * red[0] + (1 - alpha) * BACKGROUND
    torch.testing.assert_close(out.rgb[5, 6], expected)
    assert out.depth[5, 6].item() == pytest.approx(2.0)


def test_the_nearer_gaussian_covers_the_farther() -> None:
    means = torch.tensor([[0.0, 0.0, -3.0], [0.0, 0.0, -2.0]], dtype=torch.float64)
    scales = torch.full((2,), 0.5, dtype=torch.float64)
    colors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    out = picture([means, scales, colors, torch.tensor([0.9, 0.6], dtype=torch.float64)], front_camera(9, 9))
    expected = torch.tensor([0.4 * 0.9, 0.0, 0.6], dtype=torch.float64) + 0.4 * 0.1 * BACKGROUND
    torch.testing.assert_close(out.rgb[4, 4], expected)


def test_of_equal_depth_the_lower_number_comes_first() -> None:
    means = torch.tensor([[0.0, 0.0, -2.0]] * 2, dtype=torch.float64)
    scales = torch.full((2,), 0.5, dtype=torch.float64)
    opacities = torch.full((2,), 0.5, dtype=torch.float64)
    out = picture([means, scales, torch.eye(3, dtype=torch.float64)[:2], opacities], front_camera(9, 9))
    torch.testing.assert_close(out.rgb[4, 4], torch.tensor([0.5, 0.25, 0], dtype=torch.float64) + 0.25 * BACKGROUND)


def test_the_projected_covariance_is_that_of_the_jacobian() -> None:
    """Sigma against the Jacobian of the camera's own projection, by autograd."""
    camera = orbit(front_camera(40, 30), torch.tensor([0.0, 0.0, -2.0]), yaw=30, pitch=20)
    camera = Camera(camera.K.double(), camera.T_camera_world.double(), 40, 30)
    means, scales, colors, opacities = scene(1, seed=3)
    gaussians = Gaussians(means, scales, colors, opacities)
    centers, sigma, _ = project_gaussians(gaussians, camera)
    J = torch.autograd.functional.jacobian(camera.project, means[0])
    dilation = 0.3 * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(sigma[0], scales[0] ** 2 * J @ J.T + dilation)
    torch.testing.assert_close(centers[0], camera.project(means[0]))
    axes, turned = ellipsoid()
    _, sigma, _ = project_gaussians(replace(gaussians, scales=axes, rotations=turned), camera)
    R = Rotation.from_quat(turned[0].numpy(), scalar_first=True).as_matrix()
    C = torch.tensor(R) @ torch.diag(axes[0] ** 2) @ torch.tensor(R.T)
    torch.testing.assert_close(sigma[0], J @ C @ J.T + dilation)


def test_gaussians_that_are_not_seen_leave_the_background() -> None:
    gaussians = scene(3, seed=0)
    gaussians[0] = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, math.nan], [0.0, 9.0, -2.0]], dtype=torch.float64)
    for tensor in gaussians:
        tensor.requires_grad_()
    out = picture(gaussians, front_camera(8, 6))
    torch.testing.assert_close(out.rgb, BACKGROUND.expand(6, 8, 3))
    (out.rgb.sum() + out.alpha.sum()).backward()
    assert all(torch.equal(t.grad, torch.zeros_like(t)) for t in gaussians if t.grad is not None)


def test_no_gaussians() -> None:
    out = picture(scene(0, seed=0), front_camera(8, 6))
    assert torch.equal(out.rgb, BACKGROUND.expand(6, 8, 3))
    assert not out.alpha.any()
    assert not out.depth.any()


def test_gradients_of_gaussians() -> None:
    camera = front_camera(9, 7)
    inputs = [t.requires_grad_() for t in scene(5, seed=1)]

    def outputs(*gaussians: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = picture(list(gaussians), camera)
        return out.rgb, out.alpha

    assert torch.autograd.gradcheck(outputs, inputs)


def ellipsoid() -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and rotation of one, float64."""
    axes = torch.tensor([[0.05, 0.02, 0.11]], dtype=torch.float64)
    return axes, torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.2, 0.7]], dtype=torch.float64), dim=-1)


def test_gradients_of_ellipsoids_with_harmonics() -> None:
    axes, turned = ellipsoid()
    sh = 0.2 * torch.randn(1, 15, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    means, _, colors, opacities = scene(1, seed=1)
    inputs = [t.clone().requires_grad_() for t in (means, axes, colors, opacities, turned, sh)]

    def outputs(*gaussians: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = picture(list(gaussians), front_camera(9, 7))
        return out.rgb, out.alpha

    assert torch.autograd.gradcheck(outputs, inputs)


def test_harmonics_are_orthonormal_and_turn_with_what_they_color() -> None:
    generator = torch.Generator().manual_seed(0)
    around = torch.randn(200_000, 3, generator=generator, dtype=torch.float64)
    values = sh_basis(torch.nn.functional.normalize(around, dim=-1), 3)
    assert torch.allclose(4 * math.pi * values.T @ values / len(values), torch.eye(15, dtype=torch.float64), atol=0.03)
    R = torch.tensor(Rotation.random(4, random_state=0).as_matrix())
    seen = torch.nn.functional.normalize(around[:4], dim=-1)
    for count, degree in ((3, 1), (8, 2), (15, 3)):
        sh = torch.randn(4, count, 3, generator=generator, dtype=torch.float64)
        before = (sh_basis(seen, degree)[..., None] * sh).sum(1)
        turned = (R @ seen[..., None])[..., 0]
        torch.testing.assert_close((sh_basis(turned, degree)[..., None] * rotate_sh(sh, R)).sum(1), before)
    with pytest.raises(ValueError, match=r"not \(4, 4, 3\)"):
        rotate_sh(sh[:, :4], R)


def test_colors_from_a_side_stop_at_black() -> None:
    g = Gaussians(torch.zeros(2, 3), torch.ones(2), torch.full((2, 3), 0.2), torch.ones(2))
    assert torch.equal(g.colors_from(torch.ones(3)), g.colors)
    sh = torch.zeros(2, 3, 3)
    sh[:, 1] = torch.tensor([[0.5], [-0.5]])  # bright, and dark, where seen looking along z
    seen = replace(g, sh=sh).colors_from(torch.tensor([0.0, 0.0, -4.0]))
    expected = torch.tensor([0.2 + 0.5 * 0.4886025, 0.0])
    torch.testing.assert_close(seen, expected[:, None].expand(2, 3))


def test_gradients_of_the_mask() -> None:
    mesh = sphere(4, 0.3)
    camera = front_camera(12, 10)
    vertices = mesh.vertices.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: render_mesh(Mesh(v, mesh.faces), camera).mask, vertices)


def test_the_mask_is_the_share_of_each_pixel_that_is_covered() -> None:
    mesh = sphere(8, 0.3)
    coarse, fine = render_mesh(mesh, front_camera(24, 24)), render_mesh(mesh, front_camera(192, 192))
    share = (fine.face_index >= 0).double().reshape(24, 8, 24, 8).mean((1, 3))
    hard = (coarse.face_index >= 0).double()
    assert (coarse.mask - share).abs().max() < 0.15
    assert (coarse.mask - share).abs().sum() < 0.15 * (hard - share).abs().sum()


def test_depth_and_barycentric_weights_give_the_point_that_is_seen() -> None:
    mesh = sphere(6, 0.4)
    camera = front_camera(40, 30)
    out = render_mesh(mesh, camera)
    hit = out.face_index >= 0
    points = (mesh.vertices[mesh.faces[out.face_index[hit]]] * out.barycentric[hit][..., None]).sum(1)
    ys, xs = hit.nonzero().unbind(-1)
    torch.testing.assert_close(camera.project(points.float()), torch.stack([xs, ys], -1) + 0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(-points[:, 2], out.depth[hit])
    assert not out.depth[~hit].any()
    assert not out.barycentric[~hit].any()


@pytest.mark.parametrize("faces", [[], [[0, 0, 1]], [[0, 1, 3]], [[0, 1, 4]]], ids=["none", "flat", "behind", "nan"])
def test_faces_that_cannot_be_drawn_leave_nothing(faces: list[list[int]]) -> None:
    points = [[-0.5, -0.5, -2.0], [0.5, -0.5, -2.0], [0.0, 0.5, -2.0], [0.0, 0.0, 1.0], [math.nan, 0.0, -2.0]]
    vertices = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    out = render_mesh(Mesh(vertices, torch.tensor(faces, dtype=torch.int64).reshape(-1, 3)), front_camera(8, 6))
    assert not out.mask.any()
    assert (out.face_index == -1).all()
    out.mask.sum().backward()
    assert vertices.grad is None or not vertices.grad.any()
