from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatarkit.errors import ConfigError, InputError, MissingWeights
from avatarkit.interfaces import Context
from avatarkit.types.keypoints import Keypoints
from avatarkit_dwpose import register_keypoint_detectors
from avatarkit_dwpose.config import DwposeConfig
from avatarkit_dwpose.detector import DwposeKeypoints
from avatarkit_dwpose.networks import PeopleNetwork, PointsNetwork, crop, decode_people, decode_points, letterbox
from avatarkit_dwpose.sets import as_pose33

from .networks import SHIFTS, people_network, points_network

GOLDEN = Path(__file__).parent / "golden" / "dwpose_io.npz"


@pytest.fixture(scope="module")
def points_file(tmp_path_factory) -> Path:
    return points_network(tmp_path_factory.mktemp("dwpose") / "points.onnx")


@pytest.fixture(scope="module")
def golden():
    """Made by the original implementation from a made-up picture and made-up outputs of the networks."""
    with np.load(GOLDEN) as file:
        return dict(file)


# ----------------------------------------------------------------------------------- numbers of the original implementation


def test_the_person_detector_gets_and_gives_the_original_numbers(golden):
    pixels, ratio = letterbox(golden["image"], 640)
    assert np.array_equal(pixels[None], golden["det_input_uint8"].astype(np.float32))
    boxes, scores = decode_people(golden["det_raw_output"][0], 640, ratio)
    np.testing.assert_allclose(boxes, golden["out_boxes"], atol=1e-3)
    assert (np.diff(scores) <= 0).all()


def test_the_keypoint_network_gets_and_gives_the_original_numbers(golden):
    for k, box in enumerate(golden["out_boxes"]):
        pixels, center, extent = crop(golden["image"], box, 288, 384)
        assert pixels.mean() == pytest.approx(golden["pose_inputs_mean"][k], abs=2e-3)
        if k == 0:
            assert np.abs(pixels - golden["pose_input_first"][0]).max() < 0.08  # OpenCV's versions differ by as much
        points, scores = decode_points(golden["simcc_x"][k], golden["simcc_y"][k], (288, 384), center, extent)
        np.testing.assert_allclose(points, golden["out_keypoints"][k], atol=1e-3)
        assert np.array_equal(scores, golden["out_scores"][k])


# --------------------------------------------------------------------------------------------------------------- the sets


def test_body_points_are_told_in_the_order_of_the_default_detector():
    points = np.stack([np.arange(133.0), -np.arange(133.0)], 1)
    scores = np.full(133, 0.9, np.float32)
    scores[18] = 0.2
    body, sure = as_pose33(points, scores)
    assert body.shape == (33, 2)
    assert body[[0, 11, 12, 15, 16, 23, 28, 29, 30], 0].tolist() == [0, 5, 6, 9, 10, 11, 16, 19, 22]
    assert body[31, 0] == 17.5
    assert sure[31] == np.float32(0.2)  # the small toe is not sure
    assert body[[19, 20], 0].tolist() == [91 + 5, 112 + 5]  # knuckles of the index fingers


# ----------------------------------------------------------------------------------------------------------- the detector


def picture(dots: list[tuple[int, int]], size: tuple[int, int] = (320, 640)) -> np.ndarray:
    image = np.full((*size, 3), 60, np.uint8)
    for x, y in dots:
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    return image


def expected(dot: tuple[int, int], box: tuple[float, ...]) -> np.ndarray:
    """(133, 2) where the tiny network puts the points."""
    _, _, extent = crop(picture([]), np.array(box), 288, 384)
    return np.array(dot) + 0.5 + SHIFTS / (288, 384) * extent


def detector(tmp_path: Path, points_file: Path, boxes, companion=None) -> DwposeKeypoints:
    people = people_network(tmp_path / "people.onnx", boxes)
    config = DwposeConfig(people=str(people), points=str(points_file), companion="other" if companion else "")
    return DwposeKeypoints(config, replace(Context(), get=lambda kind, name=None: companion))


LEFT, RIGHT = (100.0, 60.0, 220.0, 300.0), (400.0, 60.0, 520.0, 300.0)


def test_points_come_back_in_pixels_of_the_picture(tmp_path, points_file):
    found = detector(tmp_path, points_file, [LEFT]).detect(picture([(160, 150)]))
    assert (found.width, found.height, found.person_count) == (640, 320, 1)
    np.testing.assert_allclose(found.points["coco133"], expected((160, 150), LEFT), atol=2.6)
    assert set(found.points) == {"coco133", "pose33", "hand21_left", "hand21_right"}
    assert np.array_equal(found.points["hand21_right"], found.points["coco133"][112:])
    x0, y0, x1, y1 = found.box
    assert 0 <= x0 < 160 < x1 <= 640
    assert 0 <= y0 < 150 < y1 <= 320


