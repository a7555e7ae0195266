"""A speech network in an ONNX file: sound in, facial actions over time out; heard in windows, so that memory does not grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatarkit.errors import InputError, MissingWeights
from avatarkit.io.audio import resample

__all__ = ["NetworkMouth", "SpeechNetwork"]

ARKIT = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""ARKit's 52 actions in alphabetical order, that of networks that do not name theirs."""

_MOUTH = ("cheek", "jaw", "mouth", "nose", "tongue")  # what a network moves; eyes and brows belong to the body's plan
_WINDOW = 10.0  # seconds heard at once by a network that takes any length
_EDGE = 1.0  # seconds at each end of a window that the next one hears better, at most a quarter of it
_MOST_FPS = 240.0
_MOST_NUMBERS = 1 << 24  # of an input that is not the sound


@dataclass(frozen=True)
class NetworkMouth:
    """The mouth of one recording, as a network says.

    Attributes:
        actions_of: names of the actions.
        times: (T,) seconds, ascending.
        values: (T, actions) 0 to 1.
    """

    actions_of: tuple[str, ...]
    times: np.ndarray
    values: np.ndarray

    def actions(self, t: np.ndarray, fps: float) -> dict[str, np.ndarray]:
        """Return facial actions -> (T,) at moments (T,), seconds."""
        return {
            name: np.interp(t, self.times, self.values[:, k])
            for k, name in enumerate(self.actions_of)
            if name.startswith(_MOUTH)
        }  # fmt: skip


class SpeechNetwork:
    """A network with a sound as its first input and actions over time as its first output.

    The first input is float, (samples), (1, samples) or (1, 1, samples); a fixed length is a window. Inputs after it are zero, or
    the first of several choices: (1, n) float is 1, 0, 0, ... The first output is (frames, actions), with or without ones before,
    and spans the window evenly. The metadata of the file may say ``actions`` (names separated by commas) and ``rate`` (samples
    per second, else 16000); 52 actions without names are ARKit's in alphabetical order.

    Args:
        path: of the file.

    Raises:
        MissingWeights: there is no file.
        InputError: it is no such network.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        if not path.is_file():
            raise MissingWeights(f"There is no file {path} for the speech network.")
        self.path = path
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # sums come out the same on any machine
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's errors share no base of their own
            raise InputError(f"{path.name} is no ONNX file that ONNX Runtime can run.") from error
        said = self._session.get_modelmeta().custom_metadata_map
        self.rate = self._rate(said.get("rate", "16000"))
        self._named = tuple(name.strip() for name in said["actions"].split(",")) if "actions" in said else None
        sound, *others = self._session.get_inputs()
        if sound.type != "tensor(float)" or not 1 <= len(sound.shape) <= 3 or any(n not in (1, None) for n in _sizes(sound)[:-1]):
            raise InputError(f"{path.name} does not take sound: its first input is {sound.type} {sound.shape}, not (1, samples).")
        self._sound, self._dimensions = sound.name, len(sound.shape)
        self.window = _sizes(sound)[-1]
        self._others = {other.name: self._neutral(other) for other in others}

    def _rate(self, text: str) -> int:
        if not text.strip().isdecimal() or not 4000 <= int(text) <= 192_000:
            raise InputError(f"{self.path.name} says that it takes {text[:20]!r} samples per second; 4000 to 192000 are usual.")
        return int(text)

    def _neutral(self, other: Any) -> np.ndarray:
        sizes = [size or 1 for size in _sizes(other)]
        kinds: dict[str, Any] = {
            "tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
        }  # fmt: skip
        if other.type not in kinds or np.prod(sizes) > _MOST_NUMBERS:
            raise InputError(f"{self.path.name} has an input {other.name!r} of a kind that is not known here.")
        value = np.zeros(sizes, kinds[other.type])
        if value.dtype == np.float32 and len(sizes) == 2 and sizes[1] > 1:
            value[:, 0] = 1
        return value

    def mouth(self, samples: np.ndarray, rate: int, tell: Callable[[float], None] = lambda _: None) -> NetworkMouth:
        """Return the actions over a recording.

        Args:
            samples: (n,) float32.
            rate: samples per second.
            tell: receives the share that is done.

        Raises:
            InputError: the network fails, or its output is not actions over time.
        """
        sound = resample(samples, rate, self.rate)
        window = self.window or round(_WINDOW * self.rate)
        edge = min(round(_EDGE * self.rate), window // 4)
        step = window - 2 * edge
        names: tuple[str, ...] = ()
        times, values = [], []
        starts = range(-edge, max(1, len(sound) - edge), step)
        for number, start in enumerate(starts):
            piece = np.zeros(window, np.float32)
            first, last = max(0, start), min(len(sound), start + window)
            piece[first - start : last - start] = sound[first:last]
            found = self._run(piece)
            names = names or self._names(found.shape[1])
            t = (start + (np.arange(len(found)) + 0.5) * window / len(found)) / self.rate
            inner = (t >= (start + edge) / self.rate) & (t < (start + edge + step) / self.rate)
            times.append(t[inner])
            values.append(found[inner])
            tell((number + 1) / len(starts))
        return NetworkMouth(names, np.concatenate(times), np.concatenate(values).clip(0, 1))

    def _run(self, piece: np.ndarray) -> np.ndarray:
        given = {self._sound: piece.reshape((1,) * (self._dimensions - 1) + (-1,)), **self._others}
        try:
            found = np.asarray(self._session.run(None, given)[0])
        except Exception as error:  # as above
            raise InputError(f"{self.path.name} fails on a sound: {str(error).splitlines()[0][:200]}") from error
        if found.ndim < 2 or found.ndim > 4 or set(found.shape[:-2]) - {1} or 0 in found.shape or found.dtype.kind != "f":
            raise InputError(f"{self.path.name} gives {found.dtype} {found.shape}, not (frames, actions).")
        found = found.reshape(found.shape[-2:]).astype(np.float32)
        if len(found) < 2 or len(found) > _MOST_FPS * len(piece) / self.rate:
            raise InputError(f"{self.path.name} gives {len(found)} frames for {len(piece) / self.rate:.2f} seconds of sound.")
        if not np.isfinite(found).all():
            raise InputError(f"{self.path.name} gives numbers that are not finite.")
        return found

    def _names(self, count: int) -> tuple[str, ...]:
        names = self._named or (ARKIT if count == len(ARKIT) else ())
        if len(names) != count:
            raise InputError(
                f"{self.path.name} gives {count} actions and names {len(names)}: add their names to the file's metadata, "
                "as 'actions', separated by commas."
            )
        unknown = [name for name in names if name not in ARKIT]
        if len(unknown) == count:
            raise InputError(f"{self.path.name} names no action of ARKit: {', '.join(unknown[:3])}, ...")
        return names


def _sizes(node: Any) -> list[int | None]:
    """Return the sizes of an input; None where any will do."""
    return [size if isinstance(size, int) and size > 0 else None for size in node.shape]
