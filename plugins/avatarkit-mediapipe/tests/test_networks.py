"""The networks give what TensorFlow Lite and MediaPipe give.

What those gave is recorded in ``recorded.npz``. ``python plugins/avatarkit-mediapipe/tests/test_networks.py`` renews it, where
``mediapipe==0.10.21`` and ``ai-edge-litert`` are installed. Where mediapipe is, it is asked, too.
"""

from __future__ import annotations

import hashlib
import re
import struct
import threading
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from avatarkit_mediapipe.networks import detection
from avatarkit_mediapipe.networks.crops import Roi, crop
from avatarkit_mediapipe.networks.flat import flexible_map
from avatarkit_mediapipe.networks.kernels import depthwise
from avatarkit_mediapipe.networks.landmarks import body_landmarks, face_landmarks, hand_region, person_mask
from avatarkit_mediapipe.networks.network import network

RECORDED = Path(__file__).parent / "recorded.npz"
MODELS = resources.files("avatarkit_mediapipe") / "models"
NAMES = sorted(file.name.removesuffix(".tflite") for file in MODELS.iterdir() if file.name.endswith(".tflite"))
CUSTOM = {"face_landmark_with_attention", "selfie_segmentation"}  # with operators that MediaPipe alone has
BODY, FACE, ARM = Roi(230, 480, 1100, 0.05), Roi(226, 120, 190, -0.1), Roi(150, 420, 160, 2.5)  # of the astronaut
PIXELS, MASK = 0.1, 0.2 / 255


def noise(side: int) -> np.ndarray:
    return np.random.default_rng(0).random((side, side, 3), np.float32)


