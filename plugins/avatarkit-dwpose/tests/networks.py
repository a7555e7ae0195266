"""Tiny networks with the released ones' inputs and outputs, made here."""

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

WIDTH, HEIGHT = 288, 384
SHIFTS = np.random.default_rng(0).integers(
    (-110, -140), (111, 141), (133, 2)
)  # pixels of the network, from the bright dot to each point


def _save(path: Path, nodes: list, inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> Path:
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def people_network(path: Path, boxes: list[tuple[float, float, float, float]], side: int = 640) -> Path:
    """Says that people are in given boxes (in its own picture) wherever its picture has a bright pixel."""
    raw = np.zeros((8400, 85), np.float32)
    for x0, y0, x1, y1 in boxes:  # cells of stride 32
        x, y, n = (x0 + x1) / 64, (y0 + y1) / 64, side // 32
        cell = 8000 + int(y) * n + int(x)
        raw[cell, :6] = (x - int(x), y - int(y), np.log((x1 - x0) / 32), np.log((y1 - y0) / 32), 0.95, 0.9)
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["top"], keepdims=0),
        helper.make_node("Sub", ["top", "dark"], ["more"]),
        helper.make_node("Clip", ["more", "zero", "one"], ["seen"]),
        helper.make_node("Mul", ["gate", "seen"], ["open"]),
        helper.make_node("Add", ["open", "always"], ["mask"]),
        helper.make_node("Mul", ["raw", "mask"], ["output"]),
    ]
    gate = np.zeros(85, np.float32)
    gate[4] = 1
    constants = {
        "raw": raw[None],
        "gate": gate,
        "always": 1 - gate,
        "dark": np.float32(200),
        "zero": np.float32(0),
        "one": np.float32(1),
    }
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 8400, 85])
    return _save(path, nodes, [image], [out], constants)


def points_network(path: Path) -> Path:
    """Finds the brightest column and row of its picture, each point ``SHIFTS`` away from it."""

    def profile(axis: str, over: list[int], length: int, shift: np.ndarray) -> tuple[list, dict]:
        bins = np.arange(2 * length)[None] - 2 * shift[:, None]
        nodes = [
            helper.make_node("ReduceMax", ["input"], [f"m{axis}"], axes=over, keepdims=0),
            helper.make_node("Mul", [f"m{axis}", "scale"], [f"s{axis}"]),
            helper.make_node("Gather", [f"s{axis}", f"i{axis}"], [f"simcc_{axis}"], axis=1),
        ]
        return nodes, {f"i{axis}": (bins // 2).clip(0, length - 1).astype(np.int64)}

    x, xi = profile("x", [1, 2], WIDTH, SHIFTS[:, 0])
    y, yi = profile("y", [1, 3], HEIGHT, SHIFTS[:, 1])
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    outs = [
        helper.make_tensor_value_info("simcc_x", TensorProto.FLOAT, [1, 133, 2 * WIDTH]),
        helper.make_tensor_value_info("simcc_y", TensorProto.FLOAT, [1, 133, 2 * HEIGHT]),
    ]
    return _save(path, [*x, *y], [image], outs, {**xi, **yi, "scale": np.float32(0.3)})
