"""Readers of motions, cameras, recipes, videos, sounds and photos: bad files end in one sentence, within bounds."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avatarkit.config import Recipe
from avatarkit.config.options import make_config, options_of
from avatarkit.errors import AvatarkitError, ConfigError, InputError, StoreError
from avatarkit.io.audio import read_sound
from avatarkit.io.camera_json import read_camera
from avatarkit.io.keypoint_cache import KeypointFiles
from avatarkit.io.photo import read_photo
from avatarkit.io.video import VideoWriter, probe, read_frames
from avatarkit.motion.files import read_motion, save_motion
from avatarkit.registry import KINDS, Registry
from avatarkit.testing import TinyBody, tiny_motion


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


files = _beside("reader_files")
BODY = TinyBody()


def _frames(path: Path) -> list[float]:
    probe(path)
    return [time for time, _ in read_frames(path)]


def _recipe(path: Path) -> Recipe:
    recipe = Recipe.load(file=path)
    recipe.check_sections()
    return recipe


READERS: dict[str, Callable[[Path], Any]] = {
    "motion": lambda path: read_motion(path, BODY), "camera": read_camera, "recipe": _recipe, "video": _frames,
    "sound": read_sound, "photo": read_photo,
}  # fmt: skip


def _sentence(error: AvatarkitError, name: str) -> None:
    text = str(error)
    assert name in text
    assert text.endswith((".", ")"))
    assert text.isprintable()
    assert len(text) < 400
    assert error.exit_code == 2


@pytest.mark.parametrize("name", files.REFUSED)
def test_a_bad_file_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    reader, suffix, write = files.REFUSED[name]
    path = tmp_path / f"given{suffix}"
    write(path)
    with pytest.raises(AvatarkitError) as error:
        READERS[reader](path)
    _sentence(error.value, "given")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", files.FINE)
def test_a_good_file_is_still_read(name: str, tmp_path: Path) -> None:
    reader, suffix, write = files.FINE[name]
    path = tmp_path / f"given{suffix}"
    write(path)
    assert READERS[reader](path) is not None


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "null", "surrogate", "long", "below a file", "empty"])
def test_what_is_no_file_is_said_at_once(reader: str, kind: str, tmp_path: Path) -> None:
    suffix = {"motion": ".bvh", "camera": ".json", "recipe": ".toml", "video": ".mp4", "sound": ".wav", "photo": ".png"}[reader]
    path = tmp_path / f"given{suffix}"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no named pipes")
        os.mkfifo(path)
    elif kind == "device":
        if not Path("/dev/zero").exists():
            pytest.skip("this system has no /dev/zero")
        path.symlink_to("/dev/zero")
    elif kind == "null":
        path = tmp_path / f"gi\0ven{suffix}"
    elif kind == "surrogate":
        path = tmp_path / f"gi\udc80ven{suffix}"
    elif kind == "long":
        path = tmp_path / ("given" * 80 + suffix)
    elif kind == "below a file":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / f"given{suffix}"
    elif kind == "empty":
        path.write_bytes(b"")
    found: list[BaseException] = []

    def read() -> None:
        try:
            READERS[reader](path)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits"
    assert isinstance(found[0], AvatarkitError), repr(found[0])


def test_gaps_in_a_video_are_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files.video(tmp_path / "v.mkv", [0, 1, 2, 360_000, 360_001])
    times = _frames(tmp_path / "v.mkv")
    assert len(times) == pytest.approx(5, abs=1)
    assert times[-1] < 1
    assert "the gap is left out" in caplog.text


def test_a_video_may_not_be_longer_than_the_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatarkit.io.video.MOST_FRAMES", 3)
    files.video(tmp_path / "v.mkv", [0, 1, 2, 3, 4])
    with pytest.raises(InputError, match="more than 3 frames"):
        _frames(tmp_path / "v.mkv")


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_samples_that_are_no_numbers_do_not_stop_a_film(tmp_path: Path, suffix: str, value: float) -> None:
    samples = np.sin(np.arange(16_000) / 20) * 0.3
    samples[100:110] = value
    files.float_sound(tmp_path / "a.wav", samples)
    with VideoWriter(tmp_path / f"a{suffix}", 32, 32, fps=10, audio=tmp_path / "a.wav") as video:
        for _ in range(10):
            video.write(np.zeros((32, 32, 3), np.uint8))
    heard = read_sound(tmp_path / f"a{suffix}")
    assert heard.size > 14_000 and np.abs(heard[8000:]).max() > 0.2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
@pytest.mark.parametrize("kind", ["pipe", "link"])
@pytest.mark.parametrize("name", ["key.json", "00000.safetensors", ""])
def test_kept_landmarks_that_are_no_files_are_said(tmp_path: Path, kind: str, name: str) -> None:
    folder, elsewhere = tmp_path / "m.npz.landmarks", tmp_path / "elsewhere"
    KeypointFiles(elsewhere, "b" * 64)
    (elsewhere / "00000.safetensors").write_bytes(b"mine")
    if name:
        KeypointFiles(folder, "a" * 64)
        (folder / name).unlink(missing_ok=True)
    if kind == "link":
        (folder / name).symlink_to(elsewhere / name)
    else:
        os.mkfifo(folder / name)
    with pytest.raises(StoreError, match="move it away"):
        KeypointFiles(folder, "a" * 64)
    assert (elsewhere / "00000.safetensors").read_bytes() == b"mine"


def test_a_name_from_a_file_can_be_printed(tmp_path: Path) -> None:
    save_motion(replace(tiny_motion(), name="a\x1b[31mb\n" + "c" * 500), BODY, tmp_path / "m.npz")
    name = read_motion(tmp_path / "m.npz", BODY).name
    assert name.isprintable()
    assert len(name) <= 100


def test_garbage_behind_the_promised_frames_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_text(files.bvh(5))
    (tmp_path / "b.bvh").write_bytes(files.bvh(5).encode() + b"\0\xff rubbish " * 9)
    a, b = (read_motion(tmp_path / f"{n}.bvh", BODY) for n in "ab")
    assert a.params.joints.equal(b.params.joints)


# ------------------------------------------------------------------------------------------------------------- mutations

_GOOD = {
    "bvh": ("motion", files.bvh(4).encode()), "npz": ("motion", files.poses(5)), "own": ("motion", files.own()),
    "pose": ("motion", files.pose()), "camera": ("camera", files.camera().encode()),
    "recipe": ("recipe", b'preset = "draft"\n[training]\nsteps = 7\n[losses.rgb]\nweight = 0.5\non = ["photo"]\n'),
    "photo": ("photo", files.png(96, 96)),
}  # fmt: skip


@pytest.mark.parametrize("kind", _GOOD)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_file_is_read_or_refused(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    reader, good = _GOOD[kind]
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not changed:
            break
    cut = data.draw(st.none() | st.integers(0, len(changed)))
    path = tmp_path / "changed.bin"
    path.write_bytes(bytes(changed[:cut]))
    with contextlib.suppress(AvatarkitError):
        READERS[reader](path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(files.OWN)),
    value=st.sampled_from([
        "x", "", -1, 0, 1e300, float("nan"), float("inf"), True, 1j, 2**62, np.zeros(0), np.zeros((0, 3)), np.zeros((3, 0)),
        np.zeros((2, 2, 2, 2)), np.full((3, 3), np.nan), np.full((3, 2, 3), 1e30), np.array(["a", "b", "c"]), np.array([b"x"]),
        np.zeros(3, dtype="datetime64[s]"), np.array([-1, -1]), np.array([0, 1]), np.float16(3), np.longdouble(3),
    ]),
)  # fmt: skip
def test_a_changed_field_of_our_own_file_is_read_or_refused(name: str, value: object, tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_bytes(files.own(**{name: value}))
    try:
        read_motion(tmp_path / "m.npz", BODY)
    except AvatarkitError as error:
        _sentence(error, "m.npz")


# --------------------------------------------------------------------------------------------------------------- options


def _configs() -> list[tuple[str, type]]:
    from avatarkit.config import SECTIONS

    found = [(f"[{name}]", cls) for name, cls in SECTIONS.items()]
    registry = Registry.load()
    for kind in KINDS:
        for component in registry.components(kind).values():
            cls = component.config_type()
            if cls is not None:
                found.append((component.owner, cls))
    return found


def test_every_number_of_every_component_has_a_range() -> None:
    checked = 0
    for owner, cls in _configs():
        make_config(cls, {}, owner=owner)  # defaults are within
        for option in options_of(cls):
            if "number" not in option.type:
                continue
            assert " to " in option.type, f"{owner}.{option.name} is {option.type}"
            checked += 1
            for value in (-(10**9) - 1, 10**19, float("nan"), float("inf")):
                if "list" not in option.type:
                    with pytest.raises(ConfigError, match=f"Option '{option.name}' of"):
                        make_config(cls, {option.name: value}, owner=owner)
    assert checked > 100


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.steps=-1", "Option 'steps' of [training] must be 0 to 10000000, not -1 (from --set training.steps=-1)."),
        ("preview.height=-5", "Option 'height' of [preview] must be 16 to 2160, not -5 (from --set preview.height=-5)."),
        ("labels.body_clips=-3", "must be 0 to 10000, not -3"),
        ("training.lr_end=nan", "--set training.lr_end: it holds nan"),
        ("training.lr_end=1e999", "--set training.lr_end: it holds inf"),
        ("training.steps=" + "9" * 5000, "--set training.steps: it holds an impossible number"),
        ("training.steps=" + "[" * 5000, "nested deeper"),
        ("losses.rgb.weight=-1", "must be 0 to 1000000000, not -1"),
        ("losses.rgb.start=-1", "must be 0 to 10000000, not -1"),
        ("training.steps=\udc80", "not valid Unicode"),
        ("\x1b[31m.a=1", "is not of the form slot.option=value"),
        ("a" * 9000 + ".b=1", "is not of the form slot.option=value"),
    ],
)
def test_settings_beyond_sense_are_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Recipe.load("draft", settings=[setting]).check_sections()
    assert message in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70, 1.5])
def test_seeds_are_checked(seed: Any) -> None:
    from avatarkit.components import Components

    with pytest.raises(ConfigError, match="The seed must be a whole number, 0 to 4294967295"):
        Components(Recipe.load("draft"), device="cpu", seed=seed)


# ------------------------------------------------------------------------------------------------------- time and memory


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured as Linux does")
@pytest.mark.parametrize("name", files.WORST)
def test_the_worst_file_takes_neither_a_gigabyte_nor_fifteen_seconds(name: str, tmp_path: Path) -> None:
    reader, suffix, write = files.WORST[name]
    path = tmp_path / f"given{suffix}"
    write(path)
    run = subprocess.run(
        [sys.executable, __file__, reader, str(path)], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["error"] is None or told["error"][0] == "mended by the user", told
    assert told["megabytes"] < 1000, told
    assert told["seconds"] < 15, told  # 7 on a core of its own; a core that two threads share takes half as long again


def _measure(reader: str, path: Path) -> None:
    """In a process of its own: prints seconds of this process's own work, and megabytes beyond those of the imports."""
    import time

    def memory(key: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(key))

    with contextlib.suppress(AvatarkitError):  # what imports and first calls take is not the file's doing
        READERS[reader](path.with_name("none"))
    Path("/proc/self/clear_refs").write_text("5")
    before, start, error = memory("VmRSS"), time.process_time(), None
    try:
        READERS[reader](path)
    except AvatarkitError as caught:
        error = ("mended by the user" if caught.exit_code == 2 else "", str(caught))
    seconds = time.process_time() - start
    print(json.dumps({"seconds": round(seconds, 2), "megabytes": round(memory("VmHWM") - before), "error": error}))


if __name__ == "__main__":
    _measure(sys.argv[1], Path(sys.argv[2]))
