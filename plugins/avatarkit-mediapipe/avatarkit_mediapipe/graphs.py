"""The models of the MediaPipe package as plain functions on arrays.

Everything runs on the models that the package ships, on the CPU. The graphs are put together here from its parts, as
its high-level classes see one person only and hide where they look.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Graph", "Roi", "brightened", "landmarks_to_pixels", "quiet"]

log = logging.getLogger("avatarkit.mediapipe")

# What MediaPipe, TensorFlow Lite and their loggers write to the process's stderr, past every setting.
NOISE = re.compile(
    rb"^(INFO: (Created TensorFlow|Initialized TensorFlow)|WARNING: All log messages before absl|[IW]\d{4} |[IW]\d{8} )"
)
_stderr_lock = threading.Lock()
DARK = 0.35  # 99th percentile below which a picture is brightened before anything is looked for


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the chatter of MediaPipe's C++ parts off the terminal.

    Anything else written meanwhile is passed on.

    Those messages come from worker threads while a graph starts and runs first, and no switch stops them. One thread
    at a time is in here. Without a place for a temporary file all of it is lost.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stderr_lock)
        sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # no stderr at all
            yield
            return
        try:
            caught = stack.enter_context(tempfile.TemporaryFile())
        except OSError:
            caught = stack.enter_context(open(os.devnull, "w+b"))
        try:
            os.dup2(caught.fileno(), 2)
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            for line in caught.read().splitlines(keepends=True):
                if NOISE.match(line):
                    log.debug("%s", line.decode(errors="replace").rstrip())
                else:
                    os.write(2, line)


def _import() -> None:
    """Import MediaPipe, with its loggers turned down first."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # its drawing module imports matplotlib, which logs when it builds its font list
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    import mediapipe  # noqa: F401
    from mediapipe.calculators.core import constant_side_packet_calculator_pb2  # noqa: F401  # known to the text parser


@dataclass(frozen=True)
class Roi:
    """A turned square of a picture, in pixels.

    Attributes:
        x, y: center.
        size: side.
        rotation: radians, clockwise as seen.
    """

    x: float
    y: float
    size: float
    rotation: float = 0.0


class Graph:
    """One MediaPipe graph: made when first called, safe to share between threads.

    Args:
        config: graph in text form, with the input stream ``image`` and, if it takes one, ``roi``.
    """

    def __init__(self, config: str) -> None:
        self._config = config
        self._graph: Any = None
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray, roi: Roi | None = None) -> Any:
        """Run the graph on (H, W, 3) uint8.

        The outputs are attributes named as its streams, None where empty.
        """
        image = np.ascontiguousarray(image)
        with self._lock:
            if self._graph is not None:
                return self._graph.process(self._inputs(image, roi))
            with quiet():
                self._graph = self._make()
                return self._graph.process(self._inputs(image, roi))

    def close(self) -> None:
        """Free the graph; the next call makes it again."""
        with self._lock:
            if self._graph is not None:
                self._graph.close()
                self._graph = None

    def _inputs(self, image: np.ndarray, roi: Roi | None) -> Any:
        if roi is None:
            return image
        from mediapipe.framework.formats import rect_pb2

        height, width = image.shape[:2]
        rect = rect_pb2.NormalizedRect(
            x_center=roi.x / width,
            y_center=roi.y / height,
            width=roi.size / width,
            height=roi.size / height,
            rotation=roi.rotation,
        )
        return {"image": image, "roi": rect}

    def _make(self) -> Any:
        _import()
        from google.protobuf import text_format
        from mediapipe.framework import calculator_pb2
        from mediapipe.python.solution_base import SolutionBase

        return SolutionBase(graph_config=text_format.Parse(self._config, calculator_pb2.CalculatorGraphConfig()))


def landmarks_to_pixels(landmarks: Any, width: int, height: int) -> np.ndarray:
    """Return (n, 2) float32 pixels from MediaPipe's normalized landmarks."""
    return np.array([(p.x * width, p.y * height) for p in landmarks.landmark], np.float32)


def brightened(image: np.ndarray) -> np.ndarray:
    """Stretch dark pictures, (H, W, 3) uint8: the models were trained on usual ones."""
    bright = np.percentile(image[::4, ::4], 99).item() / 255
    if not 0.02 < bright < DARK:
        return image
    table = (255 * np.clip(np.arange(256) / 255 / bright, 0, 1) ** 0.8).astype(np.uint8)
    return table[image]
