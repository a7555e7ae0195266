"""A synthetic voice is heard as it was made, and the mouth does what is heard."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from scipy.signal import lfilter

from avatarkit.errors import InputError, MissingDependency
from avatarkit.interfaces import SpeechSource
from avatarkit.io.audio import read_sound
from avatarkit_motions.speech.audio_features import RATE, listen
from avatarkit_motions.speech.forced_alignment import align
from avatarkit_motions.speech.g2p import phonemes
from avatarkit_motions.speech.loudness import normalize_loudness
from avatarkit_motions.speech.source import HeardSpeech, ReadSpeech

RNG = np.random.default_rng(0)


def _vowel(seconds: float, first: float, second: float, size: float = 0.3) -> np.ndarray:
    """A buzz at 120 Hz through two resonances."""
    sound = np.zeros(round(seconds * RATE))
    sound[:: RATE // 120] = 1
    for frequency, width in ((first, 90), (second, 120)):
        r = np.exp(-np.pi * width / RATE)
        sound = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * frequency / RATE), r * r], sound)
    return size * sound / np.abs(sound).max() * np.hanning(len(sound)) ** 0.25


def _hiss(seconds: float) -> np.ndarray:
    noise = RNG.normal(size=round(seconds * RATE))
    return 0.1 * lfilter([1, -1.6, 0.7], [1, 0.9], noise) / 4


def _silence(seconds: float) -> np.ndarray:
    return 1e-4 * RNG.normal(size=round(seconds * RATE))


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    """0.5 to 0.9 "a", to 1.2 "s", to 1.6 "i", 0.8 of silence, 2.4 to 2.8 "u", silence to 3.5 s."""
    parts = [_silence(0.5), _vowel(0.4, 750, 1150), _hiss(0.3), _vowel(0.4, 280, 2300), _silence(0.8), _vowel(0.4, 300, 800),
             _silence(0.7)]  # fmt: skip
    return np.concatenate(parts)


def test_phrases_hiss_and_vowels_are_told_apart(recording) -> None:
    voice = listen(recording)
    assert np.allclose(voice.phrases, [(0.5, 1.6), (2.4, 2.8)], atol=0.08)
    moments = np.array([0.7, 1.05, 1.4, 2.6, 2.0])
    at = {n: voice.at(getattr(voice, n), moments) for n in ("open", "high", "front", "hiss", "speaking")}
    assert at["hiss"][1] > 0.7
    assert (at["hiss"][[0, 2, 3]] < 0.2).all()
    assert at["high"][0] > 0.6 > 0.3 > at["high"][2]
    assert at["front"][2] > 0.3 > -0.2 > at["front"][3]
    assert (at["open"][[0, 2]] > 0.5).all()
    assert at["open"][4] == at["speaking"][4] == 0


def test_the_mouth_opens_for_a_spreads_for_i_rounds_for_u_and_closes_in_silence(recording) -> None:
    t = np.array([0.2, 0.7, 1.05, 1.4, 2.0, 2.6, 3.3])
    actions = HeardSpeech(listen(recording)).actions(t, 3.5)
    silent, a, s, i, pause, u, end = range(7)
    jaw, spread, pucker = actions["jawOpen"], actions["mouthStretchLeft"], actions["mouthPucker"]
    assert jaw[a] > 0.25
    assert jaw[a] > 1.7 * max(jaw[i], jaw[u], jaw[s])
    assert spread[i] > 2 * spread[u]
    assert pucker[u] > 0.3 > 5 * pucker[i]
    for name, curve in actions.items():
        assert np.abs(curve[[silent, pause, end]]).max() < 0.01, name


SPELLINGS = {
    "The ship's name": "DH AH | SH IH P S | N EY M",
    "x, 42!": "EH K S | | F AO R | T UW |",
    "thinking": "TH IH NG K IH NG",
    "nation": "N AE SH AH N",
    "make time": "M EY K | T AY M",
    "eight clubs": "EY T | K L AH B Z",
    "photo": "F AA T OW",
    "дом": "",
}


@pytest.mark.parametrize("text", SPELLINGS)
def test_spelling_becomes_sounds(text) -> None:
    assert " | ".join(" ".join(word) for word in phonemes(text)).split() == SPELLINGS[text].split()


def test_sounds_of_a_text_are_found_in_the_recording(recording) -> None:
    found = align(listen(recording), [["AA", "S", "IY"], ["UW"]])
    assert [sound for *_, sound in found] == ["AA", "S", "IY", "UW"]
    for (start, end, _), (first, last) in zip(found, [(0.5, 0.9), (0.9, 1.2), (1.2, 1.6), (2.4, 2.8)], strict=True):
        assert abs(start - first) < 0.09
        assert abs(end - last) < 0.09


def test_lips_that_are_read_close_where_the_sound_does() -> None:
    sound = np.concatenate([_silence(0.3), _vowel(0.3, 750, 1150), _silence(0.08), _vowel(0.3, 750, 1150), _silence(0.3)])
    voice = listen(sound)
    t = np.array([0.45, 0.64, 0.83])
    b = ReadSpeech(voice, "abba").actions(t, 1.28)
    d = ReadSpeech(voice, "adda").actions(t, 1.28)
    assert b["jawOpen"][1] < 0.4 * min(b["jawOpen"][[0, 2]])
    assert b["mouthPressLeft"][1] > 0.12 > 3 * d["mouthPressLeft"][1]


def _write(path: Path, samples: np.ndarray) -> str:
    wavfile.write(path, RATE, (samples * 32767).clip(-32768, 32767).astype(np.int16))
    return str(path)


def test_a_film_lasts_as_long_as_its_sound_and_moves_arms_and_mouth(recording, default, body, tmp_path) -> None:
    source = default.registry.get("motions", "speech").create({}, default.context)
    name = _write(tmp_path / "hello.wav", np.tile(recording, 2))
    motion = source.motion(name)
    assert (motion.name, len(motion), motion.fps) == ("hello", 210, 30.0)
    jaw = motion.params.expression[:, body.expression_names.index("jawOpen")]
    assert jaw[18:26].max() > 0.2
    assert jaw[55:68].max() < 0.05
    blink = motion.params.expression[:, body.expression_names.index("eyeBlinkLeft")]
    assert blink.max() > 0.9
    elbow = motion.params.joints[:, body.joint_names.index("lowerarm01.L")]
    assert (elbow.amax(0) - elbow.amin(0)).max() > 0.2
    assert torch.equal(source.motion(name).params.joints, motion.params.joints)
    assert source.motion("wave").name == "wave"
    reader = default.registry.get("motions", "speech").create({"text": "ah see, who"}, default.context)
    read = reader.motion(name)
    assert len(read) == 210
    assert not torch.equal(read.params.expression, motion.params.expression)
    for text, same in (("", motion), ("ah see, who", read)):
        found = default.offering("motions", SpeechSource).from_sound(Path(name), text)
        assert torch.equal(found.params.expression, same.params.expression)


def test_a_protocol_that_no_component_implements_is_told(default) -> None:
    with pytest.raises(MissingDependency, match="No installed component of the kind motions is a SpeechSinger"):
        default.offering("motions", type("SpeechSinger", (), {}))


@pytest.mark.parametrize("kind", ["silence", "nothing", "noise", "short"])
def test_where_nobody_speaks_the_mouth_stays_closed(kind, default, body, tmp_path) -> None:
    sounds = {
        "silence": _silence(2.0),
        "nothing": np.zeros(RATE),
        "noise": 0.2 * RNG.normal(size=2 * RATE),
        "short": np.zeros(800),
    }
    source = default.registry.get("motions", "speech").create({}, default.context)
    motion = source.motion(_write(tmp_path / "a.wav", sounds[kind]))
    jaw = motion.params.expression[:, body.expression_names.index("jawOpen")]
    assert jaw.max() < 0.03
    assert bool(torch.isfinite(motion.params.joints).all())


def test_files_that_are_no_sound_are_refused_and_broken_ones_give_what_is_there(recording, tmp_path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    for name, message in (("text.wav", "no sound file that can be read"), ("none.wav", "no sound file")):
        with pytest.raises(InputError, match=message):
            read_sound(tmp_path / name)
    whole = Path(_write(tmp_path / "a.wav", recording)).read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[: len(whole) // 2])
    assert read_sound(tmp_path / "a.wav").size == pytest.approx(len(recording) / 2, rel=0.02)
    (tmp_path / "a.wav").write_bytes(whole[:44])
    with pytest.raises(InputError):
        read_sound(tmp_path / "a.wav")


def _recorded(path: Path, channels: list[np.ndarray]) -> Path:
    wavfile.write(path, RATE, (32767 * np.stack(channels, 1)).astype(np.int16))
    return path


@pytest.mark.parametrize("decibels", [-20, -30, -40])
def test_quiet_speech_opens_the_mouth_as_far(decibels: float, recording, tmp_path: Path) -> None:
    quiet = recording * 10 ** (decibels / 20) / np.abs(recording).max()
    voices = [
        listen(normalize_loudness(read_sound(_recorded(tmp_path / "a.wav", [sound])), RATE)) for sound in (recording, quiet)
    ]  # fmt: skip
    assert voices[1].open.mean() == pytest.approx(voices[0].open.mean(), rel=0.1)
    assert len(voices[1].phrases) == len(voices[0].phrases) == 2


def test_channels_that_cancel_are_heard(recording, tmp_path: Path) -> None:
    mono = read_sound(_recorded(tmp_path / "a.wav", [recording]))
    for channels in ([recording, -recording], [0.2 * recording, -recording], [0 * recording, recording], [recording] * 2):
        heard = read_sound(_recorded(tmp_path / "b.wav", channels))
        assert np.corrcoef(np.abs(heard), np.abs(mono))[0, 1] > 0.99
        assert np.abs(heard).max() > 0.4 * np.abs(mono).max()


@pytest.mark.parametrize("kind", ["silence", "noise", "hum"])
def test_that_no_speech_was_heard_is_said(kind: str, build, tmp_path: Path, caplog) -> None:
    t = np.arange(2 * RATE) / RATE
    sounds = {"silence": 0 * t, "noise": 1e-3 * RNG.normal(size=len(t)), "hum": 1e-2 * np.sin(2 * np.pi * 50 * t)}
    source = build().offering("motions", SpeechSource)
    motion = source.from_sound(_recorded(tmp_path / "a.wav", [sounds[kind]]))
    assert "No speech was heard in a.wav: the mouth stays shut." in caplog.text
    jaw = source._solver.body.expression_names.index("jawOpen")
    assert motion.params.expression[:, jaw].max() < 0.05
