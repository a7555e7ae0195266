"""The driver of a run: it hands rows of the index to workers and takes in what they leave."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from avatarkit.utils.files import disk_errors, write_text
from avatarkit.utils.text import duration
from avatarkit_cli.batch.executors import Executor
from avatarkit_cli.batch.index import Index, Task
from avatarkit_cli.batch.worker import Ended, Job, attempt, outcome
from avatarkit_cli.processes import end_of

__all__ = ["Workshop", "drive"]

_WAIT_SECONDS = 0.5


class Workshop:
    """The files of a run that workers and driver share, in its folder ``work``.

    Creating one takes the run over: workers of an earlier driver end themselves. A context manager.

    Args:
        folder: of the run.
        settings: preset of a row -> what its jobs share: the fields of ``Job`` from ``recipe`` on.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder = folder.absolute()
        self._work, self._settings, self._ticket = self.folder / "work", settings, secrets.token_hex(16)
        write_text(self._work / "driver", self._ticket)

    def job(self, task: Task) -> Job:
        """Return the job of a row."""
        place = f"{self._work}/{task.id:06}"
        return Job(
            id=task.id, photo=str(task.photo), output=f"{self.folder}/avatars/{task.name}.avatar",
            result=f"{place}.json", log=f"{place}.log", run=f"{self._work}/driver", ticket=self._ticket,
            person=task.person, consent=task.consent, **self._settings[task.preset],
        )  # fmt: skip

    def leftovers(self) -> Iterator[Ended]:
        """Yield the results that no driver took in yet."""
        for path in self._work.glob("*.json"):
            if path.stem.isdecimal():
                yield int(path.stem), outcome(path), "The worker left a damaged result."

    def take_in(self, index: Index, ended: Iterable[Ended]) -> list[str]:
        """Record how rows ended, with ``failed/NAME.txt`` beside it, delete what workers left, and return the new states."""
        changed = index.settle(ended)
        for number, name, state, reason in changed:
            note, log = Path(f"{self.folder}/failed/{name}.txt"), Path(f"{self._work}/{number:06}.log")
            if state == "failed":
                photo = next(index.rows(f"id = {number}"))["photo"]
                write_text(note, f"{reason}\n\nPhoto: {photo}\n\nLog:\n{end_of(log)}")
            with disk_errors(self.folder):
                for path in (log, log.with_suffix(".json"), *([note] if state == "done" else [])):
                    path.unlink(missing_ok=True)
        return [state for _, _, state, _ in changed]

    def warm_up(self) -> None:
        """Make what all workers of this machine share: tables of the body model, and compiled kernels."""
        job = replace(self.job(Task(0, Path(), None, "", next(iter(self._settings)), None)), photo="")
        attempt(job)
        for path in (job.result, job.log):
            Path(path).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Let workers that still run end, and delete the folder if it holds no result."""
        with suppress(OSError):
            (self._work / "driver").unlink()
        if not any(self.leftovers()):
            shutil.rmtree(self._work, ignore_errors=True)


def drive(index: Index, workshop: Workshop, executor: Executor, show: Callable[[str, float], None]) -> None:
    """Build all rows that wait; returns when none is left.

    Args:
        index: of the run, resumed.
        workshop: of the run.
        executor: where workers run; stopped at the end, whatever happens.
        show: receives rate, failures and time left, and the part that is over.
    """
    began, running, over = time.monotonic(), 0, 0
    counts = index.counts()
    total = sum(counts.values())
    try:
        while True:
            for task in index.take(executor.slots - running):
                executor.submit(workshop.job(task))
                running += 1
            if not running:
                return
            ended = list(executor.ended(_WAIT_SECONDS))
            running -= len(ended)
            for state in workshop.take_in(index, ended):
                counts["waiting"] -= state != "waiting"
                counts[state] += state != "waiting"
                over += state != "waiting"
            show(_progress(counts, total, over, time.monotonic() - began), 1 - counts["waiting"] / max(total, 1))
    finally:
        executor.stop()
        workshop.take_in(index, workshop.leftovers())


def _progress(counts: Mapping[str, int], total: int, over: int, seconds: float) -> str:
    text = f"{counts['done']} of {total} done, {counts['failed']} failed"
    if not over or not counts["waiting"]:
        return text
    return f"{text}, {60 * over / seconds:.1f} a minute, {duration(counts['waiting'] * seconds / over)} left"
