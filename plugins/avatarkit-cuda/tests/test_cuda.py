"""What can be proved without a GPU: conventions of what the two libraries are handed."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace

import pytest
import torch

from avatarkit.errors import MissingDependency, MissingDevice
from avatarkit.interfaces import Context
from avatarkit.reference.gaussians import project_gaussians, render_gaussians
from avatarkit.reference.meshes import render_mesh
from avatarkit.types.camera import Camera, front_camera, orbit
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.mesh import Mesh
from avatarkit_cuda.on_cpu import gsplat_on_cpu
from avatarkit_cuda.renderer import CudaRenderer, _Gsplat, _library, _Nvdiffrast, clip_positions, gsplat_arguments


@pytest.fixture(params=["spheres", "degree 1", "degree 2", "degree 3"])
def scene(request):
    g = torch.Generator().manual_seed(0)
    means = (torch.rand(60, 3, generator=g) - 0.5) * torch.tensor([1.0, 1.0, 0.6]) - torch.tensor([0, 0, 2.5])
    scales, colors = 0.01 + 0.03 * torch.rand(60, generator=g), torch.rand(60, 3, generator=g)
    camera = orbit(front_camera(40, 32), torch.tensor([0.0, 0.0, -2.5]), 20, 10)
    gaussians = Gaussians(means, scales, colors, torch.ones(60))
    if request.param != "spheres":
        degree = int(request.param[-1])
        turns = torch.nn.functional.normalize(torch.randn(60, 4, generator=g), dim=-1)
        sh = 0.2 * torch.randn(60, (degree + 1) ** 2 - 1, 3, generator=g)
        gaussians = replace(gaussians, scales=0.005 + 0.06 * torch.rand(60, 3, generator=g) ** 2, rotations=turns, sh=sh)
    return gaussians, camera


def test_without_a_gpu_one_sentence_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MissingDevice, match="--renderer cpu"):
        CudaRenderer(None, Context())


def test_clip_positions_land_on_the_pixels_of_the_camera(scene):
    gaussians, camera = scene
    clip = clip_positions(gaussians.means, camera)
    ndc = clip[:, :3] / clip[:, 3:]
    pixels = (ndc[:, :2] + 1) / 2 * torch.tensor([camera.width, camera.height])
    assert torch.allclose(pixels, camera.project(gaussians.means), atol=1e-3)
    assert (ndc[:, 2].abs() < 1).all()
    assert torch.equal(ndc[:, 2].argsort(), camera.to_camera(gaussians.means)[:, 2].argsort())


@pytest.fixture
def gsplat():
    pytest.importorskip("gsplat")
    with gsplat_on_cpu() as library:
        yield library


def test_a_library_that_is_missing_is_named():
    with pytest.raises(MissingDependency, match="needs nothing_like_this: pip install it"):
        _library("nothing_like_this.torch", "pip install it")


def test_gsplat_itself_draws_our_picture_and_its_gradients(gsplat, scene):
    """The real ``gsplat.rasterization``, over its own torch functions, through the class that drives it on a GPU."""
    gaussians, camera = scene
    background = torch.tensor([0.1, 0.2, 0.3])
    theirs, ours = _leaves(gaussians), _leaves(gaussians)
    drawn = _Gsplat(gsplat).render(theirs, camera, background)
    expected = render_gaussians(ours, camera, background)
    weights = torch.rand(camera.height, camera.width, 4, generator=torch.Generator().manual_seed(0))
    for name in ("rgb", "alpha", "depth"):
        torch.testing.assert_close(getattr(drawn, name), getattr(expected, name), atol=1e-4, rtol=1e-4)
    assert not drawn.depth.requires_grad
    for out in (drawn, expected):
        ((out.rgb * weights[..., :3]).sum() + (out.alpha * weights[..., 3]).sum()).backward()
    for name in ("means", "scales", "colors", "opacities", "rotations", "sh"):
        if getattr(ours, name) is None:
            continue
        a, b = getattr(theirs, name).grad, getattr(ours, name).grad
        if name == "rotations":  # gsplat normalizes them, so only what turns them counts
            a, b = (g - (g * ours.rotations).sum(-1, keepdim=True) * ours.rotations for g in (a, b))
        torch.testing.assert_close(a, b, atol=1e-4 * b.detach().abs().max().item(), rtol=1e-3)


def test_gsplat_projects_as_we_do(gsplat, scene):
    """Centers, conics and depths to 1e-4, for a camera off the axis whose frame cuts Gaussians off."""
    gaussians, camera = scene
    camera = camera.cropped(7, 3, 25, 28)
    a = gsplat_arguments(gaussians, camera, torch.zeros(3))
    twins = importlib.import_module("gsplat.cuda._torch_impl")
    covariances, _ = twins._quat_scale_to_covar_preci(a["quats"], a["scales"], compute_preci=False)
    sizes = a["Ks"], a["width"], a["height"], a["eps2d"], a["near_plane"]
    radii, centers, depths, conics, _ = twins._fully_fused_projection(a["means"], covariances, a["viewmats"], *sizes)
    ours, sigma, z = project_gaussians(gaussians, camera)
    inverse = torch.linalg.inv(sigma)
    upper = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1)
    assert (radii[0] > 0).all(-1).sum() > 20
    torch.testing.assert_close(centers[0], ours, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(conics[0], upper, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(depths[0], z, atol=1e-5, rtol=0)


def test_gaussians_behind_the_camera_and_off_the_picture_are_left_out_alike(gsplat):
    means = torch.tensor([[0.0, 0, -2], [0, 0, 1], [9, 0, -2], [0.1, 0, -0.005], [0, 0.1, -2], [0, 0.1, -2]])
    gaussians = Gaussians(means, torch.tensor([0.1, 0.1, 0.1, 0.01, 0.3, 1e-4]), torch.eye(3).repeat(2, 1), torch.full((6,), 0.9))
    camera = front_camera(24, 20)
    drawn = _Gsplat(gsplat).render(gaussians, camera, torch.ones(3))
    expected = render_gaussians(gaussians, camera, torch.ones(3))
    torch.testing.assert_close(drawn.rgb, expected.rgb, atol=1e-4, rtol=0)


class _NvdiffrastOnCpu:
    """What nvdiffrast documents of ``rasterize`` and ``antialias``, on the CPU: row 0 at y = -w, faces from 1."""

    RasterizeCudaContext = staticmethod(lambda: "context")

    @staticmethod
    def rasterize(context, pos, tri, resolution):
        assert context == "context" and pos.ndim == 3 and pos.shape[2] == 4 and pos.dtype == torch.float32
        assert tri.dtype == torch.int32 and pos.is_contiguous() and tri.is_contiguous()
        height, width = resolution
        vertices, camera = _undone(pos[0], width, height)
        drawn = render_mesh(Mesh(vertices, tri.long()), camera)
        clip = drawn.barycentric[..., None] * pos[0][tri.long()[drawn.face_index.clamp(min=0)]]
        depth = clip.sum(-2)[..., 2] / clip.sum(-2)[..., 3].clamp(min=1e-6)
        number = (drawn.face_index + 1).float()
        return torch.stack([drawn.barycentric[..., 0], drawn.barycentric[..., 1], depth, number], -1)[None], torch.zeros(0)

    @staticmethod
    def antialias(color, rast, pos, tri):
        assert color.ndim == 4 and color.shape[:3] == rast.shape[:3] and color.is_contiguous()
        assert torch.equal(color[0, ..., 0] > 0, rast[0, ..., 3] > 0)
        vertices, camera = _undone(pos[0], rast.shape[2], rast.shape[1])
        return render_mesh(Mesh(vertices, tri.long()), camera).mask[None, ..., None]


def _undone(clip, width, height):
    """Points before a simple camera at the origin that sees clip positions (V, 4) where nvdiffrast does."""
    w = clip[:, 3]
    K = torch.tensor([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]])
    return torch.stack([clip[:, 0], clip[:, 1], w], -1), Camera(K, torch.eye(4), width, height)


def test_nvdiffrast_is_asked_for_our_mesh(scene):
    """Shapes, types, clip space, order of weights, numbers of faces and depth, as nvdiffrast documents them."""
    _, camera = scene
    g = torch.Generator().manual_seed(1)
    points = (torch.rand(30, 3, generator=g) - 0.5) * torch.tensor([1.2, 1.2, 0.6]) - torch.tensor([0, 0, 2.5])
    faces = torch.randint(0, 30, (24, 3), generator=g)
    ours, theirs = points.clone().requires_grad_(), points.clone().requires_grad_()
    expected = render_mesh(Mesh(ours, faces), camera)
    drawn = _Nvdiffrast(_NvdiffrastOnCpu()).render(Mesh(theirs, faces), camera)
    assert (expected.face_index >= 0).float().mean() > 0.2
    assert (drawn.face_index == expected.face_index).float().mean() > 0.999  # rounding at borders
    same = drawn.face_index == expected.face_index
    torch.testing.assert_close(drawn.barycentric[same], expected.barycentric[same], atol=1e-4, rtol=0)
    torch.testing.assert_close(drawn.depth[same], expected.depth[same], atol=1e-4, rtol=0)
    assert ((drawn.mask - expected.mask).abs() < 1e-3).float().mean() > 0.999
    (a,), (b,) = (torch.autograd.grad(m.square().sum(), v) for m, v in ((drawn.mask, theirs), (expected.mask, ours)))
    assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.999


def _leaves(gaussians: Gaussians) -> Gaussians:
    return gaussians.map(lambda t: t.clone().requires_grad_())


def test_arguments_are_those_of_the_installed_gsplat(scene):
    gsplat = pytest.importorskip("gsplat")
    known = inspect.signature(gsplat.rasterization).parameters
    assert set(gsplat_arguments(*scene, torch.zeros(3))) | {"render_mode"} <= set(known)
