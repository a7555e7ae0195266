"""One network, ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch

from avatarkit.utils.threads import single_threaded
from avatarkit_mediapipe.networks.model_file import ModelFile, read_model
from avatarkit_mediapipe.networks.operators import Function, make

__all__ = ["Network", "network"]


@dataclass(frozen=True)
class _Step:
    run: Function
    takes: tuple[int, ...]
    gives: int
    done: tuple[int, ...]
    """Tensors that no later step needs."""


class Network:
    """Runs a network of one picture with torch, and of that only what the outputs need.

    Calls may come from several threads. The same picture gives the same bits on any number of threads.

    Args:
        model: what the file holds.
        outputs: which of its outputs are wanted, in this order; None = all.
    """

    def __init__(self, model: ModelFile, outputs: tuple[int, ...] | None = None) -> None:
        self._outputs = model.outputs if outputs is None else tuple(model.outputs[k] for k in outputs)
        (self._input,) = model.inputs
        self.side = model.shapes[self._input][1]
        self._shapes = [model.shapes[k] for k in self._outputs]
        needed = set(self._outputs)
        steps: list[_Step] = []
        for operator in reversed(model.operators):
            (gives,) = operator.outputs
            if gives in needed:
                run, takes = make(model, operator)
                steps.append(_Step(run, takes, gives, tuple(set(takes) - needed)))
                needed |= set(takes)
        self._steps = steps[::-1]
        self.options: list[dict[str, Any]] = [operator.options for operator in model.operators]

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for a picture.

        Args:
            picture: (side, side, 3) float32, in the range that the network was trained with.
        """
        with torch.inference_mode(), single_threaded():
            values = {self._input: torch.from_numpy(picture[None]).permute(0, 3, 1, 2)}
            for step in self._steps:
                values[step.gives] = step.run(*(values[k] for k in step.takes))
                for k in step.done:
                    del values[k]
            return [self._array(values[k], shape) for k, shape in zip(self._outputs, self._shapes, strict=True)]

    def _array(self, value: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
        array: np.ndarray = (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).numpy()
        return array.reshape(shape)[0]


@cache
def network(name: str, outputs: tuple[int, ...] | None = None) -> Network:
    """Return a network that this package ships, read once per process.

    Args:
        name: of the file, without ``.tflite``.
        outputs: as of ``Network``.
    """
    file = resources.files("avatarkit_mediapipe").joinpath(f"models/{name}.tflite")
    return Network(read_model(file.read_bytes()), outputs)
