"""Every writer of the program under every fault: the old state or the new one, never something between.

A new writer goes into ``WRITERS``; the last tests find modules that write and are not there, or write by themselves.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from avatarkit.errors import StoreError
from avatarkit.interfaces import ParameterGroup
from avatarkit.io.camera_json import write_camera
from avatarkit.io.image import save_png
from avatarkit.io.keypoint_cache import KeypointFiles
from avatarkit.io.video import VideoWriter
from avatarkit.labelling.scratch import Scratch
from avatarkit.motion.files import save_motion
from avatarkit.motion.formats.bvh_writer import write_bvh
from avatarkit.motion.speech import say
from avatarkit.registry import Registry
from avatarkit.registry.provenance import _weights_digest
from avatarkit.storage.bundle import read_bundle, write_bundle
from avatarkit.storage.stage_cache import Store, save_tensors, write_json
from avatarkit.testing import TinyBody, faults, tiny_context, tiny_motion, tiny_subject
from avatarkit.testing.faults import FAULTS, Killed, check_size_limit, check_writer, contents, disk_operations, inject
from avatarkit.testing.method import TinyAvatar, TinyAvatarConfig
from avatarkit.training.loop import TrainingReport, _Adam, _save
from avatarkit.types.camera import front_camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.speech import Sound
from avatarkit.utils.files import write_bytes, write_text
from avatarkit.utils.folders import OutputFolder
from avatarkit_anny.tables import _read as _read_tables
from avatarkit_anny.tables import _write as write_tables
from avatarkit_cli.authoring.scaffold import write_project
from avatarkit_cli.batch.driver import Workshop
from avatarkit_cli.batch.index import COLUMNS, Index
from avatarkit_cli.batch.sheet import write_sheet
from avatarkit_cli.batch.worker import Job as BatchJob
from avatarkit_cli.batch.worker import _leave
from avatarkit_cli.studio.library import Library
from avatarkit_export.config import PlyConfig
from avatarkit_export.files import write_file
from avatarkit_export.ply import PlyExporter
from avatarkit_export.spz import SpzExporter
from avatarkit_portrait4d.job import Job
from avatarkit_provenance.revocations import Revocation, remember
from avatarkit_provenance.verifying import verify

ROOT = Path(__file__).parents[2]
BODY = TinyBody()
FOLDER = "out"


# --------------------------------------------------------------------------------------------------------- the writers


class Rows(Index):
    """The index of a run with one row and no database."""

    def __init__(self, folder: Path, value: int) -> None:
        self.folder, self.value = folder, value

    def rows(self, where: str = "1") -> Iterator[dict[str, Any]]:
        yield dict.fromkeys(COLUMNS) | {"name": "ada", "photo": "ada.jpg", "state": "failed", "reason": f"version {self.value}"}

    def counts(self) -> dict[str, int]:
        return {"failed": 1}

    def settle(self, outcomes: Any) -> list[tuple[int, str, str, str]]:
        return [(number, "ada", "failed", f"version {self.value}") for number, _, _ in outcomes]


def only(name: str) -> Callable[[Path], Any]:
    """What one file holds, of writers of several that do not belong together."""
    return lambda folder: (folder / name).read_bytes() if (folder / name).exists() else None


def batch_result(folder: Path, value: int) -> None:
    _leave(BatchJob(1, "", "", str(folder / "1.json"), "", "", "", {}), {"state": "done", "value": value})


def batch_note(folder: Path, value: int) -> None:
    Workshop(folder, {}).take_in(Rows(folder, value), [(1, None, "")])


def studio_record(folder: Path, value: int) -> None:
    Library(folder, folder / "made.json")._write({"ada": str(value)})


def picture(value: int) -> torch.Tensor:
    return torch.full((6, 8, 3), value / 255)


def film(path: Path, value: int, count: int = 2) -> None:
    with VideoWriter(path, 32, 16, fps=10) as video:
        for k in range(count):
            video.write(np.full((16, 32, 3), value + k, np.uint8))


def tensors(value: int) -> dict[str, torch.Tensor]:
    return {"x": torch.full((20,), float(value)), "y": torch.arange(3)}


@dataclass(frozen=True)
class Tone:
    """A synthesizer with a voice of its own pitch."""

    pitch: int

    def voices(self) -> dict[str, str]:
        return {"tone": "en"}

    def synthesize(self, text: str, voice: str | None = None) -> Sound:
        return Sound(np.sin(np.arange(800) * 0.1 * self.pitch).astype(np.float32), 8000, text)


def motion(value: int) -> Any:
    return replace(tiny_motion(), name=f"motion {value}")


def checkpoint(folder: Path, value: int) -> None:
    optimizer = _Adam([ParameterGroup("value", (torch.full((4,), float(value), requires_grad=True),), 0.1)], 1e-7)
    _save(optimizer, TrainingReport(value, {"rgb": [(0, 0.5)]}), folder / FOLDER)


def avatar(folder: Path, value: int) -> None:
    extras: dict[str, Path | bytes | str] = {"report.html": f"report {value}", "photo.jpg": b"the same photo"}
    extras |= {"old.bin": b"x"} if value == 1 else {"preview.png": b"new"}
    write_bundle(folder / "ada.avatar", tensors(value), {"seed": value}, extras)


def read_avatar(folder: Path) -> Any:
    path = folder / "ada.avatar"
    if not path.exists() and not (folder / ".ada.avatar.new").exists():
        return None
    read = read_bundle(path)
    files = {name: (path / name).read_bytes() for name in read.manifest["files"]}
    mine = {name: data for name, data in contents(path).items() if name not in files and name != "manifest.json"}
    return read.manifest["seed"], files, mine


def stage(folder: Path, value: int) -> None:
    made = Store(folder / FOLDER).stage("tracking", "fit", 1, None, 0, {"photo": "a"})
    (made.scratch / "half").write_text("work") if value == 1 else None
    with made.write() as place:
        save_tensors(place / "x.safetensors", tensors(2))
        (place / "note.txt").write_text("done")


def read_stage(folder: Path) -> Any:
    store = Store(folder / FOLDER)
    store.sweep()
    made = store.stage("tracking", "fit", 1, None, 0, {"photo": "a"})
    return {p.name: p.read_bytes() for p in made.folder.iterdir() if p.name != "stage.json"} if made.ready else None


def damage_stage(folder: Path) -> None:
    stage(folder, 2)
    next((folder / FOLDER).glob("tracking-*/note.txt")).write_text("DONE")


def frames(folder: Path, value: int) -> None:
    film(folder / FOLDER, value, count=1 + value % 3)


def replace_all(folder: Path, value: int) -> None:
    with OutputFolder(folder / FOLDER, "pages").replace() as staged:
        (staged / "parts").mkdir()
        (staged / "parts" / f"{value}.txt").write_text("part")
        (staged / "index.html").write_text(f"page {value}")
        (staged / "same.txt").write_text("the same")


def read_folder(folder: Path) -> dict[str, bytes]:
    if (folder / FOLDER).is_dir():
        OutputFolder(folder / FOLDER, "pages").check()
    return contents(folder)


def beside_users_files(write: Callable[[Path, int], None]) -> Callable[[Path, int], None]:
    def both(folder: Path, value: int) -> None:
        write(folder, value)
        if value == 1:
            (folder / FOLDER / "mine").mkdir()
            (folder / FOLDER / "mine" / "diary.txt").write_text("of the user")

    return both


def report(folder: Path, value: int) -> None:
    out = OutputFolder(folder / FOLDER, "results")
    out.add("result.json", lambda path: write_json(path, {"score": value}))


def comparison(folder: Path, value: int) -> None:
    OutputFolder(folder / FOLDER, "results").add("comparison.mp4", lambda path: film(path, value))


def landmarks(folder: Path, value: int) -> None:
    def seen(images: Any) -> Iterator[Keypoints | None]:
        for _ in images:
            points = {"pose33": np.full((33, 2), value, np.float32)}
            yield Keypoints(3, 2, points, {"pose33": np.ones(33, np.float32)}, {}, (0.0, 0.0, 3.0, 2.0))

    files = KeypointFiles(folder / "me.npz.landmarks", f"{value:064d}")
    files.fill(iter([np.zeros((2, 3, 3), np.uint8)] * 3), seen)


def read_landmarks(folder: Path) -> Any:
    """What a run of the new key goes on from: nothing, or all; and whether all of the old key is there."""
    place = folder / "me.npz.landmarks"
    chunks = {p.name: p.read_bytes() for p in place.glob("*.safetensors")} if place.is_dir() else {}
    key = (place / "key.json").read_text() if (place / "key.json").exists() else None
    return "new" if key and f"{2:064d}" in key and chunks else "not yet"


def digests(folder: Path, value: int) -> None:
    """What is known of weights; it is only a memory, so that a disk that fails costs time and raises nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATARKIT_CACHE", str(folder))
        _weights_digest(Path(__file__).parent / ("reader_files.py" if value == 1 else Path(__file__).name), lambda: None)


