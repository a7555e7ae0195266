"""eSpeak NG is called as a program, and text and voices are data to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from avatarkit.components import Components
from avatarkit.errors import InputError, MissingDependency
from avatarkit.interfaces import Context
from avatarkit.io.audio import read_sound
from avatarkit.motion.speech import say
from avatarkit.types.speech import Sound
from avatarkit_speech.synthesis.espeak import EspeakConfig, EspeakSynthesizer

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")


def make(**options: int) -> EspeakSynthesizer:
    return EspeakSynthesizer(EspeakConfig(**options), Context())


def test_where_the_program_is_missing_one_sentence_says_how_to_get_it(
    default: Components, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match=r"synthesizer 'espeak-ng'.* needs the program espeak-ng: apt install espeak-ng"):
        default.outside_builds("synthesizer")
    with pytest.raises(MissingDependency, match="apt install espeak-ng"):
        make().synthesize("hello")


@needs_espeak
def test_voices_differ_and_the_first_is_american() -> None:
    voices = make().voices()
    assert next(iter(voices)) == "en-us+f2"
    assert voices["de"] == voices["de+f2"] == "de"
    he, she = (make().synthesize("hello", voice) for voice in ("en-us+m3", "en-us+f3"))
    assert _pitch(she) > 1.25 * _pitch(he)
    assert make(words_per_minute=80).synthesize("hello").seconds > 1.5 * make(words_per_minute=320).synthesize("hello").seconds


def _pitch(sound: Sound) -> float:
    """Hertz at which the loudest part repeats itself."""
    middle = int(np.convolve(sound.samples**2, np.ones(2048), "same").argmax())
    part = sound.samples[max(0, middle - 1500) : middle + 1500]
    likeness = np.correlate(part, part, "full")[len(part) - 1 :]
    lowest, highest = sound.rate // 400, sound.rate // 60
    return sound.rate / (lowest + int(likeness[lowest:highest].argmax()))


@needs_espeak
@pytest.mark.parametrize("voice", ["../../../etc/passwd", "-h", "en-us+", "klingon-", ""])
def test_a_voice_is_a_name_and_no_path_or_option(voice: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no voice"):
        make().synthesize("hello", voice)
    with pytest.raises(InputError, match="no voice"):
        say(make(), "hello", tmp_path / "a.wav", voice)


@needs_espeak
def test_markup_and_phonemes_are_read_out_as_text() -> None:
    plain = make().synthesize("h e l l o").seconds
    assert make().synthesize("[[h@l'oU]]").seconds != pytest.approx(make().synthesize("hello").seconds, rel=0.05)
    assert make().synthesize("<break time='30s'/> hello").seconds < 6 * plain


@needs_espeak
@pytest.mark.parametrize("voice", [None, "en-us+klatt4"])
def test_the_text_is_aligned_with_the_sound(
    default: Components, tmp_path: Path, voice: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Lips close for each p, b and m of what was said."""
    text = say(make(), "Please put my paper map behind the big brown box.", tmp_path / "a.wav", voice)
    sound = Sound(read_sound(tmp_path / "a.wav"))
    visemes, motion = default.speech_driver().drive(sound, text)
    assert not caplog.messages
    assert sum(v.name == "PP" for v in visemes) == 10
    assert len(motion) == pytest.approx(30 * sound.seconds, abs=1)
