"""Speech networks that users bring: a tiny random one, made here, and files that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatarkit.components import Components
from avatarkit.errors import InputError, MissingDependency
from avatarkit.types.speech import Sound
from avatarkit_speech.config import SpeechConfig
from avatarkit_speech.driver import PhonemeDriver
from avatarkit_speech.networks.driver import OnnxDriver
from avatarkit_speech.networks.onnx_network import ARKIT, SpeechNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
RATE = 16_000


def network(
    path: Path,
    window: int | str = "n",
    actions: int = 52,
    metadata: dict[str, str] | None = None,
    stride: int = 640,
    style: int = 0,
) -> Path:
    """A random network: a strided convolution of the sound's loudness, one frame for each ``stride`` samples, and a sigmoid."""
    random = np.random.default_rng(0)
    kernel = np.abs(random.normal(size=(actions, 1, stride))).astype(np.float32) * 20 / stride
    bias = (-2 + 0.3 * random.normal(size=actions)).astype(np.float32)
    helper, numpy_helper, tensor = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("sound", tensor, [1, window])]
    nodes = [
        helper.make_node("Abs", ["sound"], ["loud"]),
        helper.make_node("Unsqueeze", ["loud", "axis"], ["channel"]),
        helper.make_node("Conv", ["channel", "kernel", "bias"], ["moved"], strides=[stride]),
        helper.make_node("Sigmoid", ["moved"], ["shares"]),
        helper.make_node("Transpose", ["shares"], ["plain"], perm=[0, 2, 1]),
    ]
    constants = {"axis": np.array([1]), "kernel": kernel, "bias": bias}
    if style:  # only the first of the styles lets anything through
        inputs.append(helper.make_tensor_value_info("style", tensor, [1, style]))
        constants["first"] = np.eye(1, style, dtype=np.float32).T
        nodes += [helper.make_node("MatMul", ["style", "first"], ["gate"]), helper.make_node("Mul", ["plain", "gate"], ["out"])]
    else:
        nodes.append(helper.make_node("Identity", ["plain"], ["out"]))
    output = helper.make_tensor_value_info("out", tensor, [1, None, actions])
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def swell() -> np.ndarray:
    """13 seconds of noise whose loudness swells twice; longer than a window."""
    t = np.arange(13 * RATE) / RATE
    noise = np.random.default_rng(1).normal(size=len(t))
    return (0.15 * noise * np.sin(np.pi * t / 6.5) ** 2).astype(np.float32)


def test_windows_join_without_a_seam(tmp_path: Path, swell: np.ndarray) -> None:
    whole = SpeechNetwork(network(tmp_path / "free.onnx")).mouth(swell, RATE)
    for window in (2 * RATE, 8320):
        parts = SpeechNetwork(network(tmp_path / "fixed.onnx", window=window)).mouth(swell, RATE)
        assert (np.diff(parts.times) > 0).all()
        t = np.arange(0.1, 12.9, 1 / 30)
        for name in ("jawOpen", "mouthFunnel"):
            a, b = (mouth.actions(t, 30.0)[name] for mouth in (whole, parts))
            assert np.ptp(a) > 0.2
            assert np.abs(a - b).max() < 0.12  # frames of another phase see other noise
            assert np.corrcoef(a, b)[0, 1] > 0.98


def test_the_network_moves_the_mouth_and_the_plan_the_rest(default: Components, tmp_path: Path, recording: np.ndarray) -> None:
    path = network(tmp_path / "speech.onnx", style=4)
    context = replace(default.context, weights=lambda name: {"speech-network": path}[name])
    sound = Sound(recording, RATE, "young_man")
    visemes, motion = OnnxDriver(SpeechConfig(), context).drive(sound, fps=25.0)
    ours, plain = PhonemeDriver(SpeechConfig(), context).drive(sound, fps=25.0)
    assert list(visemes) == list(ours)
    body = default.get("body")
    number = {name: k for k, name in enumerate(body.expression_names)}
    t = np.arange(len(motion)) / 25.0
    expected = SpeechNetwork(path).mouth(recording, RATE).actions(t, 25.0)
    assert np.ptp(expected["jawOpen"]) > 0.1
    for name in ("jawOpen", "mouthFunnel"):
        got = motion.params.expression[:, number[name]].numpy()
        assert np.corrcoef(got, expected[name])[0, 1] > 0.95
        assert np.abs(got - plain.params.expression[:, number[name]].numpy()).max() > 0.05
    assert np.array_equal(motion.params.joints.numpy(), plain.params.joints.numpy())
    blink = number["eyeBlinkLeft"]
    assert np.array_equal(motion.params.expression[:, blink].numpy(), plain.params.expression[:, blink].numpy())
    again = OnnxDriver(SpeechConfig(), context).drive(sound, fps=25.0)[1]
    assert np.array_equal(motion.params.expression.numpy(), again.params.expression.numpy())


def test_metadata_name_actions_and_rate(tmp_path: Path, swell: np.ndarray) -> None:
    said = {"actions": "mouthPucker, jawOpen,phase", "rate": "24000"}
    found = SpeechNetwork(network(tmp_path / "a.onnx", actions=3, metadata=said))
    assert found.rate == 24_000
    actions = found.mouth(swell, RATE).actions(np.arange(0, 13, 0.04), 25.0)
    assert set(actions) == {"mouthPucker", "jawOpen"}
    assert actions["jawOpen"].argmax() * 0.04 % 6.5 == pytest.approx(3.25, abs=1.2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"actions": 5}, "gives 5 actions and names 0"),
        ({"actions": 2, "metadata": {"actions": "x,y"}}, "names no action of ARKit"),
        ({"metadata": {"rate": "fast"}}, "takes 'fast' samples per second"),
        ({"stride": 16}, "frames for 10.00 seconds"),
    ],
)
def test_networks_of_another_kind_are_one_sentence(options: dict, sentence: str, tmp_path: Path, swell: np.ndarray) -> None:
    path = network(tmp_path / "other.onnx", **options)
    with pytest.raises(InputError, match=sentence):
        SpeechNetwork(path).mouth(swell, RATE)


def test_files_that_are_no_networks_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x00" * 100)
    with pytest.raises(InputError, match=r"a\.onnx is no ONNX file"):
        SpeechNetwork(tmp_path / "a.onnx")


def test_without_a_file_the_driver_says_how_to_bring_one(
    default: Components, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AVATARKIT_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingDependency, match="avatarkit weights add speech-network FILE"):
        default.speech_driver("onnx")


def test_actions_by_name_are_arkits(default: Components) -> None:
    assert default.get("body").expression_names == ARKIT
