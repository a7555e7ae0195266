"""Landmarks of a video on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from avatarkit.io.keypoint_cache import CHUNK, KeypointFiles
from avatarkit.types.keypoints import Keypoints

COUNT = CHUNK + 30


def images(upto: int = COUNT) -> Iterator[np.ndarray]:
    for k in range(upto):
        yield np.full((2, 3, 3), k % 256, np.uint8)


class Detector:
    """Sees a body in all but every seventh frame, and sometimes a face; counts what it looks at."""

    def __init__(self, stop: int | None = None) -> None:
        self.looked, self._stop = 0, stop

    def __call__(self, frames: Iterable[np.ndarray]) -> Iterator[Keypoints | None]:
        for image in frames:
            if self._stop is not None and self.looked >= self._stop:
                raise KeyboardInterrupt
            self.looked += 1
            value = float(image[0, 0, 0])
            points = {"pose33": np.full((33, 2), value, np.float32)}
            if value % 2:
                points["face478"] = np.full((478, 2), value, np.float32)
            scores = {name: np.ones(len(p), np.float32) for name, p in points.items()}
            depth = {"pose33": np.zeros((33, 3), np.float32)}
            yield None if value % 7 == 0 else Keypoints(3, 2, points, scores, depth, (0.0, 0.0, 3.0, 2.0))


def test_frames_come_back_as_they_were_seen(tmp_path):
    files = KeypointFiles(tmp_path / "f", "key")
    files.fill(images(), Detector())
    assert len(files) == COUNT
    for found, expected in zip(files, Detector()(images()), strict=True):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert found.points.keys() == expected.points.keys() and found.box == expected.box
            assert all(np.array_equal(found.points[k], expected.points[k]) for k in expected.points)
            assert np.array_equal(found.points_3d["pose33"], expected.points_3d["pose33"])
    assert [k is None for k in files[CHUNK - 2 : CHUNK + 2]] == [v % 256 % 7 == 0 for v in range(CHUNK - 2, CHUNK + 2)]


def test_a_run_that_was_stopped_goes_on_after_the_last_whole_file(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        KeypointFiles(tmp_path / "f", "key").fill(images(), Detector(stop=CHUNK + 5))
    again, detector = KeypointFiles(tmp_path / "f", "key"), Detector()
    again.fill(images(), detector)
    assert detector.looked == COUNT - CHUNK and len(again) == COUNT
    finished, detector = KeypointFiles(tmp_path / "f", "key"), Detector()
    finished.fill(images(), detector)
    assert detector.looked == 0 and len(finished) == COUNT


def test_files_of_another_video_are_not_used(tmp_path):
    KeypointFiles(tmp_path / "f", "one").fill(images(10), Detector())
    other = KeypointFiles(tmp_path / "f", "two")
    assert len(other) == 0
    other.fill(images(0), Detector())
    assert len(other) == 0
    other.remove()
    assert not (tmp_path / "f").exists()
