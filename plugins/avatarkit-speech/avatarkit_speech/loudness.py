"""Brings a voice to the loudness of speech near a microphone."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av

__all__ = ["normalize_loudness"]

_LOUDNESS = -20.0  # LUFS, of speech near a microphone
_MOST_GAIN = 40.0  # decibels
_SILENCE = -70.0  # LUFS: quieter sound is not measured
_PIECE = 1 << 20  # samples measured at once


def normalize_loudness(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return a sound at the loudness of speech near a microphone (EBU R 128), by one gain for all of it.

    Args:
        samples: (n,) float32, -1 to 1.
        rate: samples per second.

    Returns:
        (n,) float32, whose peaks may exceed 1; unchanged where it is silent or shorter than 0.4 seconds.
    """
    import av

    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=rate, layout="mono", time_base=Fraction(1, rate))
    meter, sink = graph.add("ebur128", "metadata=1:framelog=quiet"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    loudness = _SILENCE
    for start in range(0, len(samples), _PIECE):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + _PIECE].astype(np.float32), "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        graph.push(frame)
        loudness = _measured(graph, loudness)
    graph.push(None)
    loudness = _measured(graph, loudness)
    if loudness <= _SILENCE:
        return samples
    gain = min(_LOUDNESS - loudness, _MOST_GAIN)
    return (samples * 10 ** (gain / 20)).astype(np.float32)


def _measured(graph: av.filter.Graph, loudness: float) -> float:
    """Return the integrated loudness after what a graph has ready, LUFS."""
    import av

    try:
        while True:
            loudness = float(graph.pull().metadata.get("lavfi.r128.I", loudness))
    except (av.EOFError, av.BlockingIOError):
        return loudness
