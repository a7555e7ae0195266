"""The splatter against the reference, against finite differences, and against itself on other numbers of threads."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarkit.reference.gaussians import render_gaussians
from avatarkit.types.camera import Camera, front_camera, orbit
from avatarkit.types.gaussians import GaussianRendering, Gaussians
from avatarkit.utils.threads import Workers
from avatarkit_cpu.gaussians import CpuGaussianRasterizer
from avatarkit_cpu.projection import FALLOFF, LIMIT, RECORD, camera_numbers, project, project_backward
from avatarkit_cpu.simd import LANES

BACKGROUND = torch.tensor([0.1, 0.5, 0.9])
GOLDEN_SPHERES = ["3ff2c86c9f50fc7c", "340046694382f71a", "5cdbac20bb40dab4"]  # records, gradients of means and scales
NAMES = ("means", "scales", "colors", "opacities", "rotations", "sh")


def scene(count: int, seed: int, dtype: torch.dtype = torch.float64, size: float = 0.1, rich: bool = False) -> Gaussians:
    """Random Gaussians around two meters before the camera, some behind it and some far off the picture.

    Those that are ``rich`` are ellipsoids whose colors depend on the direction.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 8, generator=generator, dtype=dtype)
    means = torch.randn(count, 3, generator=generator, dtype=dtype) * torch.tensor([0.5, 0.5, 0.8])
    means = means - torch.tensor([0, 0, 2.0])
    made = Gaussians(means.to(dtype), 0.001 + size * uniform[:, 3], uniform[:, 4:7], 0.99 * uniform[:, 7] + 0.01)
    if not rich:
        return made
    turns = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator, dtype=dtype), dim=-1)
    sh = 0.2 * torch.randn(count, (3, 8, 15)[seed % 3], 3, generator=generator, dtype=dtype)
    scales = 0.001 + size * torch.rand(count, 3, generator=generator, dtype=dtype) ** 3
    return replace(made, scales=scales, rotations=turns, sh=sh)


def leaves(gaussians: Gaussians) -> Gaussians:
    return gaussians.map(lambda tensor: tensor.detach().clone().requires_grad_())


