"""Mouth shapes of speech in ARKit's facial actions: one table for talking and for what other programs open."""

from __future__ import annotations

from avatarkit.motion.performance.face import VISEMES as _RELAXED
from avatarkit.motion.performance.face import both_sides as _both
from avatarkit.types.speech import VISEMES

__all__ = ["MOUTH_SHAPES", "viseme_actions"]

# Lips of speakers of the GRID corpus: rounded ones leave a small opening, those of hisses and front vowels part wider.
_SEEN = {
    "w": _both(jawOpen=0.02, mouthPucker=0.75),
    "rr": _both(jawOpen=0.08, mouthPucker=0.3, mouthFunnel=0.08),
    "uu": _both(jawOpen=0.05, mouthPucker=0.8),
    "oh": _both(jawOpen=0.32, mouthFunnel=0.35, mouthPucker=0.35),
    "ss": _both(jawOpen=0.13, mouthStretch_=0.16, mouthLowerDown_=0.45, mouthUpperUp_=0.25, mouthSmile_=0.08),
    "ee": _both(jawOpen=0.28, mouthLowerDown_=0.28, mouthUpperUp_=0.1, mouthStretch_=0.25, mouthSmile_=0.3),
    "eh": _both(jawOpen=0.42, mouthLowerDown_=0.26, mouthStretch_=0.2, mouthUpperUp_=0.14),
}

MOUTH_SHAPES: dict[str, dict[str, float]] = _RELAXED | _SEEN
"""Name of a mouth shape, as of ``performance.face.shapes_of`` -> action -> weight, 0 to 1, in a loud stressed syllable."""

_OCULUS = {
    "sil": "sil", "PP": "pp", "FF": "ff", "TH": "th", "DD": "dd", "kk": "kk", "CH": "ch", "SS": "ss", "nn": "dd", "RR": "rr",
    "aa": "aa", "E": "eh", "ih": "ih", "oh": "oh", "ou": "uu",
}  # fmt: skip


def viseme_actions() -> dict[str, dict[str, float]]:
    """Return viseme -> ARKit's actions -> weight, 0 to 1, in the order of ``types.speech.VISEMES``; ``sil`` has none."""
    return {name: dict(MOUTH_SHAPES[_OCULUS[name]]) for name in VISEMES}
