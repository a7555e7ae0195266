"""The mesh rasterizer against the reference, against itself on other numbers of threads, and at work."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarkit.reference.meshes import render_mesh
from avatarkit.types.camera import Camera, front_camera, orbit
from avatarkit.types.mesh import Mesh
from avatarkit.utils.threads import Workers
from avatarkit_cpu.meshes import CpuMeshRasterizer


def soup(vertices: int, faces: int, seed: int, dtype: torch.dtype = torch.float64) -> Mesh:
    """Random triangles around two meters before the camera; some reach behind it."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(vertices, 3, generator=generator, dtype=dtype) * 0.6 - torch.tensor([0, 0, 2], dtype=dtype)
    return Mesh(points, torch.randint(0, vertices, (faces, 3), generator=generator))


def compare(mesh: Mesh, camera: Camera) -> None:
    ours, reference = (mesh.vertices.clone().requires_grad_() for _ in range(2))
    out = CpuMeshRasterizer(Workers(2)).render(Mesh(ours, mesh.faces), camera)
    expected = render_mesh(Mesh(reference, mesh.faces), camera)
    assert torch.equal(out.face_index, expected.face_index)
    for name in ("mask", "barycentric", "depth"):
        torch.testing.assert_close(getattr(out, name), getattr(expected, name), rtol=1e-9, atol=1e-9)
    weights = torch.randn(out.mask.shape, generator=torch.Generator().manual_seed(0), dtype=out.mask.dtype)
    (ours_gradient,) = torch.autograd.grad((out.mask * weights).sum(), ours)
    (expected_gradient,) = torch.autograd.grad((expected.mask * weights).sum(), reference)
    assert torch.isfinite(ours_gradient).all()
    torch.testing.assert_close(ours_gradient, expected_gradient, rtol=1e-6, atol=1e-9)


@st.composite
def any_mesh(draw: st.DrawFn) -> Mesh:
    """Up to 8 vertices, before and behind the camera or not finite, and up to 10 faces, flat ones too."""
    place = st.floats(-2, 2, width=32)
    odd = st.sampled_from([math.nan, math.inf, 1e30])
    points = draw(st.lists(st.tuples(place, place | odd, st.floats(-4, 1, width=32)), min_size=1, max_size=8))
    corner = st.integers(0, len(points) - 1)
    faces = draw(st.lists(st.tuples(corner, corner, corner), max_size=10))
    return Mesh(torch.tensor(points, dtype=torch.float64), torch.tensor(faces, dtype=torch.int64).reshape(-1, 3))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(any_mesh(), st.sampled_from([(20, 13), (33, 40), (1, 1), (2, 1)]))
def test_parity_with_the_reference(mesh: Mesh, size: tuple[int, int]) -> None:
    compare(mesh, front_camera(*size))


@pytest.mark.parametrize("seed", range(6))
def test_parity_of_triangle_soup(seed: int) -> None:
    camera = orbit(front_camera(50, 37), torch.tensor([0.0, 0.0, -2.0]), yaw=50 * seed, pitch=5 * seed)
    compare(soup(40, 60, seed), camera)


def test_derivative_equals_finite_differences() -> None:
    rasterizer, camera, mesh = CpuMeshRasterizer(Workers(1)), front_camera(13, 11), soup(6, 5, seed=1)
    vertices = mesh.vertices.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: rasterizer.render(Mesh(v, mesh.faces), camera).mask, vertices)


def test_the_same_bits_on_any_number_of_threads() -> None:
    results = []
    for threads in (1, 2, 4):
        mesh = soup(300, 400, 0, torch.float32)
        vertices = mesh.vertices.requires_grad_()
        out = CpuMeshRasterizer(Workers(threads)).render(Mesh(vertices, mesh.faces), front_camera(120, 90))
        (out.mask * torch.linspace(-1, 1, 120)).sum().backward()
        assert vertices.grad is not None
        results.append([out.mask, out.face_index, out.barycentric, out.depth, vertices.grad])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_triangle_finds_a_silhouette() -> None:
    """Descent on the mask alone moves a triangle on a target that it hardly overlaps, to a fraction of a pixel."""
    rasterizer, camera = CpuMeshRasterizer(Workers(1)), front_camera(48, 48)
    faces = torch.tensor([[0, 1, 2]])
    goal = torch.tensor([[-0.3, -0.25, -2.0], [0.45, -0.15, -2.0], [0.1, 0.5, -2.0]])
    target = rasterizer.render(Mesh(goal, faces), camera).mask
    vertices = (goal * torch.tensor([0.6, 0.8, 1]) + torch.tensor([0.25, -0.2, 0])).requires_grad_()
    optimizer = torch.optim.Adam([vertices], lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (rasterizer.render(Mesh(vertices, faces), camera).mask - target).square().sum()
        loss.backward()
        optimizer.step()
    distance = (camera.project(vertices.detach()) - camera.project(goal)).norm(dim=-1)
    assert loss < 0.5
    assert distance.max() < 0.5


def test_edges_are_found_anew_for_other_faces() -> None:
    rasterizer, camera = CpuMeshRasterizer(Workers(1)), front_camera(20, 20)
    points = torch.tensor([[-0.5, -0.5, -2.0], [0.5, -0.5, -2.0], [0.5, 0.5, -2.0], [-0.5, 0.5, -2.0]])
    square = Mesh(points, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    half = Mesh(points, torch.tensor([[0, 1, 2], [0, 1, 2]]))
    for mesh in (square, half, square):
        torch.testing.assert_close(rasterizer.render(mesh, camera).mask, render_mesh(mesh, camera).mask)


def test_wrong_faces_are_told() -> None:
    rasterizer = CpuMeshRasterizer(Workers(1))
    with pytest.raises(ValueError, match="vertices 0 to 3, but there are 3"):
        rasterizer.render(Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 3]])), front_camera(8, 8))
    with pytest.raises(ValueError, match="a mesh has"):
        rasterizer.render(Mesh(torch.zeros(3, 2), torch.tensor([[0, 1, 2]])), front_camera(8, 8))
