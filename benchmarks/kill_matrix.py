"""Kills commands at random moments, runs them again, and compares with a run that was not disturbed.

    python benchmarks/kill_matrix.py --kills 20                          draft, animate, export, track
    python benchmarks/kill_matrix.py --kills 5 --only animate export --avatar ada.avatar
    python benchmarks/kill_matrix.py --only draft --set training.steps=8 --jobs 4     the same files, in less time
    python benchmarks/kill_matrix.py --only weights --fetch "weights fetch liveportrait --yes" --env HF_ENDPOINT=http://127.0.0.1:8000

Every command is first run to its end twice: the first gives the seconds among which the moments of the kills are drawn, the
second says whether its bytes can be compared at all. Then, for each kill: a fresh folder with files of the user's in it, the
command, SIGKILL after so many seconds, the same command again without a kill. A command that ended before its kill is started
afresh with another moment, up to three times. Counted are

    killed    the process was still running at that moment
    quarters  how many of the killed were in the first, second, third and last quarter of the run
    state     after the kill the output is the old one, the new one, or not there; nothing between
    equal     after the second run every file of the output has the bytes of the undisturbed run (see _VOLATILE); nothing is
              signed, because signatures hold random numbers
    clean     no temporary file is left, and beside the output there is nothing new
    users     the user's files, beside the output and in it, are as they were

``weights fetch`` needs a server: start one that serves a repository, and give the command with ``--fetch`` and what leads it
there with ``--env``. The output of ``--fetch`` is the cache folder of the run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import avatarkit
from avatarkit.io.photo import sample_photo
from avatarkit.utils.leftovers import is_temporary

_USERS = {"notes.txt": b"of the user", "pictures/holiday.jpg": b"\xff\xd8 of the user"}
_VOLATILE = ("manifest.json", "report.html", "stage.json", "key.json")
"""Files that hold the time that a run took; of them only the presence is compared."""
_HELPERS = ("cache/", "weights/.")
"""Folders that only help the next run to go on: stages of a build, weights that are not whole yet and how they were fetched."""


@dataclass(frozen=True)
class Command:
    """A command to kill.

    Attributes:
        name: in the table. arguments: of ``avatarkit``; ``OUT`` stands for the output. output: its name.
    environment: added. old: whether an older output is there before.
    """

    name: str
    arguments: tuple[str, ...]
    output: str
    environment: tuple[tuple[str, str], ...] = ()
    old: bool = False

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        out = str(folder / self.output)
        environment = {**os.environ, **{k: v.replace("OUT", out) for k, v in self.environment}}
        arguments = [a.replace("OUT", out) for a in self.arguments]
        return subprocess.Popen(
            [sys.executable, "-m", "avatarkit_cli.main", *arguments],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def finish(self, folder: Path) -> None:
        process = self.start(folder)
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(f"{self.name} ended with {process.returncode}:\n{said.decode(errors='replace')}")


def commands(arguments: argparse.Namespace, work: Path) -> list[Command]:
    photo, avatar = str(sample_photo("portrait")), str(arguments.avatar)
    options = tuple(text for pair in arguments.set for text in ("--set", pair))
    made = [
        Command("instant", ("build", "--no-sign", photo, "--preset", "instant", *options, "-o", "OUT"), "ada.avatar"),
        Command("draft", ("build", "--no-sign", photo, "--preset", "draft", *options, "-o", "OUT"), "ada.avatar"),
        Command(
            "rebuild", ("build", "--no-sign", photo, "--preset", "instant", *options, "--fresh", "-o", "OUT"), "ada.avatar",
            old=True,
        ),
        Command("animate", ("animate", "--no-sign", avatar, "--size", "128x192", "-o", "OUT"), "ada.mp4", old=True),
        Command("frames", ("animate", "--no-sign", avatar, "--size", "128x192", "-o", "OUT"), "frames", old=True),
        Command("export", ("export", "--no-sign", avatar, "--to", "glb", "-o", "OUT"), "ada.glb", old=True),
        Command("page", ("export", "--no-sign", avatar, "--to", "web", "-o", "OUT"), "page", old=True),
        Command("track", ("track", str(arguments.video or work / "clip.mp4"), "-o", "OUT"), "me.npz", old=True),
    ]
    if arguments.fetch:
        given = tuple(tuple(pair.split("=", 1)) for pair in arguments.env)
        environment = (("AVATARKIT_CACHE", "OUT"), *given)
        made.append(Command("weights", tuple(shlex.split(arguments.fetch)), "cache", environment))  # type: ignore[arg-type]
    return [c for c in made if c.name in arguments.only]


def files(folder: Path) -> dict[str, str]:
    """Name -> sha256 of what a run leaves; locks are no output."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and "locks/" not in name:
            found[name] = "" if path.name in _VOLATILE else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def prepare(command: Command, folder: Path, old: Path | None) -> None:
    folder.mkdir()
    for name, content in _USERS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    if old is None:
        return
    place = folder / command.output
    shutil.copytree(old, place) if old.is_dir() else shutil.copyfile(old, place)
    if place.is_dir():
        (place / "diary.txt").write_bytes(b"of the user")


