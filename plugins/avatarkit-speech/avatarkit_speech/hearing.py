"""Hears the sounds of speech with PocketSphinx and its English model: those of a known text, or any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatarkit_speech.audio_features import RATE, to_pcm

if TYPE_CHECKING:
    from pocketsphinx import Decoder

__all__ = ["Ear", "Phone", "Word"]

_STEP = 0.01  # seconds between the model's looks
_LATE = 0.01  # seconds: a look is named after the start of its window, and sounds are heard in its middle
_PAD = 0.25  # seconds of silence around a piece, which the model expects
_SILENCE = ("SIL", "<sil>", "<s>", "</s>", "+SPN+", "+NSN+", "[NOISE]")


@dataclass(frozen=True)
class Phone:
    """A sound: ARPAbet without stress, in seconds."""

    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Word:
    """A word: its place in the text (-1 = not known), and its sounds."""

    index: int
    phones: tuple[Phone, ...]

    @property
    def start(self) -> float:
        """Return where it starts, seconds."""
        return self.phones[0].start

    @property
    def end(self) -> float:
        """Return where it ends, seconds."""
        return self.phones[-1].end


class Ear:
    """PocketSphinx for one recording; what it heard before does not change what it hears."""

    def __init__(self) -> None:
        self._aligner: Decoder | None = None
        self._recognizer: Decoder | None = None
        self._names: dict[tuple[str, ...], str] = {}

    def lookup(self, word: str) -> list[str] | None:
        """Return the sounds of a word in lower case, or None if the dictionary lacks it."""
        found = self._align().lookup_word(word)
        return None if found is None else found.split()

    def pronunciations(self, word: str) -> list[list[str]]:
        """Return the ways in which the dictionary says a word in lower case: "wind" has two."""
        found = [self.lookup(word)]
        while found[-1] is not None:
            found.append(self.lookup(f"{word}({len(found) + 1})"))
        return [sounds for sounds in found if sounds is not None]

    def align(self, samples: np.ndarray, words: Sequence[Sequence[Sequence[str]]], whole: bool = True) -> list[Word] | None:
        """Return when the words are spoken, or None if they are not what is heard.

        Args:
            samples: (n,) float at ``RATE``.
            words: the pronunciations of each word.
            whole: whether all words are spoken; otherwise as many of the first ones as fit.
        """
        decoder = self._align()
        pcm = self._padded(samples)
        links: list[tuple[int, int, float, str] | tuple[int, int, float]]
        links = [(k, k + 1, 1.0, self._name(tuple(way))) for k, ways in enumerate(words) for way in ways]
        if not whole:
            links += [(k, len(words), 0.5) for k in range(1, len(words))]
        grammar = decoder.create_fsg("text", 0, len(words), links)
        decoder.add_fsg("text", grammar)
        decoder.activate_search("text")
        _hear(decoder, pcm)
        if decoder.hyp() is None:
            return None
        said = [seg.word for seg in decoder.seg() if seg.word.partition("(")[0] in self._names.values()]
        if not said:
            return None
        decoder.set_alignment()
        _hear(decoder, pcm)  # which has no hypothesis: asking for one crashes
        out: list[Word] = []
        for entry in decoder.get_alignment():
            if entry.name in _SILENCE:
                continue
            phones = tuple(self._phone(p.name, p.start, p.start + p.duration) for p in entry)
            out.append(Word(len(out), phones))
        return out

    def recognize(self, samples: np.ndarray) -> list[Phone]:
        """Return the sounds that are heard, without silence."""
        from pocketsphinx import Decoder, get_model_path

        if self._recognizer is None:
            model = get_model_path("en-us/en-us-phone.lm.bin")
            self._recognizer = Decoder(
                lm=None, allphone=model, lw=2.0, beam=1e-20, pbeam=1e-20, loglevel="FATAL"
            )  # fmt: skip
        _hear(self._recognizer, self._padded(samples))
        if self._recognizer.hyp() is None:
            return []
        found = [self._phone(seg.word, seg.start_frame, seg.end_frame + 1) for seg in self._recognizer.seg()]
        return [p for p in found if p.name not in _SILENCE and not p.name.startswith("+")]

    def _align(self) -> Decoder:
        from pocketsphinx import Decoder

        if self._aligner is None:
            self._aligner = Decoder(lm=None, loglevel="FATAL")
        return self._aligner

    def _name(self, sounds: tuple[str, ...]) -> str:
        """Return the name under which the decoder knows a word of these sounds."""
        if sounds not in self._names:
            self._names[sounds] = f"w{len(self._names)}w"
            self._align().add_word(self._names[sounds], " ".join(sounds), True)
        return self._names[sounds]

    def _padded(self, samples: np.ndarray) -> bytes:
        edge = np.zeros(round(_PAD * RATE), np.float32)
        return to_pcm(np.concatenate([edge, samples, edge]))

    def _phone(self, name: str, start: int, end: int) -> Phone:
        return Phone(start * _STEP - _PAD + _LATE, end * _STEP - _PAD + _LATE, name)


def _hear(decoder: Decoder, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
