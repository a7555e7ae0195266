"""The operators of MediaPipe's networks, as functions of torch tensors.

Pictures are (1, channels, height, width) in memory order (height, width, channels), other tensors as in the file. ``make``
returns the function of one operator; all that does not depend on the input is worked out then.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from avatarkit_mediapipe.networks.kernels import depthwise
from avatarkit_mediapipe.networks.model_file import ModelFile, Operator, same_margins

__all__ = ["make"]

Function = Callable[..., torch.Tensor]
_ACTIVATIONS: dict[int, Function] = {1: torch.relu_, 3: lambda x: x.clamp_(0, 6)}


def make(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    """Return the function of an operator, and the numbers of the tensors that it takes.

    Raises:
        ValueError: an operator that is not known, or an option that no known network has.
    """
    known = _MAKERS.get(operator.name)
    if known is None:
        raise ValueError(f"operator {operator.name} is not known")
    run, taken = known(model, operator)
    activation = operator.options.get("activation", 0)
    if not activation:
        return run, taken
    after = _ACTIVATIONS[activation]
    return lambda *x: after(run(*x)), taken


def _constant(model: ModelFile, number: int) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(model.constants[number]))


def _picture(model: ModelFile, number: int) -> torch.Tensor:
    """Return a constant as an operand of pictures."""
    value = _constant(model, number)
    return value.permute(0, 3, 1, 2) if value.ndim == 4 else value


def _convolution(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    source, weight_number, bias_number = operator.inputs
    weight, bias = _constant(model, weight_number), _constant(model, bias_number)
    side, stride = weight.shape[1], operator.options["stride"]
    if operator.options["dilation"] != 1 or weight.shape[2] != side:
        raise ValueError("a convolution of another kind")
    top, bottom, left, right = operator.options["margins"]
    if operator.name == "depthwise":
        return _depthwise(weight[0], bias, stride, (top, left), model.shapes[operator.outputs[0]]), (source,)
    weight = weight.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    if (top, left) == (bottom, right):
        return lambda x: torch.conv2d(x, weight, bias, stride, (top, left)), (source,)
    margins = [left, right, top, bottom]
    return lambda x: torch.conv2d(F.pad(x, margins), weight, bias, stride), (source,)


def _depthwise(
    weight: torch.Tensor, bias: torch.Tensor, stride: int, corner: tuple[int, int], shape: tuple[int, ...]
) -> Function:
    """Return a convolution of each channel by itself."""
    taps, offsets = weight.numpy(), bias.numpy()

    def run(x: torch.Tensor) -> torch.Tensor:
        result = np.empty(shape[1:], np.float32)
        picture = np.ascontiguousarray(x.permute(0, 2, 3, 1)[0].numpy())
        depthwise(picture, taps, offsets, stride, *corner, result)
        return torch.from_numpy(result)[None].permute(0, 3, 1, 2)

    return run


def _transposed(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    source, weight_number, bias_number = operator.inputs
    weight, bias = _constant(model, weight_number).permute(3, 0, 1, 2).contiguous(), _constant(model, bias_number)
    _, down, across = struct.unpack_from("<3i", operator.options["raw"])
    if (down, across) != tuple(weight.shape[2:]):
        raise ValueError("a transposed convolution whose windows overlap")
    return lambda x: torch.conv_transpose2d(x, weight, bias, (down, across)), (source,)


def _linear(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    source, *parameters = operator.inputs
    weight, bias = (_constant(model, number) for number in parameters)
    return lambda x: F.linear(x.reshape(-1, weight.shape[1]), weight, bias), (source,)


def _pool(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    size, stride = operator.options["size"], operator.options["stride"]
    (source,) = operator.inputs
    if operator.options["same"] == 0 and any(same_margins(n, size, stride)[1] for n in model.shapes[source][1:3]):
        raise ValueError("pooling with a margin")
    pool = F.max_pool2d if operator.name == "max_pool" else F.avg_pool2d
    return lambda x: pool(x, size, stride), (source,)


def _pad(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    source, amounts = operator.inputs
    _, rows, columns, channels = model.constants[amounts].tolist()
    margins = [*columns, *rows, *channels] if any(channels) else [*columns, *rows]
    return lambda x: F.pad(x, margins), (source,)


def _prelu(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    source, number = operator.inputs
    slopes = _constant(model, number).reshape(-1)
    return lambda x: torch.prelu(x, slopes), (source,)


def _binary(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    function = torch.add if operator.name == "add" else torch.mul
    first, second = operator.inputs
    if second not in model.constants:
        return function, (first, second)
    value = _picture(model, second)
    return lambda x: function(x, value), (first,)


def _reshape(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    source, shape = operator.inputs[0], model.shapes[operator.outputs[0]]
    pictures = [len(model.shapes[source]) == 4, len(shape) == 4]

    def run(x: torch.Tensor) -> torch.Tensor:
        x = (x.permute(0, 2, 3, 1) if pictures[0] else x).reshape(shape)
        return x.permute(0, 3, 1, 2) if pictures[1] else x

    return run, (source,)


def _concatenate(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    axis, rank = operator.options["axis"], len(model.shapes[operator.outputs[0]])
    axis = (0, 2, 3, 1)[axis] if rank == 4 else axis
    return lambda *x: torch.cat(x, axis), operator.inputs


def _resize(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    if operator.options["align_corners"] or not operator.options["half_pixel_centers"]:
        raise ValueError("resizing of another kind")
    source, number = operator.inputs
    size = tuple(model.constants[number].tolist())
    return lambda x: F.interpolate(x, size, mode="bilinear"), (source,)


def _depth_to_space(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    n = operator.options["block"]

    def run(x: torch.Tensor) -> torch.Tensor:
        _, c, h, w = x.shape
        c //= n * n
        return x.reshape(1, n, n, c, h, w).permute(0, 3, 4, 1, 5, 2).reshape(1, c, h * n, w * n)

    return run, operator.inputs


def _mean(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    source, number = operator.inputs
    if sorted(model.constants[number].tolist()) != [1, 2]:
        raise ValueError("a mean over other than the picture")
    keep = len(model.shapes[operator.outputs[0]]) == 4
    return lambda x: x.mean((2, 3), keepdim=keep), (source,)


def _slice(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    source, *numbers = operator.inputs
    begin, _, steps = (model.constants[number].tolist() for number in numbers)
    shape = model.shapes[operator.outputs[0]]
    if set(steps) != {1} or len(shape) != len(begin):
        raise ValueError("a slice of another kind")
    part = [slice(start, start + size) for start, size in zip(begin, shape, strict=True)]
    part = [part[axis] for axis in (0, 3, 1, 2)] if len(part) == 4 else part
    return lambda x: x[tuple(part)], (source,)


def _elementwise(function: Function) -> Callable[[ModelFile, Operator], tuple[Function, tuple[int, ...]]]:
    return lambda model, operator: (function, operator.inputs)


def _landmarks_to_matrix(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    """From landmarks (1, n, 3), return the matrix (1, 4, 4) from a small picture to the turned box around some of them."""
    o: dict[str, Any] = operator.options
    subset, ends = o["subset_idxs"], (o["left_rotation_idx"], o["right_rotation_idx"])
    size = np.array([o["output_width"], o["output_height"]])
    enlarged = np.array([o["scale_x"], o["scale_y"]]) / size

    def run(landmarks: torch.Tensor) -> torch.Tensor:
        points = landmarks[0, :, :2].numpy().astype(np.float64)
        x, y = points[ends[1]] - points[ends[0]]
        turn = o["target_rotation_radians"] - math.atan2(y, x)
        c, s = math.cos(turn), math.sin(turn)
        to_box = np.array([[c, -s], [s, c]])
        inside = points[subset] @ to_box.T
        low, high = inside.min(0), inside.max(0)
        matrix = np.eye(4)
        matrix[:2, :2] = to_box.T * ((high - low) * enlarged)
        matrix[:2, 3] = to_box.T @ ((low + high) / 2) - matrix[:2, :2] @ (size / 2)
        return torch.from_numpy(matrix[None].astype(np.float32))

    return run, operator.inputs


def _look_through(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    """From a picture and such a matrix, return the small picture, zero outside the large one."""
    height, width = operator.options["output_height"], operator.options["output_width"]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x.flatten(), y.flatten(), torch.ones(height * width)])

    def run(picture: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        _, _, rows, columns = picture.shape
        at = matrix[0, :2][:, [0, 1, 3]] @ pixels - 0.5
        limits = torch.tensor([[columns - 1.0], [rows - 1.0]])
        outside = ((at < 0) | (at > limits)).any(0)
        grid = (at / limits * 2 - 1).T.reshape(1, height, width, 2)
        small = F.grid_sample(picture, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        # grid_sample gives (channels, height, width), in which every later operator would take longer
        return small.masked_fill(outside.reshape(1, 1, height, width), 0.0).contiguous(memory_format=torch.channels_last)

    return run, operator.inputs


def _transform_landmarks(model: ModelFile, operator: Operator) -> tuple[Function, tuple[int, ...]]:
    """Return landmarks (1, n, 2 or 3) through such a matrix, depth as it is."""

    def run(landmarks: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        moved = landmarks[..., :2] @ matrix[0, :2, :2].T + matrix[0, :2, 3]
        return torch.cat([moved, landmarks[..., 2:]], -1)

    return run, operator.inputs


_MAKERS: dict[str, Callable[[ModelFile, Operator], tuple[Function, tuple[int, ...]]]] = {
    "add": _binary,
    "average_pool": _pool,
    "concatenate": _concatenate,
    "convolution": _convolution,
    "Convolution2DTransposeBias": _transposed,
    "depthwise": _convolution,
    "depth_to_space": _depth_to_space,
    "hard_swish": _elementwise(F.hardswish),
    "Landmarks2TransformMatrix": _landmarks_to_matrix,
    "linear": _linear,
    "max_pool": _pool,
    "mean": _mean,
    "multiply": _binary,
    "pad": _pad,
    "prelu": _prelu,
    "relu": _elementwise(torch.relu),
    "reshape": _reshape,
    "resize": _resize,
    "sigmoid": _elementwise(torch.sigmoid),
    "slice": _slice,
    "TransformLandmarks": _transform_landmarks,
    "TransformTensorBilinear": _look_through,
}
