"""UV maps, textures from a photo, and completion of what the photo does not show."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avatarkit.appearance.color_priors import dominant_color, tooth_gaps
from avatarkit.appearance.openings import face_openings
from avatarkit.appearance.painter import PhotoPainter
from avatarkit.appearance.texture import inpaint, sample_texture, texture_from_photo, uv_positions, uv_texels
from avatarkit.geometry.mesh_graph import limb, mesh_edges, screened_poisson
from avatarkit.testing import ReferenceRenderer, TinyBody, tiny_context, tiny_subject
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh, barycentric, vertex_normals
from avatarkit.types.subject import Quality


class RememberingMeshes:
    """The reference rasterizer, which takes seconds, asked once for each picture."""

    def __init__(self):
        self._inner, self._drawn = ReferenceRenderer().meshes, {}

    def render(self, mesh, camera):
        key = (mesh.vertices.numpy().tobytes(), camera.K.numpy().tobytes(), camera.T_camera_world.numpy().tobytes())
        if key not in self._drawn:
            self._drawn[key] = self._inner.render(mesh, camera)
        return self._drawn[key]


@pytest.fixture(scope="module")
def renderer():
    return SimpleNamespace(meshes=RememberingMeshes())


@pytest.fixture(scope="module")
def body():
    return TinyBody()


@pytest.fixture(scope="module")
def subject(body, renderer):
    return tiny_subject(tiny_context(body=body, renderer=renderer), size=96)


@pytest.fixture(scope="module")
def painter(subject, body, renderer):
    return PhotoPainter(subject, body, renderer)


def every_face(body):
    """The middle of every triangle."""
    count = len(body.faces)
    return torch.arange(count), torch.full((count, 3), 1 / 3)


def true_colors(subject, body, face, weights):
    """What ``tiny_subject`` painted the surface with: colors that follow the posed position."""
    vertices = body.vertices(subject.params)[0]
    low, high = vertices.amin(0), vertices.amax(0)
    return barycentric(0.2 + 0.6 * (vertices - low) / (high - low), body.faces[face], weights)


class TestUVMap:
    def test_texels_map_back_to_their_own_center(self, body):
        size = 96
        uv_map = uv_positions(body, size)
        row, column = torch.nonzero(uv_map.covered, as_tuple=True)
        face, weights = uv_map.face_index[row, column], uv_map.barycentric[row, column]
        uv = (body.uv[body.uv_faces[face]] * weights[..., None]).sum(1)
        expected = torch.stack([(column + 0.5) / size, 1 - (row + 0.5) / size], 1)
        assert (uv - expected).abs().max() < 1e-5
        assert weights.min() >= 0
        assert torch.allclose(weights.sum(1), torch.ones(len(weights)))

    def test_coverage_is_the_area_of_the_charts(self, body):
        a, b, c = body.uv[body.uv_faces].unbind(1)
        area = 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs().sum()
        covered = uv_positions(body, 200).covered.float().mean()
        assert abs(float(covered - area)) < 0.01

    def test_charts_have_no_holes(self, body):
        """A texel whose left and right neighbors lie in a chart's inside is covered too: shared edges leave no gap."""
        covered = uv_positions(body, 150).covered
        gaps = ~covered[:, 1:-1] & covered[:, :-2] & covered[:, 2:]
        assert not gaps.any()

    def test_lowest_face_wins_where_charts_overlap(self, body):
        class Twice:
            uv, uv_faces = body.uv, torch.cat([body.uv_faces, body.uv_faces])

        assert torch.equal(uv_positions(Twice, 64).face_index, uv_positions(body, 64).face_index)

    def test_large_maps_are_made_in_batches(self, body, monkeypatch):
        from avatarkit.appearance import texture

        whole = uv_positions(body, 128)
        batches = texture._batches
        monkeypatch.setattr(texture, "_batches", lambda count, limit: batches(count, 500))
        parts = uv_positions(body, 128)
        assert torch.equal(whole.face_index, parts.face_index)
        assert torch.equal(whole.barycentric, parts.barycentric)

    def test_a_few_triangles_own_the_texels_that_they_own_among_all(self, body):
        whole, wanted = uv_positions(body, 160), torch.arange(len(body.faces)) % 3 == 0
        row, column, face, weights = uv_texels(body, 160, wanted)
        expected = torch.nonzero(whole.covered & wanted[whole.face_index.clamp(min=0)])
        assert torch.equal(torch.stack([row, column], 1), expected)
        assert torch.equal(face, whole.face_index[row, column]) and torch.equal(weights, whole.barycentric[row, column])


