"""Motion in, clip out, through diffusers' own pipeline with tiny random networks."""

from __future__ import annotations

import inspect
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from avatarkit.config.options import make_config
from avatarkit.errors import ConfigError, InputError, MissingWeights
from avatarkit.interfaces import PseudoLabeler
from avatarkit.testing import tiny_context, tiny_motion, tiny_subject
from avatarkit.types.subject import Matte
from avatarkit_wan.config import WanConfig
from avatarkit_wan.labeler import WanLabeler, _filled


class HalfMatting:
    """The left half is the person."""

    def matte(self, photo, keypoints=None):
        alpha = torch.zeros(photo.image.shape[:2])
        alpha[:, : photo.width // 2] = 1
        return Matte(alpha, photo.image)


@pytest.fixture(scope="module")
def person():
    return tiny_subject(size=64)


@pytest.fixture
def setup(tiny, person, tmp_path):
    """Labeler, subject, motion."""
    config = WanConfig(weights=tiny, short=64, long=96, fps=10, steps=2, segment=9, prompt="moves")
    return WanLabeler(config, tiny_context(tmp_path, matting=HalfMatting())), person, tiny_motion(frames=4)


def test_the_pipeline_is_called_as_it_wants():
    from diffusers import WanAnimatePipeline

    accepted = inspect.signature(WanAnimatePipeline.__call__).parameters
    for name in (
        "image", "pose_video", "face_video", "prompt_embeds", "negative_prompt_embeds", "height", "width",
        "segment_frame_length", "num_inference_steps", "prev_segment_conditioning_frames", "guidance_scale",
        "generator", "callback_on_step_end", "output_type",
    ):  # fmt: skip
        assert name in accepted


def test_from_motion_to_clip(setup, tmp_path):
    labeler, subject, motion = setup
    heard = []
    labeler._context = replace(labeler._context, progress=lambda what, part=None: heard.append((what, part)))
    assert isinstance(labeler, PseudoLabeler)
    assert labeler.exact is False
    clip = labeler.generate(subject, motion, seed=3)
    assert (clip.region, clip.name) == ("body", "body-tiny")
    assert clip.frames.shape == (4, 96, 64, 3) == (*clip.alpha.shape, 3)
    assert (clip.alpha[:, :, :32] == 255).all()
    assert clip.frames.float().std() > 1
    assert clip.requested is clip.params
    assert torch.equal(clip.params.joints, motion.params.joints)
    assert [part for what, part in heard if what == "denoising"] == [0.5, 1.0]
    # The prompt was encoded once, and the text encoder has gone.
    assert labeler._pipeline.text_encoder is None
    assert len(list((tmp_path / "wan").glob("prompt-*.safetensors"))) == 1
    assert ("reading the prompt", None) in heard
    heard.clear()
    same = labeler.generate(subject, motion, seed=3)
    assert torch.equal(same.frames, clip.frames)
    assert ("reading the prompt", None) not in heard
    assert not torch.equal(labeler.generate(subject, motion, seed=4).frames, clip.frames)


@pytest.mark.slow
def test_pose_and_face_reach_the_frames(setup, monkeypatch):
    labeler, subject, motion = setup
    whole = labeler.generate(subject, motion, 0).frames
    still = replace(motion, params=replace(motion.params, joints=motion.params.joints * 0))
    assert not torch.equal(labeler.generate(subject, still, 0).frames, whole)
    drive = labeler._driving

    def faceless(*arguments):
        poses, faces = drive(*arguments)
        return poses, [face * 0 for face in faces]

    monkeypatch.setattr(labeler, "_driving", faceless)
    assert not torch.equal(labeler.generate(subject, motion, 0).frames, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "overlap"), [(1, "1"), (3, "5"), (15, "5")])
