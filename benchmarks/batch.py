"""Builds many photos with ``avatarkit batch``, kills a worker and the driver, runs it again, and compares with a plain loop.

    python benchmarks/batch.py photos/ -o batch.json --count 200                on this machine
    python benchmarks/batch.py photos/ -o batch.json --count 200 --batch "--on ray --address 127.0.0.1:6379"
    python benchmarks/batch.py photos/ -o batch.json --count 12 --sample 2 --keep run/

The photos are those of the folders, then variants of them: mirrored, cropped, and saved with less quality. One in ten is bad: a
text, a photo cut off in the middle, a picture without a person, and an empty file. A worker of the run is killed (SIGKILL) when a
quarter of the photos are over, and the driver when half of them are. The same command then goes on, without a kill. In the end
``avatarkit build`` makes the avatars of a random sample, one after another, and their bits are compared. The JSON holds

    good, bad       how many photos of each kind became avatars, failed, or are missing
    unexpected      names and reasons of those that did not end as they should
    twice           avatars that were made again by the second command
    reasons         the reasons of bad photos, and how often
    equal           avatars of the sample with the same tensors, measures and pictures as in the plain loop, of how many
    rate            photos a minute of batch, both commands together, and of the loop, for photos that became avatars
    memory_mb       most memory of a worker and of the driver

Pictures are compared by their pixels, because the files hold signatures, which hold random numbers. It runs on Linux: it reads
``/proc``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageOps

import avatarkit
from avatarkit_cli.batch.inputs import read_photos

_AVATARKIT = (sys.executable, "-m", "avatarkit_cli.main")
_POLL_SECONDS = 0.05
_BAD_SHARE = 10  # one photo in so many


def _jpeg(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=quality)
    return stream.getvalue()


def _cropped(image: Image.Image, part: float) -> Image.Image:
    """Return the picture without its margins; the bottom stays, where half figures end."""
    width, height = image.size
    return image.crop((round(part * width), round(part * height / 2), round((1 - part) * width), height))


VARIANTS: dict[str, Callable[[Image.Image], bytes]] = {
    "same": lambda image: _jpeg(image, 95),
    "mirrored": lambda image: _jpeg(ImageOps.mirror(image), 95),
    "cropped": lambda image: _jpeg(_cropped(image, 0.04), 95),
    "quality": lambda image: _jpeg(image, 70),
    "mirrored-cropped": lambda image: _jpeg(_cropped(ImageOps.mirror(image), 0.02), 90),
    "mirrored-quality": lambda image: _jpeg(ImageOps.mirror(image), 80),
}
BAD: dict[str, Callable[[Image.Image], bytes]] = {
    "text": lambda image: b"This is no picture.",
    "cut": lambda image: _jpeg(image, 90)[: 20_000 if image.width > 400 else 2_000],
    "nobody": lambda image: _jpeg(Image.linear_gradient("L").convert("RGB").resize(image.size), 90),
    "empty": lambda image: b"",
}


def write_photos(sources: list[Path], count: int, folder: Path) -> list[str]:
    """Write that many photos and return the names of the bad ones."""
    folder.mkdir()
    bad: list[str] = []
    for number in range(count):
        source = sources[number % len(sources)]
        with Image.open(source) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        if number % _BAD_SHARE == _BAD_SHARE // 2:
            kind = list(BAD)[len(bad) % len(BAD)]
            name, data = f"{number:04}-bad-{kind}", BAD[kind](image)
            bad.append(name)
        else:
            kind = list(VARIANTS)[number // len(sources) % len(VARIANTS)]
            name, data = f"{number:04}-{source.stem}-{kind}", VARIANTS[kind](image)
        (folder / f"{name}.jpg").write_bytes(data)
    return bad


class Run:
    """A command ``avatarkit batch`` that is watched.

    Attributes:
        memory_mb: the most resident memory of the driver that was seen.
    """

    def __init__(self, command: list[str], folder: Path) -> None:
        self.began, self.memory_mb = time.monotonic(), 0.0
        self._folder, self._log = folder, folder.with_name(f"{folder.name}.log").open("ab")
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL)

    def over(self) -> int:
        """Return how many photos are avatars or have failed."""
        return len(list(self._folder.glob("avatars/*.avatar"))) + len(list(self._folder.glob("failed/*.txt")))

    def until(self, reached: Callable[[], Any]) -> bool:
        """Wait; False if the command ended before."""
        while not reached():
            if self.process.poll() is not None:
                return False
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
            self.memory_mb = max(self.memory_mb, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
            time.sleep(_POLL_SECONDS)
        return True

    def end(self) -> float:
        """Wait for the end of the command and return its seconds."""
        self.until(lambda: False)
        self.process.wait()
        self._log.close()
        return time.monotonic() - self.began


def workers(run: str) -> Iterator[int]:
    """Yield the processes on this machine that build photos for the run in a folder; of Ray's and Slurm's those, too."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
            log = os.readlink(entry / "fd" / "1")
        except (OSError, UnicodeDecodeError):
            continue
        if "avatarkit_cli.batch.worker" in command and log.startswith(f"{run}/work/"):
            yield int(entry.name)