def some(values: np.ndarray) -> np.ndarray:
    """At most 300 of the values."""
    flat = np.asarray(values, np.float32).ravel()
    return flat[:: -(-flat.size // 300)]


def boxes(image: np.ndarray) -> dict[str, np.ndarray]:
    detectors = {
        "bodies": detection.body_detector(),
        "near faces": detection.near_face_detector(),
        "far faces": detection.far_face_detector(),
    }
    return {n: np.array([[*d.box, *d.points.ravel()] for d in find(image)]) for n, find in detectors.items()}


def ours(image: np.ndarray) -> dict[str, np.ndarray]:
    body, face = body_landmarks(image, BODY), face_landmarks(image, FACE)
    assert body is not None and face is not None
    hand = hand_region(image, ARM)
    return boxes(image) | {
        "pose": body.pose[:, :2],
        "depth": body.pose[:, 2],
        "world": body.world,
        "visibility": body.visibility,
        "region": body.region,
        "face": face,
        "hand region": np.array([hand.x, hand.y, hand.size]),
        "mask": person_mask(np.ascontiguousarray(image[::2, ::2])),
    }


def require_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    limits = {"mask": MASK, "visibility": 1e-3, "world": 1e-3, "pose": 0.5, "depth": 2.0}  # its network sees each fourth pixel
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=limits.get(name, PIXELS), err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_gives_what_tensorflow_lite_gave(name: str) -> None:
    run = network(name)
    outputs = run(noise(run.side))
    with np.load(RECORDED) as recorded:
        assert f"{name} 0" in recorded or name in CUSTOM
        for k, output in enumerate(outputs if name not in CUSTOM else ()):
            scale = max(1.0, np.abs(recorded[f"{name} {k}"]).max())
            np.testing.assert_allclose(some(output), recorded[f"{name} {k}"], rtol=0, atol=1e-4 * scale)


def test_landmarks_boxes_and_the_mask_are_those_that_mediapipe_found() -> None:
    with np.load(RECORDED) as recorded:
        require_equal(ours(data.astronaut()), dict(recorded))


def test_where_mediapipe_is_installed_it_finds_the_same() -> None:
    pytest.importorskip("mediapipe.framework")
    image = np.ascontiguousarray(np.roll(data.astronaut(), (-7, 11), (0, 1)))
    require_equal(ours(image), theirs(image))


def test_the_files_are_those_that_their_table_names() -> None:
    table = (MODELS / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)\.tflite` .*\| `([0-9a-f]{64})` \|$", table, re.MULTILINE))
    assert listed == {n: hashlib.sha256((MODELS / f"{n}.tflite").read_bytes()).hexdigest() for n in NAMES}


def test_a_part_of_the_outputs_is_the_same_as_all() -> None:
    everything, part = network("pose_landmark_full"), network("pose_landmark_full", (4, 0))
    picture = noise(everything.side)
    outputs = everything(picture)
    for one, other in zip(part(picture), (outputs[4], outputs[0]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_bits_on_any_number_of_threads() -> None:
    run, before = network("hand_landmark_full"), torch.get_num_threads()
    picture, found = noise(224), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(run(picture)[0])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    workers = [threading.Thread(target=lambda: found.append(run(picture)[0])) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 6
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize(("side", "stride"), [(2, 2), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_channels_are_filtered_as_torch_filters_them(side: int, stride: int) -> None:
    generator = np.random.default_rng(side)
    picture, taps = generator.random((9, 8, 6), np.float32), generator.random((side, side, 6), np.float32)
    bias = generator.random(6, np.float32)
    top, left = side // 2, (side - 1) // 2
    padded = np.pad(picture, ((top, side), (left, side), (0, 0)))
    weight = torch.from_numpy(taps).permute(2, 0, 1)[:, None]
    expected = torch.conv2d(torch.from_numpy(padded).permute(2, 0, 1), weight, torch.from_numpy(bias), stride, groups=6)
    result = np.full((9 // stride, 8 // stride, 6), np.nan, np.float32)
    depthwise(picture, taps, bias, stride, top, left, result)
    kept = expected.permute(1, 2, 0).numpy()[: result.shape[0], : result.shape[1]]
    np.testing.assert_allclose(result, kept, atol=1e-5)


def test_a_crop_is_turned_and_continues_the_border() -> None:
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    np.testing.assert_allclose(crop(image, Roi(4, 4, 8), 8), image / np.float32(255), atol=1e-6)
    turned = crop(image, Roi(4, 3, 8, np.pi / 2), 8, low=-1.0)  # its right is the picture's down
    expected = image.astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(turned[1:, 1:], np.rot90(expected)[:7, :7], atol=1e-5)
    np.testing.assert_allclose(crop(image, Roi(-20, -20, 4), 2), np.broadcast_to(image[0, 0] / np.float32(255), (2, 2, 3)))


def test_detections_that_overlap_are_weighted_by_their_scores() -> None:
    rows = np.array([[[0, 0], [2, 2]], [[1, 0], [3, 2]], [[10, 0], [12, 2]]], np.float32)
    (far, surest), (near, second) = detection._joined(rows, np.array([0.6, 0.3, 0.9], np.float32))
    assert (round(surest, 5), round(second, 5)) == (0.9, 0.6)
    np.testing.assert_allclose(far, rows[2])
    np.testing.assert_allclose(near, (2 * rows[0] + rows[1]) / 3, atol=1e-6)


def test_a_flexible_map_is_read() -> None:
    keys = b"a\0" + bytes([5, 7, 8, 9, 10, 11]) + b"b\0c\0" + bytes([3, 13, 6, 5])  # with a vector between them
    values = struct.pack("<5If", 3, 1, 3, 25, 4, 1.5)  # a, b and c; before them the keys' place and width, and their number
    types = bytes([11 << 2, 1 << 2 | 2, 3 << 2 | 2, 15, 9 << 2 | 2, 1])
    data = keys + values + types
    assert flexible_map(data) == {"a": [7, 8, 9, 10, 11], "b": 4, "c": 1.5}


# ------------------------------------------------------------------------------------------------------------- others' results


def theirs(image: np.ndarray) -> dict[str, np.ndarray]:
    """What MediaPipe finds where ``ours`` looks."""
    height, width = image.shape[:2]

    def pixels(landmarks: Any, depth: bool = False) -> np.ndarray:
        values = [(p.x * width, p.y * height, p.z * width) for p in landmarks.landmark]
        return np.array(values)[:, : 3 if depth else 2]

    def rows(detections: Any) -> np.ndarray:
        found = []
        for d in detections or ():
            box, points = d.location_data.relative_bounding_box, d.location_data.relative_keypoints
            corners = [(box.xmin, box.ymin), (box.xmin + box.width, box.ymin + box.height)]
            found.append([v for x, y in [*corners, *((p.x, p.y) for p in points)] for v in (x * width, y * height)])
        return np.array(found)

    body = graph("PoseLandmarkByRoiCpu", ("LANDMARKS", "WORLD_LANDMARKS", "AUXILIARY_LANDMARKS"))(image, BODY)
    face = graph("FaceLandmarkCpu", ("LANDMARKS",), attention=True)(image, FACE)
    hand = graph("HandRecropByRoiCpu", ("HAND_ROI_FROM_RECROP",))(image, ARM).hand_roi_from_recrop
    mask = graph("SelfieSegmentationCpu", ("SEGMENTATION_MASK",))(np.ascontiguousarray(image[::2, ::2]))
    names = {"bodies": "PoseDetectionCpu", "near faces": "FaceDetectionShortRangeCpu", "far faces": "FaceDetectionFullRangeCpu"}
    return {n: rows(graph(calculator, ("DETECTIONS",))(image).detections) for n, calculator in names.items()} | {
        "pose": pixels(body.landmarks),
        "depth": pixels(body.landmarks, depth=True)[:, 2],
        "world": np.array([(p.x, p.y, p.z) for p in body.world_landmarks.landmark]),
        "visibility": np.array([p.visibility for p in body.landmarks.landmark]),
        "region": pixels(body.auxiliary_landmarks)[:2],
        "face": pixels(face.landmarks, depth=True),
        "hand region": np.array([hand.x_center * width, hand.y_center * height, hand.width * width]),
        "mask": np.asarray(mask.segmentation_mask),
    }


def graph(calculator: str, tags: tuple[str, ...], attention: bool = False) -> Callable[..., Any]:
    """A graph of one of MediaPipe's parts; its outputs are attributes named as the tags, in small letters."""
    from google.protobuf import text_format
    from mediapipe.calculators.core import constant_side_packet_calculator_pb2  # noqa: F401  # known to the text parser
    from mediapipe.framework import calculator_pb2
    from mediapipe.framework.formats import rect_pb2
    from mediapipe.python.solution_base import SolutionBase

    takes_region = "ROI" in calculator.upper() or "FaceLandmark" in calculator
    lines = ['input_stream: "image"', *['input_stream: "roi"'] * takes_region, *(f'output_stream: "{t.lower()}"' for t in tags)]
    inside = ['input_stream: "IMAGE:image"', *['input_stream: "ROI:roi"'] * takes_region]
    if attention:
        lines.append(
            'node { calculator: "ConstantSidePacketCalculator" output_side_packet: "PACKET:attention" options: '
            "{ [mediapipe.ConstantSidePacketCalculatorOptions.ext]: { packet { bool_value: true } } } }"
        )
        inside.append('input_side_packet: "WITH_ATTENTION:attention"')
    outputs = [f'output_stream: "{t}:{t.lower()}"' for t in tags]
    text = "\n".join([*lines, f'node {{ calculator: "{calculator}"', *inside, *outputs, "}"])
    solution = SolutionBase(graph_config=text_format.Parse(text, calculator_pb2.CalculatorGraphConfig()))

    def run(image: np.ndarray, roi: Roi | None = None) -> Any:
        if roi is None:
            return solution.process(image)
        height, width = image.shape[:2]
        size = {"width": roi.size / width, "height": roi.size / height}
        place = {"x_center": roi.x / width, "y_center": roi.y / height}
        return solution.process({"image": image, "roi": rect_pb2.NormalizedRect(**place, **size, rotation=roi.rotation)})

    return run


def record() -> None:
    """Renew the file of results."""
    from ai_edge_litert.interpreter import Interpreter

    results = theirs(data.astronaut())
    for name in NAMES:
        if name in CUSTOM:
            continue
        interpreter = Interpreter(model_content=(MODELS / f"{name}.tflite").read_bytes())
        interpreter.allocate_tensors()
        (entry,) = interpreter.get_input_details()
        interpreter.set_tensor(entry["index"], noise(entry["shape"][1])[None])
        interpreter.invoke()
        for k, output in enumerate(interpreter.get_output_details()):
            results[f"{name} {k}"] = some(interpreter.get_tensor(output["index"]))
    np.savez_compressed(RECORDED, **{n: np.asarray(v, np.float32) for n, v in results.items()})


if __name__ == "__main__":
    record()
