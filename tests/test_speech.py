"""Speech drivers are found, and sound files, texts and subtitles reach them."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from scipy.io import wavfile
from typer.testing import CliRunner

import avatarkit
from avatarkit.components import Components
from avatarkit.config import SLOTS, Recipe
from avatarkit.errors import ConfigError, InputError, MissingDependency, PluginError
from avatarkit.hookspecs import Needs, hookimpl
from avatarkit.io.audio import read_sound, resample
from avatarkit.io.subtitles import read_subtitles
from avatarkit.io.video_writer import VideoWriter
from avatarkit.testing import memory_registry, tiny_build
from avatarkit.testing.method import TinyMotions, TinySpeaker, TinySynthesizer
from avatarkit.types.speech import Cue
from avatarkit_cli.main import app

SRT = """1
00:00:01,500 --> 00:00:02,000
Hello <i>there</i>,
Ada.

2
00:00:01,900 --> 00:01:03,250
{\\an8}Bye
""".replace("\n", "\r\n")
VTT = (
    "\ufeffWEBVTT\n\nNOTE not said\n\n00:01.500 --> 00:02.000 align:start\n<v Ada>Hello there, Ada.\n\n"
    "01:00:00.0 --> 01:00:01.0\n\n"
)


def test_lines_of_subtitles_have_times_and_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(SRT.encode())
    assert read_subtitles(path) == [Cue(1.5, 2.0, "Hello there, Ada."), Cue(2.0, 63.25, "Bye")]
    for encoding in ("utf-8", "utf-16"):
        path.write_bytes(VTT.lstrip("\ufeff" if encoding == "utf-16" else "").encode(encoding))
        assert read_subtitles(path) == [Cue(1.5, 2.0, "Hello there, Ada.")]
    path.write_bytes("1\n00:00:01,000 --> 00:00:02,000\ncaf\xe9\n".encode("latin-1"))
    assert read_subtitles(path)[0].text == "café"


@pytest.mark.parametrize("text", ["", "hello", "00:00:02,000 --> 00:00:01,000\nback in time\n", "\x00\xff" * 40])
def test_files_without_subtitles_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.vtt holds no subtitles|a\.vtt is empty"):
        read_subtitles(tmp_path / "a.vtt")
    with pytest.raises(InputError, match="There is no file of subtitles"):
        read_subtitles(tmp_path / "b.vtt")


def test_sound_keeps_its_pitch_and_length_at_another_rate() -> None:
    t = np.arange(44_100) / 44_100
    found = resample(np.sin(2 * np.pi * 440 * t).astype(np.float32), 44_100, 16_000)
    assert len(found) == 16_000
    assert np.abs(np.fft.rfft(found)).argmax() == 440
    assert resample(found, 16_000, 16_000) is found


# ------------------------------------------------------------------------------------------------------------- drivers


class Recorder(TinySpeaker):
    """Keeps what it was asked."""

    asked: ClassVar[dict[str, Any]] = {}

    def drive(self, sound: Any, text: Any = None, fps: float = 30.0, seed: int = 0, style: str = "lively") -> Any:
        Recorder.asked = {"seconds": sound.seconds, "text": text, "fps": fps, "seed": seed, "style": style}
        return super().drive(sound, text, fps, seed, style)


@dataclass(frozen=True)
class Size:
    """Options of ``sized`` and ``loud``."""

    size: int = 1
    """How large."""


class Sized(TinySpeaker):
    """Keeps the options that it was made with."""

    made: ClassVar[Size]

    def __init__(self, config: Size, context: Any) -> None:
        super().__init__(None, context)
        Sized.made = config


class Loud(TinySynthesizer):
    """Keeps the options that it was made with."""

    made: ClassVar[Size]

    def __init__(self, config: Size, context: Any) -> None:
        super().__init__(None, context)
        Loud.made = config


class Talker(TinyMotions):
    """A source of motions that talks, as before there were speech drivers."""

    def from_sound(self, path: Path, text: str = "") -> Any:
        from dataclasses import replace

        return replace(self.motion("tiny"), name=f"{path.stem} says {text}")


def _plugin(hook: str, name: str, target: type, config: str | None = None) -> ModuleType:
    made = ModuleType(f"plugin_{name}")

    def register(register: Any) -> None:
        register(name, target=f"{__name__}:{target.__name__}", config=config and f"{__name__}:{config}")

    setattr(made, hook, hookimpl(register))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    wavfile.write(tmp_path / "hello.wav", 8_000, (8_000 * np.sin(np.arange(4_000))).astype(np.int16))
    return tmp_path / "hello.wav"


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A plugin with the driver ``recorder``, which can be imported by the name of this module."""
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or ModuleType(__name__))
    for cls in (Recorder, Talker, Size, Sized, Loud):
        monkeypatch.setattr(sys.modules[__name__], cls.__name__, cls, raising=False)
    return _plugin("register_speech_drivers", "recorder", Recorder)


