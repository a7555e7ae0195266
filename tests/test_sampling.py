"""Which views training looks at, and label clips in the photo's colors."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from avatarkit.config.sections import TrainingConfig
from avatarkit.labelling.color_transfer import ColorMap, calibrated
from avatarkit.testing import ReferenceRenderer, TinyBody, tiny_subject
from avatarkit.training.sampler import Sampler, frame_confidence
from avatarkit.training.views import photo_views
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject


@pytest.fixture(scope="module")
def subject() -> Subject:
    return tiny_subject(size=64)


def clip_of(subject: Subject, region: str, confidence: tuple[int, ...]) -> LabelClip:
    """The photo itself, once for each confidence."""
    count = len(confidence)
    frames = (subject.matte.foreground * 255).round().to(torch.uint8).expand(count, -1, -1, -1).clone()
    alpha = (subject.matte.alpha * 255).round().to(torch.uint8).expand(count, -1, -1).clone()
    trust = torch.tensor(confidence, dtype=torch.uint8)[:, None, None].expand_as(alpha).clone()
    params = subject.params[None]  # type: ignore[index]
    params = params[torch.zeros(count, dtype=torch.int64)]
    return LabelClip(region, region, frames, alpha, trust, params, params, (subject.camera,) * count)  # type: ignore[arg-type]


def drawn(subject: Subject, clips: list[LabelClip], config: TrainingConfig, count: int = 600) -> Counter[str]:
    sampler = Sampler(photo_views(subject, 64), clips, config)
    views = [sampler.draw(torch.Generator().manual_seed(k)) for k in range(count)]
    return Counter(f"{v.kind} {float(v.confidence.max()):.1f}" for v in views)


def test_shares_of_photo_body_and_head(subject: Subject) -> None:
    clips = [clip_of(subject, "body", (255,)), clip_of(subject, "head", (255,))]
    seen = drawn(subject, clips, TrainingConfig(photo_share=0.5, head_share=0.2))
    assert 250 < seen["photo 1.0"] < 350
    assert 0.12 < seen["head 1.0"] / (seen["head 1.0"] + seen["body 1.0"]) < 0.28
    assert set(drawn(subject, [], TrainingConfig(photo_share=0.0), 20)) == {"photo 1.0"}


def test_frames_are_drawn_by_confidence_and_lost_ones_never(subject: Subject) -> None:
    clips = [clip_of(subject, "body", (255, 0, 51))]
    seen = drawn(subject, clips, TrainingConfig(photo_share=0.0))
    assert set(seen) == {"body 1.0", "body 0.2"}
    assert seen["body 1.0"] / seen["body 0.2"] == pytest.approx(5, rel=0.35)
    assert torch.allclose(frame_confidence(clips[0]), torch.tensor([1.0, 0.0, 0.2]))
    lost = drawn(subject, [clip_of(subject, "body", (0, 0))], TrainingConfig(photo_share=0.0), 20)
    assert set(lost) == {"photo 1.0"}


def test_without_confidence_all_pixels_count_alike(subject: Subject) -> None:
    clips = [clip_of(subject, "body", (255, 0, 51))]
    assert set(drawn(subject, clips, TrainingConfig(photo_share=0.0, confidence=False), 60)) == {"body 1.0"}


def test_a_line_is_found_in_spite_of_what_does_not_fit() -> None:
    g = torch.Generator().manual_seed(0)
    photo = torch.rand(900, 3, generator=g)
    gain, offset = torch.tensor([1.2, 0.9, 1.0]), torch.tensor([-0.05, 0.04, 0.0])
    clip = (photo - offset) / gain + 0.005 * torch.randn(900, 3, generator=g)
    clip[:150] = torch.rand(150, 3, generator=g)  # something else is in front
    found = ColorMap.fit(clip, photo)
    assert found is not None
    assert torch.allclose(found.gain, gain, atol=0.05) and torch.allclose(found.offset, offset, atol=0.03)
    assert ColorMap.fit(clip[:50], photo[:50]) is None
    one = ColorMap.fit(torch.full((300, 3), 0.5), torch.full((300, 3), 0.6))
    assert one is not None and torch.allclose(one.gain, torch.ones(3)) and torch.allclose(one.offset, torch.full((3,), 0.1))


def test_a_cast_over_a_clip_is_taken_out(subject: Subject) -> None:
    clip = clip_of(subject, "body", (255, 255))
    cast = (clip.frames.float() * torch.tensor([0.8, 0.9, 0.95])).round().to(torch.uint8)
    mended, found = calibrated(replace(clip, frames=cast), subject, TinyBody(), ReferenceRenderer())
    assert found is not None
    inside = subject.matte.alpha > 0.9
    before = (cast.float() - clip.frames.float())[:, inside].abs().mean()
    after = (mended.frames.float() - clip.frames.float())[:, inside].abs().mean()
    assert after < 0.3 * before
