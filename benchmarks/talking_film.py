"""Reads a talking film of an avatar back: do lips touch, does the person blink, do hands move as people's do?

    python benchmarks/talking_film.py ada.avatar --videos TALKS -o benchmarks/results/talking_film.json

The avatar says ``TEXT`` with eSpeak NG, about a minute, seen from near. MediaPipe's face mesh looks at the rendered frames: the
lips touch for a p, b or m if their inner borders are at most ``TOUCH`` apart in one frame of it, and the eyes blink where their
opening falls below half of what is usual. ``--videos`` is a folder of videos of people who talk with their hands; the product
tracks them, and the speed and the jerk of wrists are compared, both at 25 frames per second and against the neck. A video
counts where it shows the hand.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import avatarkit
from avatarkit.animation import LoadedAvatar
from avatarkit.interfaces import BodyModel
from avatarkit.io.audio import read_sound
from avatarkit.io.video import probe, read_frames
from avatarkit.motion.mixing import with_resting_arms
from avatarkit.motion.speech import RATE, say
from avatarkit.tracking import MAX_SIDE
from avatarkit.types.body import BodyParams, Motion, SurfaceLandmarks
from avatarkit.types.camera import Camera, front_camera
from avatarkit.types.speech import Sound

TEXT = """
Hello, my name is Mary, and I am glad to meet you. Please bring both boxes up before five on Monday. What a beautiful morning
for a walk by the river. My brother Bob bought a map, a lamp and a paper cup. People may ask about the price, but the number is
not public. We build bridges of wood and stone. Remember to bring your membership card, and keep it in your pocket. Some problems
look big, and become simple in the morning. Pay the bill, and put the book back on the table. Maybe we can stop for a moment, and
talk about the plan. The baby is asleep, so please be quiet. Thank you for coming, and goodbye.
"""
TOUCH = 0.03  # of the distance of the outer corners of the eyes, which is about 3 mm
SIDE = 384  # pixels of the film
FPS = 25.0

_LIPS = ((13, 14), (82, 87), (312, 317))  # of MediaPipe's face mesh: inner borders of the upper and the lower lip
_EYES = (33, 263)  # outer corners
_LIDS = ((159, 145), (386, 374))
_PERCENTILES = (50, 90, 99)


def near_camera(avatar: LoadedAvatar) -> Camera:
    """Return the photo's camera, cropped to the head with room to move."""
    table = avatar.body.landmarks("face478")
    assert isinstance(table, SurfaceLandmarks)
    vertices = avatar.body.vertices(avatar.photo_params.batched())[0]
    points = (vertices[table.triangles] * table.barycentric[..., None]).sum(1)
    pixels = avatar.photo_camera.project(points)
    low, high = pixels.amin(0), pixels.amax(0)
    side = round(float((high - low).max()) * 2.2)
    x, y = ((low + high) / 2 - side / 2).tolist()
    return avatar.photo_camera.cropped(x, y, side, side).resized(SIDE, SIDE)


def seen_face(points: np.ndarray) -> tuple[float, float]:
    """Return the openings of the lips and of the eyes, as shares of the distance of the eyes."""
    eyes = float(np.linalg.norm(points[_EYES[0]] - points[_EYES[1]]))
    lips, lids = (np.mean([np.linalg.norm(points[a] - points[b]) for a, b in pairs]) for pairs in (_LIPS, _LIDS))
    return float(lips / eyes), float(lids / eyes)


def count_blinks(lids: np.ndarray) -> int:
    """Return how often eyes open at (T,) fall below half of what is usual."""
    closed = lids < 0.5 * np.median(lids)
    return int(closed[0]) + int((closed[1:] & ~closed[:-1]).sum())


def wrists(body: BodyModel, params: BodyParams) -> dict[str, np.ndarray]:
    """Return side -> (T, 3) places of the wrist from the neck, meters."""
    skeleton = body.skeleton(params.shape)
    A = body.joint_transforms(skeleton, params.root, params.translation, params.joints)
    places = (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]
    first = {group.name: group.joints[0] for group in body.pose_groups}
    return {side: (places[:, first[f"{side}_wrist"]] - places[:, first["neck"]]).numpy() for side in ("left", "right")}


def pace(places: np.ndarray, fps: float, seen: np.ndarray | None = None) -> dict[str, float]:
    """Return percentiles of speed (m/s) and jerk (m/s^3) of a path (T, 3) at ``FPS``, of the moments that are seen."""
    t = np.arange(0, len(places) / fps - 0.5 / fps, 1 / FPS)
    path = np.stack([np.interp(t, np.arange(len(places)) / fps, axis) for axis in places.T], 1)
    kept = np.ones(len(t), bool) if seen is None else seen[np.minimum((t * fps + 0.5).astype(int), len(seen) - 1)]
    out: dict[str, float] = {}
    for name, order in (("speed", 1), ("jerk", 3)):
        size = np.linalg.norm(np.diff(path, order, axis=0), axis=1) * FPS**order
        size = size[np.lib.stride_tricks.sliding_window_view(kept, order + 1).all(1)]
        out |= {f"{name} {p}": float(np.percentile(size, p)) for p in _PERCENTILES}
    return out