def test_a_driver_gets_sound_text_rate_seed_and_style(folder: Path, sound: Path, recorder: ModuleType, tmp_path: Path) -> None:
    avatar = avatarkit.load(folder, registry=memory_registry(recorder))
    motion = avatar.speech(sound, "hi", style="calm", seed=3, driver="recorder", fps=12.0)
    assert Recorder.asked == {"seconds": 0.5, "text": "hi", "fps": 12.0, "seed": 3, "style": "calm"}
    assert (motion.name, len(motion), motion.fps) == ("hello", 6, 12.0)
    (tmp_path / "a.srt").write_text(SRT)
    avatar.speech(sound, subtitles=tmp_path / "a.srt", driver="recorder")
    assert [cue.text for cue in Recorder.asked["text"]] == ["Hello there, Ada.", "Bye"]
    assert len(list(avatar.speak(sound, driver="recorder", fps=10.0))) == 5
    with pytest.raises(ConfigError, match="only one of"):
        avatar.speech(sound, "hi", tmp_path / "a.srt", driver="recorder")
    with pytest.raises(ConfigError, match="style 'wild'"):
        avatar.speech(sound, style="wild", driver="recorder")


def test_without_a_name_a_driver_is_chosen_and_unknown_names_are_told(folder: Path, sound: Path, recorder: ModuleType) -> None:
    avatar = avatarkit.load(folder, registry=memory_registry(recorder))
    Recorder.asked = {}
    avatar.speech(sound)
    assert Recorder.asked, "the first by name: no driver comes with avatarkit here"
    with pytest.raises(PluginError, match="recordr"):
        avatar.speech(sound, driver="recordr")
    avatar.components.registry._components = {
        key: found for key, found in avatar.components.registry._components.items() if key[0] != "speech"
    }
    with pytest.raises(MissingDependency, match="No speech driver is installed"):
        avatar.components.speech_driver()


def test_without_a_name_the_driver_that_needs_no_file_is_taken() -> None:
    """The bundled plugin has another one, which comes first by name and needs the user's network."""
    components = Components(Recipe.from_dict({slot: {"use": "nothing"} for slot in SLOTS}), device="cpu")
    assert {"onnx", "phonemes"} <= set(components.registry.components("speech"))
    assert components.speech_driver() is components.speech_driver("phonemes")


def test_what_a_driver_lacks_is_said_before_it_runs(folder: Path, sound: Path) -> None:
    lacking = ModuleType("plugin_lacking")

    @hookimpl
    def register_speech_drivers(register: Any) -> None:
        register("lacking", target="nowhere:Driver", needs=Needs(modules=("no_such_module",)))

    lacking.register_speech_drivers = register_speech_drivers  # type: ignore[attr-defined]
    avatar = avatarkit.load(folder, registry=memory_registry(lacking))
    with pytest.raises(MissingDependency, match="speech 'lacking' needs the module 'no_such_module': pip install no_such_module"):
        avatar.speech(sound, driver="lacking")


