"""Broken and hostile files for readers: name -> (reader, suffix, how to write it). ``WORST`` are those that cost most."""

from __future__ import annotations

import io
import json
import math
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

Write = Callable[[Path], object]


# ------------------------------------------------------------------------------------------------------------- good files

_TREE = ("Hips", [("Spine", [("Neck", []), *((s + "Arm", [(s + "ForeArm", [(s + "Hand", [])])]) for s in ("Left", "Right"))])])


def bvh(frames: int = 3, joints: str = "", values: str | None = None) -> str:
    """A person of nine joints; ``joints`` are put at the end of the skeleton."""
    lines, count = ["HIERARCHY"], 0

    def joint(node: tuple[str, Any], kind: str, x: float) -> None:
        nonlocal count
        name, children = node
        width = 6 if kind == "ROOT" else 3
        count += width
        position = "Xposition Yposition Zposition " if kind == "ROOT" else ""
        lines.extend([f"{kind} {name}", "{", f"OFFSET {x} 10 0", f"CHANNELS {width} {position}Zrotation Xrotation Yrotation"])
        for child in children:
            side = 10 if child[0].startswith("Left") else -10 if child[0].startswith("Right") else 0
            joint(child, "JOINT", side)
        if not children:
            lines.extend(["End Site", "{", "OFFSET 0 5 0", "}"])
        if kind == "ROOT":
            lines.append(joints)
        lines.append("}")

    joint(_TREE, "ROOT", 0)
    row = " ".join(["0.5"] * count) if values is None else values
    lines.extend(["MOTION", f"Frames: {frames}", "Frame Time: 0.04", *[row] * frames])
    return "\n".join(lines) + "\n"


def npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def poses(frames: int = 4, **more: object) -> bytes:
    values = np.zeros((frames, 165), np.float32)
    values[:, 3 * 16 + 2] = np.linspace(0, 1, frames)
    return npz(**{"poses": values, "trans": np.zeros((frames, 3)), "mocap_frame_rate": 30.0, **more})


def pose(frames: int = 4, people: int = 1, fps: float = 25.0, value: float = 100.0, points: int | None = None) -> bytes:
    """A ``.pose`` file of version 0.2 with shoulders, elbows and wrists."""
    names = [f"{s}_{n}" for n in ("SHOULDER", "ELBOW", "WRIST") for s in ("LEFT", "RIGHT")]

    def text(word: str) -> bytes:
        return struct.pack("<H", len(word)) + word.encode()

    head = struct.pack("<f4H", 0.2, 640, 480, 0, 1) + text("POSE_LANDMARKS") + text("XYC")
    head += struct.pack("<3H", len(names) if points is None else points, 0, 0) + b"".join(text(n) for n in names)
    head += struct.pack("<fIH", fps, frames, people)
    places = np.array([[300, 200], [200, 200], [320, 300], [180, 300], [330, 380], [170, 380]], np.float32) * (value / 100)
    kept = min(frames, 10)
    return head + np.tile(places, (kept, 1, 1)).astype("<f4").tobytes() + np.ones((kept, 6), "<f4").tobytes()


EYE = [[1.0 if i == j else 0.0 for j in range(4)] for i in range(4)]


def camera(**changed: Any) -> str:
    K = [[500.0, 0, 32.0], [0, 500.0, 24.0], [0, 0, 1.0]]
    data = {"K": K, "T_camera_world": EYE, "width": 64, "height": 48}
    return json.dumps({k: v for k, v in {**data, **changed}.items() if v is not ...})


def intrinsics(**changed: float) -> list[list[float]]:
    at = {"fx": (0, 0), "fy": (1, 1), "cx": (0, 2), "cy": (1, 2), "skew": (0, 1), "low": (1, 0), "one": (2, 2)}
    rows = [[500.0, 0, 32.0], [0, 500.0, 24.0], [0, 0, 1.0]]
    for name, value in changed.items():
        rows[at[name][0]][at[name][1]] = value
    return rows


