"""Motion in, clip out, through the real code with tiny random networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatarkit.config.options import make_config
from avatarkit.errors import ConfigError, InputError, MissingWeights
from avatarkit.interfaces import PseudoLabeler
from avatarkit.labelling.frames import thinned
from avatarkit.labelling.poses import observe
from avatarkit.testing import TinyBody, tiny_context, tiny_motion, tiny_subject
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.subject import Matte
from avatarkit_mimicmotion.config import MimicMotionConfig
from avatarkit_mimicmotion.labeler import MimicMotionLabeler, _alignment, _detected
from avatarkit_mimicmotion.pipeline import VideoPipeline


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


@pytest.fixture(scope="module")
def person():
    return tiny_subject(size=128)


@pytest.fixture
def setup(tiny, person, tmp_path):
    """Labeler, subject, motion, and the matting that the labeler meets."""
    matting = HalfMatting()
    context = tiny_context(tmp_path, matting=matting, renderer=None)
    config = MimicMotionConfig(
        checkpoint=tiny[0], base=tiny[1], resolution=64, fps=10, steps=2, tile_size=3, tile_overlap=1, decode_chunk=2
    )
    return MimicMotionLabeler(config, context), person, tiny_motion(frames=4), matting


def test_from_motion_to_clip(setup, tmp_path):
    labeler, subject, motion, _ = setup
    assert isinstance(labeler, PseudoLabeler)
    clip = labeler.generate(subject, motion, seed=3)
    assert clip.region == "body"
    assert clip.name == "body-tiny"
    assert clip.frames.shape == (4, 64, 64, 3) == (*clip.alpha.shape, 3)
    assert {clip.frames.dtype, clip.alpha.dtype, clip.confidence.dtype} == {torch.uint8}
    assert (clip.confidence == 255).all()
    assert (clip.alpha[:, :, :32] == 255).all()
    assert (clip.alpha[:, :, 32:] == 0).all()
    assert clip.frames.float().std() > 1
    assert clip.requested is clip.params
    assert torch.equal(clip.params.translation, subject.params.translation.expand(4, 3))
    assert torch.equal(clip.params.joints, motion.params.joints)
    assert torch.equal(clip.params.shape, subject.params.shape)
    assert {(c.width, c.height) for c in clip.cameras} == {(64, 64)}
    assert not list((tmp_path / "scratch" / "mimicmotion").iterdir())  # finished work leaves nothing behind
    again = labeler.generate(subject, motion, seed=3)
    assert torch.equal(clip.frames, again.frames)
    other = labeler.generate(subject, motion, seed=4)
    assert not torch.equal(clip.frames, other.frames)


def test_the_pose_reaches_the_frames(setup):
    labeler, subject, motion, _ = setup
    still = replace(motion, params=replace(motion.params, joints=motion.params.joints * 0))
    assert not torch.equal(labeler.generate(subject, motion, 0).frames, labeler.generate(subject, still, 0).frames)


def test_frames_without_a_person_are_not_trusted(setup):
    labeler, subject, motion, matting = setup
    matting.refuse = {1, 2}
    clip = labeler.generate(subject, motion, 0)
    assert clip.confidence.amax((1, 2)).tolist() == [255, 0, 0, 255]
    assert clip.alpha.amax((1, 2)).tolist() == [255, 0, 0, 255]


def test_a_killed_run_is_taken_up_again(setup, monkeypatch, tmp_path):
    labeler, subject, motion, _ = setup
    whole = labeler.generate(subject, motion, 0)
    decode = VideoPipeline._decode_chunk
    unet = labeler._pipeline.networks.unet
    calls = {"unet": 0, "decode": 0}

    def dying(self, vae, latents):
        calls["decode"] += 1
        if calls["decode"] == 2:
            raise KeyboardInterrupt
        return decode(self, vae, latents)

    labeler.save_seconds = 0.0
    monkeypatch.setattr(VideoPipeline, "_decode_chunk", dying)
    with pytest.raises(KeyboardInterrupt):
        labeler.generate(subject, motion, 0)
    handle = unet.register_forward_hook(lambda *_: calls.update(unet=calls["unet"] + 1))
    again = labeler.generate(subject, motion, 0)
    handle.remove()
    assert torch.equal(again.frames, whole.frames)
    assert calls == {"unet": 0, "decode": 4}  # denoising was done, and the first of three chunks
    assert not list((tmp_path / "scratch" / "mimicmotion").iterdir())


def test_motions_arethinned(setup):
    _, _, motion, _ = setup
    fast = replace(motion, fps=30.0)
    assert len(thinned(fast, 15.0)) == 2
    assert thinned(fast, 15.0).fps == 15.0
    assert len(thinned(motion, 30.0)) == 4


def test_drawn_poses_are_aligned_with_the_photo(setup):
    labeler, subject, _, _ = setup
    window = labeler._window(subject)
    camera = window.camera(subject.camera)
    assert _detected(subject, window) is None  # the tiny subject's landmark set is not known here
    body = TinyBody()
    points, scores = observe(body, subject.params.batched(), subject.camera)
    points = points[0] * 1.05 + 2.0  # a detector that disagrees with the fit
    points[0] = [500.0, 500.0]  # and puts the nose outside the photo
    found = Keypoints(128, 128, {"coco133": points}, {"coco133": scores[0]})
    detected = _detected(replace(subject, keypoints=found), window)
    assert detected[1][0] == 0
    assert detected[1][6] > 0.3
    fitted = observe(body, subject.params.batched(), camera)
    scale, _ = _alignment(*detected, fitted[0][0], fitted[1][0])
    np.testing.assert_allclose(scale, 1.05, atol=1e-3)
    scale, shift = _alignment(detected[0] * 3, detected[1], fitted[0][0], fitted[1][0])
    assert scale.tolist() == [1, 1]
    assert shift.tolist() == [0, 0]


def test_missing_weights_are_named(setup, tmp_path, monkeypatch):
    labeler, subject, motion, _ = setup
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path))
    config, context = labeler._config, labeler._context
    for change, name in (({"checkpoint": None}, "mimicmotion-1-1"), ({"base": None}, "svd-xt-1-1")):
        with pytest.raises(MissingWeights, match=f"avatarkit weights add {name}"):
            MimicMotionLabeler(replace(config, **change), context).generate(subject, motion, 0)


def test_weights_are_found_by_name(setup, tiny, tmp_path, monkeypatch):
    labeler, subject, motion, _ = setup
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mimicmotion-1-1.pth").symlink_to(tiny[0])
    (tmp_path / "weights" / "svd-xt-1-1").symlink_to(tiny[1], target_is_directory=True)
    named = MimicMotionLabeler(replace(labeler._config, checkpoint=None, base=None), labeler._context)
    assert torch.equal(named.generate(subject, motion, 0).frames, labeler.generate(subject, motion, 0).frames)


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": 100},
        {"tile_overlap": 0},
        {"tile_size": 4, "tile_overlap": 4},
        {"steps": 1},
        {"guidance_min": 3.0},
        {"framing": "circle"},
        {"dtype": "int8"},
        {"confidence": 2.0},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        make_config(MimicMotionConfig, options, owner="labels 'mimicmotion'")
