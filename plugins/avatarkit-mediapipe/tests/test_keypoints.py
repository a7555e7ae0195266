"""Landmarks of the public-domain astronaut that scikit-image ships, and of pictures made from it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from avatarkit.errors import InputError
from avatarkit.interfaces import Context, KeypointDetector
from avatarkit.types.keypoints import Keypoints
from avatarkit_mediapipe import hands
from avatarkit_mediapipe.config import KeypointConfig
from avatarkit_mediapipe.detector import OTHER_SIDE, MediaPipeKeypoints, _sides_swapped
from avatarkit_mediapipe.hands import Hand, _without_doubles, hand_roi

NOSE_TIP, RIGHT_CORNER, LEFT_CORNER, CHIN = 1, 33, 263, 152


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return data.astronaut()


@pytest.fixture(scope="module")
def detector() -> MediaPipeKeypoints:
    return MediaPipeKeypoints(KeypointConfig(), Context())


@pytest.fixture(scope="module")
def found(detector: MediaPipeKeypoints, astronaut: np.ndarray) -> Keypoints:
    return detector.detect(astronaut)


def placed(picture: np.ndarray, width: int, height: int, x: int, y: int) -> np.ndarray:
    """A picture on a gray canvas."""
    canvas = np.full((height, width, 3), 128, np.uint8)
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas


def refusal(detector: MediaPipeKeypoints, image: np.ndarray, person: int | None = None) -> str:
    with pytest.raises(InputError) as caught:
        detector.detect(image, person)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_is_a_keypoint_detector(detector: MediaPipeKeypoints) -> None:
    assert isinstance(detector, KeypointDetector)


def test_sets_shapes_and_places(found: Keypoints) -> None:
    assert set(found.points) == {"pose33", "face478"}  # her hands are hidden, and none is made up
    assert (found.width, found.height, found.person_count) == (512, 512, 1)
    for name, count in (("pose33", 33), ("face478", 478)):
        assert found.points[name].shape == (count, 2)
        assert found.scores[name].shape == (count,)
        assert found.points[name].dtype == found.scores[name].dtype == np.float32
        assert 0 <= found.scores[name].min() <= found.scores[name].max() <= 1
    assert found.points_3d["pose33"].shape == (33, 3)
    face = found.points["face478"]
    np.testing.assert_allclose(face[[RIGHT_CORNER, LEFT_CORNER]].mean(0), [227, 108], atol=6)
    np.testing.assert_allclose(face[CHIN], [223, 178], atol=8)
    x0, y0, x1, y1 = found.box
    assert x0 < face[:, 0].min()
    assert x1 > face[:, 0].max()
    assert (y0, y1 > 400) == (0, True)


def test_left_is_the_persons_left(found: Keypoints) -> None:
    left, right = 11, 12
    assert found.points["pose33"][left, 0] > found.points["pose33"][right, 0] + 100
    world = found.points_3d["pose33"]
    assert world[left, 0] > world[right, 0] + 0.1
    assert world[0, 1] < -0.3  # the nose is above the hips, y points down
    assert world[0, 2] < world[7, 2]  # and nearer to the camera than an ear


def test_same_numbers_every_time(found: Keypoints, astronaut: np.ndarray) -> None:
    again = MediaPipeKeypoints(KeypointConfig(), Context()).detect(astronaut)
    for name in found.points:
        np.testing.assert_array_equal(found.points[name], again.points[name])


def test_mirrored_picture_gives_mirrored_face(detector: MediaPipeKeypoints, found: Keypoints, astronaut: np.ndarray) -> None:
    mirrored = detector.detect(np.ascontiguousarray(astronaut[:, ::-1])).points["face478"]
    mirrored = np.stack([512 - mirrored[:, 0], mirrored[:, 1]], -1)
    face = found.points["face478"]
    assert np.linalg.norm(mirrored[CHIN] - face[CHIN]) < 3
    assert np.linalg.norm(mirrored[LEFT_CORNER] - face[RIGHT_CORNER]) < 3


def test_size_does_not_matter(detector: MediaPipeKeypoints, found: Keypoints, astronaut: np.ndarray) -> None:
    large = cv2.resize(astronaut, (1500, 1500), interpolation=cv2.INTER_CUBIC)
    face = detector.detect(large).points["face478"] * 512 / 1500
    assert np.abs(face - found.points["face478"]).mean() < 1.5


def test_several_people_have_to_be_chosen_from(detector: MediaPipeKeypoints, found: Keypoints, astronaut: np.ndarray) -> None:
    two = np.concatenate([astronaut, astronaut[:, ::-1]], 1)
    message = refusal(detector, two)
    assert message.startswith("2 people")
    assert "--person N" in message
    first, second = detector.detect(two, 1), detector.detect(two, 2)
    assert first.person_count == second.person_count == 2
    face = found.points["face478"]
    assert np.linalg.norm(first.points["face478"][CHIN] - face[CHIN]) < 3
    assert np.linalg.norm(second.points["face478"][CHIN] - (1024 - face[CHIN, 0], face[CHIN, 1])) < 3
    assert "no person 3" in refusal(detector, two, 3)
    assert "no person 0" in refusal(detector, two, 0)
    assert len(detector.everyone(two)) == 2


def test_passers_by_do_not_count(detector: MediaPipeKeypoints, found: Keypoints, astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, (130, 130), interpolation=cv2.INTER_AREA)
    picture = placed(astronaut, 700, 512, 0, 0)
    picture[40:170, 560:690] = small
    alone = detector.detect(picture)
    assert np.linalg.norm(alone.points["face478"][CHIN] - found.points["face478"][CHIN]) < 4


@pytest.mark.parametrize("picture", ["black", "noise", "cat", "coffee"])
def test_nobody(detector: MediaPipeKeypoints, picture: str) -> None:
    images = {
        "black": lambda: np.zeros((300, 400, 3), np.uint8),
        "noise": lambda: np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8),
        "cat": data.chelsea,
        "coffee": data.coffee,
    }
    assert refusal(detector, images[picture]()).startswith("No person")


def test_too_small(detector: MediaPipeKeypoints, astronaut: np.ndarray) -> None:
    tiny = cv2.resize(astronaut, (110, 110), interpolation=cv2.INTER_AREA)
    message = refusal(detector, placed(tiny, 640, 480, 260, 180))
    assert "too small" in message
    assert "48" in message


def test_turned_photos(detector: MediaPipeKeypoints, astronaut: np.ndarray) -> None:
    assert "upside down" in refusal(detector, np.ascontiguousarray(astronaut[::-1, ::-1]))
    for quarter in (1, 3):
        message = refusal(detector, np.ascontiguousarray(np.rot90(astronaut, quarter)))
        assert "side" in message or message.startswith("No person")


def test_covered_and_cut_off_faces(detector: MediaPipeKeypoints, astronaut: np.ndarray) -> None:
    covered = astronaut.copy()
    covered[40:200, 150:300] = 90
    assert "face" in refusal(detector, covered)
    assert "face" in refusal(detector, astronaut[150:])


def test_dark_and_blurred_photos_work_with_a_warning(
    detector: MediaPipeKeypoints, found: Keypoints, astronaut: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    dark = detector.detect((astronaut * 0.12).astype(np.uint8)).points["face478"]
    assert np.abs(dark - found.points["face478"]).mean() < 4
    assert "dark" in caplog.text
    caplog.clear()
    blurred = detector.detect(cv2.GaussianBlur(astronaut, (0, 0), 5)).points["face478"]
    assert np.abs(blurred - found.points["face478"]).mean() < 8
    assert "blurred" in caplog.text
    caplog.clear()
    detector.detect(astronaut)
    assert caplog.text == ""


def test_wrong_arrays_are_refused(detector: MediaPipeKeypoints, astronaut: np.ndarray) -> None:
    for image in (astronaut[..., 0], astronaut / 255):
        assert "uint8" in refusal(detector, image)


def test_videos_are_read_lazily_and_followed(detector: MediaPipeKeypoints, astronaut: np.ndarray) -> None:
    read = []

    def frames() -> Iterator[np.ndarray]:
        for n in range(6):
            read.append(n)
            blank = n in (0, 3)
            yield np.zeros((512, 512, 3), np.uint8) if blank else placed(astronaut[:, : 512 - 4 * n], 512, 512, 4 * n, 0)

    tracked = []
    for n, keypoints in enumerate(detector.detect_video(frames())):
        assert read[-1] == n  # nothing is read ahead
        tracked.append(keypoints)
    assert [k is None for k in tracked] == [True, False, False, True, False, False]
    noses = [float(k.points["face478"][NOSE_TIP, 0]) for k in tracked if k is not None]
    np.testing.assert_allclose(np.diff(noses), [4, 8, 4], atol=1.5)


def test_one_person_who_is_detected_twice_is_one_person(
    detector: MediaPipeKeypoints, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (person,) = detector._people.find(astronaut)
    roi = replace(person.roi, size=1.15 * person.roi.size)
    twin = replace(person, x=person.x + 0.7 * person.head, face=False, roi=roi)
    monkeypatch.setattr(detector._people, "find", lambda image: [person, twin])
    assert detector.detect(astronaut).person_count == 1


def test_people_in_a_video_are_counted(detector: MediaPipeKeypoints, astronaut: np.ndarray) -> None:
    both = np.concatenate([astronaut, astronaut[:, ::-1]], 1)
    for image, people in ((astronaut, 1), (both, 2)):
        (found,) = detector.detect_video([image])
        assert found is not None
        assert found.person_count == people


def test_nothing_is_written_to_the_terminal() -> None:
    code = """
        from skimage import data
        from avatarkit.interfaces import Context
        from avatarkit_mediapipe.config import KeypointConfig
        from avatarkit_mediapipe.detector import OTHER_SIDE, MediaPipeKeypoints, _sides_swapped
        import os
        MediaPipeKeypoints(KeypointConfig(), Context()).detect(data.astronaut())
        os.write(2, b"the end")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, timeout=120, check=True)
    assert run.stdout == b""
    assert run.stderr == b"the end"


