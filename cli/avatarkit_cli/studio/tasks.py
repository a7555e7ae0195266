"""A process that does one task of the studio: ``python -m avatarkit_cli.studio.tasks``.

It imports what tasks need, says so, and waits for one task as a line of JSON on its standard input. On its standard output it
reports progress and the result, each as a line of JSON. It ends itself when its input ends, because the studio is gone then.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarkit.errors import AvatarkitError
from avatarkit.utils.text import one_line
from avatarkit_cli.streams import without_descriptor

if TYPE_CHECKING:
    from avatarkit.animation import LoadedAvatar
    from avatarkit.registry import Registry

__all__ = ["LOOK", "main"]

LOOK = "look.jpg"
"""Name of the upright, small copy of a photo that the page shows."""
_LOOK_SIDE = 960  # pixels
_TELL_SECONDS = 0.2  # between reports of the same stage
_WARM = ("keypoints", "matting", "body", "tracker", "renderer", "avatar")


class _Reports:
    """Writes lines of JSON; a ``Progress`` for tasks."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._lock, self._at = stream, threading.Lock(), 0.0

    def send(self, **facts: Any) -> None:
        """Write one line."""
        with self._lock:
            self._stream.write(json.dumps(facts) + "\n")
            self._stream.flush()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Report that a stage begins."""
        self.send(stage=one_line(name))
        yield

    def update(self, message: str, fraction: float | None = None) -> None:
        """Report what the stage is doing, at most a few times a second."""
        if time.monotonic() - self._at >= _TELL_SECONDS:
            self._at = time.monotonic()
            self.send(step=one_line(message), fraction=fraction)


def main() -> None:
    """Do one task and report its result: ``done``, or ``error`` with a sentence for the user."""
    with without_descriptor(sys.stdout) as stream:
        reports = _Reports(stream)
        try:
            from avatarkit.io.photo import sample_photo
            from avatarkit_cli.shared import load_registry

            registry = load_registry()
            reports.send(formats=sorted(registry.components("exporter")), sample=str(sample_photo("portrait")))
            _warm_up(registry)
            line = sys.stdin.readline()
            if not line:
                return
            threading.Thread(target=_end_with_the_studio, daemon=True).start()
            task = json.loads(line)
            reports.send(done=_TASKS[task.pop("task")](registry, reports, **task))
        except AvatarkitError as error:
            reports.send(error=one_line(str(error)) or type(error).__name__, people=getattr(error, "people", 0))
        except MemoryError:
            reports.send(error="Not enough memory. Close other programs, or choose a quicker preset.")
        except Exception as error:
            traceback.print_exc()
            reports.send(error=f"This is a bug: {one_line(type(error).__name__)}: {one_line(str(error))}", bug=True)


def _warm_up(registry: Registry) -> None:
    """Import what builds need, so that the next one starts at once."""
    from avatarkit.components import Components, choose_recipe

    with suppress(AvatarkitError):  # a build will say it
        made = Components(choose_recipe("instant", None, {}, (), "auto"), registry, "auto", 0)
        for slot in _WARM:
            made.get(slot)


def _end_with_the_studio() -> None:
    sys.stdin.read()
    os._exit(3)


# -------------------------------------------------------------------------------------------------------------- the tasks


def _check(registry: Registry, reports: _Reports, photo: str, output: str, preset: str, person: int | None) -> dict[str, Any]:
    """Run the first stage of a build, which says what the photo shows."""
    from avatarkit.components import choose_recipe
    from avatarkit.pipeline.build import check_photo
    from avatarkit.report.page import advice
    from avatarkit.report.parts import embedded
    from avatarkit.utils.files import write_bytes

    recipe = choose_recipe(preset, None, {}, (), "auto")
    subject = check_photo(Path(photo), Path(output), recipe, registry, person=person, progress=reports)
    shown = embedded(subject.photo.image, _LOOK_SIDE).url.partition(",")[2]
    write_bytes(Path(photo).with_name(LOOK), base64.b64decode(shown))
    notices = subject.quality.warnings
    return {"notes": [notice.text for notice in notices], "advice": advice(notices)}


def _build(
    registry: Registry,
    reports: _Reports,
    photo: str,
    output: str,
    preset: str,
    person: int | None,
    consent: str,
    keep_photo: bool,
    name: str,
    page: str,
) -> dict[str, Any]:
    """Build the avatar, and its page as soon as there is something to show.

    What was kept for a resumed build, which holds the photo, is deleted at the end.
    """
    from avatarkit import TrainingCallback
    from avatarkit.components import choose_recipe
    from avatarkit.pipeline.build import build
    from avatarkit.storage.bundle import read_manifest, stage_folders

    class Show(TrainingCallback):
        def on_avatar(self, avatar: LoadedAvatar) -> None:
            _write_page(registry, reports, avatar, page, name)
            reports.send(shown=True)

    recipe = choose_recipe(preset, None, {}, (), "auto")
    avatar = build(
        photo, output, recipe=recipe, registry=registry, person=person, consent=consent, keep_photo=keep_photo, progress=reports,
        callbacks=[Show()],
    )  # fmt: skip
    for place, folders in stage_folders(avatar).items():
        for folder in folders:
            shutil.rmtree(folder)
        with suppress(OSError):
            place.rmdir()
    return {"notes": read_manifest(avatar)["warnings"]}


def _page(
    registry: Registry, reports: _Reports, avatar: str, page: str, name: str, motions: Sequence[str] = (), video: str = ""
) -> dict[str, Any]:
    """Write the page of a finished avatar.

    Args:
        registry: where components are found.
        reports: receives progress reports.
        avatar: its folder.
        page: file to write.
        name: what the page calls the avatar.
        motions: motion files that it plays, beside the built-in ones; it begins with the first.
        video: a video whose motion is tracked first, into the first of ``motions``; deleted then.
    """
    from avatarkit.animation import load
    from avatarkit.motion.files import save_motion
    from avatarkit.tracking import relative, track_video

    with reports.stage("loading"):
        loaded = load(Path(avatar), registry)
    notes: tuple[str, ...] = ()
    if video:
        with reports.stage("tracking"):
            tracked = track_video(Path(video), loaded.components, reports.update)
        save_motion(relative(tracked.motion), loaded.body, Path(motions[0]))
        Path(video).unlink()
        notes = tracked.warnings
    _write_page(registry, reports, loaded, page, name, motions)
    return {"notes": list(notes)}


def _write_page(
    registry: Registry, reports: _Reports, avatar: LoadedAvatar, page: str, name: str, motions: Sequence[str] = ()
) -> None:
    """Write the page of ``avatarkit view``; arguments as those of ``_page``."""
    from avatarkit.utils.files import write_text

    with reports.stage("page"):
        options = {"controls": True, "autoplay": True, "motions": (*motions, "all")}
        exporter: Any = registry.get("exporter", "web").create(options, avatar.components.context)
        shown = {**avatar.export_options(), "name": name}
        write_text(Path(page), exporter.page(avatar.model, avatar.photo_params, **shown))


def _export(registry: Registry, reports: _Reports, avatar: str, format: str, output: str) -> dict[str, Any]:
    """Write the avatar for other programs, as ``avatarkit export`` does."""
    from avatarkit.animation import load

    with reports.stage("loading"):
        loaded = load(Path(avatar), registry)
    with reports.stage("exporting"):
        loaded.export(format, Path(output), loaded.photo_params)
    return {}


_TASKS: dict[str, Callable[..., dict[str, Any]]] = {"check": _check, "build": _build, "page": _page, "export": _export}

if __name__ == "__main__":
    main()