def people(folder: Path, avatar: LoadedAvatar, limit: int) -> dict[str, dict[str, float]]:
    """Return (video and side) -> percentiles of the wrists that videos show in at least a third of their frames."""
    out = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".mp4", ".mov", ".mpg", ".webm", ".mkv"):
            continue
        fps = probe(path).fps
        images = [image for _, image in islice(read_frames(path, fps, MAX_SIDE), limit)]
        height, width = images[0].shape[:2]
        found = list(avatar.components.get("keypoints").detect_video(iter(images)))
        seen = {side: np.array([k is not None and k.has(f"hand21_{side}") for k in found]) for side in ("left", "right")}
        if not any(part.mean() > 1 / 3 for part in seen.values()):
            continue
        motion = avatar.components.get("tracker").track(found, None, fps, cameras=[front_camera(width, height)] * len(images))
        for side, places in wrists(avatar.body, motion.params).items():
            if seen[side].mean() > 1 / 3:
                out[f"{path.stem} {side}"] = pace(places, fps, seen[side])
    return out


def film(avatar: LoadedAvatar, style: str, seconds: float, pictures: Path | None) -> dict[str, Any]:
    """Return what is seen in a film, at most so many seconds long, of the avatar that says ``TEXT``."""
    components = avatar.components
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        text = say(components.outside_builds("synthesizer"), " ".join(TEXT.split()), path)
        sound = Sound(read_sound(path, RATE), RATE, path.name)
    visemes, motion = components.speech_driver().drive(sound, text, FPS, 0, style)
    motion = with_resting_arms(motion, avatar.photo_params, avatar.body)
    paces = {side: pace(places, FPS) for side, places in wrists(avatar.body, motion.params).items()}
    shown = min(len(motion), round(seconds * FPS))
    images = list(_images(avatar, motion, shown, pictures))
    faces = [None if k is None else k.points.get("face478") for k in components.get("keypoints").detect_video(iter(images))]
    lips, lids = np.array([(np.nan, np.nan) if face is None else seen_face(face) for face in faces]).T
    visemes = [v for v in visemes if v.end < shown / FPS]
    times = [v.start for v in visemes if v.name == "PP"]
    contacts = [_least(lips, v.start, v.end) for v in visemes if v.name == "PP"]
    vowels = [_most(lips, v.start, v.end) for v in visemes if v.name in ("aa", "E") and v.strength > 0.7]
    known = np.isfinite(lids)
    return {
        "style": style, "seconds": shown / FPS, "face seen": float(known.mean()), "contacts": len(contacts),
        "touch": float(np.mean(np.array(contacts) <= TOUCH)), "contact opening": _spread(contacts),
        "vowel opening": _spread(vowels), "blinks per minute": count_blinks(lids[known]) / shown * FPS * 60,
        "wrists": paces, "lips": lips.round(4).tolist(), "lids": lids.round(4).tolist(), "contact times": times,
    }  # fmt: skip


def _images(avatar: LoadedAvatar, motion: Motion, count: int, pictures: Path | None) -> Iterator[np.ndarray]:
    """Yield the first frames of the film, from the folder of pictures if it has them all."""
    if pictures is not None and len(list(pictures.glob("*.png"))) >= count:
        yield from (np.asarray(Image.open(pictures / f"{k:05d}.png")) for k in range(count))
        return
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    for k, frame in enumerate(islice(avatar.animate(motion, near_camera(avatar)), count)):
        image = frame.pixels(False)
        if pictures is not None:
            Image.fromarray(image).save(pictures / f"{k:05d}.png")
        yield image


def _frames(start: float, end: float, count: int) -> slice:
    """Return the frames on screen during a sound."""
    return slice(max(0, round(start * FPS)), min(count, max(round(end * FPS), round(start * FPS)) + 1))


def _least(values: np.ndarray, start: float, end: float) -> float:
    return float(np.nanmin(values[_frames(start, end, len(values))]))


def _most(values: np.ndarray, start: float, end: float) -> float:
    return float(np.nanmax(values[_frames(start, end, len(values))]))


def _spread(values: Sequence[float]) -> list[float]:
    return [round(float(np.percentile(values, p)), 4) for p in (5, 50, 95)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--videos", type=Path, help="folder of videos of people who talk with their hands")
    parser.add_argument("--frames", type=int, default=225, help="at most so many of each video")
    parser.add_argument("--style", default="lively")
    parser.add_argument("--seconds", type=float, default=120.0, help="of the film, at most")
    parser.add_argument("--pictures", type=Path, help="folder that keeps the frames of the film for another run")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    avatar = avatarkit.load(options.avatar, device="cpu")
    with torch.no_grad():
        found = film(avatar, options.style, options.seconds, options.pictures)
        for name in (
            "style",
            "seconds",
            "face seen",
            "contacts",
            "touch",
            "contact opening",
            "vowel opening",
            "blinks per minute",
        ):
            print(f"{name:20}{found[name]}", flush=True)
        known = people(options.videos, avatar, options.frames) if options.videos else {}
    rows = {f"avatar {side}": values for side, values in found["wrists"].items()} | known
    columns = list(next(iter(rows.values())))
    print(f"{'wrists':36}" + "".join(f"{name:>10}" for name in columns))
    for name, values in rows.items():
        print(f"{name:36}" + "".join(f"{values[column]:10.2f}" for column in columns))
    if options.output:
        options.output.write_text(json.dumps(found | {"people": known}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