def scratch(folder: Path, value: int) -> None:
    Scratch(folder / FOLDER).save("latents", latents=torch.full((1, 2), float(value)), position=torch.tensor([value, 0]))


def keep_frame(folder: Path, value: int) -> None:
    Job(folder / FOLDER)._keep(3, Image.new("RGB", (4, 4), (value, 0, 0)))


def job_facts(folder: Path, value: int) -> None:
    Job(folder / FOLDER).write("job.json", {"value": value})


def read_tables(folder: Path) -> Any:
    path = folder / "t.safetensors"
    return [path.name, _read_tables(path)[1]] if path.exists() else None  # the order of metadata is not fixed


def export(kind: Any, suffix: str, config: Any = None) -> Callable[[Path, int], None]:
    context = tiny_context()
    subject = tiny_subject(context, size=32)
    made = TinyAvatar(TinyAvatarConfig(), context)
    made.create(subject, [])

    def write(folder: Path, value: int) -> None:
        kind(config, context).write(made, subject.params, folder / f"ada{suffix}", consent=f"version {value}")

    return write


def project(folder: Path, value: int) -> None:
    """The first run makes it; a run after that refuses, and that is fine where it is whole."""
    place = folder / "avatarkit-mine"
    if value == 2 and place.exists():
        with pytest.raises(StoreError, match="already exists"):
            write_project("mine", "loss", place)
    elif value == 2:
        write_project("mine", "loss", place)


