"""Motion in, clip out, through the real code with tiny random networks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avatarkit.config.options import make_config
from avatarkit.errors import ConfigError, InputError, MissingWeights
from avatarkit.interfaces import PseudoLabeler
from avatarkit.labelling import driving
from avatarkit.labelling.driving import HeadPainter, head_motion
from avatarkit.labelling.frames import thinned
from avatarkit.testing import ReferenceRenderer, tiny_context, tiny_motion, tiny_subject
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import MeshRendering
from avatarkit.types.subject import Matte
from avatarkit_liveportrait.config import LivePortraitConfig
from avatarkit_liveportrait.images import FaceCrop, face_points
from avatarkit_liveportrait.labeler import LivePortraitLabeler, _limited


class HalfMatting:
    """The left half is the person; frames of the numbers ``refuse`` hold nobody."""

    def __init__(self) -> None:
        self.refuse: set[int] = set()
        self.count = 0

    def matte(self, photo, keypoints=None):
        self.count += 1
        if self.count - 1 in self.refuse:
            raise InputError("Nobody is here.")
        alpha = torch.zeros(photo.image.shape[:2])
        alpha[:, : photo.width // 2] = 1
        return Matte(alpha, photo.image)


class CoarseMeshes:
    """Draws few, large pixels: the reference rasterizer is slow."""

    def render(self, mesh, camera):
        n = max(1, camera.width // 64)
        drawn = ReferenceRenderer().meshes.render(mesh, camera.resized(camera.width // n, camera.height // n))
        layers = (drawn.mask, drawn.face_index, drawn.barycentric, drawn.depth)
        return MeshRendering(*(x.repeat_interleave(n, 0).repeat_interleave(n, 1) for x in layers))


def _face_landmarks(subject, body):
    """133 points of which the face lies on the tiny head, its eyes above its mouth."""
    head = body.vertices(subject.params.batched())[0][body.part("head") > 0.5]
    seen = subject.camera.project(head)
    low, high = seen.amin(0).numpy(), seen.amax(0).numpy()
    unit = np.random.RandomState(3).uniform(0.1, 0.9, (68, 2))
    unit[36:48, 1], unit[48:, 1] = 0.3, 0.75
    unit[36:42, 0], unit[42:48, 0], unit[48:, 0] = 0.3, 0.7, 0.5
    points = np.zeros((133, 2), np.float32)
    points[23:91] = low + unit * (high - low)
    return Keypoints(subject.photo.width, subject.photo.height, {"coco133": points}, {"coco133": np.ones(133)})


@pytest.fixture(scope="module")
def person():
    subject = tiny_subject(size=128)
    return replace(subject, keypoints=_face_landmarks(subject, tiny_context().get("body")))


@pytest.fixture(scope="module")
def shared(tiny, person, tmp_path_factory):
    """Labeler, subject, motion, and the matting that the labeler meets."""
    matting = HalfMatting()
    meshes = SimpleNamespace(meshes=CoarseMeshes())
    context = tiny_context(tmp_path_factory.mktemp("cache"), matting=matting, renderer=meshes)
    motion = tiny_motion(frames=4)
    joints = motion.params.joints.clone()
    joints[:, 2, 1] = torch.linspace(0, 0.6, 4)  # the head turns
    motion = replace(motion, params=replace(motion.params, joints=joints))
    labeler = LivePortraitLabeler(LivePortraitConfig(weights=tiny, size=64, fps=5), context)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driving, "SAMPLES", 1)  # drawings are most of the work here
        yield labeler, person, motion, matting


@pytest.fixture
def setup(shared):
    matting = shared[3]
    matting.count, matting.refuse = 0, set()
    return shared


def test_from_motion_to_clip(setup):
    labeler, subject, motion, matting = setup
    matting.refuse = {1}
    assert isinstance(labeler, PseudoLabeler)
    assert labeler.exact is False
    clip = labeler.generate(subject, motion, seed=3)
    assert clip.region == "head"
    assert clip.name == "head-tiny"
    assert clip.frames.shape == (2, 64, 64, 3) == (*clip.alpha.shape, 3)
    assert {clip.frames.dtype, clip.alpha.dtype, clip.confidence.dtype} == {torch.uint8}
    assert clip.confidence.amax((1, 2)).tolist() == [255, 0]
    assert clip.alpha.amax((1, 2)).tolist() == [255, 0]
    assert clip.requested is clip.params
    assert {(c.width, c.height) for c in clip.cameras} == {(64, 64)}
    # Head and face follow the motion, everything else is the photo's.
    assert torch.equal(clip.params.expression, motion.params.expression[::2])
    assert clip.params.joints[1, 2].norm() > 0.1
    others = [j for j in range(9) if j != 2]
    assert torch.equal(clip.params.joints[:, others], subject.params.joints[others].expand(2, 8, 3))
    assert torch.equal(clip.params.translation, subject.params.translation.expand(2, 3))
    # The window holds the head.
    head = tiny_context().get("body").vertices(clip.params)[:, 2 * 84 : 3 * 84]
    seen = clip.cameras[0].project(head)
    assert 0 < seen.min() < seen.max() < 64
    assert float((seen.amax(1) - seen.amin(1)).amax()) > 20


def test_the_motion_reaches_the_frames_and_nothing_is_random(setup):
    labeler, subject, motion, _ = setup
    clip = labeler.generate(subject, motion, 0)
    assert clip.frames.float().std() > 1
    assert torch.equal(clip.frames, labeler.generate(subject, motion, 1).frames)
    assert not torch.equal(clip.frames[0], clip.frames[1])
    motion = replace(motion, params=motion.params[::2], fps=5.0)
    still = replace(motion, params=replace(motion.params, joints=motion.params.joints * 0))
    still = replace(still, params=replace(still.params, expression=still.params.expression * 0))
    quiet = labeler.generate(subject, still, 0)
    assert torch.equal(quiet.frames[0], quiet.frames[1])


@pytest.fixture(scope="module")
def usual(shared):
    """One frame with the usual options, and its motion."""
    labeler, subject, motion, _ = shared
    motion = replace(motion, params=motion.params[3:])
    return labeler.generate(subject, motion, 0).frames, motion


@pytest.mark.parametrize("change", [{"relative": False}, {"multiplier": 0.0}, {"stitching": False}])
def test_options_change_the_frames(setup, usual, change):
    labeler, subject, _, _ = setup
    frames, motion = usual
    other = LivePortraitLabeler(replace(labeler._config, **change), labeler._context)
    assert not torch.equal(frames, other.generate(subject, motion, 0).frames)


@pytest.mark.slow
def test_half_precision_gives_nearly_the_same_frames(setup, usual):
    labeler, subject, _, _ = setup
    frames, motion = usual
    other = LivePortraitLabeler(replace(labeler._config, dtype="float16"), labeler._context)
    difference = (frames.float() - other.generate(subject, motion, 0).frames.float()).abs()
    assert 0 < difference.mean() < 2


def test_driving_pictures_show_the_head_of_the_photo(setup):
    labeler, subject, motion, _ = setup
    body, renderer = (labeler._context.get(name) for name in ("body", "renderer"))
    crop = FaceCrop.around(*face_points(subject.keypoints, 128, 128))
    painter = HeadPainter(subject, body, renderer)
    params = head_motion(motion, subject, body)
    first, *_, last = painter.draw(params, crop.camera(subject.camera, 64), lambda part: None)
    assert first.shape == (64, 64, 3)
    assert (first == 128).all(-1).any()
    assert (first != 128).any(-1).mean() > 0.1
    assert not np.array_equal(first, last)


def test_large_photos_are_made_smaller(person):
    size = 1400
    image = torch.zeros(size, size, 3)
    large = replace(
        person,
        photo=replace(person.photo, image=image),
        matte=Matte(torch.zeros(size, size), image),
        camera=person.camera.resized(size, size),
    )
    small = _limited(large)
    assert small.photo.image.shape == (1280, 1280, 3)
    assert small.matte.alpha.shape == (1280, 1280)
    assert small.camera.width == 1280
    np.testing.assert_allclose(
        face_points(small.keypoints, 1280, 1280)[0] + 0.5, 10 * (face_points(person.keypoints, 128, 128)[0] + 0.5)
    )
    assert _limited(person) is person


def test_motions_arethinned(setup):
    motion = setup[2]
    assert len(thinned(replace(motion, fps=30.0), 15.0)) == 2
    assert len(thinned(motion, 30.0)) == 4


def test_missing_weights_are_named(setup, tmp_path, monkeypatch):
    labeler, subject, motion, _ = setup
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path))
    config = replace(labeler._config, weights=None)
    with pytest.raises(MissingWeights, match="avatarkit weights add liveportrait"):
        LivePortraitLabeler(config, labeler._context).generate(subject, motion, 0)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "liveportrait").symlink_to(labeler._config.weights, target_is_directory=True)
    named = LivePortraitLabeler(config, labeler._context)
    assert named._ready_animator().networks.keys() == labeler._ready_animator().networks.keys()


def test_a_photo_without_a_face_is_refused(setup):
    labeler, subject, motion, _ = setup
    with pytest.raises(InputError, match="no landmarks"):
        labeler.generate(replace(subject, keypoints=Keypoints(128, 128, {}, {})), motion, 0)


@pytest.mark.parametrize(
    "options", [{"fps": 0}, {"size": 8}, {"region": "nose"}, {"multiplier": -1}, {"confidence": 2}, {"dtype": "int8"}]
)
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        make_config(LivePortraitConfig, options, owner="labels 'liveportrait'")