class TestPainter:
    def test_seen_surface_has_the_colors_of_the_photo(self, subject, body, painter, renderer):
        face, weights = every_face(body)
        paint = painter.paint(face, weights)
        sure = paint.confidence > 0.6
        error = (paint.rgb - true_colors(subject, body, face, weights)).abs().amax(1)
        assert sure.float().mean() > 0.1
        assert error[sure].median() < 0.01
        assert error[sure].quantile(0.98) < 0.06

    def test_back_is_not_seen_and_less_trusted(self, subject, body, painter, renderer):
        face, weights = every_face(body)
        vertices = body.vertices(subject.params)[0]
        normal = barycentric(vertex_normals(vertices, body.faces), body.faces[face], weights)
        toward = subject.camera.position - barycentric(vertices, body.faces[face], weights)
        facing = torch.nn.functional.cosine_similarity(normal, toward, dim=-1)
        paint = painter.paint(face, weights)
        assert not paint.seen[facing < 0].any()
        assert paint.confidence[facing < 0].max() < 0.5
        assert paint.confidence[facing > 0.9].median() > 0.9
        assert paint.confidence.min() > 0  # every point has some color to start from

    def test_background_does_not_bleed(self, subject, body, renderer):
        matte = subject.matte
        outside = matte.alpha < 0.5
        loud = torch.where(outside[..., None], torch.tensor([1.0, 0.0, 1.0]), matte.foreground)
        painted = PhotoPainter(replace(subject, matte=replace(matte, foreground=loud)), body, renderer)
        rgb = painted.paint(*every_face(body)).rgb
        magenta = torch.minimum(rgb[:, 0], rgb[:, 2]) - rgb[:, 1]
        assert magenta.max() < 0.75  # the body's own palette reaches 0.6
        clean = PhotoPainter(subject, body, renderer).paint(*every_face(body)).rgb
        assert (rgb - clean).abs().mean() < 0.01

    def test_unseen_side_is_mirrored(self, subject, body, renderer):
        hidden = replace(subject, quality=Quality(visible={"left_arm": False, "left_hand": False}))
        arm = limb(body, "left_hand")
        face = torch.nonzero(arm[body.faces].all(1))[:, 0]
        weights = torch.full((len(face), 3), 1 / 3)
        paint = PhotoPainter(hidden, body, renderer).paint(face, weights)
        assert not paint.seen.any()
        mirror = body.mirror()[0]
        vertices = body.vertices(subject.params)[0]
        low, high = vertices.amin(0), vertices.amax(0)
        other = barycentric((0.2 + 0.6 * (vertices - low) / (high - low))[mirror], body.faces[face], weights)
        copied = paint.confidence > 0.3
        assert copied.any()
        # Red follows x, the light between the sides; green and blue are the mirrored photo's.
        assert (paint.rgb - other)[copied][:, 1:].abs().median() < 0.05

    def test_is_deterministic(self, subject, body, painter, renderer):
        face, weights = every_face(body)
        again = PhotoPainter(subject, body, renderer).paint(face, weights)
        first = painter.paint(face, weights)
        assert torch.equal(first.rgb, again.rgb)
        assert torch.equal(first.confidence, again.confidence)

    def test_no_points(self, painter):
        paint = painter.paint(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3))
        assert paint.rgb.shape == (0, 3)


class TestTexture:
    def test_is_complete_and_looks_up_what_was_painted(self, subject, body, painter, renderer):
        texture = texture_from_photo(subject, body, renderer, 256, painter)
        assert texture.rgb.shape == (256, 256, 3)
        assert torch.isfinite(texture.rgb).all()
        assert (texture.rgb.amin(), texture.rgb.amax()) >= (0, 0)
        assert texture.rgb.amax() <= 1
        assert texture.seen.dtype == torch.bool
        assert not texture.seen[~uv_positions(body, 256).covered].any()
        face, weights = every_face(body)
        picked = sample_texture(texture.rgb, body, face, weights)
        painted = painter.paint(face, weights)
        assert (picked - painted.rgb)[painted.confidence > 0.6].abs().mean() < 0.02

    def test_inpainting_keeps_what_is_known_and_fills_the_rest(self):
        image = torch.zeros(40, 56, 3)
        known = torch.zeros(40, 56)
        image[10:20, 10:30] = torch.tensor([0.2, 0.5, 0.8])
        known[10:20, 10:30] = 1
        filled = inpaint(image, known)
        assert torch.allclose(filled, torch.tensor([0.2, 0.5, 0.8]).expand_as(filled), atol=1e-4)


