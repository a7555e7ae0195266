"""Runs tasks in processes of their own: one is started ahead, so that the next task need not wait for imports."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatarkit_cli.processes import end_of, ending, kill, spawn

__all__ = ["Lane", "Outcome", "Task", "Workers"]

WORKER = (sys.executable, "-m", "avatarkit_cli.studio.tasks")


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        done: what it returned; None if it failed.
        error: why it failed, in a sentence for the user.
        people: how many people the photo shows, where one of them must be chosen.
        log: the last lines of its log, where it failed for no fault of the user's.
        cancelled: whether it was cancelled.
    """

    done: Mapping[str, Any] | None = None
    error: str = ""
    people: int = 0
    log: str = ""
    cancelled: bool = False


@dataclass(frozen=True)
class Task:
    """Something for a worker.

    Attributes:
        key: names the task.
        request: its arguments, see ``avatarkit_cli.studio.tasks``.
        began: called when it leaves the queue.
        tell: receives reports of progress.
        ended: receives the outcome.
    """

    key: str
    request: Mapping[str, Any]
    began: Callable[[], None]
    tell: Callable[[Mapping[str, Any]], None]
    ended: Callable[[Outcome], None]


class _Process:
    """A worker process; ``reports`` are the lines that it writes, and None at its end."""

    def __init__(self, command: Sequence[str], log: Path, ready: Callable[[Mapping[str, Any]], None]) -> None:
        self.log, self.reports, self._ready = log, queue.SimpleQueue[Mapping[str, Any] | None](), ready
        self.process = spawn(command, log, talks=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError, OSError):  # a damaged line is that of a process that dies
            for line in self.process.stdout:
                report = json.loads(line)
                if "formats" in report:
                    self._ready(report)
                else:
                    self.reports.put(report)
        self.reports.put(None)

    def run(self, task: Task) -> Outcome:
        """Hand over a task and return how it ended."""
        assert self.process.stdin is not None
        with suppress(OSError):  # it may have died already
            self.process.stdin.write(json.dumps(task.request).encode() + b"\n")
            self.process.stdin.flush()
        while (report := self.reports.get()) is not None:
            if "done" in report:
                return Outcome(done=report["done"])
            if "error" in report:
                log = end_of(self.log) if report.get("bug") else ""
                return Outcome(error=report["error"], people=report.get("people", 0), log=log)
            task.tell(report)
        return Outcome(error=ending(self.process.wait()), log=end_of(self.log))

    def stop(self) -> None:
        """End the process, with all that it started."""
        kill(self.process)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                stream and stream.close()
        self.log.unlink(missing_ok=True)


class Workers:
    """Worker processes, of which one is always ready; each does one task.

    Args:
        folder: for their logs.
        command: of a worker.

    Attributes:
        formats: the formats that the installed plugins write; empty until the first worker is ready.
        sample: a photo to try.
    """

    def __init__(self, folder: Path, command: Sequence[str] = WORKER) -> None:
        self._folder, self._command = folder, command
        self._lock, self._count = threading.Lock(), 0
        self.formats: list[str] = []
        self.sample = ""
        self._spare: _Process | None = self._start()

    def _start(self) -> _Process:
        self._count += 1
        return _Process(self._command, self._folder / f"worker-{self._count}.log", self._ready)

    def _ready(self, report: Mapping[str, Any]) -> None:
        self.formats, self.sample = list(report["formats"]), report["sample"]

    def take(self) -> _Process:
        """Return the worker that is ready, and start the next one."""
        with self._lock:
            taken = self._spare
            if taken is None or taken.process.poll() is not None:
                if taken is not None:
                    taken.stop()
                taken = self._start()
            self._spare = self._start()
            return taken

    def close(self) -> None:
        """End the worker that waits."""
        with self._lock:
            if self._spare is not None:
                self._spare.stop()
            self._spare = None


class Lane(threading.Thread):
    """A queue of tasks of which one runs at a time."""

    def __init__(self, workers: Workers) -> None:
        super().__init__(daemon=True)
        self._workers, self._waiting = workers, deque[Task]()
        self._changed = threading.Condition()
        self._running: tuple[Task, _Process] | None = None
        self._cancelled, self._closed = False, False
        self.start()

    def submit(self, task: Task) -> None:
        """Put a task into the queue."""
        with self._changed:
            self._waiting.append(task)
            self._changed.notify()

    def cancel(self, key: str) -> None:
        """Take a task out of the queue, or kill its worker; its outcome says so."""
        with self._changed:
            dropped = [task for task in self._waiting if task.key == key]
            for task in dropped:
                self._waiting.remove(task)
            if self._running and self._running[0].key == key:
                self._cancelled = True
                kill(self._running[1].process)
        for task in dropped:
            task.ended(Outcome(cancelled=True))

    def close(self) -> None:
        """End the running task, and begin no other."""
        with self._changed:
            self._closed = self._cancelled = True
            if self._running:
                kill(self._running[1].process)
            self._changed.notify()
        self.join()

    def run(self) -> None:
        """Do the tasks."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                task, worker, self._cancelled = self._waiting.popleft(), self._workers.take(), False
                self._running = task, worker
            task.began()
            outcome = worker.run(task)
            with self._changed:
                self._running = None
                if self._cancelled and outcome.done is None:
                    outcome = Outcome(cancelled=True)
            worker.stop()
            task.ended(outcome)