def users(folder: Path) -> dict[str, bytes]:
    names = {*_USERS, *(p.relative_to(folder).as_posix() for p in folder.glob("*/diary.txt"))}
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def output(folder: Path, command: Command) -> dict[str, str]:
    """Return the files of the output alone, without those that only help the next run to go on."""
    place = folder / command.output
    found = files(place) if place.is_dir() else {n: s for n, s in files(folder).items() if n == command.output}
    return {n: s for n, s in found.items() if not n.startswith(_HELPERS) and n != "diary.txt" and not n.endswith(".part")}


def kill(command: Command, folder: Path, seconds: float, old: Path | None) -> bool:
    """Start the command in a fresh folder and kill it; return whether it was still running."""
    shutil.rmtree(folder, ignore_errors=True)
    prepare(command, folder, old)
    process = command.start(folder)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{command.name} ended with {process.returncode} before its kill:\n{said.decode(errors='replace')}")
    return process.returncode < 0


def once(
    command: Command, folder: Path, moments: list[float], new: dict[str, str], names: dict[str, str], old: Path | None
) -> dict[str, Any]:
    """One kill at the first of these moments that the command lives to see, and one run to the end."""
    prepare(command, folder, old)
    mine, before = users(folder), output(folder, command)
    for seconds in moments:
        killed = kill(command, folder, seconds, old)
        if killed:
            break
    after = output(folder, command)
    row = {"seconds": round(seconds, 3), "killed": killed, "state": after in ({}, before, new)}
    kept = users(folder) == mine
    command.finish(folder)
    left = files(folder)
    temporary = [p.as_posix() for p in folder.rglob("*") if is_temporary(p.name) or p.name.endswith((".tmp", ".new", ".old"))]
    strange = sorted(set(left) ^ set(names))
    row |= {
        "equal": all(left.get(name) == sha256 for name, sha256 in names.items()),
        "clean": not temporary and not strange,
        "users": kept and users(folder) == mine,
        "left": [*temporary, *strange][:10],
        "differs": [name for name, sha256 in names.items() if left.get(name) != sha256][:10],
    }
    print(f"  {command.name} {row}", file=sys.stderr, flush=True)
    shutil.rmtree(folder)
    return row


def matrix(command: Command, work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All kills of one command, some at the same time."""
    home, draw = Path(tempfile.mkdtemp(dir=work)), random.Random(arguments.seed)
    old = None
    if command.old:  # what an earlier run left; a run over it gives the same
        prepare(command, home / "old", None)
        command.finish(home / "old")
        old = home / "old" / command.output

    def undisturbed(name: str) -> float:
        prepare(command, home / name, old)
        begin = time.perf_counter()
        command.finish(home / name)
        return time.perf_counter() - begin

    with ThreadPoolExecutor(arguments.jobs) as pool:  # the runs that are timed share the machine as the killed ones do
        length, _ = pool.map(undisturbed, ("first", "second"))
        names, new = files(home / "first"), output(home / "first", command)
        same = names == files(home / "second")
        moments = [[draw.uniform(0.0, length) for _ in range(3)] for _ in range(arguments.kills)]
        rows = list(pool.map(lambda i: once(command, home / f"kill-{i}", moments[i], new, names, old), range(arguments.kills)))
    shutil.rmtree(home)
    quarters = [0, 0, 0, 0]
    for row in rows:
        quarters[min(int(4 * row["seconds"] / length), 3)] += row["killed"]
    return {"command": command.name, "seconds": round(length, 2), "reproducible": same, "quarters": quarters, "kills": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--only", nargs="*", default=["draft", "animate", "export", "track"], help="names of commands")
    parser.add_argument("--avatar", type=Path, help="to play and export; else one is built with the preset instant")
    parser.add_argument("--video", type=Path, help="to track; else a film of the avatar")
    parser.add_argument("--fetch", help="arguments of avatarkit that fetch weights from a server of yours")
    parser.add_argument("--env", nargs="*", default=[], metavar="NAME=VALUE", help="for --fetch; OUT is the output")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="options of the recipes of builds")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the results go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-matrix-") as folder:
        work = Path(folder)
        if arguments.avatar is None:
            arguments.avatar = avatarkit.build(sample_photo("portrait"), work / "ada.avatar", preset="instant")
        arguments.avatar = arguments.avatar.absolute()
        if "track" in arguments.only and arguments.video is None:
            film = ("animate", str(arguments.avatar), "--motion", "wave", "--size", "384x512", "-o", "OUT")
            Command("film", film, "clip.mp4").finish(work)
        results = [matrix(c, work, arguments) for c in commands(arguments, work)]
    print(f"{'command':<10}{'s':>8}{'kills':>7}{'killed':>8}{'state':>7}{'equal':>7}{'clean':>7}{'users':>7}  quarters")
    for r in results:
        counts = [sum(row[k] for row in r["kills"]) for k in ("killed", "state", "equal", "clean", "users")]
        note = "" if r["reproducible"] else "  (two undisturbed runs differ)"
        numbers = f"{counts[0]:>8}" + "".join(f"{c:>7}" for c in counts[1:])
        spread = "/".join(map(str, r["quarters"]))
        print(f"{r['command']:<10}{r['seconds']:>8}{len(r['kills']):>7}{numbers}  {spread}{note}")
    versions = {"avatarkit": avatarkit.__version__, "python": platform.python_version(), "system": platform.platform()}
    if arguments.json:
        arguments.json.write_text(json.dumps(versions | {"results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