class TestSurface:
    def test_spreading_solves_its_own_equation(self, body):
        edges = mesh_edges(body.faces)
        g = torch.Generator().manual_seed(0)
        count = int(body.faces.max()) + 1
        value, prior = torch.rand(count, 2, generator=g), torch.rand(count, 2, generator=g)
        weight, pull = torch.rand(count, generator=g), torch.rand(count, generator=g) * 0.1
        conductance = torch.rand(len(edges), generator=g)
        x = screened_poisson(edges, conductance, value, weight, prior, pull).double().requires_grad_()
        gap = (x[edges[:, 0]] - x[edges[:, 1]]).square().sum(1)
        energy = (weight[:, None] * (x - value) ** 2 + pull[:, None] * (x - prior) ** 2).sum()
        energy = energy + (conductance * gap).sum()
        (gradient,) = torch.autograd.grad(energy, x)
        assert gradient.abs().max() < 1e-5

    def test_limbs_leave_out_the_trunk(self, body):
        arm = limb(body, "left_hand")
        rest = body.rest(body.neutral().shape, torch.zeros(1, 2))[0]
        assert arm.any()
        assert (rest[arm, 0] > 0.1).all()
        forearm = limb(body, "left_hand", outer=True)
        assert (arm & forearm).sum() == forearm.sum()
        assert forearm.sum() <= arm.sum()

    def test_dominant_color_is_not_a_mixture(self):
        orange, blue = torch.tensor([[0.9, 0.4, 0.1]]), torch.tensor([[0.05, 0.05, 0.3]])
        colors = torch.cat([orange.repeat(60, 1), blue.repeat(40, 1)])
        found = dominant_color(colors, torch.ones(100))
        assert (found - torch.tensor([0.9, 0.4, 0.1])).abs().max() < 0.05
        assert dominant_color(colors, torch.zeros(100)) is None

    def test_teeth_have_gaps_on_both_sides_of_the_middle(self):
        arc = torch.tensor([0.0, 0.004, -0.008, 0.008])
        gaps = tooth_gaps(arc)
        assert gaps[1] < 0.01 < gaps[0]
        assert gaps[2] == gaps[3]


class TestOpenings:
    def test_inside_of_lids_and_lips(self):
        points = np.zeros((478, 2), np.float32)
        ring = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
        angle = np.linspace(0, 2 * np.pi, len(ring), endpoint=False)
        points[list(ring)] = np.stack([50 + 20 * np.cos(angle), 60 + 8 * np.sin(angle)], 1)
        keypoints = Keypoints(100, 100, {"face478": points}, {})
        mask = face_openings(keypoints, 200, 200)
        assert mask[120, 100]
        assert not mask[120, 145]
        assert abs(int(mask.sum()) - np.pi * 40 * 16) < 100
        assert face_openings(None, 10, 10) is None

    def test_a_hand_over_the_chest_does_not_stick_to_it(self, subject, body, painter, renderer):
        trunk = body.part("skin") < 0.5
        face = torch.nonzero(trunk[body.faces].all(1))[:, 0]
        weights = torch.full((len(face), 3), 1 / 3)
        before = painter.paint(face, weights)
        middle = subject.camera.project(painter.vertices[body._owner == 1].mean(0)[None])[0].numpy()
        points = middle + np.random.default_rng(0).uniform(-3, 3, (21, 2)).astype(np.float32)
        held = Keypoints(subject.photo.width, subject.photo.height, {"hand21_left": points}, {})
        after = PhotoPainter(replace(subject, keypoints=held), body, renderer).paint(face, weights)
        assert after.seen.sum() < before.seen.sum()
        assert (before.seen | ~after.seen).all()
        assert face_openings(Keypoints(100, 100, {}, {}), 10, 10) is None


def test_mesh_colors_come_back_through_a_render(subject, body, painter, renderer):
    """The texture, drawn from the photo's own view, gives the photo again."""
    drawn = renderer.meshes.render(Mesh(painter.vertices, body.faces), subject.camera)
    hit = drawn.face_index >= 0
    paint = painter.paint(drawn.face_index[hit], drawn.barycentric[hit])
    error = (paint.rgb - subject.matte.foreground[hit]).abs().amax(1)
    assert error[paint.seen].mean() < 0.01
