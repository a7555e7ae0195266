"""A voice is told from what is none, and a text is found in it."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from avatarkit.io.audio import read_sound
from avatarkit.types.speech import Cue
from avatarkit_speech import audio_features
from avatarkit_speech.audio_features import RATE, Voice, listen
from avatarkit_speech.edges import refined
from avatarkit_speech.hearing import Ear, Phone
from avatarkit_speech.loudness import normalize_loudness
from avatarkit_speech.prosody import stresses
from avatarkit_speech.transcript import transcribe
from avatarkit_speech.visemes import VOWELS, timed_visemes
from avatarkit_speech.words.reading import is_readable, words_of
from avatarkit_speech.words.spelling import by_rule, spell

TEXT = "He was not an ill-disposed young man."
RNG = np.random.default_rng(0)


def _tone(*pitches: float) -> np.ndarray:
    t = np.arange(3 * RATE) / RATE
    return sum(0.1 * np.sin(2 * np.pi * pitch * t) for pitch in pitches) * (t % 0.5 < 0.4)


SOUNDS = {
    "silence": np.zeros(2 * RATE),
    "hiss": 1e-3 * RNG.normal(size=2 * RATE),
    "noise": 0.2 * RNG.normal(size=2 * RATE),
    "hum": _tone(50),
    "chord": _tone(262, 330, 392),
    "short": np.zeros(800),
}


@pytest.mark.parametrize("kind", SOUNDS)
def test_what_is_no_voice_has_no_phrases(kind: str) -> None:
    voice = listen(normalize_loudness(SOUNDS[kind].astype(np.float32), RATE))
    assert voice.phrases == []
    assert voice.loudness.max() == 0
    assert transcribe(SOUNDS[kind].astype(np.float32), voice, None, "x.wav").phones == ()


def test_a_phrase_begins_and_ends_with_the_voice(voice: Voice) -> None:
    ((start, end),) = voice.phrases
    assert (start, end) == pytest.approx((0.23, 2.8), abs=0.1)
    moments = np.array([0.05, 0.75, 2.95])
    assert voice.at(voice.loudness, moments)[[0, 2]].max() < 0.01
    assert voice.at(voice.loudness, moments)[1] > 0.6


def test_pitch_follows_a_glide() -> None:
    seconds = 2.0
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = 110 * 2 ** (t / seconds)  # one octave up
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12)).astype(np.float32)
    level, found = audio_features._level_and_pitch(buzz, len(buzz) // 160)
    middle = slice(20, -20)
    assert np.abs(found[middle] / pitch[80::160][middle] - 1).max() < 0.03
    assert level[middle].std() < 3


@pytest.mark.parametrize("decibels", [-20, -30, -40])
def test_quiet_speech_is_as_loud(decibels: float, recording: np.ndarray, voice: Voice) -> None:
    quiet = recording * 10 ** (decibels / 20) / np.abs(recording).max()
    found = listen(normalize_loudness(quiet.astype(np.float32), RATE))
    assert found.loudness.mean() == pytest.approx(voice.loudness.mean(), rel=0.1)
    assert np.allclose(found.phrases, voice.phrases, atol=0.1)


def test_words_are_found_where_they_are_said(recording: np.ndarray, voice: Voice) -> None:
    found = transcribe(recording, voice, TEXT, "x.wav")
    assert [name for name, _ in found.words] == ["he", "was", "not", "an", "ill", "disposed", "young", "man"]
    starts = {name: word.start for name, word in found.words}
    for name, wanted in {"not": 0.57, "disposed": 1.49, "young": 2.12, "man": 2.34}.items():  # by ear and by the waveform
        assert starts[name] == pytest.approx(wanted, abs=0.04), name
    assert " ".join(p.name for p in found.phones if 1.5 < p.start < 2.1) in ("IH S P OW Z D", "D IH S P OW Z D")
    for before, after in zip(found.phones[:-1], found.phones[1:], strict=True):
        assert before.start < before.end <= after.start
    long = [p for p in found.phones if p.name in "PTKBDG" and p.end - p.start > 0.17]
    assert not long, "a pause was given to a stop"


def test_edges_move_toward_the_voice_and_never_past_a_neighbor() -> None:
    loudness = np.where(np.arange(100) < 60, 0.8, 0.0)
    voice = Voice(1.0, loudness > 0, loudness, np.zeros(100), [(0.2, 0.6)])
    heard = [Phone(0.2, 0.3, "M"), Phone(0.3, 0.4, "AA"), Phone(0.4, 0.43, "N"), Phone(0.43, 0.8, "IY"), Phone(0.9, 0.95, "S")]
    found = refined(heard, voice)
    assert [p.name for p in found] == [p.name for p in heard]
    assert found[1].start == pytest.approx(0.295) and found[1].end == pytest.approx(0.405)  # vowels are longer
    assert found[3].end == pytest.approx(0.6, abs=0.02)  # an echo is no sound
    assert found[4] == heard[4]  # hisses have no voice to end with
    assert all(a.end <= b.start and a.end - a.start >= 0.015 for a, b in pairwise(found))


def test_text_alone_or_sound_alone_agree_on_most_mouth_shapes(recording: np.ndarray, voice: Voice) -> None:
    frames = []
    for text in (TEXT, None):
        row = np.full(300, "sil", dtype="U3")
        for viseme in timed_visemes(transcribe(recording, voice, text, "x.wav").phones, voice):
            row[round(100 * viseme.start) : round(100 * viseme.end)] = viseme.name
        frames.append(row)
    said = (frames[0] != "sil") | (frames[1] != "sil")
    assert (frames[0] == frames[1])[said].mean() > 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the press yard in the year of our lord eighteen thirteen was full of people", "is not what is heard in any part"),
        ("дом и мир", "Only English text"),
        ("... !!", "no words"),
    ],
)
def test_other_texts_are_left_out_with_a_note(text: str, message: str, recording, voice, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        found = transcribe(recording, voice, text, "x.wav")
    assert message in caplog.text
    assert found.words == ()
    assert found.phones == transcribe(recording, voice, None, "x.wav").phones


def test_lines_with_times_are_found_in_their_time(recording, voice, caplog) -> None:
    twice = np.concatenate([recording, np.zeros(RATE, np.float32), recording])
    heard = listen(twice)
    later = len(recording) / RATE + 1
    cues = [Cue(0.1, 2.9, TEXT), Cue(later + 0.1, later + 2.9, TEXT), Cue(later + 3, later + 9, "beyond the end")]
    found = transcribe(twice, heard, cues, "x.wav")
    assert [name for name, _ in found.words].count("young") == 2
    first, second = (word.start for name, word in found.words if name == "young")
    assert second - first == pytest.approx(later, abs=0.03)
    wrong = [Cue(0.1, 2.9, "four queens of clubs and seven hearts please"), cues[1]]
    found = transcribe(twice, heard, wrong, "x.wav")
    assert "1 of 2 subtitles are not what is heard" in caplog.text
    assert [name for name, _ in found.words].count("young") == 1
    assert any(phone.end < later for phone in found.phones), "where the subtitle is wrong, the sound alone is followed"


def test_a_long_text_is_followed_piece_by_piece(recording, monkeypatch) -> None:
    count, gap = 5, 0.6
    sound = np.concatenate([part for _ in range(count) for part in (recording, np.zeros(round(gap * RATE), np.float32))])
    monkeypatch.setattr("avatarkit_speech.transcript._PIECE", 7.0)
    found = transcribe(sound, listen(sound), " ".join([TEXT] * count), "x.wav")
    assert len(found.words) == 8 * count
    every = len(recording) / RATE + gap
    starts = [word.start for name, word in found.words if name == "man"]
    assert np.allclose(np.diff(starts), every, atol=0.03)


def test_stresses_lie_on_loud_vowels_of_words_with_content(recording, voice) -> None:
    found = transcribe(recording, voice, TEXT, "x.wav")
    stressed = stresses(voice, found)
    words = [next(name for name, word in found.words if word.start <= s.time <= word.end) for s in stressed]
    assert {"not", "disposed", "man"} <= set(words)
    assert not {"he", "was", "an"} & set(words)
    assert (np.diff([s.time for s in stressed]) >= 0.34).all()
    vowels = [(p.start, p.end) for p in found.phones if p.name in VOWELS]
    assert all(any(a <= s.time <= b for a, b in vowels) for s in stressed)
    assert all(0 <= s.strength <= 1 for s in stressed)


READINGS = {
    "In 1813, Dr. Smith's 3rd dog": "in eighteen thirteen doctor smith's third dog",
    "$5.50 or £1 (20%)": "five dollars fifty or one pound twenty percent",
    "1,234,567": "one million two hundred thirty four thousand five hundred sixty seven",
    "the 1990s, 2005, 2024": "the nineteen nineties two thousand five twenty twenty four",
    "2.5 km": "two point five kilometers",
    "12th 20th 21st": "twelfth twentieth twenty first",
    "007 and 12345678901": "zero zero seven and one two three four five six seven eight nine zero one",
    "U.S.A. e.g. café": "u s a for example cafe",
    "isn’t <i>it</i> [music]": "isn't it",
    "x—y & z": "x y and z",
    "": "",
}


@pytest.mark.parametrize("text", READINGS)
def test_signs_and_numbers_are_read_as_words(text: str) -> None:
    assert " ".join(words_of(text)) == READINGS[text]


def test_other_alphabets_are_not_readable() -> None:
    assert is_readable("hello")
    assert is_readable("42")
    assert not is_readable("дом")
    assert not is_readable("日本語")


SPELLINGS = {
    "the": "DH AH", "ship's": "SH IH P S", "name": "N EY M", "x": "EH K S", "four": "F AO R", "thinking": "TH IH NG K IH NG",
    "nation": "N EY SH AH N", "make": "M EY K", "time": "T AY M", "eight": "EY T", "clubs": "K L AH B Z", "photo": "F OW T OW",
    "дом": "", "blockchain": "B L AA K CH EY N", "claflin's": "K L AE F L IH N Z", "brexit": "B R EH K S IH T",
    "glb": "JH IY EH L B IY", "avatarkit": "AE V AH T AA R K IH T", "''": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def ear() -> Ear:
    return Ear()


@pytest.mark.parametrize("word", SPELLINGS)
def test_words_become_sounds(word: str, ear: Ear) -> None:
    assert " ".join(spell(word, ear.lookup)) == SPELLINGS[word]


def test_words_have_all_their_pronunciations(ear: Ear) -> None:
    assert [" ".join(way) for way in ear.pronunciations("wind")] == ["W AY N D", "W IH N D"]
    assert ear.pronunciations("avatarkit") == []


BY_RULE = {
    "ship": "SH IH P", "name": "N EY M", "thinking": "TH IH NG K IH NG", "nation": "N AE SH AH N", "make": "M EY K",
    "time": "T AY M", "eight": "EY T", "clubs": "K L AH B Z", "photo": "F AA T OW", "x": "EH K S",
}  # fmt: skip


@pytest.mark.parametrize("word", BY_RULE)
def test_spelling_becomes_sounds_by_rule(word: str) -> None:
    assert " ".join(by_rule(word)) == BY_RULE[word]


def test_hearing_one_sound_does_not_change_the_next(recording) -> None:
    ear = Ear()
    once = ear.recognize(recording)
    ear.recognize(0.3 * recording[: RATE])
    assert ear.recognize(recording) == once
    words = [ear.pronunciations(word) or [spell(word, ear.lookup)] for word in words_of(TEXT)]
    aligned = ear.align(recording, words)
    ear.align(recording, words[:3], whole=False)
    assert ear.align(recording, words) == aligned
    assert Ear().align(recording, words) == aligned


def test_channels_that_cancel_are_heard(recording, tmp_path: Path) -> None:
    from scipy.io import wavfile

    def recorded(channels: list[np.ndarray]) -> np.ndarray:
        wavfile.write(tmp_path / "a.wav", RATE, (32767 * np.stack(channels, 1).clip(-1, 1)).astype(np.int16))
        return read_sound(tmp_path / "a.wav")

    recording = 0.4 * recording
    mono = recorded([recording])
    for channels in ([recording, -recording], [0.2 * recording, -recording], [0 * recording, recording], [recording] * 6):
        heard = recorded(channels)
        assert np.corrcoef(np.abs(heard), np.abs(mono))[0, 1] > 0.99
        assert np.abs(heard).max() > 0.4 * np.abs(mono).max()
