"""What builds take, stage by stage, and how fast finished avatars play.

    python benchmarks/build.py --build instant draft standard        builds the sample photo, then plays what came out
    python benchmarks/build.py ada.avatar bob.avatar                 avatars that are there already

Seconds and peak memory per stage come from the manifests. Playing is the whole of ``avatarkit animate`` after loading: poses,
rasterizing and encoding to H.264. Frames per second are wall-clock; the processor's milliseconds per frame, over all threads, are
disturbed less by other programs. How the cost grows is shown over avatars (Gaussians), sizes (pixels) and lengths (frames).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import avatarkit
from avatarkit.animation import LoadedAvatar, load
from avatarkit.io.photo import sample_photo
from avatarkit.io.video import VideoWriter
from avatarkit.types.body import Motion


def build(preset: str, folder: Path) -> Path:
    avatarkit.build(sample_photo("portrait"), folder / f"{preset}.avatar", preset=preset)
    return folder / f"{preset}.avatar"


def stages(avatar: Path) -> dict[str, Any]:
    """Preset, and per stage the seconds and peak memory; clips of one kind are summed."""
    manifest = json.loads((avatar / "manifest.json").read_text())
    found: dict[str, dict[str, float]] = {}
    for name, stage in manifest["stages"].items():
        kind = name.rstrip("0123456789").rstrip("-")
        row = found.setdefault(kind, {"seconds": 0.0, "peak_memory_mb": 0.0, "times": 0})
        row["seconds"] = round(row["seconds"] + stage["seconds"], 2)
        row["peak_memory_mb"] = max(row["peak_memory_mb"], stage["peak_memory_mb"])
        row["times"] += 1
    return {"preset": manifest["recipe"]["name"], "stages": found, "seconds": round(sum(r["seconds"] for r in found.values()), 1)}


def play(avatar: LoadedAvatar, motion: Motion, size: tuple[int, int], frames: int) -> dict[str, Any]:
    """Frames per second and the processor's milliseconds per frame, after three frames to warm up."""
    length = min(frames, len(motion))
    motion = replace(motion, params=motion.params[:length])
    with tempfile.TemporaryDirectory() as folder:
        for _ in avatar.animate(replace(motion, params=motion.params[:3]), "front", size):
            pass
        begin, busy = time.perf_counter(), time.process_time()
        with VideoWriter(Path(folder) / "out.mp4", *size, motion.fps) as video:
            for frame in avatar.animate(motion, "front", size):
                video.write(frame.pixels())
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    return {"frames": length, "fps": round(length / seconds, 1), "processor_ms": round(busy / length * 1e3, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Times builds and playing.")
    parser.add_argument("avatars", type=Path, nargs="*")
    parser.add_argument("--build", nargs="+", default=[], metavar="PRESET")
    parser.add_argument("--sizes", nargs="+", default=["144x256", "288x512", "576x1024"], metavar="WxH")
    parser.add_argument("--frames", type=int, nargs="+", default=[30, 60, 120])
    parser.add_argument("--motion", default="talk")
    parser.add_argument("--json", type=Path, default=Path("build.json"), help="where the numbers go")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "avatars": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for path in [*options.avatars, *(build(preset, Path(folder)) for preset in options.build)]:
            row = stages(path)
            print(f"{row['preset']}: {row['seconds']} s")
            for name, stage in row["stages"].items():
                print(f"  {name:<14} {stage['seconds']:>8.1f} s {stage['peak_memory_mb']:>8.0f} MB")
            avatar = load(path)
            motion = avatar.components.get("motions").motion(options.motion)
            row |= {"gaussians": len(avatar.model.pose(avatar.photo_params).gaussians), "playing": []}
            middle = options.sizes[len(options.sizes) // 2]
            for size in options.sizes:
                for frames in options.frames if size == middle else options.frames[:1]:
                    w, h = map(int, size.split("x"))
                    played = {"size": size, **play(avatar, motion, (w, h), frames)}
                    row["playing"].append(played)
                    print(f"  {row['gaussians']:>7} Gaussians {played}", flush=True)
            report["avatars"].append(row)
    options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