def test_any_number_of_frames(setup, frames, overlap):
    """One frame, fewer than the network goes on from, and more than it sees at once."""
    labeler, subject, _ = setup
    segment = 13 if overlap == "5" else 9
    labeler = WanLabeler(replace(labeler._config, overlap=overlap, segment=segment, steps=1), labeler._context)
    clip = labeler.generate(subject, tiny_motion(frames=frames), 0)
    assert len(clip) == frames == clip.params.batch_shape[0]


@pytest.mark.slow
def test_a_stopped_clip_continues_after_its_last_segment(setup):
    labeler, subject, _ = setup
    config = replace(labeler._config, overlap="1", segment=5, steps=2)
    motion = tiny_motion(frames=9)
    whole = WanLabeler(config, labeler._context).generate(subject, motion, 0).frames
    calls: list[str] = []

    def dying(what: str, fraction: float | None) -> None:
        if what == "denoising":
            calls.append(what)
            if len(calls) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WanLabeler(config, replace(labeler._context, progress=dying)).generate(subject, motion, 0)
    again = WanLabeler(config, labeler._context)
    transformer = again._ready_pipeline().transformer
    asked: list[int] = []
    handle = transformer.proj_out.register_forward_hook(lambda *_: asked.append(1))
    assert torch.equal(again.generate(subject, motion, 0).frames, whole)
    handle.remove()
    assert len(asked) == 2  # steps of the second segment only
    assert not list((labeler._context.cache / "scratch" / "wan").iterdir())


def test_missing_weights_are_named(setup, tmp_path, monkeypatch):
    labeler, subject, motion = setup
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path))
    config = labeler._config
    with pytest.raises(MissingWeights, match="avatarkit weights fetch wan-animate-14b"):
        WanLabeler(replace(config, weights=None), labeler._context).generate(subject, motion, 0)
    (tmp_path / "part" / "vae").mkdir(parents=True)
    with pytest.raises(MissingWeights, match="it has no transformer, image_encoder"):
        WanLabeler(replace(config, weights=tmp_path / "part"), labeler._context).generate(subject, motion, 0)


FILE = "transformer/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.pop("proj_out.bias"), "1 missing tensors, e.g. proj_out.bias"),
        (lambda state: state.update({"extra": torch.ones(1)}), "1 unexpected tensors, e.g. extra"),
        (lambda state: state.update({"proj_out.bias": torch.ones(3)}), "proj_out.bias"),
        (None, "part transformer of wrong is damaged"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(setup, tiny, tmp_path, damage, message):
    labeler, subject, motion = setup
    wrong = shutil.copytree(tiny, tmp_path / "wrong")
    if damage is None:
        (wrong / FILE).write_bytes((wrong / FILE).read_bytes()[:5000])
    else:
        state = load_file(wrong / FILE)
        damage(state)
        save_file(state, wrong / FILE, {"format": "pt"})
    with pytest.raises(InputError) as caught:
        WanLabeler(replace(labeler._config, weights=wrong), labeler._context).generate(subject, motion, 0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickles_are_not_read(setup, tiny, tmp_path):
    labeler, subject, motion = setup
    wrong = shutil.copytree(tiny, tmp_path / "wrong")
    torch.save(load_file(wrong / FILE), wrong / "transformer" / "diffusion_pytorch_model.bin")
    (wrong / FILE).unlink()
    with pytest.raises(InputError, match="part transformer"):
        WanLabeler(replace(labeler._config, weights=wrong), labeler._context).generate(subject, motion, 0)


def test_faces_that_are_lost_for_a_while():
    a, b = (0, 0, 1, 1), (2, 2, 3, 3)
    assert _filled([None, a, None, b]) == [a, a, a, b]
    assert _filled([None, None]) is None


@pytest.mark.parametrize(
    "options",
    [
        {"short": 100},
        {"short": 64, "long": 32},
        {"segment": 10},
        {"segment": 9, "overlap": "5"},
        {"overlap": "2"},
        {"guidance": 0.5},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        make_config(WanConfig, options, owner="labels 'wan'")
