"""What the studio does with photos and avatars; everything that the page asks for is a method of ``Studio``.

::

    FOLDER/                    the avatars
      ada.avatar/
      .studio/                 what is the studio's own
        made.json              which avatars it made
        3f9c0a.../             a photo that is no avatar yet: the upload, what it asks for, stages of its build
        session-.../           pages and exports of avatars, until the studio ends
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avatarkit.errors import InputError
from avatarkit.utils.files import disk_errors, write_text
from avatarkit.utils.plain import parse_json
from avatarkit.utils.text import one_line, shortened
from avatarkit_cli.studio.library import Library, slug
from avatarkit_cli.studio.outputs import VIEW, Outputs
from avatarkit_cli.studio.tasks import LOOK
from avatarkit_cli.studio.workers import WORKER, Lane, Outcome, Task, Workers

__all__ = ["PRESETS", "Build", "Studio"]

PRESETS = ("instant", "draft", "standard")
"""Presets that run anywhere."""
MOST_PHOTOS = 40  # that are no avatars yet
MOST_CONSENT = 2000  # characters
_PHOTO_SUFFIXES = ("jpg", "jpeg", "png", "webp", "avif", "tif", "tiff", "bmp", "gif", "heic", "heif", "jp2", "ppm")
_JOB, _AVATAR, _PAGE, _SESSION = "build.json", "made.avatar", "page.html", "session-"


@dataclass
class Build:
    """A photo on its way to an avatar.

    Attributes:
        id: 32 hexadecimal digits.
        title: what the user calls the photo.
        photo: name of its file in the build's folder.
        state: checking, ready (waits for the user), refused (the photo cannot be used), queued, building, stopped, failed, done.
        name: of the avatar.
        preset, consent, keep_photo, person: see ``avatarkit.build``.
        message: why it was refused, stopped or failed.
        people: how many people the photo shows, where one of them must be chosen.
        log: of a failure that is no fault of the user's.
        notes, advice: what the check of the photo says.
        stages: name, and seconds once it is over, of each stage so far.
        step, fraction: what the running stage does.
        shown: whether its avatar can be seen already, while pictures and report are made.
        since: when it began to run.
    """

    id: str
    title: str
    photo: str
    state: str = "checking"
    name: str = ""
    preset: str = "instant"
    consent: str = ""
    keep_photo: bool = False
    person: int | None = None
    message: str = ""
    people: int = 0
    log: str = ""
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    step: str = ""
    fraction: float | None = None
    shown: bool = False
    since: float = 0.0


class Studio:
    """The builds and avatars of a folder. Methods raise ``InputError`` with a sentence for the user.

    ``library`` has the avatars, ``outputs`` what is made of them.

    Args:
        folder: of the avatars.
        command: of worker processes.
    """

    def __init__(self, folder: Path, command: Sequence[str] = WORKER) -> None:
        self._work = folder.absolute() / ".studio"
        with disk_errors(folder, "--folder"):
            self._work.mkdir(parents=True, exist_ok=True)
            for old in self._work.glob(f"{_SESSION}*"):
                shutil.rmtree(old, ignore_errors=True)
            self._session = Path(tempfile.mkdtemp(prefix=_SESSION, dir=self._work))
        self.library = Library(folder.absolute(), self._work / "made.json")
        self._lock, self._closing = threading.RLock(), False
        self._builds = {build.id: build for build in self._left_behind()}
        for lost in self._work.glob("[0-9a-f]" * 32):  # uploads that were cut off by a kill
            if lost.name not in self._builds:
                shutil.rmtree(lost, ignore_errors=True)
        self.workers = Workers(self._session, command)
        self._checks, self._long = Lane(self.workers), Lane(self.workers)
        self.outputs = Outputs(self.library, self._session, self.workers, self._checks, self._long, self._lock)

    def close(self) -> None:
        """End all workers. Builds that were not finished can be continued when the studio is started again."""
        self._closing = True
        for lane in (self._checks, self._long):
            lane.close()
        self.workers.close()
        shutil.rmtree(self._session, ignore_errors=True)

    def state(self) -> dict[str, Any]:
        """Return everything that the page shows, as plain values."""
        with self._lock:
            avatars = [{**facts, "files": self.outputs.states(facts["name"])} for facts in self.library.describe()]
            builds = [{**asdict(build), "seconds": self._seconds(build)} for build in self._builds.values()]
            return {
                "run": self._session.name, "folder": str(self.library.folder), "ready": bool(self.workers.formats),
                "formats": self.workers.formats, "presets": PRESETS, "builds": builds, "avatars": avatars,
            }  # fmt: skip

    # ------------------------------------------------------------------------------------------------------------- builds

    def add(self, title: str, fill: Callable[[Path], None]) -> Build:
        """Take in a photo and check it.

        Args:
            title: what the user calls it; no path is made of it.
            fill: writes the file.
        """
        with self._lock:
            if len(self._builds) >= MOST_PHOTOS:
                raise InputError(f"{MOST_PHOTOS} photos wait already. Remove some of them first.")
            title = shortened(one_line(title).replace("\\", "/").rpartition("/")[2].strip()) or "photo"
            stem, _, suffix = title.rpartition(".")
            suffix = f".{suffix.lower()}" if stem and suffix.lower() in _PHOTO_SUFFIXES else ""
            name = slug(stem if suffix else title)
            build = Build(secrets.token_hex(16), title, f"{name}{suffix}", name=name)
            self._builds[build.id] = build
        try:
            with disk_errors(self._work, "--folder"):
                self._folder(build).mkdir()
            fill(self._folder(build) / build.photo)
        except BaseException:
            self._forget(build)
            raise
        self._check(build)
        return build

    def choose(self, id: str, person: int) -> None:
        """Check a photo of several people again, for one of them; counted from 1, left to right."""
        with self._one(id, "ready", "refused") as build:
            if not isinstance(person, int) or not 1 <= person <= 99:
                raise InputError("Choose a person by a number, counted from 1, left to right.")
            build.person = person
            self._check(build)

    def build(self, id: str, preset: str, consent: str, name: str = "", keep_photo: bool = False) -> None:
        """Put a build into the queue."""
        with self._one(id, "ready", "failed") as build:
            consent = one_line(consent).strip() if isinstance(consent, str) else ""
            if not consent:
                raise InputError("Say what the person agreed to: an avatar needs their consent.")
            if len(consent) > MOST_CONSENT or consent.lower().endswith(".toml"):  # it would be read as the name of a file
                raise InputError(f"Write the consent as a sentence of at most {MOST_CONSENT} characters.")
            if preset not in PRESETS:
                raise InputError(f"There is no preset {shortened(one_line(preset))!r}; choose {', '.join(PRESETS)}.")
            build.name = slug(name, build.name) if isinstance(name, str) else build.name
            build.preset, build.consent, build.keep_photo = preset, consent, keep_photo is True
            self._queue(build)

    def cancel(self, id: str) -> None:
        """Stop a build; ``resume`` continues it."""
        with self._one(id, "checking", "queued", "building"):
            pass
        for lane in (self._checks, self._long):
            lane.cancel(id)

    def resume(self, id: str) -> None:
        """Continue what was stopped."""
        with self._one(id, "stopped", "failed") as build:
            self._queue(build) if build.consent else self._check(build)

    def remove(self, id: str) -> None:
        """Forget a photo, with all that was made of it; a finished avatar stays."""
        with self._one(id) as build:
            self._forget(build)
        for lane in (self._checks, self._long):
            lane.cancel(id)
        shutil.rmtree(self._folder(build), ignore_errors=True)  # its worker may have written until now

    def photo(self, id: str) -> Path | None:
        """Return the upright copy of a photo; before it was checked, the photo itself; after its build, the avatar's picture."""
        with self._lock:
            build = self._builds.get(id)
            if build is None:
                return None
            if build.state == "done":  # the page may not know it yet
                return self.library.path(build.name) / "preview.png" if build.name in self.library.names() else None
            look = self._folder(build) / LOOK
            return look if look.is_file() else self._folder(build) / build.photo

    def page(self, id: str) -> Path | None:
        """Return the page of an avatar that is shown before its build is over, and after that still."""
        with self._lock:
            build = self._builds.get(id)
            if build is None or not build.shown:
                return None
            return self.outputs.file(build.name, VIEW) if build.state == "done" else self._folder(build) / _PAGE

    def _check(self, build: Build) -> None:
        build.state, build.message, build.people, build.log = "checking", "", 0, ""
        self._begin(build, self._checks, {"task": "check", **self._source(build)}, self._checked)

    def _queue(self, build: Build) -> None:
        build.state, build.message, build.log = "queued", "", ""
        page = str(self._folder(build) / _PAGE)
        request = {"consent": build.consent, "keep_photo": build.keep_photo, "name": build.name, "page": page}
        self._begin(build, self._long, {"task": "build", **self._source(build), **request}, self._built)

    def _source(self, build: Build) -> dict[str, Any]:
        folder = self._folder(build)
        return {
            "photo": str(folder / build.photo), "output": str(folder / _AVATAR), "preset": build.preset, "person": build.person
        }  # fmt: skip

    def _begin(self, build: Build, lane: Lane, request: Mapping[str, Any], ended: Callable[[Build, Outcome], None]) -> None:
        build.stages, build.step, build.fraction, build.shown, build.since = [], "", None, False, 0.0
        self._save(build)

        def began() -> None:
            with self._lock:
                build.since = time.monotonic()
                build.state = "building" if build.state == "queued" else build.state

        def tell(report: Mapping[str, Any]) -> None:
            with self._lock:
                if "stage" in report:
                    self._next_stage(build, str(report["stage"]))
                elif "shown" in report:
                    build.shown = True
                else:
                    build.step, build.fraction = str(report.get("step", "")), report.get("fraction")

        def over(outcome: Outcome) -> None:
            with self._lock:
                if self._closing and outcome.cancelled:
                    return  # what was saved last says that it was running
                self._next_stage(build, "")
                ended(build, outcome)
                if build.id in self._builds and build.state != "done":
                    self._save(build)

        lane.submit(Task(build.id, request, began, tell, over))

    def _next_stage(self, build: Build, name: str) -> None:
        now = time.monotonic()
        if build.stages and build.stages[-1]["name"] == name:
            return
        if build.stages and build.stages[-1]["seconds"] is None:
            build.stages[-1]["seconds"] = round(now - build.stages[-1].pop("since"), 1)
        if name:
            build.stages.append({"name": name, "seconds": None, "since": now})
        build.step, build.fraction = "", None

    def _checked(self, build: Build, outcome: Outcome) -> None:
        if outcome.cancelled:
            build.state, build.message = "stopped", "The check was stopped."
        elif outcome.done is None:
            build.state = "failed" if outcome.log else "refused"
            build.message, build.people, build.log = outcome.error, outcome.people, outcome.log
        else:
            build.state, build.notes, build.advice = "ready", outcome.done["notes"], outcome.done["advice"]

    def _built(self, build: Build, outcome: Outcome) -> None:
        if outcome.cancelled:
            build.state, build.message = "stopped", "The build was stopped. Stages that were finished are kept."
        elif outcome.done is None:
            build.state, build.message, build.log = "failed", outcome.error, outcome.log
        else:
            folder = self._folder(build)
            try:
                build.name = self.library.take_in(folder / _AVATAR, build.name)
                (folder / _PAGE).rename(self.outputs.place(build.name, VIEW))
            except Exception as error:
                build.state, build.message = "failed", str(error)
                return
            self.outputs.shown(build.name)
            build.state, build.notes = "done", outcome.done["notes"]
            shutil.rmtree(folder, ignore_errors=True)  # the photo, too

    @contextmanager
    def _one(self, id: str, *states: str) -> Iterator[Build]:
        with self._lock:
            build = self._builds.get(id)
            if build is None:
                raise InputError("This photo is not here any more.")
            if states and build.state not in states:
                raise InputError(f"{build.title} cannot do that now: it is {build.state}.")
            yield build

    def _folder(self, build: Build) -> Path:
        return self._work / build.id

    def _forget(self, build: Build) -> None:
        with self._lock:
            self._builds.pop(build.id, None)
        shutil.rmtree(self._folder(build), ignore_errors=True)

    def _save(self, build: Build) -> None:
        with suppress(Exception):  # a full disk must not stop what runs; the build that needs it says so
            write_text(self._folder(build) / _JOB, json.dumps(asdict(build)))

    def _left_behind(self) -> Iterator[Build]:
        """Yield the builds that an earlier run of the studio did not finish."""
        for path in sorted(self._work.glob(f"{'[0-9a-f]' * 32}/{_JOB}")):
            try:
                build = Build(**parse_json(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                continue
            build.id = path.parent.name
            if build.state in ("checking", "queued", "building"):
                build.state, build.message = "stopped", "The studio was closed before this was finished."
            if (path.parent / build.photo).parent == path.parent and (path.parent / build.photo).is_file():
                yield build

    def _seconds(self, build: Build) -> float:
        return round(time.monotonic() - build.since, 1) if build.since else 0.0