def pose_matrix(row: int, column: int, value: Any) -> list[list[Any]]:
    rows: list[list[Any]] = [list(r) for r in EYE]
    rows[row][column] = value
    return rows


# ----------------------------------------------------------------------------------------------------------- npz by hand


def member(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    """An npy member with any header."""
    size = len(header) if length is None else length
    return b"\x93NUMPY" + version + size.to_bytes(2 if version[0] == 1 else 4, "little") + header + data


def shaped(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


def archive(method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return stream.getvalue()


def _many_members(count: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for k in range(count):
            file.writestr(f"{k}.npy", b"")
    return stream.getvalue()


def _zeros(path: Path, gigabytes: float) -> None:
    """A zip bomb: an array of zeros."""
    count = int(gigabytes * (1 << 28))
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("poses.npy", "w", force_zip64=True) as to,
    ):
        to.write(member(shaped(f"({count // 165}, 165)")))
        for _ in range(4 * count >> 20):
            to.write(bytes(1 << 20))


OWN = {
    "format": "avatarkit-motion-1", "model": "tiny", "name": "m", "fps": 25.0, "loop": False, "joint_names": np.array(["a", "b"]),
    "joint_parents": np.array([-1, 0]), "joint_positions": np.zeros((2, 3)), "expression_names": np.array(["jawOpen"]),
    "shape": np.zeros(1), "expression": np.zeros((3, 1)), "root": np.zeros((3, 3)),
    "translation": np.zeros((3, 3)), "joints": np.zeros((3, 2, 3)),
}  # fmt: skip


def own(**changed: object) -> bytes:
    return npz(**{**OWN, **changed})


# -------------------------------------------------------------------------------------------------------- videos, sounds


def video(path: Path, times: list[int], base: Fraction = Fraction(1, 10), size: tuple[int, int] = (96, 64)) -> None:
    """A film whose frames have these times."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = base
        for n, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 20 * (n % 10), np.uint8), format="rgb24")
            picture.pts, picture.time_base = time, base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def gif(path: Path, width: int, height: int, canvas: tuple[int, int] | None = None) -> None:
    """Two frames; ``canvas`` is the size that the header states."""
    from PIL import Image

    pages = [Image.new("P", (width, height), color) for color in (3, 7)]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=100)
    if canvas is not None:
        data = path.read_bytes()
        path.write_bytes(data[:6] + struct.pack("<HH", *canvas) + data[10:])


def sound(path: Path, rate: int = 16_000, seconds: float = 1.0, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2 * channels * int(rate * seconds)))


def float_sound(path: Path, samples: np.ndarray, rate: int = 16_000, channels: int = 1) -> None:
    data = samples.astype("<f4").tobytes()
    head = struct.pack("<HHIIHH", 3, channels, rate, (4 * channels * rate) & 0xFFFFFFFF, 4 * channels, 32)
    body = b"fmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)


def quiet(path: Path, seconds: float) -> None:
    """Hours of silence in a small file."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 65_000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        for _ in range(int(seconds * 8000 / 65_000)):
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


# ------------------------------------------------------------------------------------------------------------------ photos


def png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, kind: int = 0, rows: bool = True) -> bytes:
    bits = depth * {0: 1, 2: 3, 6: 4}[kind]
    line = bytes(1 + (width * bits + 7) // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(line) for _ in range(height if rows else 1)) + packer.flush()
    parts = [(b"IHDR", struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0)), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts
    )


def _long_text(megabytes: int) -> tuple[bytes, bytes]:
    return b"zTXt", b"a\0\0" + zlib.compress(bytes(megabytes << 20))


def tiff(path: Path, pages: int) -> None:
    """Gray pages of 64 x 64 pixels that share one strip; written by hand, as Pillow takes a time that grows with their square."""
    width, strip = 64, 8
    entries = [(256, width), (257, width), (258, 8), (259, 1), (262, 1), (273, strip), (278, width), (279, width * width)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    first, size = strip + width * width, 2 + len(directory) + 4
    parts = [b"II*\0" + struct.pack("<I", first), bytes([90]) * (width * width)]
    for number in range(pages):
        following = first + size * (number + 1) if number + 1 < pages else 0
        parts.append(struct.pack("<H", len(entries)) + directory + struct.pack("<I", following))
    path.write_bytes(b"".join(parts))


def jpeg_of_scans(scans: int, side: int) -> bytes:
    """A progressive JPEG whose last scan stands in it many times."""
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (side, side), (90, 120, 150)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def tagged_jpeg() -> bytes:
    """EXIF whose tags all lie over each other."""
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (96, 96)).save(stream, "JPEG")
    count = 5000
    block = b"II*\0" + struct.pack("<IH", 8, count)
    block += b"".join(struct.pack("<HHII", tag, 1, 60_000, 8) for tag in range(1, count + 1))
    block = b"Exif\0\0" + block[:65_000]
    return stream.getvalue()[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + stream.getvalue()[2:]


# --------------------------------------------------------------------------------------------------------------- the table


def _text(text: str) -> Write:
    return lambda path: path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _bytes(data: bytes) -> Write:
    return lambda path: path.write_bytes(data)


def _append(head: bytes, piece: bytes, times: int) -> Write:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(head)
            for _ in range(times):
                file.write(piece)

    return write


_NAN, _INF = float("nan"), float("inf")
_TURNED = [[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]  # a mirror

REFUSED: dict[str, tuple[str, str, Write]] = {
    # BVH
    "bvh: frames beyond the file": ("motion", ".bvh", _text(bvh(3).replace("Frames: 3", "Frames: 17000"))),
    "bvh: frames beyond all files": ("motion", ".bvh", _text(bvh(3).replace("Frames: 3", "Frames: 1e300"))),
    "bvh: frames are nan": ("motion", ".bvh", _text(bvh(3).replace("Frames: 3", "Frames: nan"))),
    "bvh: frames of many digits": ("motion", ".bvh", _text(bvh(3).replace("Frames: 3", "Frames: " + "9" * 5000))),
    "bvh: too many frames": ("motion", ".bvh", lambda path: path.write_text(bvh(20_000, values="0 " * 33))),
    "bvh: time of a frame": ("motion", ".bvh", _text(bvh(3).replace("0.04", "nan"))),
    "bvh: nested": ("motion", ".bvh", _text(bvh(1, "JOINT a {" * 1500 + "}" * 1500))),
    "bvh: nested without end": ("motion", ".bvh", _text("HIERARCHY ROOT a {" + "JOINT b { " * 100_000)),
    "bvh: many joints": ("motion", ".bvh", _text(bvh(1, "JOINT a { OFFSET 0 0 0 }" * 3000))),
    "bvh: a long name": ("motion", ".bvh", _text("HIERARCHY ROOT " + "a " * 300_000)),
    "bvh: a long line": ("motion", ".bvh", _text(bvh(3).replace("MOTION\n", "MOTION\n" + "x" * 3_000_000))),
    "bvh: a long number": ("motion", ".bvh", _text(bvh(3, values="0" * 3_000_000 + " 1" * 32))),
    "bvh: skeleton without end": ("motion", ".bvh", _append(b"HIERARCHY\nROOT a\n{\n", b"OFFSET 0 0 0\n" * 5000, 100)),
    "bvh: no bones": ("motion", ".bvh", _text(bvh(3).replace("ForeArm", "Wing"))),
    # npz
    "npz: a lying shape": ("motion", ".npz", _bytes(archive(poses=member(shaped("(99999999999, 165)"))))),
    "npz: a shape that overflows": ("motion", ".npz", _bytes(archive(poses=member(shaped("(4294967296, 4294967296, 165)"))))),
    "npz: a negative shape": ("motion", ".npz", _bytes(archive(poses=member(shaped("(-1, 165)"), bytes(660))))),
    "npz: many axes": ("motion", ".npz", _bytes(archive(poses=member(shaped("(" + "1, " * 60 + ")"), bytes(4))))),
    "npz: objects": ("motion", ".npz", _bytes(archive(poses=member(shaped("(4, 165)", "'|O'"), bytes(9000))))),
    "npz: structures": ("motion", ".npz", _bytes(archive(poses=member(shaped("(4,)", "[('a', '<f4', (165,))]"), bytes(2640))))),
    "npz: nested header": ("motion", ".npz", _bytes(archive(poses=member(b"(" * 9000 + b")" * 9000)))),
    "npz: a header of minus signs": ("motion", ".npz", _bytes(archive(poses=member(shaped("-" * 3000 + "1"))))),
    "npz: a header that is code": ("motion", ".npz", _bytes(archive(poses=member(shaped("__import__('os').getcwd()"))))),
    "npz: a header of 4 GB": ("motion", ".npz", _bytes(archive(poses=member(b"{", version=b"\x02\x00", length=0xFFFFFFFF)))),
    "npz: a wide text": ("motion", ".npz", _bytes(archive(format=member(shaped("()", "'<U999999999'")), poses=b""))),
    "npz: an impossible text": ("motion", ".npz", _bytes(archive(format=member(shaped("()", "'<U2'"), b"\xff" * 8)))),
    "npz: empty texts": ("motion", ".npz", _bytes(archive(format=member(shaped("(99999999,)", "'<U0'"))))),
    "npz: many members": ("motion", ".npz", _bytes(_many_members(3000))),
    "npz: packed by lzma": ("motion", ".npz", _bytes(archive(zipfile.ZIP_LZMA, poses=member(shaped("(4, 165)"), bytes(2640))))),
    "npz: no poses in them": ("motion", ".npz", _bytes(poses(0))),
    "npz: too many frames": ("motion", ".npz", lambda path: path.write_bytes(poses(19_000))),
    "npz: poses are texts": ("motion", ".npz", _bytes(poses(poses=np.full((4, 165), "1.5")))),
    "npz: poses are complex": ("motion", ".npz", _bytes(poses(poses=np.zeros((4, 165), complex)))),
    "npz: poses are huge": ("motion", ".npz", _bytes(poses(poses=np.full((4, 165), 1e30)))),
    "npz: poses of no numbers": ("motion", ".npz", _bytes(poses(poses=np.zeros((4, 0))))),
    "npz: frame rate is text": ("motion", ".npz", _bytes(poses(mocap_frame_rate="fast"))),
    "npz: frame rate is empty": ("motion", ".npz", _bytes(poses(mocap_frame_rate=np.zeros(0)))),
    "npz: frame rate is nan": ("motion", ".npz", _bytes(poses(mocap_frame_rate=_NAN))),
    "npz: frame rate is negative": ("motion", ".npz", _bytes(poses(mocap_frame_rate=-30.0))),
    "npz: frame rate is huge": ("motion", ".npz", _bytes(poses(mocap_frame_rate=1e9))),
    "npz: places far away": ("motion", ".npz", _bytes(poses(trans=np.full((4, 3), 1e30)))),
    "npz: places are texts": ("motion", ".npz", _bytes(poses(trans=np.full((4, 3), "x")))),
    **{
        f"own: {what}": ("motion", ".npz", _bytes(own(**changed)))
        for what, changed in {
            "no joints": {"joint_names": np.array([], dtype="<U1"), "joint_parents": np.zeros(0, int)},
            "names as a table": {"joint_names": np.array([["a"], ["b"]])},
            "twice the same joint": {"joint_names": np.array(["a", "a"])},
            "a joint above itself": {"joint_parents": np.array([-1, 1])},
            "a joint's parent far away": {"joint_parents": np.array([-1, 99])},
            "parents are texts": {"joint_parents": np.array(["x", "y"])},
            "parents are nan": {"joint_parents": np.array([-1, _NAN])},
            "rate is a list": {"fps": np.array([25.0, 26.0])},
            "rate is text": {"fps": "fast"},
            "rate is nan": {"fps": _NAN},
            "joints are huge": {"joints": np.full((3, 2, 3), 1e38)},
            "joints are beyond float32": {"joints": np.full((3, 2, 3), 1e300)},
            "joints are texts": {"joints": np.full((3, 2, 3), "x")},
            "root has no frames": {"root": np.zeros((0, 3))},
            "root is a number": {"root": np.float64(3)},
            "shape is a table": {"shape": np.zeros((3, 3))},
            "shape is nan": {"shape": np.array([_NAN])},
            "bones without length": {"model": "other"},
            "valid is short": {"valid": np.ones(1, bool)},
            "many frames": {k: np.zeros((19_000, *np.shape(OWN[k])[1:])) for k in ("root", "translation", "joints")},
        }.items()
    },
    # .pose
    "pose: frames beyond the file": ("motion", ".pose", _bytes(pose(4_000_000_000))),
    "pose: people beyond the file": ("motion", ".pose", _bytes(pose(4, 65_535))),
    "pose: points beyond the file": ("motion", ".pose", _bytes(pose(points=65_535))),
    "pose: no frames": ("motion", ".pose", _bytes(pose(0))),
    "pose: rate is nan": ("motion", ".pose", _bytes(pose(fps=_NAN))),
    "pose: rate is negative": ("motion", ".pose", _bytes(pose(fps=-1.0))),
    "pose: points are nan": ("motion", ".pose", _bytes(pose(value=_NAN))),
    "pose: points are infinite": ("motion", ".pose", _bytes(pose(value=_INF))),
    "pose: points far away": ("motion", ".pose", _bytes(pose(value=1e30))),
    "pose: head alone": ("motion", ".pose", _bytes(pose()[:40])),
    # cameras
    **{
        f"camera: {what}": ("camera", ".json", _text(camera(**changed)))
        for what, changed in {
            "K is nan": {"K": intrinsics(fx=_NAN)},
            "K is infinite": {"K": intrinsics(fx=_INF)},
            "K without focal length": {"K": intrinsics(fx=0)},
            "K with a negative focal length": {"K": intrinsics(fy=-500)},
            "K with a huge focal length": {"K": intrinsics(fx=1e30)},
            "K with a skew": {"K": intrinsics(skew=100)},
            "K turned": {"K": intrinsics(low=3)},
            "K scaled": {"K": intrinsics(one=2)},
            "K with a far center": {"K": intrinsics(cx=1e20)},
            "K of texts": {"K": [["1"] * 3] * 3},
            "K of truths": {"K": [[True] * 3] * 3},
            "K as a list": {"K": [500.0] * 9},
            "K uneven": {"K": [[500.0, 0, 32], [0, 500.0], [0, 0, 1]]},
            "K nested": {"K": [[[500.0]] * 3] * 3},
            "K missing": {"K": ...},
            "T singular": {"T_camera_world": pose_matrix(0, 0, 0.0)},
            "T scaled": {"T_camera_world": pose_matrix(0, 0, 2.0)},
            "T mirrored": {"T_camera_world": _TURNED},
            "T nan": {"T_camera_world": pose_matrix(0, 3, _NAN)},
            "T far away": {"T_camera_world": pose_matrix(0, 3, 1e30)},
            "T of huge whole numbers": {"T_camera_world": pose_matrix(0, 3, 10**30)},
            "T projective": {"T_camera_world": pose_matrix(3, 0, 1.0)},
            "T is null": {"T_camera_world": None},
            "width is true": {"width": True},
            "width is a fraction": {"width": 64.5},
            "width is text": {"width": "64"},
            "width is huge": {"width": 10**12},
            "height is negative": {"height": -48},
            "height is nothing": {"height": None},
        }.items()
    },
    "camera: many digits": ("camera", ".json", _text(camera().replace("64", "9" * 5000, 1))),
    "camera: nested": ("camera", ".json", _text("[" * 100_000)),
    "camera: nested in a field": ("camera", ".json", _text(camera(K=...)[:-1] + ', "K": ' + "[" * 90 + "]" * 90 + "}")),
    "camera: twice": ("camera", ".json", _text(camera()[:-1] + ', "width": 64}')),
    "camera: a lone surrogate": ("camera", ".json", _text(camera()[:-1] + ', "a": "\\ud800"}')),
    "camera: not text": ("camera", ".json", _bytes(b"\xff\xfe\x00\x01")),
    # recipes
    **{
        f"recipe: {what}": ("recipe", ".toml", _text('preset = "draft"\n' + text))
        for what, text in {
            "nested": "[training]\nsteps = " + "[" * 5000 + "]" * 5000,
            "nested tables": "[" + ".".join(["a"] * 500) + "]\nb = 1",
            "many digits": "[training]\nsteps = " + "9" * 5000,
            "beyond 64 bits": "[training]\nsteps = 99999999999999999999999",
            "nan": "[training]\nlr_end = nan",
            "infinite": "[losses.rgb]\nweight = inf",
            "twice": "[training]\nsteps = 1\nsteps = 2",
            "a date": "[training]\nsteps = 1979-05-27",
            "an impossible date": "[training]\nsteps = 1979-13-99",
            "a surrogate": '[training]\nsteps = "\\ud800"',
            "another type": "[training]\nsteps = [1]",
            "a table for a value": "[training.steps]\na = 1",
            "a value for a table": "training = 3",
            "negative steps": "[training]\nsteps = -1",
            "steps beyond sense": "[training]\nsteps = 99999999999",
            "negative weight": "[losses.rgb]\nweight = -1.0",
            "start beyond sense": "[losses.rgb]\nstart = 99999999999",
        }.items()
    },
    "recipe: preset is a number": ("recipe", ".toml", _text("preset = 3")),
    "recipe: preset is a list": ("recipe", ".toml", _text("preset = [1]")),
    "recipe: preset is a table": ("recipe", ".toml", _text("[preset]\na = 1")),
    "recipe: not text": ("recipe", ".toml", _bytes(b"\xff\xfe\x00\x01")),
    "recipe: too large": ("recipe", ".toml", _append(b"", b"# nothing\n" * 1000, 200)),
    # videos and sounds
    "video: text": ("video", ".mp4", _text("no video\n" * 100)),
    "video: a playlist": ("video", ".mp4", _text("#EXTM3U\n#EXTINF:1,\nother.ts\n")),
    "video: a list of files": ("video", ".mp4", _text("ffconcat version 1.0\nfile /dev/zero\n")),
    "video: too wide": ("video", ".gif", lambda path: gif(path, 9000, 64)),
    "video: a huge canvas": ("video", ".gif", lambda path: gif(path, 64, 64, (60_000, 60_000))),
    "video: too small": ("video", ".avi", lambda path: video(path, [0, 1], size=(8, 8))),
    "sound: one sample per second": ("sound", ".wav", lambda path: sound(path, 1, 50)),
    "sound: a billion samples per second": ("sound", ".wav", lambda path: float_sound(path, np.zeros(9000), 1_000_000_000)),
    "sound: no channels": ("sound", ".wav", lambda path: float_sound(path, np.zeros(9000), channels=0)),
    "sound: many channels": ("sound", ".wav", lambda path: float_sound(path, np.zeros(9000), channels=300)),
    "sound: a playlist": ("sound", ".wav", _text("#EXTM3U\n#EXTINF:1,\nother.ts\n")),
    "sound: none": ("sound", ".wav", lambda path: sound(path, seconds=0)),
    # photos
    "photo: a picture bomb": ("photo", ".png", _bytes(png(30_000, 30_000, depth=1, rows=False))),
    "photo: 80 MB of text": ("photo", ".png", lambda path: path.write_bytes(png(96, 96, _long_text(80)))),
    "photo: too many scans": ("photo", ".jpg", lambda path: path.write_bytes(jpeg_of_scans(300, 96))),
    "photo: pixels as text": ("photo", ".ppm", _bytes(b"P3 5000 5000 255\n" + b"1 2 3 " * 1000)),
    "photo: cut off": ("photo", ".png", _bytes(png(96, 96)[:60])),
}


FINE: dict[str, tuple[str, str, Write]] = {
    "bvh": ("motion", ".bvh", _text(bvh())),
    "bvh: garbage behind": ("motion", ".bvh", _append(bvh().encode(), b"\xff\x00rubbish " * 1000, 100)),
    "npz": ("motion", ".npz", _bytes(poses())),
    "npz: objects elsewhere": ("motion", ".npz", _bytes(poses(notes=np.array([{}], dtype=object)))),
    "pose": ("motion", ".pose", _bytes(pose())),
    "camera": ("camera", ".json", _text(camera())),
    "camera: a byte-order mark": ("camera", ".json", _text("\ufeff" + camera())),
    "recipe": ("recipe", ".toml", _text('preset = "draft"\n[training]\nsteps = 7')),
    "recipe: a byte-order mark": ("recipe", ".toml", _text('\ufeffpreset = "draft"\n[training]\nsteps = 7')),
    "video": ("video", ".mkv", lambda path: video(path, [0, 1, 2, 3])),
    "video: the last frame hours later": ("video", ".mkv", lambda path: video(path, [0, 1, 2, 360_000])),
    "sound": ("sound", ".wav", lambda path: sound(path)),
    "sound: nan": ("sound", ".wav", lambda path: float_sound(path, np.where(np.arange(16_000) % 7, 0.1, math.nan))),
    "sound: infinite": ("sound", ".wav", lambda path: float_sound(path, np.full(16_000, math.inf))),
    "photo": ("photo", ".png", _bytes(png(96, 96))),
    "photo: thousands of pages": ("photo", ".tif", lambda path: tiff(path, 2000)),
    "photo: tags over each other": ("photo", ".jpg", _bytes(tagged_jpeg())),
}

WORST: dict[str, tuple[str, str, Write]] = {
    "bvh: 300 MB of one frame": ("motion", ".bvh", _append(bvh(1).encode(), b"0.123456 " * 110_000, 300)),
    "bvh: 300 MB before the frames": ("motion", ".bvh", _append(b"HIERARCHY\nROOT a\n{\n", b"OFFSET 0 0 0\n" * 80_000, 300)),
    "bvh: the longest": ("motion", ".bvh", lambda path: path.write_text(bvh(18_000))),
    "npz: a bomb": ("motion", ".npz", lambda path: _zeros(path, 2)),
    "npz: the longest": ("motion", ".npz", lambda path: path.write_bytes(poses(18_000))),
    "npz: 60,000 members": ("motion", ".npz", lambda path: path.write_bytes(_many_members(60_000))),
    "pose: 500 MB of nothing": ("motion", ".pose", lambda path: _sparse(path, pose(4_000_000), 500 << 20)),
    "camera: nested": ("camera", ".json", _text("[" * 900_000)),
    "recipe: nested": ("recipe", ".toml", _text("[training]\nsteps = " + "[" * 500_000)),
    "video: the last frame days later": ("video", ".mkv", lambda path: video(path, [0, 1, 2, 9_000_000])),
    "video: 5,000 tiny frames": ("video", ".avi", lambda path: video(path, list(range(5000)), size=(16, 16))),
    "sound: hours in a small file": ("sound", ".flac", lambda path: quiet(path, 4 * 3600)),
    "sound: one sample per second": ("sound", ".wav", lambda path: sound(path, 1, 2_000_000)),
    "photo: 64 million pixels": ("photo", ".png", lambda path: path.write_bytes(png(8000, 8000, kind=6))),
    "photo: 64 million pixels of 16 bits": ("photo", ".png", lambda path: path.write_bytes(png(8000, 8000, depth=16))),
    "photo: scans over scans": ("photo", ".jpg", lambda path: path.write_bytes(jpeg_of_scans(2000, 4000))),
    "photo: thousands of pages": ("photo", ".tif", lambda path: tiff(path, 5000)),
}


def _sparse(path: Path, head: bytes, size: int) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
