"""Moves the edges of sounds from where PocketSphinx puts them to where phoneticians do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatarkit_speech.audio_features import Voice
from avatarkit_speech.hearing import Phone
from avatarkit_speech.visemes import VOWELS

__all__ = ["refined"]

_VOICED = VOWELS | frozenset(["L", "R", "W", "Y", "M", "N", "NG"])
_EARLY = 0.005  # seconds: the model begins vowels late and ends them early
_APART = 0.02  # seconds of silence, more than rounding, which no sound is moved across
_PAUSE = 0.03  # seconds of silence after the last sound before a pause
_QUIET = 0.08  # loudness at which a voice has ended: the model hears its echo as the same sound
_SHORTEST = 0.03  # seconds of a sound


def refined(phones: Sequence[Phone], voice: Voice) -> list[Phone]:
    """Return sounds with better edges; names and order stay.

    Vowels begin and end where the voice is that of a vowel, which is half a look outside of the edges that the model finds,
    and voiced sounds before a pause end with the voice. Constants were chosen on the labeled sentences that
    ``benchmarks/speech.py`` does not report.
    """
    starts, ends = [p.start for p in phones], [p.end for p in phones]
    for k in range(1, len(phones)):
        opens = (phones[k].name in VOWELS) - (phones[k - 1].name in VOWELS)
        if opens and starts[k] - ends[k - 1] < _APART:
            ends[k - 1] = starts[k] = starts[k] - opens * _EARLY
    for k, phone in enumerate(phones):
        if phone.name in _VOICED and (k + 1 == len(phones) or phones[k + 1].start - phone.end > _PAUSE):
            ends[k] = _end_of_voice(starts[k], ends[k], voice)
    return [Phone(start, end, phone.name) for start, end, phone in zip(starts, ends, phones, strict=True)]


def _end_of_voice(start: float, end: float, voice: Voice) -> float:
    moments = np.arange(start + _SHORTEST, end, _EARLY)
    loud = moments[voice.at(voice.loudness, moments) > _QUIET]
    return min(end, float(loud[-1]) + _EARLY if len(loud) else start + _SHORTEST)
