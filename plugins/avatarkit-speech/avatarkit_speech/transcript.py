"""What is said when: sounds of a recording with or without its text, piece by piece."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from avatarkit.types.speech import Cue
from avatarkit_speech.audio_features import RATE, STEP, Voice
from avatarkit_speech.edges import refined
from avatarkit_speech.hearing import Ear, Phone, Word
from avatarkit_speech.visemes import OCULUS
from avatarkit_speech.words.reading import is_readable, words_of
from avatarkit_speech.words.spelling import spell

__all__ = ["Transcript", "transcribe"]

log = logging.getLogger("avatarkit.speech")

_PIECE = 25.0  # seconds heard at once: memory does not grow with the sound
_EDGE = 0.15  # seconds of silence heard before and after a piece
_FASTEST = 5.5  # words per second
_SPARE = 12  # words that are offered beyond those
_ALIKE = 0.27  # likeness of a text: right ones reach .33 to .80, wrong ones .00 to .25, with rare exceptions
_SQUEEZED = 0.035  # seconds: three looks, which is the least that the model gives a sound
_UNREAD = 0.6  # seconds of speech before or after the text that is followed by its sound
_STOPS = frozenset("PTKBDG")
_LONGEST_STOP = 0.16  # seconds; the model gives a short pause to the stop before it
_SURE = 0.05  # seconds of the shortest gap that a piece may end in


@dataclass(frozen=True)
class Transcript:
    """Sounds in time.

    Attributes:
        phones: ascending, without overlap; silence is between them.
        words: the same sounds by word, with the word; empty where the text is not known.
    """

    phones: tuple[Phone, ...]
    words: tuple[tuple[str, Word], ...] = ()


def transcribe(
    samples: np.ndarray, voice: Voice, text: str | Sequence[Cue] | None, name: str, tell: Callable[[float], None] = lambda _: None
) -> Transcript:
    """Return the sounds of a recording.

    Args:
        samples: (n,) float at ``RATE``.
        voice: the same, analyzed.
        text: what is said, if it is known. Text that is not what is heard is left out with a note.
        name: of the sound, for notes.
        tell: receives the share that is done.
    """
    ear, pieces = Ear(), _pieces(voice)
    if isinstance(text, str):
        text = None if not text.strip() else text
    elif text is not None:
        return _by_cues(ear, samples, voice, pieces, text, name, tell)
    if text is not None and not is_readable(text):
        log.warning("Only English text can be read along: %s is followed by its sound alone.", name)
        text = None
    words = [] if text is None else _spelt(ear, text)
    if text is not None and not words:
        log.warning("The text has no words: %s is followed by its sound alone.", name)
    out: list[Transcript] = []
    at = misses = 0
    for number, (start, end) in enumerate(pieces):
        found = None
        if at < len(words):
            found = _read(ear, samples, voice, start, end, words[at:], last=number == len(pieces) - 1)
            at += len(found.words) if found else 0
            misses += found is None
        out.append(found or Transcript(_heard(ear, samples, voice, start, end)))
        tell((number + 1) / len(pieces))
    if misses:
        log.warning(
            "The text is not what is heard in %s of %s: the sound alone moves the mouth there.", _share(misses, pieces), name
        )
    elif at < len(words) and pieces:
        log.warning("The last %d words of the text are not heard in %s.", len(words) - at, name)
    return _joined(out)


def _share(misses: int, pieces: Sequence[object]) -> str:
    return "any part" if misses == len(pieces) else f"{misses} of {len(pieces)} parts"


def _joined(parts: Sequence[Transcript]) -> Transcript:
    phones = [phone for part in parts for phone in part.phones]
    return Transcript(tuple(_apart(phones)), tuple(word for part in parts for word in part.words))


def _apart(phones: Sequence[Phone]) -> list[Phone]:
    out: list[Phone] = []
    for phone in sorted(phones, key=lambda p: (p.start, p.end)):
        start = max(0.0, phone.start, out[-1].end if out else 0.0)
        end = min(phone.end, start + _LONGEST_STOP) if phone.name in _STOPS else phone.end
        if end - start > 1e-3 and phone.name in OCULUS:
            out.append(Phone(start, end, phone.name))
    return out


def _spelt(ear: Ear, text: str) -> list[tuple[str, list[list[str]]]]:
    """Return (word, its pronunciations) of the words that can be spelt."""
    found = [(word, ear.pronunciations(word) or [spell(word, ear.lookup)]) for word in words_of(text)]
    return [(word, ways) for word, ways in found if ways[0]]


def _pieces(voice: Voice) -> list[tuple[float, float]]:
    """Return (start, end) of parts that begin and end in pauses; of speech without a pause, in its quietest moment."""
    out: list[tuple[float, float]] = []
    for start, end in voice.phrases:
        if out and end - out[-1][0] <= _PIECE:
            out[-1] = (out[-1][0], end)
            continue
        while end - start > _PIECE:
            first, last = (round((start + share * _PIECE) / STEP) for share in (0.6, 1.0))
            cut = (first + int(voice.loudness[first:last].argmin())) * STEP
            out.append((start, cut))
            start = cut
        out.append((start, end))
    return out


def _cut(samples: np.ndarray, start: float, end: float) -> tuple[np.ndarray, float]:
    first = max(0, round((start - _EDGE) * RATE))
    return samples[first : round((end + _EDGE) * RATE)], first / RATE


def _moved(phone: Phone, seconds: float) -> Phone:
    return Phone(phone.start + seconds, phone.end + seconds, phone.name)


def _heard(ear: Ear, samples: np.ndarray, voice: Voice, start: float, end: float) -> tuple[Phone, ...]:
    piece, first = _cut(samples, start, end)
    found = refined([_moved(phone, first) for phone in ear.recognize(piece)], voice)
    return tuple(p for p in found if p.end > start - 0.05 and p.start < end + 0.05)


def _read(
    ear: Ear,
    samples: np.ndarray,
    voice: Voice,
    start: float,
    end: float,
    words: Sequence[tuple[str, list[list[str]]]],
    last: bool,
) -> Transcript | None:
    """Return the words that are said in a part of the recording, or None if they are others."""
    piece, first = _cut(samples, start, end)
    most = int(_FASTEST * (end - start)) + _SPARE
    ways = [found for _, found in words[:most]]
    found = ear.align(piece, ways) if last and len(words) <= most else None
    if found is None:
        found = ear.align(piece, ways, whole=False)
    if not found:
        return None
    found = found[: len(words)]
    aligned = [_moved(phone, first) for word in found for phone in word.phones]
    heard = _heard(ear, samples, voice, start, end)
    if _likeness(aligned, heard) < _ALIKE:
        return None
    phones = refined(aligned, voice)
    edges = np.cumsum([0, *(len(word.phones) for word in found)]).tolist()
    said = tuple((words[k][0], Word(k, tuple(phones[a:b]))) for k, (a, b) in enumerate(pairwise(edges)))
    before = [p for p in heard if p.end <= phones[0].start] if phones[0].start - start > _UNREAD else []
    after = [p for p in heard if p.start >= phones[-1].end] if end - phones[-1].end > _UNREAD else []
    return Transcript((*before, *phones, *after), said)


def _likeness(read: Sequence[Phone], heard: Sequence[Phone]) -> float:
    """Return how much a text is like what is heard while it is read.

    It is the share of looks with the same mouth shape, of those in which either is no silence. Wrong texts are squeezed into the
    sound: sounds of the shortest length count against them.
    """
    first, last = (round(t / STEP) for t in (max(0.0, read[0].start), read[-1].end))
    shapes = np.full((2, last + 1), "sil", dtype="U3")
    for row, phones in zip(shapes, (read, heard), strict=True):
        for phone in phones:
            row[max(0, round(phone.start / STEP)) : round(phone.end / STEP)] = OCULUS[phone.name][0]
    shapes = shapes[:, first:]
    said = (shapes != "sil").any(0)
    squeezed = float(np.mean([phone.end - phone.start < _SQUEEZED for phone in read]))
    return float((shapes[0] == shapes[1])[said].mean()) - 0.6 * squeezed if said.any() else 0.0


def _by_cues(
    ear: Ear,
    samples: np.ndarray,
    voice: Voice,
    pieces: Sequence[tuple[float, float]],
    cues: Sequence[Cue],
    name: str,
    tell: Callable[[float], None],
) -> Transcript:
    """Return the sounds of a recording with subtitles: each line is looked for in its time."""
    out: list[Transcript] = []
    covered: list[tuple[float, float]] = []
    misses = 0
    for number, cue in enumerate(cues):
        start, end = max(0.0, cue.start), min(cue.end, len(samples) / RATE)
        words = _spelt(ear, cue.text) if is_readable(cue.text) else []
        if end - start > 0.1 and words:
            found = _read(ear, samples, voice, start, end, words, last=True)
            misses += found is None
            if found is not None:
                out.append(found)
                covered.append((start, end))
        tell(0.5 * (number + 1) / len(cues))
    if misses:
        log.warning(
            "%d of %d subtitles are not what is heard in %s: the sound alone moves the mouth there.", misses, len(cues), name
        )
    for number, (start, end) in enumerate(pieces):
        for first, last in _left(start, end, covered):
            out.append(Transcript(_heard(ear, samples, voice, first, last)))
        tell(0.5 + 0.5 * (number + 1) / len(pieces))
    return _joined(out)


def _left(start: float, end: float, covered: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the parts of an interval that the sorted intervals ``covered`` leave free."""
    out = []
    for first, last in sorted(covered):
        if last <= start or first >= end:
            continue
        if first - start > _SURE:
            out.append((start, first))
        start = max(start, last)
    if end - start > _SURE:
        out.append((start, end))
    return [(a, b) for a, b in out if b - a > 0.2]
