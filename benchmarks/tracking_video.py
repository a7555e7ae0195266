"""How well and how fast videos are tracked: a table with a row per clip, and pictures to look at.

    python benchmarks/tracking_video.py CLIP... -o report/ --frames 60

Seen: part of the frames with a person, a face, and either hand. Errors: median distance between detected and fitted
landmarks in percent of the head's height after smoothing, over frames that were seen. Jitter: mean size of the second
differences of joints, millimeters per frame squared, of the head and of the wrists, before and after smoothing; real
movement has some, too. Speed: frames per second of processor time (what one core does if nothing else runs) of landmarks
and fitting together, at the size that the tracker works at. ``CLIP.png`` shows eight frames with the mesh on them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.errors import InputError
from avatarkit.interfaces import BodyModel
from avatarkit.io.video import probe, read_frames
from avatarkit.tracking import MAX_SIDE
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import front_camera
from avatarkit_exavatar.observations.observation import observe
from avatarkit_exavatar.photo.overlay import draw_mesh, part_colors
from avatarkit_exavatar.photo.quality import landmark_errors
from avatarkit_exavatar.tracker import ExAvatarTracker

SHOWN = 8


def jitter(body: BodyModel, params: BodyParams) -> dict[str, float]:
    """Millimeters per frame squared of the head and the wrists."""
    skeleton = body.skeleton(params.shape)
    A = body.joint_transforms(skeleton, params.root, params.translation, params.joints)
    first = {g.name: g.joints[0] for g in body.pose_groups}
    places = (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]
    shake = places.diff(n=2, dim=0).norm(dim=-1).mean(0) * 1000
    return {"head": float(shake[first["head"]]), "wrists": float(shake[[first["left_wrist"], first["right_wrist"]]].mean())}


def track_clip(path: Path, components: Components, limit: int, output: Path) -> dict[str, Any]:
    """Tracks one clip and writes its pictures; the row of the table."""
    tracker: ExAvatarTracker = components.get("tracker")
    body, fps = components.get("body"), probe(path).fps
    images = [image for _, image in islice(read_frames(path, fps, MAX_SIDE), limit)]
    height, width = images[0].shape[:2]
    camera = front_camera(width, height)
    row: dict[str, Any] = {"clip": path.name, "frames": len(images), "size": f"{width}x{height}"}
    begin = time.process_time()
    keypoints = list(components.get("keypoints").detect_video(iter(images)))
    row["seconds_landmarks"] = time.process_time() - begin
    known = [k for k in keypoints if k is not None]
    row["seen"] = len(known) / len(images)
    for name in ("face478", "hand21_left", "hand21_right"):
        row[name] = sum(k.has(name) for k in known) / len(images)
    begin = time.process_time()
    try:
        motion: Motion = tracker.track(keypoints, None, fps, cameras=[camera] * len(images))
    except InputError as error:
        return row | {"refused": str(error)}
    row["seconds_fit"] = time.process_time() - begin
    row["fps"] = len(images) / (row["seconds_landmarks"] + row["seconds_fit"])
    rough_tracker = ExAvatarTracker(replace(tracker.config, smoothing_rounds=0), tracker.context)
    rough = rough_tracker.track(keypoints, None, fps, cameras=[camera] * len(images))
    for name, value in jitter(body, rough.params).items():
        row[f"jitter {name} before"] = value
    for name, value in jitter(body, motion.params).items():
        row[f"jitter {name} after"] = value
    errors: dict[str, list[float]] = {}
    for number, k in enumerate(keypoints):
        if k is not None:
            fit = landmark_errors(body, tracker.parameters, motion.params[number], observe(k, body), camera)
            for name, value in fit.items():
                errors.setdefault(name.replace("_error_percent_head", ""), []).append(value)
    row |= {name: statistics.median(values) for name, values in errors.items()}
    sheet(images, motion, components, output / f"{path.stem}.png")
    return row


def sheet(images: list[np.ndarray], motion: Motion, components: Components, path: Path) -> None:
    """Eight frames, each beside the same with the mesh on it; a red bar marks bridged frames."""
    body, meshes = components.get("body"), components.get("renderer").meshes
    height, width = images[0].shape[:2]
    colors, camera, cells = part_colors(body), front_camera(width, height), []
    for number in np.linspace(0, len(images) - 1, SHOWN).astype(int):
        vertices = body.vertices(motion.params[int(number)].batched())[0]
        drawn = draw_mesh(images[number], vertices, body.faces, camera, meshes, 0.75, colors)
        if motion.valid is not None and not motion.valid[number]:
            drawn[:8] = (255, 0, 0)
        cells.append(np.concatenate([images[number], drawn], 1))
    rows = [np.concatenate(cells[k : k + 2], 1) for k in range(0, SHOWN, 2)]
    whole = Image.fromarray(np.concatenate(rows, 0))
    whole.thumbnail((2000, 2000))
    whole.save(path)


def show(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table."""

    def cell(row: dict[str, Any], name: str) -> str:
        return "-" if row.get(name) is None else f"{row[name]:.2f}"

    lines = [
        "| clip | frames | seen, face, left, right | face % | left hand % | right hand % | body % "
        "| head jitter | wrist jitter | fps |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in (r for r in rows if "refused" not in r):
        seen = ", ".join(cell(row, n) for n in ("seen", "face478", "hand21_left", "hand21_right"))
        errors = " | ".join(cell(row, n) for n in ("face", "left_hand", "right_hand", "body"))
        shake = " | ".join(f"{cell(row, f'jitter {n} before')} to {cell(row, f'jitter {n} after')}" for n in ("head", "wrists"))
        lines.append(f"| {row['clip']} | {row['frames']} | {seen} | {errors} | {shake} | {cell(row, 'fps')} |")
    return "\n".join(lines + [f"\n{r['clip']}: {r['refused']}" for r in rows if "refused" in r])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=Path("tracking-report"))
    parser.add_argument("--frames", type=int, default=60, help="at most so many of each clip")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    components = Components(Recipe.load("standard"))
    rows = []
    with torch.no_grad():
        for path in options.clips:
            rows.append(track_clip(path, components, options.frames, options.output))
            print(json.dumps(rows[-1]), flush=True)
    (options.output / "tracking-video.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(show(rows))


if __name__ == "__main__":
    main()