def test_several_people_and_nobody(tmp_path, points_file):
    finder = detector(tmp_path, points_file, [RIGHT, LEFT])
    image = picture([(160, 150), (460, 200)])
    with pytest.raises(InputError, match=r"2 people are in the photo; choose with --person N"):
        finder.detect(image)
    second = finder.detect(image, 2)
    assert second.person_count == 2
    np.testing.assert_allclose(second.points["coco133"], expected((460, 200), RIGHT), atol=2.6)
    with pytest.raises(InputError, match="no person 3"):
        finder.detect(image, 3)
    with pytest.raises(InputError, match="No person"):
        finder.detect(picture([]))


def test_a_video_is_followed_without_detecting_people_again(tmp_path, points_file, monkeypatch):
    finder = detector(tmp_path, points_file, [LEFT])
    calls = []
    ask = PeopleNetwork.__call__
    monkeypatch.setattr(PeopleNetwork, "__call__", lambda self, image: calls.append(1) or ask(self, image))
    frames = [picture([]), *(picture([(160 + 6 * k, 150)]) for k in range(8))]
    found = list(finder.detect_video(iter(frames)))
    assert found[0] is None
    assert len(calls) == 2
    middles = np.array([np.median(k.points["coco133"], 0) for k in found[1:]])
    np.testing.assert_allclose(np.diff(middles[:, 0]), 6, atol=2.5)


class Companion:
    """Gives a face mesh, and a body whose every point is at (10, 10)."""

    def __init__(self) -> None:
        self.read = 0

    def keypoints(self) -> Keypoints:
        points = {"pose33": np.full((33, 2), 10, np.float32), "face478": np.ones((478, 2), np.float32)}
        scores = {"pose33": np.full(33, 0.8, np.float32), "face478": np.ones(478, np.float32)}
        return Keypoints(640, 320, points, scores, {"pose33": np.zeros((33, 3), np.float32)}, LEFT)

    def detect(self, image, person=None):
        return self.keypoints()

    def detect_video(self, images):
        for _ in images:
            self.read += 1
            yield self.keypoints() if self.read != 2 else None


def test_a_companion_lends_its_face_and_depth_and_keeps_its_head(tmp_path, points_file):
    finder = detector(tmp_path, points_file, [LEFT, RIGHT], Companion())
    found = finder.detect(picture([(160, 150)]))
    assert (found.points["face478"] == 1).all()
    assert found.points_3d["pose33"].shape == (33, 3)
    assert (found.points["pose33"][:11] == 10).all()
    np.testing.assert_allclose(found.points["pose33"][11:17], found.points["coco133"][5:11])
    lost = finder._merged(np.full((320, 640, 3), 60, np.uint8), np.array(LEFT), Companion().keypoints())
    assert (lost.points["pose33"] == 10).all()  # DWPose sees nothing: the companion's points, half believed
    assert lost.scores["pose33"][11] < 0.5
    assert not lost.has("hand21_left")


def test_a_video_with_a_companion_stays_in_step(tmp_path, points_file):
    finder = detector(tmp_path, points_file, [LEFT], Companion())
    found = list(finder.detect_video(iter([picture([(160 + 4 * k, 150)]) for k in range(5)])))
    assert len(found) == 5
    assert [k is not None and k.has("face478") for k in found] == [True, False, True, True, True]
    assert np.median(found[4].points["coco133"][:, 0]) > np.median(found[0].points["coco133"][:, 0]) + 10


# ------------------------------------------------------------------------------------------------------------ bad weights


def test_files_that_are_missing_damaged_or_swapped(tmp_path, points_file, monkeypatch):
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match="avatarkit weights add dwpose-yolox-l FILE"):
        DwposeKeypoints(DwposeConfig(), Context())
    (tmp_path / "bad.onnx").write_bytes(b"version https://git-lfs")
    with pytest.raises(InputError, match=r"bad\.onnx is no ONNX file"):
        PointsNetwork(tmp_path / "bad.onnx", "cpu")
    with pytest.raises(MissingWeights, match="There is no file"):
        PeopleNetwork(tmp_path / "none.onnx", "cpu")
    with pytest.raises(InputError, match="another network than the person detector"):
        PeopleNetwork(points_file, "cpu")
    people = people_network(tmp_path / "people.onnx", [])
    with pytest.raises(InputError, match="another network than the keypoint network"):
        PointsNetwork(people, "cpu")
    with pytest.raises(ConfigError, match="companion"):
        DwposeConfig(companion="dwpose")


def test_it_registers_its_weights():
    registered = {}
    register_keypoint_detectors(lambda name, **rest: registered.update({name: rest}))
    assert registered["dwpose"]["needs"].weights == ("dwpose-yolox-l", "dwpose-ucoco-384")
