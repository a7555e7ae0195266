"""Clips from a tiny subject."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from avatarkit.config.options import make_config
from avatarkit.errors import ConfigError
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.interfaces import PseudoLabeler
from avatarkit.testing import ReferenceRenderer, TinyBody, tiny_context, tiny_motion, tiny_subject
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Quality
from avatarkit_reproject.config import Config
from avatarkit_reproject.framing import frame_cameras, place, shown_vertices
from avatarkit_reproject.labeler import ReprojectLabeler
from avatarkit_reproject.rim import overhang, rim_confidence


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
def context():
    return tiny_context(renderer=SimpleNamespace(meshes=RememberingMeshes()))


@pytest.fixture(scope="module")
def body(context):
    return context.get("body")


@pytest.fixture(scope="module")
def subject(context):
    return tiny_subject(context, size=64)


SMALL = Config(frames=3, height=64, supersampling=1)


@pytest.fixture(scope="module")
def clip(subject, context):
    return ReprojectLabeler(SMALL, context).generate(subject, tiny_motion(), 5)


class TestClip:
    def test_shapes(self, clip, body):
        T, H, W = clip.alpha.shape
        assert (T, len(clip), len(clip.cameras)) == (3, 3, 3)
        assert clip.frames.shape == (T, H, W, 3)
        assert clip.confidence.shape == clip.alpha.shape
        assert {clip.frames.dtype, clip.alpha.dtype, clip.confidence.dtype} == {torch.uint8}
        assert all((c.height, c.width) == (H, W) for c in clip.cameras)
        assert clip.params.joints.shape == (3, len(body.parents), 3)
        assert clip.region == "body"

    def test_is_a_labeler_whose_parameters_are_exact(self, clip, context):
        labeler = ReprojectLabeler(SMALL, context)
        assert isinstance(labeler, PseudoLabeler)
        assert labeler.exact
        assert clip.params is clip.requested

    def test_alpha_is_the_mesh_in_the_clips_own_cameras(self, clip, body, context):
        vertices = body.vertices(clip.params)
        for t in range(len(clip)):
            drawn = context.get("renderer").meshes.render(Mesh(vertices[t], body.faces), clip.cameras[t])
            assert torch.equal(clip.alpha[t] > 127, drawn.face_index >= 0)

    def test_same_seed_same_clip_other_seed_other_view(self, clip, subject, context):
        again = ReprojectLabeler(SMALL, context).generate(subject, tiny_motion(), 5)
        other = ReprojectLabeler(SMALL, context).generate(subject, tiny_motion(), 6)
        for name in ("frames", "alpha", "confidence"):
            assert torch.equal(getattr(clip, name), getattr(again, name))
        assert not torch.equal(clip.cameras[0].T_camera_world, other.cameras[0].T_camera_world)
        assert clip.name != other.name

    def test_confidence_is_full_far_away_and_nothing_at_the_silhouette(self, clip):
        inside = clip.alpha > 127
        grown = torch.nn.functional.max_pool2d(inside[:, None].float(), 3, 1, 1)[:, 0] > 0
        border = grown & ~inside
        far = torch.nn.functional.max_pool2d(inside[:, None].float(), 31, 1, 15)[:, 0] == 0
        assert clip.confidence[border].float().mean() < 25
        assert far.any()
        assert (clip.confidence[far] == 255).all()

    @pytest.mark.parametrize("yaw", [0.0, 25.0])
    def test_seen_surface_keeps_the_photos_colors(self, subject, body, context, yaw):
        config = replace(SMALL, frames=1, pitch=0.0, pan=0.0, yaw=yaw, height=96)
        still = replace(tiny_motion(frames=2), params=tiny_motion(frames=2).params[:1])
        made = ReprojectLabeler(config, context).generate(subject, still, 3)
        vertices = body.vertices(subject.params)[0]  # the motion's first frame is the photo's pose
        low, high = vertices.amin(0), vertices.amax(0)
        drawn = context.get("renderer").meshes.render(Mesh(vertices, body.faces), made.cameras[0])
        sure = (made.confidence[0] > 160) & (drawn.face_index >= 0)
        assert sure.sum() > 100
        corners = (0.2 + 0.6 * (vertices - low) / (high - low))[body.faces[drawn.face_index[sure]]]
        expected = (corners * drawn.barycentric[sure][..., None]).sum(1)
        assert (made.frames[0][sure].float() / 255 - expected).abs().mean() < 0.02

    def test_turned_away_counts_less(self, subject, context):
        def trust(yaw):
            motion = tiny_motion(frames=1)
            motion = replace(motion, params=replace(motion.params, root=torch.tensor([[0.0, yaw, 0.0]])))
            config = replace(SMALL, frames=1, yaw=0.0, pitch=0.0, pan=0.0)
            made = ReprojectLabeler(config, context).generate(subject, motion, 0)
            return float(made.confidence[made.alpha > 250].float().mean())

        front, side, back = trust(0.0), trust(0.8), trust(3.1)
        assert front > side > back

    def test_heads(self, subject, context, body):
        config = Config(region="head", frames=2, height=32, supersampling=2)
        made = ReprojectLabeler(config, context).generate(subject, tiny_motion(), 1)
        assert made.region == "head"
        assert made.frames.shape == (2, 32, 32, 3)
        head = body.vertices(made.params)[:, body.part("head") > 0.5]
        for t in range(2):
            pixels = made.cameras[t].project(head[t])
            assert pixels.min() > 0
            assert pixels.max() < 32


class TestFraming:
    def test_placing_keeps_the_subjects_heading_but_not_its_lean(self, subject):
        turned = replace(subject, params=replace(subject.params, root=torch.tensor([0.1, 0.5, 0.05])))
        params = place(turned, tiny_motion(), 4)
        R = axis_angle_to_matrix(params.root[0])
        assert torch.allclose(R[:, 1], torch.tensor([0.0, 1.0, 0.0]), atol=1e-5)
        forward = axis_angle_to_matrix(turned.params.root)[:, 2]
        assert torch.allclose(torch.atan2(R[0, 2], R[2, 2]), torch.atan2(forward[0], forward[2]), atol=1e-5)
        assert torch.equal(params.shape, subject.params.shape)
        assert torch.allclose(params.translation, subject.params.translation.expand(4, 3))

    def test_everything_shown_is_in_frame(self, subject, body):
        vertices = body.vertices(place(subject, tiny_motion(), 4))
        yaws = torch.tensor([-40.0, -10.0, 20.0, 170.0])
        cameras = frame_cameras(subject.camera, vertices, yaws, 10.0, (90, 160), 0.1)
        assert abs(cameras[0].width * cameras[0].height / (90 * 160) - 1) < 0.05
        for camera, v in zip(cameras, vertices, strict=True):
            pixels = camera.project(v) / torch.tensor([camera.width, camera.height])
            assert pixels.min() > 0.08
            assert pixels.max() < 0.92

    def test_unseen_legs_need_no_room(self, subject, body):
        class WithFeet(TinyBody):
            def part(self, name):
                tube = {"left_foot": 7, "right_foot": 8}.get(name)
                return super().part(name) if tube is None else (self._owner == tube).float()

        feet = WithFeet()
        hidden = replace(subject, quality=Quality(visible={"legs": False}))
        rest = feet.rest(feet.neutral().shape, torch.zeros(1, 2))[0]
        assert shown_vertices(subject, feet, "body").all()
        assert rest[shown_vertices(hidden, feet, "body"), 1].min() > 0.8


class TestRim:
    def test_overhang_is_as_thick_as_the_hair(self, subject, body, context):
        renderer = context.get("renderer")
        vertices = body.vertices(subject.params)[0]
        bare = overhang(subject, vertices, body, renderer)
        grown = torch.nn.functional.max_pool2d(subject.matte.alpha[None, None], 7, 1, 3)[0, 0]  # 3 pixels
        wide = overhang(replace(subject, matte=replace(subject.matte, alpha=grown)), vertices, body, renderer)
        pixel = 2.6 / float(subject.camera.K[0, 0])
        trunk = body.part("head") < 0.5
        trunk &= (body.part("left_hand") + body.part("right_hand")) < 0.5
        assert bare[trunk].median() < 1.5 * pixel
        assert 2 * pixel < wide[trunk].median() < 6 * pixel
        assert wide[body.part("face") > 0.5].median() < 2 * pixel  # faces are fitted, not covered

    def test_thicker_means_a_wider_band(self, subject, body, context):
        renderer, camera = context.get("renderer"), subject.camera
        mesh = Mesh(body.vertices(subject.params)[0], body.faces)
        drawn = renderer.meshes.render(mesh, camera)
        thin, thick = (
            rim_confidence(drawn, mesh, camera, torch.full((len(mesh.vertices),), meters), renderer)
            for meters in (0.005, 0.1)
        )
        outside = drawn.face_index < 0
        assert (thick[outside] <= thin[outside] + 1e-6).all()
        assert thick[outside].mean() < thin[outside].mean() - 0.05

    def test_a_wide_sleeve_hides_the_hips(self, subject, body, context):
        renderer = context.get("renderer")
        joints = subject.params.joints.clone()
        joints[3, 1], joints[4, 1] = -1.4, -1.8  # the left forearm lies in front of the hips
        mesh = Mesh(body.vertices(replace(subject.params, joints=joints))[0], body.faces)
        drawn = renderer.meshes.render(mesh, subject.camera)
        arm = torch.isin(body._owner, torch.tensor([3, 4]))
        thickness = torch.where(arm, 0.08, 0.004)
        trust = rim_confidence(drawn, mesh, subject.camera, thickness, renderer)
        tight = rim_confidence(drawn, mesh, subject.camera, torch.full_like(thickness, 0.004), renderer)
        hips = (drawn.face_index >= 0) & ~arm[body.faces[drawn.face_index.clamp(min=0), 0]]
        assert (trust[hips] < tight[hips] - 0.5).sum() > 3

    def test_nobody_in_the_picture(self, subject, body, context):
        renderer, camera = context.get("renderer"), subject.camera
        mesh = Mesh(body.vertices(subject.params)[0] + torch.tensor([50.0, 0.0, 0.0]), body.faces)
        drawn = renderer.meshes.render(mesh, camera)
        assert (rim_confidence(drawn, mesh, camera, torch.ones(len(mesh.vertices)), renderer) == 1).all()


class TestConfig:
    def test_sizes(self):
        assert Config().size == (288, 512)
        assert Config(region="head").size == (384, 384)
        assert Config(height=256).size == (144, 256)

    def test_what_cannot_be(self):
        with pytest.raises(ConfigError, match="region"):
            make_config(Config, {"region": "feet"})
        with pytest.raises(ConfigError):
            make_config(Config, {"frames": 0})
