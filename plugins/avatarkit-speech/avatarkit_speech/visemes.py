"""Sounds of speech to mouth shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatarkit.types.speech import Viseme
from avatarkit_speech.audio_features import Voice
from avatarkit_speech.hearing import Phone

__all__ = ["OCULUS", "VOWELS", "timed_visemes"]

VOWELS = frozenset(["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"])

OCULUS: dict[str, tuple[str, ...]] = {
    "P": ("PP",), "B": ("PP",), "M": ("PP",), "F": ("FF",), "V": ("FF",), "TH": ("TH",), "DH": ("TH",), "T": ("DD",),
    "D": ("DD",), "K": ("kk",), "G": ("kk",), "NG": ("kk",), "HH": ("kk",), "CH": ("CH",), "JH": ("CH",), "SH": ("CH",),
    "ZH": ("CH",), "S": ("SS",), "Z": ("SS",), "N": ("nn",), "L": ("nn",), "R": ("RR",), "ER": ("RR",), "AA": ("aa",),
    "AE": ("aa",), "AH": ("aa",), "AW": ("aa", "ou"), "AY": ("aa", "ih"), "EH": ("E",), "EY": ("E", "ih"), "IH": ("ih",),
    "IY": ("ih",), "Y": ("ih",), "AO": ("oh",), "OW": ("oh", "ou"), "OY": ("oh", "ih"), "UH": ("ou",), "UW": ("ou",),
    "W": ("ou",),
}  # fmt: skip
"""ARPAbet -> names of ``avatarkit.types.speech.VISEMES``, in turn."""


def timed_visemes(phones: Sequence[Phone], voice: Voice) -> tuple[Viseme, ...]:
    """Return the mouth shapes of sounds; the strength of a vowel is its loudness."""
    out: list[Viseme] = []
    for phone in phones:
        names = OCULUS[phone.name]
        edges = np.linspace(phone.start, phone.end, len(names) + 1)
        middle = np.array([0.5 * (phone.start + phone.end)])
        strength = 0.4 + 0.6 * float(voice.at(voice.loudness, middle)[0]) if phone.name in VOWELS else 1.0
        for start, end, name in zip(edges[:-1].tolist(), edges[1:].tolist(), names, strict=True):
            if out and out[-1].name == name and start - out[-1].end < 1e-6:
                out[-1] = Viseme(out[-1].start, end, name, max(strength, out[-1].strength))
            else:
                out.append(Viseme(start, end, name, strength))
    return tuple(out)
