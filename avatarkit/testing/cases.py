"""What conformance checks are made of: cases, findings and comparisons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from avatarkit.interfaces import PROTOCOLS, with_defaults
from avatarkit.registry.requirements import weights_finder
from avatarkit.registry.specs import ComponentSpec
from avatarkit.testing.material import Material

__all__ = ["Case", "Check", "CheckFailed", "Finding", "Skipped", "expect", "on_cpu", "same"]


class CheckFailed(AssertionError):
    """A component violates its contract; the text says how."""


class Skipped(Exception):
    """A check does not apply; the text says why."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: name of the check.
        state: ``passed``, ``failed`` or ``skipped``.
        detail: what is wrong, or why it was skipped.
    """

    check: str
    state: Literal["passed", "failed", "skipped"]
    detail: str = ""


@dataclass
class Case:
    """A component and the material that it is tested on.

    Attributes:
        component: its descriptor.
        material: the person, photo and other components.
        options: options of the component.
        refused: whether the component could not be created in an earlier check.
    """

    component: ComponentSpec
    material: Material
    options: Mapping[str, Any]
    refused: bool = False

    def make(self) -> Any:
        """Return a new instance."""
        context = dataclasses.replace(self.material.context, weights=weights_finder(self.component))
        self.refused = True
        made = with_defaults(self.component.create(self.options, context), PROTOCOLS[self.component.kind])
        self.refused = False
        return made


Check = Callable[[Case], None]


def expect(condition: Any, message: str) -> None:
    """Fail the check unless ``condition`` holds."""
    if not condition:
        raise CheckFailed(message)


def on_cpu(value: Any, what: str = "the result") -> Any:
    """Return a value; fail the check if a tensor in it is not on the CPU, the device of the checks."""
    for tensor in _tensors(value):
        expect(tensor.device.type == "cpu", f"{what} holds a tensor on {tensor.device}; its inputs and the context are on cpu")
    return value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _tensors(inner)


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
