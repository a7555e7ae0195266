"""The avatar that is a textured mesh."""

from __future__ import annotations

import pytest
import torch

from avatarkit.appearance.painter import PhotoPainter
from avatarkit.appearance.shared_painter import shared_painter
from avatarkit.errors import StoreError
from avatarkit.interfaces import Context
from avatarkit.registry import Registry
from avatarkit.rendering import render_posed
from avatarkit.testing import check_component, tiny_context, tiny_motion, tiny_subject
from avatarkit.types.camera import orbit
from avatarkit_coupled_gs.config import TexturedConfig
from avatarkit_coupled_gs.textured import TexturedMeshAvatar


@pytest.fixture(scope="module")
def context() -> Context:
    return tiny_context(renderer=Registry.load().get("renderer", "cpu").create({}, Context()))


@pytest.fixture(scope="module")
def avatar(context: Context) -> TexturedMeshAvatar:
    made = TexturedMeshAvatar(TexturedConfig(resolution=128), context)
    made.create(tiny_subject(context, size=96), [])
    return made


def test_it_shows_the_photo_over_any_background(avatar: TexturedMeshAvatar, context: Context) -> None:
    subject = tiny_subject(context, size=96)
    background = torch.tensor([0.9, 0.1, 0.4])
    with torch.no_grad():
        drawn = render_posed(context.get("renderer"), avatar.pose(subject.params), subject.camera, background)
    inside = subject.matte.alpha > 0.5
    assert ((drawn.rgb - subject.matte.foreground)[inside] ** 2).mean() < 6e-3
    assert torch.equal(drawn.rgb[drawn.alpha == 0], background.expand(int((drawn.alpha == 0).sum()), 3))
    border = (drawn.alpha > 0.2) & (drawn.alpha < 1)
    color = (drawn.rgb - (1 - drawn.alpha[..., None]) * background)[border] / drawn.alpha[border][:, None]
    assert border.any()
    assert color.min() > 0.1  # the person's colors, no black from between the pixels


def test_the_texture_learns_and_the_shape_stays(avatar: TexturedMeshAvatar, context: Context) -> None:
    subject = tiny_subject(context, size=96)
    camera = orbit(subject.camera, subject.params.translation, 30)
    drawn = render_posed(context.get("renderer"), avatar.pose(tiny_motion().params[2]), camera, torch.zeros(3))
    assert not drawn.rgb.requires_grad or drawn.alpha.max() == 0  # the motion stands elsewhere: nothing is in the picture
    drawn = render_posed(context.get("renderer"), avatar.pose(subject.params), camera, torch.zeros(3))
    (gradient,) = torch.autograd.grad(drawn.rgb.sum(), avatar.texture)
    assert gradient.any()
    assert [group.name for group in avatar.parameter_groups()] == ["texture"]


def test_it_takes_the_painter_that_there_is(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    made, paint = [], PhotoPainter.__init__
    monkeypatch.setattr(PhotoPainter, "__init__", lambda self, *given: made.append(self) or paint(self, *given))
    subject = tiny_subject(context, size=48)
    shared_painter(subject, context.get("body"), context.get("renderer"))
    TexturedMeshAvatar(TexturedConfig(resolution=32), context).create(subject, [])
    assert len(made) == 1


@pytest.mark.slow
def test_it_keeps_what_avatars_promise(avatar: TexturedMeshAvatar) -> None:
    found = check_component(Registry.load().get("avatar", "textured-mesh"), options={"resolution": 64})
    assert [f"{f.check}: {f.detail}" for f in found if f.state == "failed"] == []
    with pytest.raises(StoreError, match="texture is missing where"):
        avatar.load({"shape": avatar.shape, "dT": avatar.dT})