def hand(x: float, y: float) -> np.ndarray:
    """(21, 2): a flat hand of 100 pixels that points up, wrist at (x, y)."""
    points = np.zeros((21, 2), np.float32)
    for finger in range(5):
        for joint in range(4):
            points[1 + 4 * finger + joint] = (15 * (finger - 2), -40 - 20 * joint)
    return points + np.array([x, y], np.float32)


def test_hand_region_turns_and_grows_with_the_hand() -> None:
    points = hand(0, 0)
    roi = hand_roi(points)
    assert abs(roi.rotation) < 1e-6
    assert roi.size > 100
    assert roi.y < -30
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])  # clockwise as seen
    turned = hand_roi(2 * points @ quarter.T + (300, 200))
    assert turned.rotation == pytest.approx(np.pi / 2)
    assert turned.size == pytest.approx(2 * roi.size)
    np.testing.assert_allclose((turned.x, turned.y), 2 * quarter @ (roi.x, roi.y) + (300, 200), atol=1e-3)


def test_one_hand_is_not_both() -> None:
    pose = np.zeros((33, 2), np.float32)
    pose[15], pose[16] = (100, 100), (130, 100)
    same = {"left": Hand(hand(128, 100), 0.9), "right": Hand(hand(129, 101), 0.9)}
    assert list(_without_doubles(same, pose)) == ["right"]
    both = {"left": Hand(hand(100, 100), 0.9), "right": Hand(hand(180, 100), 0.9)}
    assert list(_without_doubles(both, pose)) == ["left", "right"]