def digest(avatar: Path) -> str:
    """Return the SHA-256 of an avatar's tensors, measures, and pixels of picture and video."""
    found = hashlib.sha256((avatar / "avatar.safetensors").read_bytes())
    found.update(json.dumps(json.loads((avatar / "manifest.json").read_text(encoding="utf-8"))["metrics"]).encode())
    with Image.open(avatar / "preview.png") as image:
        found.update(image.tobytes())
    with av.open(avatar / "preview.mp4") as video:
        for frame in video.decode(video=0):
            found.update(frame.to_ndarray(format="rgb24").tobytes())
    return found.hexdigest()


def judged(rows: dict[str, dict[str, Any]], names: list[str], bad: list[str]) -> dict[str, Any]:
    """Compare how photos ended with how they should have."""
    good = [name for name in names if name not in bad]
    states = {name: rows.get(name, {"state": "missing", "reason": ""}) for name in names}
    wrong = [name for name in names if states[name]["state"] != ("failed" if name in bad else "done")]
    return {
        "good": dict(Counter(states[name]["state"] for name in good)),
        "bad": dict(Counter(states[name]["state"] for name in bad)),
        "unexpected": {name: f"{states[name]['state']}: {states[name]['reason']}" for name in wrong},
        "reasons": dict(Counter(states[name]["reason"].split(": ")[-1] for name in bad)),
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the run, disturb it, and compare it with the loop."""
    sources = [row.photo for row in read_photos(options.photos)]
    bad = write_photos(sources, options.count, folder / "photos")
    names = sorted(path.stem for path in (folder / "photos").iterdir())
    run = folder / "run"
    build = shlex.split(options.build)
    command = [*_AVATARKIT, "batch", str(folder / "photos"), "-o", str(run), *build, *shlex.split(options.batch)]

    first = Run(command, run)
    killed = []
    if first.until(lambda: first.over() >= options.count // 4 and any(workers(str(run)))):
        killed.append(next(workers(str(run))))
        os.kill(killed[0], signal.SIGKILL)
    if first.until(lambda: first.over() >= options.count // 2):
        killed.append(first.process.pid)
        first.process.kill()
    seconds = first.end()
    before = {path.name: path.stat().st_ctime_ns for path in run.glob("avatars/*.avatar")}
    second = Run(command, run)
    seconds += second.end()
    after = {path.name: path.stat().st_ctime_ns for path in run.glob("avatars/*.avatar")}
    rows = {row["name"]: row for row in map(json.loads, (run / "index.jsonl").read_text().splitlines())}

    done = [name for name in names if rows[name]["state"] == "done"]
    sample = sorted(random.Random(0).sample(done, min(options.sample, len(done))))
    began = time.monotonic()
    for name in sample:
        output = folder / "loop" / f"{name}.avatar"
        subprocess.run(
            [*_AVATARKIT, "build", str(folder / "photos" / f"{name}.jpg"), "-o", str(output), *build],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    loop = time.monotonic() - began
    pairs = {name: [folder / place / f"{name}.avatar" for place in ("run/avatars", "loop")] for name in sample}
    equal = [name for name, (one, other) in pairs.items() if digest(one) == digest(other)]
    rate = {"batch": 60 * len(done) / seconds, "loop": 60 * len(sample) / loop if sample else 0.0}
    return {
        "photos": len(names), "sources": len(sources), "killed": ["worker", "driver"][: len(killed)],
        "exit_code": second.process.returncode, **judged(rows, names, bad),
        "attempts": dict(Counter(str(rows[name]["attempts"]) for name in names)),
        "twice": [name for name in before if after.get(name) != before[name]],
        "equal": {"of": len(sample), "equal": len(equal), "different": sorted({*sample} - {*equal})},
        "seconds": {"batch": round(seconds, 1), "loop": round(loop, 1)},
        "rate": {name: round(value, 2) for name, value in rate.items()},
        "memory_mb": {
            "worker": max((rows[name]["peak_memory_mb"] for name in done), default=0),
            "driver": round(max(first.memory_mb, second.memory_mb)),
        },
    }  # fmt: skip


def main() -> None:
    """Read the command line and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path, help="photos, folders, globs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON")
    parser.add_argument("--count", type=int, default=200, help="photos of the run")
    parser.add_argument("--sample", type=int, default=10, help="photos of the plain loop")
    parser.add_argument("--build", default="--preset instant", help="options of batch and build (%(default)s)")
    parser.add_argument("--batch", default="", help="options of batch alone, such as '--jobs 2'")
    parser.add_argument("--keep", type=Path, help="a new folder for photos and avatars; they are deleted otherwise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=options.keep is None)
        found = measure(options, folder)
    load = [round(value, 1) for value in os.getloadavg()]
    machine = {"cores": len(os.sched_getaffinity(0)), "platform": platform.platform(), "load": load}
    result = {"avatarkit": avatarkit.__version__, "options": f"{options.build} {options.batch}".strip(), **machine, **found}
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
