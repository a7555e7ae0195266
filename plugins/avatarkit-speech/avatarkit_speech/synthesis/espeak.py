"""eSpeak NG, the program on the user's machine: GPL-3.0, so it is called and never bundled."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np

from avatarkit.config.options import Range, did_you_mean
from avatarkit.errors import InputError, MissingDependency
from avatarkit.interfaces import Context
from avatarkit.io.audio import read_sound
from avatarkit.types.speech import Sound

__all__ = ["EspeakConfig", "EspeakSynthesizer"]

PROGRAM = "espeak-ng"
_RATE = 22_050  # samples per second of its voices
_SECONDS = 600  # after which it hangs
_FIRST = "en-us+f2"  # the dictionary's pronunciation, in the variant that PocketSphinx aligns best
_VARIANTS = ("klatt", "klatt4", *(f"{kind}{k}" for kind, count in (("f", 5), ("m", 8)) for k in range(1, count + 1)))
_MISSING = (
    "the program espeak-ng: apt install espeak-ng (Debian, Ubuntu), brew install espeak-ng (macOS), "
    "or winget install eSpeak-NG.eSpeak-NG (Windows)"
)


@dataclass(frozen=True)
class EspeakConfig:
    """Options of ``espeak-ng``."""

    words_per_minute: Annotated[int, Range(80, 450)] = 160
    """How fast the voice speaks."""
    pitch: Annotated[int, Range(0, 99)] = 50
    """How high the voice is."""

    def preflight(self) -> list[str]:
        """Return what is missing: the program."""
        return [] if shutil.which(PROGRAM) else [_MISSING]


class EspeakSynthesizer:
    """Implements ``SpeechSynthesizer``."""

    def __init__(self, config: EspeakConfig, context: Context) -> None:
        self.config = config

    def voices(self) -> dict[str, str]:
        """See ``SpeechSynthesizer``: each language's voice, and its variants such as ``en-us+f2``."""
        languages = sorted(self._languages, key=lambda name: (name != _FIRST.partition("+")[0], name))
        found = {name: name for name in languages} | {f"{name}+{kind}": name for name in languages for kind in _VARIANTS}
        return {_FIRST: found[_FIRST], **found} if _FIRST in found else found

    @cached_property
    def _languages(self) -> set[str]:
        rows = [line.split() for line in self._run("--voices").splitlines()[1:]]
        return {row[1] for row in rows if len(row) > 4 and not row[4].startswith("mb/")}  # those need more programs

    def synthesize(self, text: str, voice: str | None = None) -> Sound:
        """See ``SpeechSynthesizer``."""
        known = self.voices()
        voice = next(iter(known)) if voice is None else voice
        if voice not in known:
            raise InputError(f"eSpeak NG has no voice {voice!r}.{did_you_mean(voice, known)}")
        plain = "".join(letter if letter.isprintable() else " " for letter in text)
        plain = plain.replace("[[", "[ [").encode("utf-8", "replace").decode()  # two brackets would start phonemes
        if not plain.strip():
            return Sound(np.zeros(0, np.float32), _RATE)
        with tempfile.TemporaryDirectory(prefix="avatarkit-") as folder:
            path = Path(folder) / "said.wav"
            options = ["-s", str(self.config.words_per_minute), "-p", str(self.config.pitch), "-b", "1"]
            self._run("-v", voice, *options, "-w", str(path), "--stdin", said=plain)
            if not path.exists() or path.stat().st_size <= 44:  # a header at most
                return Sound(np.zeros(0, np.float32), _RATE)
            return Sound(read_sound(path, _RATE), _RATE, "speech")

    def _run(self, *arguments: str, said: str = "") -> str:
        program = shutil.which(PROGRAM)
        if program is None:
            raise MissingDependency(f"Speech from text needs {_MISSING}.")
        environ = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [program, *arguments], input=said, capture_output=True, encoding="utf-8", errors="replace", check=False,
            timeout=_SECONDS, env=environ,
        )  # fmt: skip
        if done.returncode:
            raise InputError(f"eSpeak NG failed: {(done.stderr.strip() or 'it does not say why').splitlines()[-1]}")
        return done.stdout