def signed(folder: Path, value: int) -> None:
    """A picture with its signature in it; the key is elsewhere."""
    registry = Registry.load(environ={"AVATARKIT_PLUGINS": "provenance"})
    with registry.output(folder / "a.png", {}):
        save_png(folder / "a.png", picture(value))


def read_signed(folder: Path) -> Any:
    """The pixel and whether the signature holds; the bytes differ each time."""
    if not (folder / "a.png").exists():
        return None
    with Image.open(folder / "a.png") as opened:
        return opened.getpixel((0, 0)), verify(folder / "a.png").state


def revoked(folder: Path, value: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATARKIT_CACHE", str(folder))
        remember({"files": {"avatar.safetensors": "ab" * 32}}, Revocation(f"2026-01-0{value}"))


def read_revoked(folder: Path) -> Any:
    return (folder / "revoked.json").read_text() if (folder / "revoked.json").exists() else None


@dataclass(frozen=True)
class Writer:
    """Attributes:
    modules: whose writing this is. write: state 1 or 2 into a folder. before: another way to the older state.
    read, faults, rotate: as ``check_writer``. fresh: also without an older state.
    """

    modules: tuple[str, ...]
    write: Callable[[Path, int], None]
    before: Callable[[Path], None] | None = None
    read: Callable[[Path], Any] = contents
    faults: tuple[str, ...] = FAULTS
    fresh: bool = True
    rotate: bool = False


WITH_EXIT = (*FAULTS, "exit")
WRITERS = {
    "write_text": Writer(("avatarkit.utils.files",), lambda f, v: write_text(f / "a.txt", f"text {v}"), faults=WITH_EXIT),
    "into new folders": Writer(("avatarkit.utils.files",), lambda f, v: write_bytes(f / f"n/e/w{v}/a", b"1", b"2"), fresh=False),
    "write_json": Writer(("avatarkit.storage.stage_cache",), lambda f, v: write_json(f / "a.json", {"v": v})),
    "save_tensors": Writer(("avatarkit.storage.stage_cache",), lambda f, v: save_tensors(f / "a.safetensors", tensors(v))),
    "Stage.write": Writer(
        ("avatarkit.storage.stage_cache", "avatarkit.pipeline.build", "avatarkit.pipeline.stages"),
        stage,
        read=read_stage,
        rotate=True,
    ),
    "a damaged stage": Writer(
        ("avatarkit.storage.stage_cache",),
        stage,
        before=damage_stage,
        read=read_stage,
        fresh=False,
        rotate=True,
    ),
    "write_bundle": Writer(
        ("avatarkit.storage.bundle",), avatar, read=read_avatar, faults=("kill", *FAULTS, "kill", "exit"), rotate=True
    ),
    "write_camera": Writer(("avatarkit.io.camera_json",), lambda f, v: write_camera(f / "c.json", front_camera(16 + v, 16))),
    "save_png": Writer(
        ("avatarkit.io.image", "avatarkit_cli.commands.render", "avatarkit.tracking"),
        lambda f, v: save_png(f / "a.png", picture(v)),
    ),
    "save_motion": Writer(
        ("avatarkit.motion.formats.own", "avatarkit_cli.commands.motions", "avatarkit_cli.commands.track"),
        lambda f, v: save_motion(motion(v), BODY, f / "a.npz"),
        rotate=True,
    ),
    "write_bvh": Writer(
        ("avatarkit.motion.formats.bvh_writer",), lambda f, v: write_bvh(replace(motion(v), fps=10.0 * v), BODY, f / "a.bvh")
    ),
    "say": Writer(("avatarkit.motion.speech",), lambda f, v: say(Tone(v), "a", f / "a.wav"), rotate=True),
    "digests of weights": Writer(("avatarkit.registry.provenance",), digests, faults=("kill",)),
    "training checkpoint": Writer(("avatarkit.training.loop",), checkpoint, rotate=True),
    "film": Writer(("avatarkit.io.video_writer",), lambda f, v: film(f / "a.mp4", 40 * v), rotate=True),
    "frames": Writer(
        ("avatarkit.io.video_writer", "avatarkit.animation.avatar", "avatarkit_cli.commands.animate"), frames, rotate=True
    ),
    "a folder": Writer(
        ("avatarkit.utils.folders", "avatarkit_export.web"), replace_all, faults=(*WITH_EXIT, "kill"), rotate=True
    ),
    "a folder with files of the user's": Writer(
        ("avatarkit.utils.folders", "avatarkit_export.web"),
        beside_users_files(replace_all),
        read=read_folder,
        faults=(*WITH_EXIT, "kill"),
        rotate=True,
    ),
    "a file of a report": Writer(("avatarkit.evaluation", "avatarkit_cli.commands.evaluate"), report, rotate=True),
    "a film of a report": Writer(("avatarkit.evaluation",), comparison, rotate=True),
    "landmarks": Writer(("avatarkit.io.keypoint_cache",), landmarks, read=read_landmarks, rotate=True),
    "exporters": Writer(
        ("avatarkit_export.files", "avatarkit_export.glb", "avatarkit_export.vrm"),
        lambda f, v: write_file(f / "a.glb", b"glTF", bytes([v]) * 9),
    ),
    "ply": Writer(("avatarkit_export.ply",), export(PlyExporter, ".ply", PlyConfig()), fresh=False, rotate=True),
    "spz": Writer(("avatarkit_export.spz",), export(SpzExporter, ".spz"), fresh=False, rotate=True),
    "index.csv": Writer(("avatarkit_cli.batch.index",), lambda f, v: Rows(f, v).write_tables(), read=only("index.csv")),
    "index.jsonl": Writer(("avatarkit_cli.batch.index",), lambda f, v: Rows(f, v).write_tables(), read=only("index.jsonl")),
    "contact sheet": Writer(("avatarkit_cli.batch.sheet",), lambda f, v: write_sheet(Rows(f, v)), rotate=True),
    "result of a worker": Writer(("avatarkit_cli.batch.worker",), batch_result),
    "note of a failed photo": Writer(("avatarkit_cli.batch.driver",), batch_note, read=only("failed/ada.txt")),
    "avatars of the studio": Writer(("avatarkit_cli.studio.library",), studio_record, read=only("made.json")),
    "plugins new": Writer(("avatarkit_cli.authoring.scaffold", "avatarkit_cli.commands.plugins"), project, rotate=True),
    "scratch": Writer(("avatarkit.labelling.scratch",), scratch, faults=("kill",)),
    "wan": Writer(("avatarkit_wan.labeler",), lambda f, v: save_tensors(f / "p.safetensors", {"embeds": torch.ones(v)})),
    "portrait4d": Writer(("avatarkit_portrait4d.job", "avatarkit_portrait4d.labeler"), keep_frame),
    "portrait4d facts": Writer(("avatarkit_portrait4d.job", "avatarkit_portrait4d.runner"), job_facts),
    "signed": Writer(
        ("avatarkit_provenance.signing", "avatarkit.registry.registry"),
        signed,
        read=read_signed,
        faults=("kill", "ENOSPC"),
        rotate=True,
    ),
    "list of revoked avatars": Writer(("avatarkit_provenance.revocations",), revoked, read=read_revoked),
    "anny": Writer(
        ("avatarkit_anny.tables",), lambda f, v: write_tables(f / "t.safetensors", {"a": np.ones(v)}, {"v": v}), read=read_tables
    ),
}
ELSEWHERE = {
    "avatarkit_cli.checkpoints.downloads", "avatarkit_cli.checkpoints.weights_files",  # test_weights_faults.py
    "avatarkit.utils.leftovers",
    "avatarkit.storage.serialization",  # save_tensors into the folder of a stage
    "avatarkit.report.preview",  # save_png and VideoWriter into the folder of a stage
    "avatarkit.labelling.retracking",
    "avatarkit_provenance.keys",  # each file once, by writing
    "avatarkit_cli.studio.builds",  # what a stopped build asked for, by write_text; a full disk stops no build
    "avatarkit_cli.studio.server", "avatarkit_cli.studio.tasks",  # uploads and pages, each once, into folders of the studio's own
    "avatarkit_provenance.revoking",  # one file after the other; verify says what is missing, and the command can run again
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_the_old_state_or_the_new_one(name: str, tmp_path: Path) -> None:
    writer = WRITERS[name]
    kinds = tuple(f for f in writer.faults if f != "exit" or hasattr(os, "fork"))
    before = writer.before or (lambda folder: writer.write(folder, 1))
    tried = check_writer(
        tmp_path / "a", lambda f: writer.write(f, 2), before=before, read=writer.read, faults=kinds, rotate=writer.rotate
    )
    if writer.fresh:
        few = tuple(k for k in kinds if k in ("ENOSPC", "kill"))
        tried += check_writer(tmp_path / "b", lambda f: writer.write(f, 2), read=writer.read, faults=few, rotate=writer.rotate)
    assert tried > 8


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of the system")
@pytest.mark.parametrize(
    ("write", "limits"),
    [
        (lambda f, v: film(f / "a.mp4", 40 * v, 12), (0, 1, 10, 20, 700)),
        (lambda f, v: film(f / "a.webm", 40 * v, 12), (0, 200)),
        (lambda f, v: film(f / FOLDER, 40 * v, 2), (0, 30)),
        (lambda f, v: save_motion(motion(v), BODY, f / "a.npz"), (0, 1000)),
        (lambda f, v: write_tables(f / "t.safetensors", {"a": np.full(900, v)}, {"v": v}), (0, 100, 4096)),
        (avatar, (0, 60)),
    ],
    ids=["mp4", "webm", "frames", "npz", "safetensors", "avatar"],
)
def test_a_full_disk_in_native_code(tmp_path: Path, write: Callable[[Path, int], None], limits: tuple[int, ...]) -> None:
    assert check_size_limit(tmp_path, lambda f: write(f, 2), limits, before=lambda f: write(f, 1)) == len(limits)


# ------------------------------------------------------------------------------------------------ the helper finds things


def plain(folder: Path) -> None:
    (folder / "a.txt").write_text("new text")


def through_a_name_of_its_own(folder: Path) -> None:
    """Atomic, but a kill leaves half a file for ever, and nothing is on the disk when it counts."""
    part = folder / f"a.{os.urandom(3).hex()}.tmp"
    part.write_text("new text")
    os.replace(part, folder / "a.txt")


def deletes_first(folder: Path) -> None:
    (folder / "a.txt").unlink(missing_ok=True)
    write_text(folder / "a.txt", "new text")


def clears_the_folder(folder: Path) -> None:
    for path in folder.glob("*.txt"):
        path.unlink()
    write_text(folder / "a.txt", "new text")


@pytest.mark.parametrize(
    ("bad", "wrong"),
    [
        (plain, "instead of an error of avatarkit|neither the old state nor the new one"),
        (through_a_name_of_its_own, "neither the old state nor the new one|instead of an error of avatarkit"),
        (deletes_first, "neither the old state nor the new one|instead of an error"),
        (clears_the_folder, "of the user changed"),
    ],
)
@pytest.mark.parametrize("kinds", [("kill",), ("ENOSPC",)])
def test_bad_writers_are_found(tmp_path: Path, bad: Callable[[Path], None], wrong: str, kinds: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match=wrong):
        check_writer(tmp_path, bad, before=lambda f: write_text(f / "a.txt", "old"), faults=kinds)


def test_each_operation_is_counted_and_can_fail(tmp_path: Path) -> None:
    calls = [o.call for o in disk_operations(tmp_path, lambda: write_text(tmp_path / "a", "x"))]
    assert [c for c in calls if c in ("write", "fsync", "replace")] == ["write", "fsync", "replace", "fsync"]
    with pytest.raises(StoreError, match="disk is full"), inject(tmp_path, calls.index("write"), "ENOSPC"):
        write_text(tmp_path / "a", "y")
    with pytest.raises(Killed), inject(tmp_path, calls.index("replace"), "kill"):
        write_text(tmp_path / "a", "y")
    assert (tmp_path / "a").read_text() == "x"
    faults.forget()
    write_text(tmp_path / "a", "y")
    assert contents(tmp_path) == {"a": b"y"} and len(list(tmp_path.iterdir())) == 1


# -------------------------------------------------------------------------------------------------------- completeness

_HELPERS = {
    "writing", "write_bytes", "write_text", "write_json", "temporary_folder", "OutputFolder", "save_tensors", "save_png",
    "VideoWriter", "write_file", "save_motion", "write_bvh", "write_bundle", "write_project",
}  # fmt: skip
_BY_ITSELF = {
    "os": {"replace", "rename", "remove", "unlink", "makedirs"},
    "shutil": {"move", "copyfile", "copy", "copy2", "copytree"},
}


def _sources() -> Iterator[tuple[str, Path]]:
    for root in (ROOT, ROOT / "cli", *(p for p in (ROOT / "plugins").iterdir() if p.is_dir())):
        for package in sorted(root.glob("avatarkit*")):
            for path in sorted(package.rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                if "testing" not in parts and "templates" not in parts:
                    yield ".".join(parts), path


def _calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))


def _writes(call: ast.Call) -> bool:
    """Whether a call puts something on the disk without the helpers."""
    modes = {a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    opens = any(re.fullmatch("[rwxab+t]{1,3}", mode) and set(mode) & set("wxa+") for mode in modes)
    if isinstance(call.func, ast.Name):
        return call.func.id == "save_file" or (call.func.id == "open" and opens)
    if not isinstance(call.func, ast.Attribute):
        return False
    module, name = ast.unparse(call.func.value), call.func.attr
    own = name in ("write_text", "write_bytes", "symlink_to", "hardlink_to", "touch", "rename")
    return own or name in _BY_ITSELF.get(module, ()) or (name == "open" and opens and module not in ("av", "wave"))


def test_every_module_that_writes_is_in_the_table() -> None:
    covered = {module for writer in WRITERS.values() for module in writer.modules} | set(ELSEWHERE)
    names = {module: {c.func.id for c in _calls(path) if isinstance(c.func, ast.Name)} for module, path in _sources()}
    missing = {module for module, called in names.items() if called & _HELPERS} - covered
    assert not missing, f"{sorted(missing)} write: put their writers into WRITERS"


def test_no_module_writes_by_itself() -> None:
    """Files are opened for writing, renamed and copied by the helpers alone."""
    allowed = {
        "avatarkit.utils.files", "avatarkit.utils.leftovers", "avatarkit.utils.folders",
        "avatarkit_cli.checkpoints.downloads",  # faults of their own in test_weights_faults.py
        "avatarkit_cli.checkpoints.weights_files",
        "avatarkit_cli.batch.index", "avatarkit_cli.batch.sheet",  # row by row, into the temporary file of `writing`
        "avatarkit_cli.processes",  # what a worker says while it runs
        "avatarkit_cli.studio.builds", "avatarkit_cli.studio.library",  # move what a build has finished
        "avatarkit_cli.studio.server",  # an upload, into the temporary file of `writing`
        "avatarkit_cli.streams",  # the null device
        "avatarkit.storage.bundle",  # into a temporary folder
        "avatarkit.storage.stage_cache",  # /proc/self/clear_refs
        "avatarkit_provenance.signing",  # into a temporary file of its target
        "avatarkit_comfyui.nodes",  # a copy under a temporary name, then its own
        "avatarkit_portrait4d.process", "avatarkit_portrait4d.job",  # what a foreign program reads and says
    }  # fmt: skip
    found = {m: [ast.unparse(c) for c in _calls(path) if _writes(c)] for m, path in _sources() if m not in allowed}
    assert not {module: calls for module, calls in found.items() if calls}