def gradients(gaussians: Gaussians, out: GaussianRendering) -> list[torch.Tensor]:
    """Of a random weighting of all pixels."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(*out.alpha.shape, 4, generator=generator, dtype=out.alpha.dtype)
    loss = (out.rgb * weights[..., :3]).sum() + (out.alpha * weights[..., 3]).sum()
    inputs = [t for name in NAMES if (t := getattr(gaussians, name)) is not None]
    if not loss.requires_grad:
        return [torch.zeros_like(t) for t in inputs]
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(inputs, found, strict=True)]


def compare(gaussians: Gaussians, camera: Camera, rtol: float, atol: float) -> None:
    ours, reference = leaves(gaussians), leaves(gaussians)
    out = CpuGaussianRasterizer(Workers(2)).render(ours, camera, BACKGROUND)
    expected = render_gaussians(reference, camera, BACKGROUND)
    for name in ("rgb", "alpha", "depth"):
        torch.testing.assert_close(getattr(out, name), getattr(expected, name), rtol=rtol, atol=atol)
    for g, e in zip(gradients(ours, out), gradients(reference, expected), strict=True):
        assert torch.isfinite(g).all()
        scale = max(e.abs().max().item(), 1.0) if e.numel() else 1.0
        torch.testing.assert_close(g, e, rtol=rtol, atol=atol * scale)


@st.composite
def any_gaussians(draw: st.DrawFn) -> Gaussians:
    """0 to 12 Gaussians: before and behind the camera, in and off the picture, tiny, huge, faint, coincident."""
    place = st.floats(-2, 2, width=32)
    one = st.tuples(place, place, st.floats(-4, 1, width=32), st.floats(-5, 1), *[st.floats(0, 1, width=32)] * 3, st.floats(0, 1))
    rows = draw(st.lists(one, max_size=10))
    if rows and draw(st.booleans()):
        rows += [rows[0], rows[-1]]
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 8)
    return Gaussians(table[:, :3], 10 ** table[:, 3], table[:, 4:7], table[:, 7])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(any_gaussians(), st.sampled_from([(20, 13), (33, 40), (1, 1), (65, 32)]))
def test_parity_with_the_reference(gaussians: Gaussians, size: tuple[int, int]) -> None:
    compare(gaussians, front_camera(*size), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_parity_of_many_layers(seed: int, rich: bool) -> None:
    camera = orbit(front_camera(70, 50), torch.tensor([0.0, 0.0, -2.0]), yaw=40 * seed, pitch=10 * seed)
    compare(scene(150 if rich else 600, seed, rich=rich), camera.cropped(5, 3, 61, 40), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_parity_in_single_precision(seed: int) -> None:
    """The Gaussians at alpha = 1/255 may fall on either side, so a few pixels and gradients may differ by more."""
    camera = front_camera(70, 50)
    ours, reference = leaves(scene(600, seed, torch.float32)), leaves(scene(600, seed, torch.float32))
    out = CpuGaussianRasterizer(Workers(2)).render(ours, camera, BACKGROUND)
    expected = render_gaussians(reference, camera, BACKGROUND)
    for name in ("rgb", "alpha", "depth"):
        difference = (getattr(out, name) - getattr(expected, name)).abs()
        assert (difference < 1e-4).double().mean() > 0.999
        assert difference.max() < 0.02
    for g, e in zip(gradients(ours, out), gradients(reference, expected), strict=True):
        assert ((g - e).abs() < 1e-3 * e.abs() + 1e-4 * e.abs().max()).double().mean() > 0.99


@pytest.mark.parametrize(("seed", "rich"), [(0, False), (1, False), (2, False), (4, True)])
def test_derivative_equals_finite_differences(seed: int, rich: bool) -> None:
    rasterizer, camera = CpuGaussianRasterizer(Workers(1)), front_camera(35, 9)

    def outputs(*tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = rasterizer.render(Gaussians(*tensors), camera, BACKGROUND)
        return out.rgb, out.alpha

    gaussians = leaves(scene(3 if rich else 8, seed, rich=rich))
    assert torch.autograd.gradcheck(outputs, [t for name in NAMES if (t := getattr(gaussians, name)) is not None])


def test_round_ellipsoids_are_spheres() -> None:
    """Rotations do not matter then; both ways through the kernels give one picture and one gradient."""
    camera, spheres = orbit(front_camera(70, 50), torch.tensor([0.0, 0.0, -2.0]), 30), scene(300, 1)
    turned = scene(300, 1, rich=True).rotations
    sphere, ellipsoid = leaves(spheres), leaves(replace(spheres, scales=spheres.scales[:, None].repeat(1, 3), rotations=turned))
    a, b = (CpuGaussianRasterizer(Workers(2)).render(g, camera, BACKGROUND) for g in (sphere, ellipsoid))
    torch.testing.assert_close(a.rgb, b.rgb, rtol=1e-6, atol=1e-6)  # the camera's rotation is rounded
    ours, theirs = gradients(sphere, a), gradients(ellipsoid, b)
    torch.testing.assert_close(ours[1], theirs[1].sum(1), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-4)


def test_spheres_keep_their_bits() -> None:
    """What the kernels make of spheres of one color: projection has no contracted products, so machines agree to the bit."""
    g, camera = scene(500, 0, torch.float32, size=0.03), front_camera(90, 70)
    n, view = len(g), camera_numbers(camera, np.float32)
    records, depths, tiles = np.zeros(n * RECORD, np.float32), np.zeros(n, np.float32), np.zeros(n * 4, np.int16)
    g = replace(g, opacities=torch.ones(n))  # the logarithm of others is the machine's
    arrays = [t.contiguous().numpy() for t in (g.means, g.scales, g.colors, g.opacities)]
    project(0, n, *arrays, view, camera.width, camera.height, records, tiles, depths)
    records.reshape(n, RECORD)[:, [FALLOFF, FALLOFF + 1, LIMIT]] = 0  # bounds for culling
    places, slots = np.where(tiles[::4] < tiles[1::4], np.arange(n), -1).astype(np.int32), np.arange(n + 1)
    moments = (np.arange(n * LANES) % 37 - 18).astype(np.float32)
    out = [np.zeros((n, 3), np.float32), np.zeros(n, np.float32), np.zeros((n, 3), np.float32), np.zeros(n, np.float32)]
    project_backward(0, n, arrays[0], arrays[1], view, records, slots, places, moments, *out)
    assert [hashlib.sha256((a + 0.0).tobytes()).hexdigest()[:16] for a in (records, out[0], out[1])] == GOLDEN_SPHERES


@pytest.mark.parametrize(("dtype", "rich"), [(torch.float32, False), (torch.float64, False), (torch.float32, True)])
def test_the_same_bits_on_any_number_of_threads(dtype: torch.dtype, rich: bool) -> None:
    results = []
    for threads in (1, 2, 4):
        gaussians = leaves(scene(4000, 0, dtype, size=0.05, rich=rich))
        out = CpuGaussianRasterizer(Workers(threads)).render(gaussians, front_camera(200, 150), BACKGROUND)
        results.append([out.rgb, out.alpha, out.depth, *gradients(gaussians, out)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_an_opaque_wall_hides_what_is_behind() -> None:
    grid = torch.linspace(-1, 1, 41)
    x, y = torch.meshgrid(grid, grid, indexing="ij")
    wall = torch.stack([x, y, torch.full_like(x, -2.0)], -1).reshape(-1, 3)
    behind = wall - torch.tensor([0, 0, 1.0])
    n = len(wall)
    colors = torch.cat([torch.ones(n, 3), torch.zeros(n, 3)])
    gaussians = leaves(Gaussians(torch.cat([wall, behind]), torch.full((2 * n,), 0.1), colors, torch.ones(2 * n)))
    out = CpuGaussianRasterizer(Workers(2)).render(gaussians, front_camera(64, 64), torch.zeros(3))
    torch.testing.assert_close(out.rgb, torch.ones(64, 64, 3), atol=2e-3, rtol=0)
    torch.testing.assert_close(out.depth, torch.full((64, 64), 2.0), atol=1e-3, rtol=0)
    out.rgb.sum().backward()
    assert gaussians.colors.grad is not None
    assert not gaussians.colors.grad[n:].any()


def test_what_is_not_finite_is_not_drawn() -> None:
    gaussians = scene(5, 0, torch.float32)
    gaussians.means[0, 0], gaussians.means[1, 2], gaussians.means[2, 1] = math.nan, math.inf, -math.inf
    gaussians.scales[3], gaussians.opacities[4] = math.inf, math.nan
    drawn = leaves(replace(gaussians, sh=torch.ones(5, 3, 3)))
    out = CpuGaussianRasterizer(Workers(1)).render(drawn, front_camera(20, 20), BACKGROUND)
    assert torch.equal(out.rgb, BACKGROUND.expand(20, 20, 3))
    assert all(not g.any() for g in gradients(drawn, out))


def test_no_gradient_is_needed_to_draw() -> None:
    out = CpuGaussianRasterizer(Workers(1)).render(scene(5, 0), front_camera(20, 20), BACKGROUND)
    assert not out.rgb.requires_grad
    drawn = leaves(scene(5, 0))
    assert not CpuGaussianRasterizer(Workers(1)).render(drawn, front_camera(20, 20), BACKGROUND).depth.requires_grad


def test_two_pictures_before_their_derivatives() -> None:
    """What one picture keeps for its derivative must outlive the next picture."""
    rasterizer, camera = CpuGaussianRasterizer(Workers(2)), front_camera(40, 30)
    first, second = leaves(scene(50, 1)), leaves(scene(50, 2))
    alone = gradients(first, rasterizer.render(first, camera, BACKGROUND))
    out = rasterizer.render(first, camera, BACKGROUND)
    rasterizer.render(second, camera, BACKGROUND)
    assert all(torch.equal(a, b) for a, b in zip(alone, gradients(first, out), strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"scales": torch.ones(4)},
        {"scales": torch.ones(5, 2)},
        {"colors": torch.ones(5, 3, dtype=torch.float16)},
        {"rotations": torch.ones(5, 3)},
        {"sh": torch.ones(5, 4, 3)},
    ],
)
def test_wrong_shapes_and_types_are_told(wrong: dict[str, torch.Tensor]) -> None:
    gaussians = scene(5, 0, torch.float32)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CpuGaussianRasterizer(Workers(1)).render(replace(gaussians, **wrong), front_camera(8, 8), BACKGROUND)
