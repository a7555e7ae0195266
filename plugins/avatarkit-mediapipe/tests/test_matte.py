"""Mattes: the solver against truth that is known, and the astronaut's against what is in the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data

from avatarkit.errors import InputError
from avatarkit.interfaces import Context, MattingModel
from avatarkit.io.photo import photo_from_array
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte
from avatarkit_mediapipe.closed_form import closed_form_alpha, foreground_colors
from avatarkit_mediapipe.config import KeypointConfig, MatteConfig
from avatarkit_mediapipe.detector import MediaPipeKeypoints
from avatarkit_mediapipe.matting import MediaPipeMatte


def blend() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two textured layers whose colors lie on two lines, a soft disc between them: image, alpha, front, back."""
    y, x = np.mgrid[:60, :70].astype(np.float64)
    alpha = np.clip((24 - np.hypot(x - 35, y - 30)) / 10, 0, 1)
    front = np.array([0.9, 0.3, 0.2]) * (0.9 + 0.1 * np.sin(x / 5))[..., None]
    back = np.array([0.1, 0.4, 0.8]) * (0.9 + 0.1 * np.cos(y / 6))[..., None]
    return alpha[..., None] * front + (1 - alpha[..., None]) * back, alpha, front, back


def test_closed_form_alpha_finds_the_truth() -> None:
    image, alpha, _, _ = blend()
    known = (alpha == 0) | (alpha == 1)
    weak = np.full(alpha.shape, 1e-6)
    solved = closed_form_alpha(image, known, np.where(known, alpha, 0.5), weak)
    np.testing.assert_array_equal(solved[known], alpha[known].astype(np.float32))
    assert np.abs(solved - alpha)[~known].mean() < 0.02 < np.abs(0.5 - alpha)[~known].mean() / 5


def test_the_guess_decides_where_colors_do_not() -> None:
    flat = np.full((20, 20, 3), 0.5)
    known = np.zeros((20, 20), bool)
    guess = np.tile(np.linspace(0, 1, 20), (20, 1))
    np.testing.assert_allclose(closed_form_alpha(flat, known, guess, np.full((20, 20), 1e3)), guess, atol=0.01)
    pulled = closed_form_alpha(flat, known, guess, np.full((20, 20), 1e-9))
    np.testing.assert_allclose(pulled, 0.5, atol=0.02)  # smooth: constants cost nothing, so only the mean is left


def test_all_known_is_left_alone() -> None:
    guess = np.random.default_rng(0).random((9, 9))
    solved = closed_form_alpha(np.zeros((9, 9, 3)), np.ones((9, 9), bool), guess, np.ones((9, 9)))
    np.testing.assert_allclose(solved, guess, atol=1e-6)


def test_foreground_colors_are_freed_of_the_background() -> None:
    image, alpha, front, _ = (a.astype(np.float32) for a in blend())
    found = foreground_colors(image, alpha)
    border = (alpha > 0.2) & (alpha < 0.8)
    assert np.abs(found - front)[border].mean() < 0.45 * np.abs(image - front)[border].mean()
    np.testing.assert_allclose(found[alpha == 1], image[alpha == 1], atol=0.02)


@pytest.fixture(scope="module")
def photo() -> Photo:
    return photo_from_array(data.astronaut(), "astronaut")


@pytest.fixture(scope="module")
def keypoints(photo: Photo) -> Keypoints:
    return MediaPipeKeypoints(KeypointConfig(), Context()).detect(photo.to_uint8())


@pytest.fixture(scope="module")
def matting() -> MediaPipeMatte:
    return MediaPipeMatte(MatteConfig(), Context())


@pytest.fixture(scope="module")
def matte(matting: MediaPipeMatte, photo: Photo, keypoints: Keypoints) -> Matte:
    return matting.matte(photo, keypoints)


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum())


