"""What the studio makes of finished avatars: their pages, exports, and motions of videos. It is kept until the studio ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from avatarkit.errors import InputError
from avatarkit.utils.text import one_line, shortened
from avatarkit_cli.studio.library import Library, numbered, slug
from avatarkit_cli.studio.workers import Lane, Outcome, Task, Workers

__all__ = ["VIEW", "Outputs"]

VIEW = "view"
"""The page of an avatar, beside the formats of the exporters."""
DRIVE = "drive"
"""A video that an avatar follows."""
_SUFFIXES = {"web": ".html", VIEW: ".html"}
"""Formats whose files end otherwise than they are called."""


class Outputs:
    """Files of avatars, by name of the avatar and format.

    Args:
        library: the avatars.
        folder: where the files are kept.
        workers: they know the formats.
        quick: lane for pages and exports.
        long: lane for videos.
        lock: of the studio.
    """

    def __init__(
        self,
        library: Library,
        folder: Path,
        workers: Workers,
        quick: Lane,
        long: Lane,
        lock: AbstractContextManager[Any],
    ) -> None:
        self._library, self._folder, self._workers = library, folder, workers
        self._quick, self._long, self._lock = quick, long, lock
        self._states: dict[tuple[str, str], dict[str, Any]] = {}

    def shown(self, name: str) -> None:
        """Record that the page of an avatar is where it belongs."""
        self._states[name, VIEW] = {"state": "ready", "message": ""}

    def produce(self, name: str, format: str) -> None:
        """Make a file of an avatar: one of the exporters' formats, or ``VIEW``."""
        with self._lock:
            path = self._library.path(name)
            if format != VIEW and format not in self._workers.formats:
                raise InputError(f"There is no format {shortened(one_line(format))!r}.")
            state = self._states.get((name, format), {}).get("state")
            if state == "working" or (state == "ready" and self.place(name, format).is_file()):
                return
            entry = self._states[name, format] = {"state": "working", "message": ""}
            place = str(self.place(name, format))

        def ended(outcome: Outcome) -> None:
            with self._lock:
                entry.update(state="ready" if outcome.done is not None else "failed", message=outcome.error)

        request = {"avatar": str(path)}
        if format == VIEW:
            request |= {"task": "page", "page": place, "name": name}
        else:
            request |= {"task": "export", "format": format, "output": place}
        self._quick.submit(Task(f"{name}/{format}", request, lambda: None, lambda report: None, ended))

    def drive(self, name: str, title: str, fill: Callable[[Path], None]) -> None:
        """Let an avatar move like the person in a video: its page then plays that motion, too.

        Args:
            name: of the avatar.
            title: what the user calls the video; no path is made of it.
            fill: writes the file.
        """
        with self._lock:
            path, folder = self._library.path(name), self.place(name, VIEW).parent
            if self._states.get((name, DRIVE), {}).get("state") == "working":
                raise InputError("Another video is being followed. Wait for it, or cancel it.")
            entry = self._states[name, DRIVE] = {"state": "working", "message": "", "step": "", "fraction": None}
        title = shortened(one_line(title)).rpartition(".")[0] or "video"
        motions = sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
        motion = next(f for n in numbered(slug(title, "video")) if not (f := folder / f"{n}.npz").exists())
        video = motion.with_suffix(".video")
        try:
            fill(video)
        except BaseException:
            self._states.pop((name, DRIVE), None)
            raise

        def tell(report: Mapping[str, Any]) -> None:
            entry.update(step=str(report.get("step", "")), fraction=report.get("fraction"))

        def ended(outcome: Outcome) -> None:
            video.unlink(missing_ok=True)
            with self._lock:
                if outcome.done is None:
                    entry.update(state="" if outcome.cancelled else "failed", message=outcome.error)
                else:
                    entry.update(state="ready", message=" ".join([f"It moves like {motion.stem} now.", *outcome.done["notes"]]))
                    self._states[name, VIEW] = {"state": "ready", "message": "", "version": motion.stem}

        request = {
            "task": "page", "avatar": str(path), "page": str(self.place(name, VIEW)), "name": name, "video": str(video),
            "motions": [str(file) for file in (motion, *motions)],
        }  # fmt: skip
        self._long.submit(Task(f"{name}/{DRIVE}", request, lambda: None, tell, ended))

    def leave(self, name: str) -> None:
        """Stop following a video."""
        self._long.cancel(f"{name}/{DRIVE}")

    def file(self, name: str, format: str) -> Path | None:
        """Return a file that was made; None if it was not."""
        with self._lock:
            place = self.place(name, format) if name in self._library.names() else None
            return place if place and place.is_file() else None

    def delete(self, name: str) -> None:
        """Delete an avatar that the studio made."""
        with self._lock:
            for format in (VIEW, DRIVE, *self._workers.formats):
                if self._states.get((name, format), {}).get("state") == "working":
                    raise InputError(f"{name} is being worked on. Wait for it, then delete it.")
            made = self.place(name, VIEW).parent
            self._library.delete(name)
            shutil.rmtree(made, ignore_errors=True)
            self._states = {key: entry for key, entry in self._states.items() if key[0] != name}

    def place(self, name: str, format: str) -> Path:
        """Return where a file of an avatar lies; another place once the avatar is built anew."""
        folder = self._folder / self._library.digest(name)
        folder.mkdir(exist_ok=True)
        return folder / f"{format}{_SUFFIXES.get(format, f'.{format}')}"

    def states(self, name: str) -> dict[str, dict[str, Any]]:
        """Return format -> state and message, and more where there is more."""
        return {format: dict(entry) for (owner, format), entry in self._states.items() if owner == name}