def test_a_source_of_motions_that_talks_still_does(sound: Path, recorder: ModuleType, tmp_path: Path) -> None:
    talker = _plugin("register_motion_sources", "talker", Talker)
    path = tiny_build(tmp_path, talker, motions={"use": "talker"})
    avatar = avatarkit.load(path, registry=memory_registry(talker, recorder))
    assert avatar.speech(sound, "hi").name == "hello says hi"
    assert avatar.speech(sound, "hi", driver="recorder").name == "hello"


def test_a_protocol_that_no_component_implements_is_told(folder: Path) -> None:
    components = avatarkit.load(folder, registry=memory_registry()).components
    with pytest.raises(MissingDependency, match="No installed component of the kind motions is a SpeechSinger"):
        components.offering("motions", type("SpeechSinger", (), {}))


@pytest.mark.parametrize(
    "option",
    [
        ("--text", "hi"),
        ("--subtitles", "a.srt"),
        ("--style", "calm"),
        ("--seed", "1"),
        ("--driver", "x"),
        ("--set", "speech.size=2"),
    ],
)
def test_options_of_speech_need_a_sound(option: tuple[str, str], tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["animate", str(tmp_path / "x.avatar"), "-o", str(tmp_path / "x.mp4"), *option])
    assert found.exit_code == 2
    assert f"{option[0]} is for a sound file: use it with --audio FILE." in " ".join(found.output.split())


def test_a_sound_that_is_too_long_is_told(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatarkit.io.audio.LONGEST", 0.3)
    with pytest.raises(InputError, match=r"hello\.wav is longer than"):
        read_sound(sound)


def test_a_video_without_sound_and_an_empty_sound_are_one_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VideoWriter(tmp_path / "mute.mp4", 32, 32, 10.0) as writer:
        for _ in range(5):
            writer.write(np.zeros((32, 32, 3), np.uint8))
    wavfile.write(tmp_path / "empty.wav", 16_000, np.zeros(0, np.int16))
    monkeypatch.setattr("avatarkit_cli.commands.animate.load_registry", lambda *_, **__: memory_registry())
    for name in ("mute.mp4", "empty.wav"):
        done = CliRunner().invoke(app, ["animate", str(folder), "-o", str(tmp_path / "a.mp4"), "--audio", str(tmp_path / name)])
        assert done.exit_code == 2, done.output
        assert f"avatarkit: {name} holds no sound." in " ".join(done.output.split())
        assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(("suffix", "codec"), [(".m4a", "aac"), (".flac", "flac"), (".mka", "ac3")])
def test_sound_of_six_channels_is_heard(suffix: str, codec: str, tmp_path: Path) -> None:
    import av

    path, count = tmp_path / f"a{suffix}", 48_000
    tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(count) / 48_000)
    channels = np.stack([0 * tone, 0 * tone, tone, *[0 * tone] * 3])  # the voice is in the middle
    with av.open(str(path), "w") as file:
        stream = cast("av.AudioStream", file.add_stream(codec, rate=48_000, layout="5.1"))
        frame = av.AudioFrame.from_ndarray((32767 * channels.T.reshape(1, -1)).astype(np.int16), "s16", "5.1")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    heard = read_sound(path)
    assert len(heard) == pytest.approx(16_000, abs=1600)
    middle = heard[3000:13_000]
    assert np.abs(np.fft.rfft(middle)).argmax() / (len(middle) / 16_000) == pytest.approx(300, abs=3)
    assert np.abs(middle).max() > 0.03


def test_a_sound_of_several_pieces_is_joined_in_order(tmp_path: Path) -> None:
    ramp = np.linspace(-0.9, 0.9, 48_000)
    wavfile.write(tmp_path / "a.wav", 16_000, (32767 * np.stack([ramp, 0.5 * ramp], 1)).astype(np.int16))
    assert np.abs(read_sound(tmp_path / "a.wav") - 0.75 * ramp).max() < 1e-3


# -------------------------------------------------------------------------------------------------------- synthesizers


