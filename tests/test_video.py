"""Reading and writing videos: real files, written and read back."""

from __future__ import annotations

import logging
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avatarkit.errors import InputError, StoreError
from avatarkit.io.audio import has_sound, read_sound
from avatarkit.io.video import VideoWriter, probe, read_frames


def frame(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A gray level that names the frame, and a red corner top left."""
    image = np.full((height, width, 3), 40 + 4 * number, np.uint8)
    image[: height // 4, : width // 4] = (220, 20, 20)
    return image


def number(image: np.ndarray) -> int:
    """Which frame it is."""
    return round((float(image[image.shape[0] // 2 :, image.shape[1] // 2 :].mean()) - 40) / 4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, 96, 64, fps=20) as video:
        for n in range(40):
            video.write(frame(n))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov", ".mkv"])
def test_written_videos_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, 96, 64, fps=12.5) as video:
        for n in range(10):
            video.write(frame(n))
    info = probe(path)
    assert (info.width, info.height, info.fps) == (96, 64, 12.5)
    frames = list(read_frames(path))
    assert [number(image) for _, image in frames] == list(range(10))
    assert [time for time, _ in frames] == pytest.approx([n / 12.5 for n in range(10)])
    np.testing.assert_allclose(frames[0][1][5, 5], [220, 20, 20], atol=8)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_mp4_plays_everywhere(clip: Path) -> None:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    assert clip.read_bytes().find(b"moov") < clip.read_bytes().find(b"mdat")  # starts before it is all there


def test_odd_sizes_are_padded(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "odd.mp4", 97, 65, fps=10) as video:
        video.write(frame(3, 97, 65))
    assert probe(tmp_path / "odd.mp4").width == 98
    image = next(read_frames(tmp_path / "odd.mp4"))[1]
    assert image.shape == (66, 98, 3)
    assert number(image) == 3


def test_transparent_outputs(tmp_path: Path) -> None:
    cut = np.dstack([frame(5), np.zeros((64, 96), np.uint8)])
    cut[16:48, 24:72, 3] = 255
    for name in ("a.webm", "a.mov", "frames"):
        with VideoWriter(tmp_path / name, 96, 64, fps=10, transparent=True) as video:
            for _ in range(3):
                video.write(cut)
    with av.open(str(tmp_path / "a.mov")) as container:
        alpha = next(container.decode(video=0)).to_ndarray(format="rgba")[..., 3]
        np.testing.assert_allclose(alpha, cut[..., 3], atol=2)
    with av.open(str(tmp_path / "a.webm")) as container:
        decoder = av.CodecContext.create("libvpx-vp9", "r")  # FFmpeg's own decoder leaves alpha out
        first = next(f for packet in container.demux(video=0) for f in decoder.decode(packet))
        assert np.abs(first.to_ndarray(format="rgba")[..., 3].astype(int) - cut[..., 3]).mean() < 4
    assert sorted(p.name for p in (tmp_path / "frames").glob("[!.]*")) == [f"00000{n}.png" for n in range(3)]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "frames" / "000002.png")), cut)
    with pytest.raises(InputError, match="cannot be transparent"):
        VideoWriter(tmp_path / "a.mp4", 96, 64, fps=10, transparent=True)


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"what was there before")
    for name in ("a.mp4", "folder"):
        with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / name, 96, 64, fps=10) as video:
            video.write(frame(1 // video.count))
    with pytest.raises(InputError, match="no frames"), VideoWriter(tmp_path / "empty.mp4", 96, 64, fps=10):
        pass
    with pytest.raises(InputError, match="expected"), VideoWriter(tmp_path / "b.mp4", 96, 64, fps=10) as video:
        video.write(frame(0)[:10])
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"what was there before"


def test_folders_of_frames_never_replace_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    with VideoWriter(tmp_path / "notes", 96, 64, fps=10) as video:
        video.write(frame(0))
    assert (tmp_path / "notes" / "diary.txt").read_text() == "mine"
    assert (tmp_path / "notes" / "000000.png").exists()
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "000000.png").write_text("mine")
    (tmp_path / "album" / "000007.png").write_text("mine")
    with pytest.raises(StoreError, match="was not made by avatarkit"), VideoWriter(tmp_path / "album", 96, 64, fps=10):
        pass
    assert all(p.read_text() == "mine" for p in (tmp_path / "album").iterdir())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="without a suffix"), VideoWriter(tmp_path / "file", 96, 64, fps=10):
        pass
    for count in (3, 1):  # frames of an earlier run are replaced
        with VideoWriter(tmp_path / "frames", 96, 64, fps=10) as video:
            for n in range(count):
                video.write(frame(n))
    assert [p.name for p in (tmp_path / "frames").glob("[!.]*")] == ["000000.png"]
    (tmp_path / "frames" / "000000.png").write_bytes(b"retouched")
    with pytest.raises(StoreError, match="was changed since avatarkit made it"), VideoWriter(tmp_path / "frames", 96, 64, fps=10):
        pass
    assert (tmp_path / "frames" / "000000.png").read_bytes() == b"retouched"


def test_impossible_places_and_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written as"):
        VideoWriter(tmp_path / "a.avi", 96, 64, fps=10)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"), VideoWriter(tmp_path / "file" / "a.mp4", 96, 64, fps=10):
        pass


def test_sound_goes_along(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        wave_form = 8000 * np.sin(np.arange(16000 * 3) * 2 * np.pi * 440 / 16000)
        sound.writeframes(wave_form.astype("<i2").tobytes())
    with VideoWriter(tmp_path / "a.mp4", 96, 64, fps=10, audio=tmp_path / "a.wav") as video:
        for n in range(20):
            video.write(frame(n))
    with av.open(str(tmp_path / "a.mp4")) as container:
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    assert 1.9 < samples.size / rate < 2.1  # as long as the picture
    spectrum = np.abs(np.fft.rfft(samples[rate // 2 : rate]))
    assert abs(spectrum.argmax() * 2 - 440) <= 4
    (tmp_path / "b.wav").write_text("no sound")
    with (
        pytest.raises(InputError, match="no sound"),
        VideoWriter(tmp_path / "b.mp4", 96, 64, fps=10, audio=tmp_path / "b.wav"),
    ):
        pass


def test_rate_and_size_on_request(clip: Path) -> None:
    half = list(read_frames(clip, fps=10))
    assert [number(image) for _, image in half] == list(range(0, 40, 2))
    double = list(read_frames(clip, fps=40))
    assert [number(image) for _, image in double][:8] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert next(read_frames(clip, max_side=48))[1].shape == (32, 48, 3)


def test_variable_rate_keeps_time(tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 7, 8, 12, 13, 14, 15]  # in tenths of a second
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for n, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(frame(n), format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 10)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    shown = [number(image) for _, image in read_frames(tmp_path / "v.mp4", fps=10)]
    assert shown == [0, 1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 5, 6, 7, 8, 9]


def test_rotation_metadata_is_applied(tmp_path: Path) -> None:
    """A display matrix of a quarter turn is written into the file's header."""
    with VideoWriter(tmp_path / "a.mp4", 96, 64, fps=10) as video:
        video.write(frame(2))
    upright = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    blob = (tmp_path / "a.mp4").read_bytes()
    track = blob.index(b"tkhd")
    place = blob.index(struct.pack(">9i", *upright), track)
    (tmp_path / "b.mp4").write_bytes(blob[:place] + struct.pack(">9i", *turned) + blob[place + 36 :])
    info = probe(tmp_path / "b.mp4")
    assert (info.width, info.height) == (64, 96)
    image = next(read_frames(tmp_path / "b.mp4"))[1]
    assert image.shape == (96, 64, 3)
    np.testing.assert_allclose(image[5, -5], [220, 20, 20], atol=8)  # the corner went from top left to top right


def test_animated_gif(tmp_path: Path) -> None:
    frames = [Image.fromarray(frame(n)) for n in range(6)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    assert [number(image) for _, image in read_frames(tmp_path / "a.gif", fps=10)] == list(range(6))


def test_cut_off_file_gives_what_is_there(clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blob = clip.read_bytes()
    start = blob.index(b"mdat")
    (tmp_path / "cut.mp4").write_bytes(blob[: start + (len(blob) - start) // 2])
    with caplog.at_level(logging.WARNING, "avatarkit"):
        frames = list(read_frames(tmp_path / "cut.mp4"))
    assert 0 < len(frames) < 40
    assert "cut off" in caplog.text


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    import wave

    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "words.mp4").write_text("not a video\n" * 9)
    (tmp_path / "words.txt").write_text("not a video\n" * 9)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(bytes(3200))
    for name, words in {
        "empty.mp4": "empty",
        "words.mp4": "not a video",
        "words.txt": "not a video",
        "sound.wav": "no pictures",
        "nowhere.mp4": "no video",
        ".": "folder",
    }.items():
        for read in (probe, lambda path: next(read_frames(path))):
            with pytest.raises(InputError, match=words):
                read(tmp_path / name)


def test_colors_change_from_pixel_to_pixel(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 128).astype(np.uint8)
    image = np.stack([np.tile(ramp, (64, 1)), np.full((64, 128), 90, np.uint8), np.tile(ramp[::-1], (64, 1))], -1)
    path = tmp_path / "ramp.mp4"
    with VideoWriter(path, 128, 64, 5) as video:
        for _ in range(3):
            video.write(image)
    frame = next(iter(read_frames(path)))[1].astype(float)
    tint = (frame[..., 0] - frame[..., 2])[:, 8:-8]
    step = np.abs(np.diff(tint, axis=1))
    even, odd = step[:, 0::2].mean(), step[:, 1::2].mean()
    assert min(even, odd) > 0.5 * max(even, odd)  # half the color samples are there: repeating them would give stairs


_MATRICES = {
    "hflip": ((-1, 0, 0, 1), lambda a: a[:, ::-1]),
    "vflip": ((1, 0, 0, -1), lambda a: a[::-1]),
    "rot90": ((0, 1, -1, 0), lambda a: np.rot90(a, -1)),
    "rot180": ((-1, 0, 0, -1), lambda a: np.rot90(a, 2)),
    "rot270": ((0, -1, 1, 0), np.rot90),
    "transpose": ((0, 1, 1, 0), lambda a: a.swapaxes(0, 1)),
    "transverse": ((0, -1, -1, 0), lambda a: np.rot90(a, 2).swapaxes(0, 1)),
}


@pytest.mark.parametrize("name", _MATRICES)
def test_frames_are_turned_and_mirrored_as_players_show_them(name: str, clip: Path, tmp_path: Path) -> None:
    matrix, shown = _MATRICES[name]
    data = bytearray(clip.read_bytes())
    at = data.find(b"tkhd") + 4
    at += (24 if data[at] == 0 else 36) + 16
    a, b, c, d = (x << 16 for x in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    expected = shown(next(read_frames(clip))[1])
    image = next(read_frames(tmp_path / "turned.mp4"))[1]
    np.testing.assert_array_equal(image, expected)
    info = probe(tmp_path / "turned.mp4")
    assert (info.height, info.width) == expected.shape[:2]


def test_the_sound_of_a_video_is_found_and_goes_along(clip: Path, tmp_path: Path) -> None:
    from scipy.io import wavfile

    beep = (8000 * np.sin(np.arange(32_000) * 0.2)).astype(np.int16)
    wavfile.write(tmp_path / "beep.wav", 16_000, beep)
    for source, target in (("beep.wav", "spoken.mp4"), ("spoken.mp4", "copy.mp4")):
        with VideoWriter(tmp_path / target, 96, 64, fps=20, audio=tmp_path / source) as video:
            for n in range(40):
                video.write(frame(n))
    assert has_sound(tmp_path / "spoken.mp4")
    assert not has_sound(clip)
    assert not has_sound(tmp_path / "none.mp4")
    heard = read_sound(tmp_path / "copy.mp4")
    assert heard.size == pytest.approx(32_000, rel=0.05)
    assert np.abs(heard).max() > 0.15  # one channel becomes two of 0.7
