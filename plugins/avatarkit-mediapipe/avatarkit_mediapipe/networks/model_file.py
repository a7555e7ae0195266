"""Reads a network from a ``.tflite`` file: operators in order, with their constants.

The numbers of fields and operators are those of TensorFlow Lite's public schema, version 3.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from avatarkit_mediapipe.networks.flat import Table, flexible_map, root

__all__ = ["ModelFile", "Operator", "read_model", "same_margins"]

_CUSTOM = 32
_NAMES = {
    0: "add", 1: "average_pool", 2: "concatenate", 3: "convolution", 4: "depthwise", 5: "depth_to_space", 6: "dequantize",
    9: "linear", 14: "sigmoid", 17: "max_pool", 18: "multiply", 19: "relu", 22: "reshape", 23: "resize", 34: "pad", 40: "mean",
    45: "slice", 54: "prelu", 117: "hard_swish", 124: "densify",
}  # fmt: skip
_POOL = {"same": (0, "b", 0), "stride": (2, "i", 1), "size": (4, "i", 1), "activation": (5, "b", 0)}
_OPTIONS: dict[str, dict[str, tuple[int, str, int]]] = {
    # option -> number of its field, type, default; windows and strides are square in these networks, so height stands for both
    "add": {"activation": (0, "b", 0)},
    "average_pool": _POOL,
    "concatenate": {"axis": (0, "i", 0)},
    "convolution": {"same": (0, "b", 0), "stride": (2, "i", 1), "activation": (3, "b", 0), "dilation": (5, "i", 1)},
    "depthwise": {"same": (0, "b", 0), "stride": (2, "i", 1), "activation": (4, "b", 0), "dilation": (6, "i", 1)},
    "depth_to_space": {"block": (0, "i", 1)},
    "linear": {"activation": (0, "b", 0)},
    "max_pool": _POOL,
    "multiply": {"activation": (0, "b", 0)},
    "resize": {"align_corners": (2, "b", 0), "half_pixel_centers": (3, "b", 0)},
}
_TYPES = {0: "<f4", 1: "<f2", 2: "<i4", 4: "<i8"}
_INDEX_TYPES = {1: "<i4", 2: "<u2", 3: "u1"}  # of sparse tensors


@dataclass(frozen=True)
class Operator:
    """One step of a network.

    Attributes:
        name: what it does; custom operators have the name in the file.
        inputs, outputs: numbers of tensors.
        options: of a custom operator ``raw`` bytes or the entries of its map; ``margins`` of a convolution are the zeros around
            its picture: top, bottom, left and right.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class ModelFile:
    """One network.

    Attributes:
        operators: in the order in which they run.
        constants: number of a tensor -> its float32 or integer values.
        shapes: of all tensors; pictures are (1, height, width, channels).
        inputs, outputs: numbers of tensors.
    """

    operators: list[Operator]
    constants: dict[int, np.ndarray]
    shapes: list[tuple[int, ...]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_model(data: bytes) -> ModelFile:
    """Read the bytes of a ``.tflite`` file.

    Raises:
        ValueError: an operator that is not known.
    """
    model = root(data)
    names = [_name(code) for code in model.tables(1)]
    buffers = model.tables(4)
    graph = model.tables(2)[0]
    tensors = graph.tables(0)
    shapes = [tuple(tensor.array(0, "<i4").tolist()) for tensor in tensors]
    constants = {}
    for number, tensor in enumerate(tensors):
        stored = buffers[tensor.number(2, "I")].array(0, "u1")
        if stored.size:
            values, sparse = stored.view(_TYPES[tensor.number(1, "b")]), tensor.table(6)
            constants[number] = values.reshape(shapes[number]) if sparse is None else _dense(values, shapes[number], sparse)
    operators = []
    for entry in graph.tables(3):
        operator = _operator(names[entry.number(0, "I")], entry)
        if operator.name in ("dequantize", "densify"):  # of constants only
            constants[operator.outputs[0]] = constants[operator.inputs[0]]
        else:
            operators.append(operator)
    full = {number: v.astype(np.float32) if v.dtype.kind == "f" else v for number, v in constants.items()}
    operators = _joined(operators, full, shapes)
    return ModelFile(operators, full, shapes, tuple(graph.array(1, "<i4").tolist()), tuple(graph.array(2, "<i4").tolist()))


def _name(code: Table) -> str:
    number = max(code.number(0, "b"), code.number(3, "i"))  # an old and a new field
    if number != _CUSTOM and number not in _NAMES:
        raise ValueError(f"operator {number} of TensorFlow Lite is not known")
    return code.text(1) if number == _CUSTOM else _NAMES[number]


def _operator(name: str, entry: Table) -> Operator:
    table, raw = entry.table(4), entry.array(5, "u1").tobytes()
    options: dict[str, Any] = {}
    for option, field in _OPTIONS.get(name, {}).items():
        options[option] = field[2] if table is None else table.number(*field)
    if name == "Convolution2DTransposeBias":
        options = {"raw": raw}
    elif raw:
        options = flexible_map(raw)
    return Operator(name, tuple(entry.array(1, "<i4").tolist()), tuple(entry.array(2, "<i4").tolist()), options)


def _dense(values: np.ndarray, shape: tuple[int, ...], sparse: Table) -> np.ndarray:
    """Fill in the zeros of a sparse tensor.

    Its dimensions, blocks of some of them last, are walked in the order of traversal: all entries of dense ones, those listed of
    others.
    """
    order, blocked = sparse.array(0, "<i4").tolist(), sparse.array(1, "<i4").tolist()
    levels = sparse.tables(2)
    rank = len(shape)
    places = np.zeros((1, 0), np.int64)
    extents = {}
    for dimension, level in zip(order, levels, strict=True):
        if level.number(0, "b") == 0:
            count = level.number(1, "i")
            extents[dimension] = count
            places = np.hstack([np.repeat(places, count, 0), np.tile(np.arange(count), len(places))[:, None]])
        else:
            ends, listed = (level.table(field) for field in (3, 5))
            assert ends is not None and listed is not None
            counts: np.ndarray = np.diff(ends.array(0, _INDEX_TYPES[level.number(2, "b")]).astype(np.int64))
            index = listed.array(0, _INDEX_TYPES[level.number(4, "b")]).astype(np.int64)
            places = np.hstack([np.repeat(places, counts, 0), index[:, None]])
    where = dict(zip(order, places.T, strict=True))
    at = [
        where[d] * extents[rank + blocked.index(d)] + where[rank + blocked.index(d)] if d in blocked else where[d]
        for d in range(rank)
    ]
    full = np.zeros(shape, values.dtype)
    full[tuple(at)] = values
    return full


def _joined(operators: list[Operator], constants: dict[int, np.ndarray], shapes: list[tuple[int, ...]]) -> list[Operator]:
    """Give convolutions their margins, and let them do what a padding of their picture alone did."""
    users = Counter(number for operator in operators for number in operator.inputs)
    padded: dict[int, Operator] = {}
    result = []
    for operator in operators:
        if operator.name == "pad" and users[operator.outputs[0]] == 1 and not constants[operator.inputs[1]][3].any():
            padded[operator.outputs[0]] = operator
        elif operator.name in ("convolution", "depthwise"):
            source, weights, bias = operator.inputs
            margins = [0, 0, 0, 0]
            if operator.options["same"] == 0:
                for k in (0, 1):
                    margins[2 * k : 2 * k + 2] = same_margins(
                        shapes[source][1 + k], shapes[weights][1 + k], operator.options["stride"]
                    )
            if source in padded:
                before = padded.pop(source)
                source = before.inputs[0]
                added = constants[before.inputs[1]][1:3].ravel().tolist()
                margins = [a + b for a, b in zip(margins, added, strict=True)]
            options = operator.options | {"margins": tuple(margins)}
            result.append(replace(operator, inputs=(source, weights, bias), options=options))
        else:
            result += [padded.pop(number) for number in operator.inputs if number in padded]
            result.append(operator)
    return result


def same_margins(size: int, window: int, stride: int) -> tuple[int, int]:
    """Return how many zeros go before and after a row so that one value comes out per stride."""
    total = max((math.ceil(size / stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2