def test_left_and_right_do_not_change_places_within_a_frame() -> None:
    across = np.where(np.arange(33) % 2, 40.0, -40.0)  # the person's left is right in the picture
    before = np.stack([across, 10.0 * np.arange(33), np.zeros(33)], 1).astype(np.float32)
    moved = before + np.float32([8.0, -5.0, 0.0])
    assert not _sides_swapped(moved, before)
    assert _sides_swapped(moved[OTHER_SIDE], before)
    in_profile = before * [0.0, 1.0, 1.0]
    assert not _sides_swapped(in_profile[OTHER_SIDE], in_profile)  # nothing to tell them apart: as the detector says
    np.testing.assert_array_equal(moved[OTHER_SIDE][OTHER_SIDE], moved)


def test_a_forearm_is_not_taken_for_a_hand(monkeypatch):
    start = np.zeros(2)

    def landmarks(image, roi):
        rows = np.stack([np.linspace(0, 80, 21), np.linspace(0, 30, 21)], 1)
        return rows + start

    monkeypatch.setattr(hands, "hand_landmarks", landmarks)
    image, pose, arm = np.zeros((300, 300, 3), np.uint8), np.zeros((33, 2)), hands.ARMS["left"]
    pose[arm[1]], pose[arm[2]] = (60, 100), (120, 120)
    finder = hands.HandFinder.__new__(hands.HandFinder)
    look = hands.Roi(120.0, 120.0, 100.0, 0.0)
    start[:] = pose[arm[2]]
    assert finder._settle(image, look, pose, arm, 200.0) is not None
    start[:] = pose[arm[1]]
    assert finder._settle(image, look, pose, arm, 200.0) is None
    pose[arm[1]] = pose[arm[2]] + 4  # a forearm that points at the camera: which end is nearer tells nothing
    start[:] = pose[arm[2]] + 3
    assert finder._settle(image, look, pose, arm, 200.0) is not None