def test_the_astronaut_is_cut_out(matting: MediaPipeMatte, matte: Matte) -> None:
    assert isinstance(matting, MattingModel)
    alpha = matte.alpha
    assert alpha.shape == (512, 512)
    assert matte.foreground.shape == (512, 512, 3)
    assert alpha.dtype == matte.foreground.dtype == torch.float32
    assert 0 <= float(alpha.min()) <= float(alpha.max()) <= 1
    assert float(alpha[85:165, 200:250].min()) > 0.99  # her face
    assert float(alpha[300:480, 80:200].mean()) > 0.99  # her suit
    assert float(alpha[:200, :100].mean()) < 0.01  # the flag
    assert float(alpha[:230, 350:].mean()) < 0.01  # the shuttle
    assert float(alpha[0:18].mean()) < 0.02


def test_hair_is_soft_and_has_no_background_in_it(photo: Photo, matte: Matte) -> None:
    hair = matte.alpha[20:150, 150:300]
    soft = (hair > 0.05) & (hair < 0.95)
    assert 0.02 < float(soft.float().mean()) < 0.25
    border = (matte.alpha > 0.1) & (matte.alpha < 0.6)
    border[150:] = False
    brightness = photo.image.mean(-1)[border].mean(), matte.foreground.mean(-1)[border].mean()
    assert brightness[1] < brightness[0] - 0.1  # the wall behind her is bright, her hair is not


def test_same_numbers_every_time(matting: MediaPipeMatte, photo: Photo, keypoints: Keypoints, matte: Matte) -> None:
    again = MediaPipeMatte(MatteConfig(), Context()).matte(photo, keypoints)
    assert torch.equal(matte.alpha, again.alpha)
    assert torch.equal(matte.foreground, again.foreground)


def test_without_keypoints(matting: MediaPipeMatte, photo: Photo, matte: Matte) -> None:
    alpha = matting.matte(photo).alpha
    assert iou(alpha[:300], matte.alpha[:300]) > 0.9


def test_solving_small_gives_nearly_the_same(photo: Photo, keypoints: Keypoints, matte: Matte) -> None:
    small = MediaPipeMatte(MatteConfig(solve_side=256), Context()).matte(photo, keypoints)
    assert small.alpha.shape == (512, 512)
    assert iou(small.alpha, matte.alpha) > 0.97


def test_a_matte_in_the_file_is_used(
    matting: MediaPipeMatte, photo: Photo, keypoints: Keypoints, matte: Matte, caplog: pytest.LogCaptureFixture
) -> None:
    wiped = torch.where(matte.alpha[..., None] > 0, photo.image, torch.tensor([1.0, 0.0, 1.0]))
    own = matting.matte(replace(photo, image=wiped, alpha=matte.alpha), keypoints)
    assert torch.equal(own.alpha, matte.alpha)
    solid = matte.alpha == 1
    torch.testing.assert_close(own.foreground[solid], wiped[solid], atol=1e-6, rtol=0)
    magenta = (own.foreground - torch.tensor([1.0, 0.0, 1.0])).abs().sum(-1) < 0.1
    near = torch.nn.functional.max_pool2d(solid[None].float(), 9, 1, 4)[0] > 0
    assert not bool((magenta & near).any())
    assert caplog.text == ""
    corner = torch.ones(512, 512)
    corner[:40, :40] = 0
    other = matting.matte(replace(photo, alpha=corner), keypoints)
    assert torch.equal(other.alpha, matte.alpha)
    assert "transparency" in caplog.text


def test_one_of_two(matting: MediaPipeMatte, matte: Matte) -> None:
    two = photo_from_array(np.concatenate([data.astronaut()[:, :340], data.astronaut()[:, 339::-1]], 1), "two")
    keypoints = MediaPipeKeypoints(KeypointConfig(), Context()).detect(two.to_uint8(), 1)
    alpha = matting.matte(two, keypoints).alpha
    assert float(alpha[:300, 400:].mean()) < 0.01
    assert iou(alpha[:300, :340], matte.alpha[:300, :340]) > 0.95


def test_nobody(matting: MediaPipeMatte) -> None:
    with pytest.raises(InputError, match="No person"):
        matting.matte(photo_from_array(np.full((200, 300, 3), 90, np.uint8)))
