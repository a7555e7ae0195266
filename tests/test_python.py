"""Python does what the command does, under the same names, typed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

import avatarkit
from avatarkit.animation import LoadedAvatar
from avatarkit.config import Recipe
from avatarkit.errors import ConfigError, InputError, PluginError
from avatarkit.io.photo import sample_photo
from avatarkit.testing import method
from avatarkit.testing.method import memory_registry, tiny_build
from avatarkit.utils.progress import SilentProgress, TextProgress, default_progress


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> LoadedAvatar:
    return avatarkit.load(tiny_build(tmp_path_factory.mktemp("built")), registry=memory_registry())


def test_a_motion_by_name_or_file_is_saved_as_a_video(avatar: LoadedAvatar, tmp_path: Path) -> None:
    film = avatar.animate("tiny", size=(32, 48), fps=10)
    assert film.motion.name == "tiny"
    assert film.save(tmp_path / "x.mp4") == tmp_path / "x.mp4"
    with av.open(str(tmp_path / "x.mp4")) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == len(film)
    assert (frames[0].width, frames[0].height) == (32, 48)
    from avatarkit.motion.files import save_motion

    save_motion(film.motion, avatar.body, tmp_path / "mine.npz")
    assert next(avatar.animate(tmp_path / "mine.npz", size=(32, 48))).pixels().shape == (48, 32, 3)
    with pytest.raises(InputError):
        avatar.animate("dance")


def test_an_avatar_that_the_renderer_cannot_draw_is_told(tmp_path: Path) -> None:
    path, registry = tiny_build(tmp_path), memory_registry()
    pose = method.TinyAvatar.pose

    def ellipsoids(self: Any, params: Any) -> Any:
        posed = pose(self, params)
        return replace(posed, gaussians=replace(posed.gaussians, scales=posed.gaussians.scales[:, None].expand(-1, 3)))

    renderer = registry.get("renderer", "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method.TinyAvatar, "pose", ellipsoids)
        assert avatarkit.load(path, registry=registry).contents.endswith("Gaussians")
        object.__setattr__(renderer, "features", ())
        with pytest.raises(PluginError, match="it makes ellipsoids, which renderer 'tiny' does not draw: choose another avatar"):
            avatarkit.load(path, registry=registry)
    assert avatarkit.load(path, registry=registry).contents.endswith("Gaussians")


def test_frames_can_still_be_iterated(avatar: LoadedAvatar) -> None:
    motion = avatar.components.get("motions").motion("tiny")
    assert len(list(avatar.animate(motion, "front", (16, 24)))) == len(motion)


def test_an_avatar_is_exported_by_name(avatar: LoadedAvatar, tmp_path: Path) -> None:
    path = avatar.export("tiny", tmp_path / "ada.tiny", title="Ada")
    assert '"title": "Ada"' in path.read_text()
    with pytest.raises(ConfigError, match="no option 'titel'"):
        avatar.export("tiny", tmp_path / "b.tiny", titel="Ada")


def test_a_build_takes_a_photo_or_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sample_photo("portrait").is_file()
    recipe = Recipe.from_dict(method.TINY_RECIPE, "test")
    for wrong in ({}, {"photo": "a.png", "sample": "portrait"}):
        with pytest.raises(ConfigError, match="Name one photo, or a sample"):
            avatarkit.build(**wrong, recipe=recipe, registry=memory_registry())  # type: ignore[arg-type]
    from avatarkit.pipeline import build as module

    tiny = tiny_build(tmp_path).parent / "tiny.png"
    monkeypatch.setattr(module, "sample_photo", lambda name: tiny)
    monkeypatch.chdir(tmp_path)
    path = avatarkit.build(sample="portrait", recipe=recipe, registry=memory_registry(), device="cpu")
    assert path == tmp_path / "portrait.avatar"


def test_callbacks_see_the_avatar_before_its_pictures_also_where_its_training_is_reused(tmp_path: Path) -> None:
    recipe, seen = Recipe.from_dict(method.TINY_RECIPE, "test"), list[tuple[str, int, bool]]()

    class See(avatarkit.TrainingCallback):
        def on_avatar(self, avatar: avatarkit.LoadedAvatar) -> None:
            consent = str(avatar.manifest["consent"])
            seen.append((consent, len(avatar.render(width=8, height=8)), any(tmp_path.rglob("*ada*/**/preview.png"))))

    photo = tiny_build(tmp_path).parent / "tiny.png"
    for _ in range(2):
        options = {"recipe": recipe, "registry": memory_registry(), "device": "cpu", "consent": "Ada agreed."}
        avatarkit.build(photo, tmp_path / "ada.avatar", **options, callbacks=[See()])  # type: ignore[arg-type]
    assert seen == [("Ada agreed.", 8, False), ("Ada agreed.", 8, True)]


def test_notebooks_see_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(default_progress(), SilentProgress)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object()))  # type: ignore[arg-type]
    shown = default_progress()
    assert isinstance(shown, TextProgress)
    with shown.stage("tracking"):
        shown._shown = 0.0
        shown.update("fitting the body", 0.25)
    text = capsys.readouterr().err
    assert "tracking ... fitting the body 25%" in text
    assert text.strip().endswith(" s")


def test_the_former_name_of_an_argument_works() -> None:
    with pytest.warns(DeprecationWarning, match="called components now"):
        recipe = Recipe.load("draft", flags={"matting": "birefnet"})
    assert recipe.slots["matting"].use == "birefnet"
    assert Recipe.load("draft", components={"matting": "birefnet"}).slots == recipe.slots
