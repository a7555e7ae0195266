"""One process that builds one avatar: ``python -m avatarkit_cli.batch.worker`` with a job on its standard input.

It leaves one file, written whole or not at all, with the result. It ends itself when the process that started it is gone, when
another driver has taken over the run, and when it uses more memory than its share. The resident memory is watched for that:
limits of the system count address space that is reserved and never used, of which PyTorch, CUDA and the allocators of threads
take many gigabytes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avatarkit.errors import AvatarkitError
from avatarkit.utils.files import require_file, sha256_of, write_text
from avatarkit.utils.text import duration
from avatarkit_cli.processes import ending, kill, spawn

__all__ = ["WORKER", "Ended", "Job", "Worker", "attempt", "main", "outcome"]

WORKER = (sys.executable, "-m", "avatarkit_cli.batch.worker")
_WATCH_SECONDS = 0.25
_MOST_BYTES = 500 << 20  # of a photo that failed and is hashed

Ended = tuple[int, dict[str, Any] | None, str]
"""Id of a row, what its worker left, and how it ended, for the case that it left nothing."""


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs; plain values, for a process on any machine that sees the folder.

    Attributes:
        id: of the row.
        photo: path; "" = build nothing, and make what all workers of this machine share.
        output: the avatar's folder.
        result, log: files that the worker leaves.
        run: a file that holds ``ticket`` as long as the driver wants this worker.
        ticket: mark of the driver's run.
        recipe: as ``Recipe.to_dict`` returns it.
        plugins: files of ``--plugin`` and of the recipe.
        device, seed, person, consent: as of ``build``; a record of consent was checked.
        cores, memory_mb, gpus: the share of this worker.
        minutes: after which it is killed; 0 = never.
    """

    id: int
    photo: str
    output: str
    result: str
    log: str
    run: str
    ticket: str
    recipe: dict[str, Any]
    plugins: tuple[str, ...] = ()
    device: str = "auto"
    seed: int = 0
    person: int | None = None
    consent: str | dict[str, Any] | None = None
    cores: int = 1
    memory_mb: int = 4000
    gpus: int = 0
    minutes: float = 0


# ------------------------------------------------------------------------------------------------------- outside of it


class Worker:
    """A process that does a job. It is killed when it takes longer than the job allows, even if it hangs.

    Args:
        job: what it does.
        command: of the process.
    """

    def __init__(self, job: Job, command: Sequence[str] = WORKER) -> None:
        self.job, self._late = job, False
        self._process = spawn(command, Path(job.log), job.cores)
        self._until = time.monotonic() + 60 * job.minutes if job.minutes else math.inf
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:  # it may have died already
            pipe.write(json.dumps(asdict(job)).encode())

    def wait(self, seconds: float) -> Ended | None:
        """Return what it left and how it ended; None if it is still running after so many seconds."""
        if time.monotonic() > self._until and not self._late:
            self._late = True
            kill(self._process)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        found = outcome(Path(self.job.result))
        if self._late and found is None:
            advice = "To allow more, use --retry-failed with a longer --time-limit; finished stages are kept."
            found = {"state": "failed", "reason": f"It took longer than {duration(60 * self.job.minutes)}. {advice}"}
        return self.job.id, found, ending(code)

    def kill(self) -> None:
        """Kill it, with what it started; ``wait`` says when it is gone."""
        kill(self._process)


def attempt(job: Job, command: Sequence[str] = WORKER) -> Ended:
    """Run a worker to its end, on any machine, and return what it left and how it ended."""
    worker = Worker(job, command)
    while True:
        if ended := worker.wait(_WATCH_SECONDS):
            return ended


def outcome(path: Path) -> dict[str, Any] | None:
    """Return the result that a worker left; None if it left none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


# -------------------------------------------------------------------------------------------------------- inside of it


def main(build: Callable[[Job], Mapping[str, Any]] | None = None) -> None:
    """Read a job, build it and leave the result.

    Args:
        build: makes the avatar and returns facts about it; None = ``build_avatar``.
    """
    job = Job(**json.load(sys.stdin))
    if _is_done(job):
        return
    threading.Thread(target=_watch, args=(job,), daemon=True).start()
    began = time.monotonic()
    facts: Mapping[str, Any] = {}
    try:
        facts, reason = (build or build_avatar)(job), ""
    except AvatarkitError as error:
        reason = str(error) or type(error).__name__
    except MemoryError:
        reason = "Not enough memory for this photo."
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    _leave(job, {"state": "failed" if reason else "done", "reason": reason, "total": round(time.monotonic() - began, 2), **facts})


def build_avatar(job: Job) -> dict[str, Any]:
    """Build the avatar of a job and return facts from its manifest."""
    from avatarkit.components import Components
    from avatarkit.config import Recipe
    from avatarkit.io.consent import Record
    from avatarkit.pipeline.build import build
    from avatarkit.storage.bundle import read_manifest
    from avatarkit_cli.progress import LineProgress
    from avatarkit_cli.shared import load_registry

    registry = load_registry([Path(file) for file in job.plugins])
    recipe = Recipe.from_dict(job.recipe)
    if not job.photo:  # tables of the body model, and the rasterizers' machine code
        made = Components(recipe, registry, job.device, job.seed)
        made.get("body"), made.get("renderer")
        return {}
    consent = Record(job.consent) if isinstance(job.consent, dict) else job.consent
    with LineProgress(sys.stderr) as progress:
        output = build(
            job.photo, job.output, recipe=recipe, registry=registry, device=job.device, seed=job.seed,
            person=job.person, consent=consent, progress=progress,
        )  # fmt: skip
    manifest = read_manifest(output)
    stages, metrics = manifest["stages"], manifest["metrics"]
    return {
        "sha256": manifest["inputs"]["photo"],
        "seconds": {name: stage["seconds"] for name, stage in stages.items()},
        "peak_memory_mb": max(stage["peak_memory_mb"] for stage in stages.values()),
        "psnr": metrics.get("psnr_matte"),
        "iou": metrics.get("silhouette_iou"),
        "warnings": manifest["warnings"],
    }


def _is_done(job: Job) -> bool:
    return (outcome(Path(job.result)) or {}).get("state") == "done"


def _leave(job: Job, result: dict[str, Any]) -> None:
    """Write the result; one of a success is never replaced by a failure."""
    if result["state"] == "failed":
        if _is_done(job):
            return
        photo = Path(job.photo)
        with suppress(AvatarkitError, OSError):
            require_file(photo, "photo", _MOST_BYTES)  # of a pipe there is no end
            result["sha256"] = sha256_of(photo)
    write_text(Path(job.result), json.dumps(result))


def _watch(job: Job) -> None:
    """End this process when no driver waits for it any more, or when it uses too much memory."""
    parent = os.getppid()
    while True:
        with suppress(OSError):  # of a network disk, which may come back
            if os.getppid() != parent or _text(job.run) != job.ticket:
                os._exit(3)
        if (used := _resident_mb()) > job.memory_mb:
            advice = "Build fewer at a time with --jobs, or take a smaller photo or preset."
            reason = f"It took {used:.0f} MB of memory, and its share is {job.memory_mb} MB. {advice}"
            with suppress(AvatarkitError):
                _leave(job, {"state": "failed", "reason": reason})
            os._exit(4)
        time.sleep(_WATCH_SECONDS)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _resident_mb() -> float:
    """Return the memory of this process in MB (macOS: the most that it had so far; Windows: 0, not known)."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    from avatarkit.storage.stage_cache import peak_memory_mb

    return peak_memory_mb() * 1.024**2


if __name__ == "__main__":
    main()