def _talk(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Any:
    """What ``avatarkit talk`` does where ``tiny`` is the only component of each kind."""
    monkeypatch.setattr("avatarkit_cli.commands.talk.load_registry", lambda *_, **__: memory_registry())
    return CliRunner().invoke(app, ["talk", str(folder), *options])


def test_talk_makes_a_film_with_the_sound_of_the_text(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(TinySpeaker, "drive", _asking(asked, TinySpeaker.drive))
    film = tmp_path / "hello.mp4"
    done = _talk(folder, monkeypatch, "--text", "hello", "-o", str(film), "--size", "32x32", "--json")
    assert done.exit_code == 0, done.output
    assert '"frames": 15' in done.output  # a tenth of a second for each letter
    assert asked == ["hello"]
    heard = read_sound(film)
    assert len(heard) == pytest.approx(8000, abs=1200)
    assert np.abs(np.fft.rfft(heard)).argmax() / (len(heard) / 16_000) == pytest.approx(150, abs=3)


def _asking(asked: list[Any], drive: Any) -> Any:
    def keeping(self: Any, sound: Any, text: Any = None, *rest: Any, **more: Any) -> Any:
        asked.append(text)
        return drive(self, sound, text, *rest, **more)

    return keeping


def test_talk_in_python_keeps_the_sound_as_long_as_the_film(folder: Path, tmp_path: Path) -> None:
    avatar = avatarkit.load(folder, registry=memory_registry())
    film = avatar.talk("hello", size=(32, 32))
    assert film.audio is not None and film.audio.is_file()
    assert len(read_sound(film.save(tmp_path / "hello.mp4"))) == pytest.approx(8000, abs=1200)
    sound = film.audio
    del film
    gc.collect()
    assert not sound.parent.exists()


def test_settings_reach_the_driver_and_the_engine(folder: Path, sound: Path, recorder: ModuleType) -> None:
    voices = _plugin("register_speech_synthesizers", "loud", Loud, "Size")
    sized = _plugin("register_speech_drivers", "sized", Sized, "Size")
    avatar = avatarkit.load(folder, registry=memory_registry(recorder, sized, voices))
    avatar.talk("hello", engine="loud", driver="sized", settings=["speech.size=3", "synthesizer.size=7"])
    assert (Sized.made.size, Loud.made.size) == (3, 7)
    avatar.speech(sound, driver="sized")
    assert Sized.made.size == 1, "those of the last call are forgotten"
    with pytest.raises(ConfigError, match="sizes"):
        avatar.speech(sound, driver="sized", settings=["speech.sizes=3"])
    for wrong in ("synthesizer.size=5", "size=3", "speech.size", "speech.=1"):
        with pytest.raises(ConfigError, match="--set"):
            avatar.speech(sound, driver="sized", settings=[wrong])


def test_text_of_another_language_is_not_aligned(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(TinySpeaker, "drive", _asking(asked, TinySpeaker.drive))
    done = _talk(folder, monkeypatch, "--text", "hallo", "--voice", "summ", "-o", str(tmp_path / "a.mp4"), "--size", "32x32")
    assert done.exit_code == 0, done.output
    assert asked == [None]
    assert "does not speak English" in done.output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--text", " "), "--text is empty"),
        (("--text", "..."), "The voice says nothing to '...'"),
        (("--text", "hi", "--voice", "humm"), "There is no voice 'humm'. Did you mean 'hum'"),
        (("--text", "hi", "--engine", "tinny"), "There is no component 'tinny'"),
        (("--text", "hi", "--style", "wild"), "no style 'wild'"),
        (("--text", "hi", "--set", "pitch=3"), "--set 'pitch=3' is not understood here"),
        (("--text", "hi", "--set", "synthesizer.pitch=3"), "no options"),
    ],
)
def test_what_talk_cannot_say_is_one_sentence(
    options: tuple[str, ...], sentence: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _talk(folder, monkeypatch, *options, "-o", str(tmp_path / "a.mp4"))
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())


def test_without_a_synthesizer_talk_says_so(folder: Path) -> None:
    avatar = avatarkit.load(folder, registry=memory_registry())
    del avatar.components.registry._components["synthesizer", "tiny"]
    with pytest.raises(MissingDependency, match="No speech synthesizer is installed"):
        avatar.components.outside_builds("synthesizer")
