"""``avatarkit batch``: inputs, the index, workers that die, drivers that are killed, clusters, and the contact sheet."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from avatarkit.errors import ConfigError, InputError, MissingDependency, StoreError
from avatarkit.io.consent import Record, read_consent
from avatarkit.io.image import save_png
from avatarkit.storage.bundle import read_manifest
from avatarkit.testing import tiny_subject
from avatarkit_cli.batch import executors, run, worker
from avatarkit_cli.batch.driver import Workshop, drive
from avatarkit_cli.batch.executors import Executor, Local, Slurm
from avatarkit_cli.batch.index import Index, Task
from avatarkit_cli.batch.inputs import Row, read_consents, read_photos
from avatarkit_cli.batch.shares import local_shares, minutes_of, shares_of
from avatarkit_cli.batch.sheet import write_sheet
from avatarkit_cli.batch.worker import Ended, Job, outcome
from avatarkit_cli.main import app
from avatarkit_cli.processes import ending

STUB = (sys.executable, str(Path(__file__).with_name("batch_stub.py")))
SLOTS = ("matting", "keypoints", "body", "tracker", "motions", "body_labels", "head_labels", "avatar", "renderer")
RECIPE = (
    "\n".join(f'[{slot}]\nuse = "tiny"' for slot in SLOTS)
    + """
[losses.rgb]
use = "tiny"
weight = 1.0
on = ["photo"]
[labels]
body_clips = 1
head_clips = 1
[training]
steps = 2
resolution = 32
[preview]
height = 32
seconds = 0.4
fps = 5
motion = "tiny"
"""
)
DRIVER = (sys.executable, str(Path(__file__).with_name("batch_driver.py")))
PLUGIN = Path(__file__).with_name("tiny_plugin.py")
PATIENCE = 240.0  # seconds, on a busy machine; a test that waits so long has failed
posix = pytest.mark.skipif(sys.platform == "win32", reason="kills processes")


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def gone(file: Path) -> bool:
    """Whether the process whose number a file holds has ended."""
    try:
        os.kill(int(file.read_text()), 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{file.read_text()}/stat")  # ended, and not yet waited for
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def photos(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.jpg").write_text(text)
    return folder


def states(index: Index) -> dict[str, str]:
    return {row["name"]: row["state"] for row in index.rows()}


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


def built(folder: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text().splitlines()) for path in folder.glob("*.built")}


def work(
    folder: Path, out: Path, make: Callable[[], Executor] = lambda: Local(2, STUB), retry: bool = False, **share: Any
) -> list[dict[str, Any]]:
    """Drive stub workers over the photos of a folder, and return the rows."""
    with Index(out) as index:
        index.add(read_photos([folder]), lambda preset: {})
        with Workshop(out, {"": {"recipe": {}, **share}}) as workshop:
            workshop.take_in(index, workshop.leftovers())
            index.resume(retry)
            drive(index, workshop, make(), lambda text, part: None)
        return list(index.rows())


# -------------------------------------------------------------------------------------------------------------- inputs


def test_photos_come_from_folders_globs_files_and_tables(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", b="x", a="x")
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.jpg").write_text("x")
    inner = photos(folder / "more", c="x")
    table = tmp_path / "list.csv"
    text = "photo,name,person,consent,preset\nin/a.jpg,Ada,2,She agreed.,draft\n\nin/none.jpg,,,,\n"
    table.write_text(text, encoding="utf-8-sig")
    assert [row.photo for row in read_photos([folder])] == [folder / "a.jpg", folder / "b.jpg"]
    assert [row.photo.name for row in read_photos([folder / "**" / "*.jpg"])] == ["a.jpg", "b.jpg", "c.jpg"]
    assert list(read_photos([inner / "c.jpg"])) == [Row(inner / "c.jpg")]
    assert list(read_photos([table])) == [
        Row(folder / "a.jpg", "Ada", 2, "draft", "She agreed."), Row(folder / "none.jpg")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foto\na.jpg\n", "the column 'foto' is unknown, or there twice. Did you mean 'photo'?"),
        ("photo,photo\na,b\n", "there twice"),
        ("name\nada\n", "has no column photo"),
        ("photo,name\na.jpg\n", "line 2: expected 2 values (photo, name)"),
        ("photo,name\na.jpg,../b\n", "'../b' cannot be the name of an avatar"),
        ("photo,person\na.jpg,first\n", "person must be a number from 1"),
        ('photo\n"a.jpg\n', "is no CSV file in UTF-8"),
        ("photo\n\xff\n", "is no CSV file in UTF-8"),
    ],
)
def test_tables_that_are_wrong_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises((ConfigError, InputError), match=re.escape(message)):
        list(read_photos([tmp_path / "list.csv"]))


def test_consent_goes_the_way_of_a_build(tmp_path: Path) -> None:
    folder = photos(tmp_path, a="x", b="x", c="x", d="x", e="x")
    (folder / "agreement.pdf").write_bytes(b"signed")
    (folder / "d.toml").write_text('person = "Dora"\nscope = ["private"]\n')
    table = folder / "consents.csv"
    table.write_text(
        "photo,consent,person,scope,until,evidence\na.jpg,She agreed.,,,,\n"
        "b.jpg,,Ada Lovelace,private voice,2099-12-31,agreement.pdf\nc.jpg,,Ada,private,someday,\nd.jpg,d.toml,,,,\n"
    )
    a, b, c, d, e = read_photos([folder], read_consents(table))
    assert a.consent == "She agreed."
    assert isinstance(b.consent, Record)
    assert b.consent["scope"] == ["private", "voice"]
    assert b.consent["evidence"] == hashlib.sha256(b"signed").hexdigest()
    assert "until must be a day" in c.problem
    assert d.consent is not None and "Dora agrees" in d.consent["text"]  # type: ignore[index]
    assert e.problem == "The file of --consent-file has no row for it."
    again = Record(json.loads(json.dumps(b.consent)))
    assert read_consent(again) is again, "a checked record was checked a second time"
    table.write_text("photo,consent\na.jpg,yes\na.jpg,no\n")
    with pytest.raises(ConfigError, match="has a row above"):
        read_consents(table)


# --------------------------------------------------------------------------------------------------------------- index


def test_a_run_grows_and_names_stay(tmp_path: Path) -> None:
    one, two = photos(tmp_path / "one", ada="x"), photos(tmp_path / "two", ada="x", Ada="x")
    for _ in range(2):
        with Index(tmp_path / "run") as index:
            index.add([Row(two / "ada.jpg")], lambda preset: {})
            index.add([Row(one / "ada.jpg"), Row(two / "Ada.jpg"), Row(two / "ada.jpg", person=2)], lambda preset: {})
            assert [row["name"] for row in index.rows()] == ["ada", "ada-2", "Ada-3", "ada-4"]
            with pytest.raises(ConfigError, match="Two photos have the name 'ADA'"):
                index.add([Row(tmp_path / "new.jpg"), Row(tmp_path / "z.jpg", name="ADA")], lambda preset: {})
            assert len(states(index)) == 4, "half of what was added is there"


def test_what_is_built_cannot_change(tmp_path: Path) -> None:
    with Index(tmp_path / "run") as index:
        index.add([Row(tmp_path / "a.jpg", consent="yes"), Row(tmp_path / "b.jpg", consent="yes")], lambda preset: {})
        index.settle([(1, {"state": "done"}, "")])
        index.add([Row(tmp_path / "b.jpg", consent="more")], lambda preset: {})
        assert [task.consent for task in index.take(5)] == ["more"]
        for other in (Row(tmp_path / "a.jpg"), Row(tmp_path / "a.jpg", consent="yes", preset="draft")):
            with pytest.raises(ConfigError, match="as a, with another name, preset or consent"):
                index.add([other], lambda preset: {})


def test_success_beats_failure_and_deaths_count(tmp_path: Path) -> None:
    with Index(tmp_path / "run") as index:
        index.add([Row(tmp_path / "a.jpg"), Row(tmp_path / "b.jpg")], lambda preset: {})
        first, second = index.take(2)
        index.settle([(first.id, {"state": "done", "psnr": 20.0}, ""), (second.id, None, "Killed.")])
        index.settle([(first.id, {"state": "failed", "reason": "late"}, ""), (7, None, "of no row")])
        assert states(index) == {"a": "done", "b": "waiting"}
        for number in (2, 3):
            assert [task.id for task in index.take(5)] == [second.id]
            index.settle([(second.id, None, "Killed.")])
            assert next(index.rows("id = 2"))["attempts"] == number
        assert next(index.rows("id = 2"))["reason"] == "Killed. This happened 3 times."
        index.resume()
        assert index.take(5) == []
        index.resume(retry_failed=True)
        assert [task.id for task in index.take(5)] == [second.id]
        assert index.counts() == {"waiting": 0, "running": 1, "done": 1, "failed": 0}


def test_a_photo_without_consent_waits_for_one(tmp_path: Path) -> None:
    with Index(tmp_path / "run") as index:
        index.add([Row(tmp_path / "a.jpg", problem="No row.")], lambda preset: {})
        index.resume(retry_failed=True)
        assert index.take(1) == [], "it is built without consent"
        assert [row["reason"] for row in index.rows()] == ["No row."]
        index.add([Row(tmp_path / "a.jpg", consent="yes")], lambda preset: {})
        assert [task.consent for task in index.take(1)] == ["yes"]
        index.resume()
        index.add([Row(tmp_path / "a.jpg", problem="No row.")], lambda preset: {})
        assert index.take(1) == []


def test_another_recipe_is_refused_with_the_difference(tmp_path: Path) -> None:
    meaning: dict[str, Any] = {"avatarkit": "1", "training": {"steps": 5}}
    with Index(tmp_path / "run") as index:
        index.add([Row(tmp_path / "a.jpg")], lambda preset: meaning)
        index.add([Row(tmp_path / "b.jpg", preset="draft")], lambda preset: meaning | {"extra": preset} if preset else meaning)
        changed = {"avatarkit": "1", "training": {"steps": 6}, "labels": {"clips": 1}}
        with pytest.raises(ConfigError) as caught:
            index.add([Row(tmp_path / "c.jpg")], lambda preset: changed)
        assert "  training.steps: 5 -> 6\n  labels.clips: nothing -> 1\n" in str(caught.value)
        assert "preset" not in str(caught.value) and "1 -> 1" not in str(caught.value)
        assert len(states(index)) == 2


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("the user's")
    with pytest.raises(StoreError, match="holds something else than a batch"):
        Index(tmp_path)
    (tmp_path / "index.sqlite").write_bytes(b"no database, but long enough to be read as one" * 50)
    with pytest.raises(StoreError, match="cannot be read or written"):
        Index(tmp_path)
    with Index(tmp_path / "run"), pytest.raises(StoreError, match="Another run is using"):
        Index(tmp_path / "run")


# ----------------------------------------------------------------------------------------------------------- scheduler


class Stub:
    """Builds at once; every ninth photo fails, and the driver is interrupted after some."""

    def __init__(self, most: int) -> None:
        self.slots, self.seen, self._most, self._queue = 50, set[int](), most, deque[int]()

    def submit(self, job: Job) -> None:
        assert job.id not in self.seen
        self.seen.add(job.id)
        self._queue.append(job.id)

    def ended(self, seconds: float) -> Iterator[Ended]:
        if len(self.seen) >= self._most:
            raise KeyboardInterrupt
        while self._queue:
            number = self._queue.popleft()
            good = {"state": "done", "seconds": {"tracking": 1.0}, "psnr": 25.0, "warnings": ["The hands were not seen."]}
            yield number, {"state": "failed", "reason": "No person."} if number % 900 == 0 else good, ""

    def stop(self) -> None:
        self._queue.clear()


def schedule(out: Path, rows: Iterator[Row], executor: Executor) -> dict[str, int]:
    with Index(out) as index:
        index.add(rows, lambda preset: {})
        index.resume()
        with Workshop(out, {"": {"recipe": {}}}) as workshop:
            drive(index, workshop, executor, lambda text, part: None)
        return index.counts()


def many(folder: Path, count: int) -> Iterator[Row]:
    return (Row(folder / f"{number}.jpg", name=f"n{number}") for number in range(1, count + 1))


def test_twenty_thousand_photos(tmp_path: Path) -> None:
    first, second = Stub(10_000), Stub(20_001)
    with pytest.raises(KeyboardInterrupt):
        schedule(tmp_path / "run", many(tmp_path, 20_000), first)
    counts = schedule(tmp_path / "run", iter(()), second)
    assert counts == {"waiting": 0, "running": 0, "done": 19_978, "failed": 22}
    assert first.seen | second.seen == set(range(1, 20_001))
    assert len(first.seen & second.seen) <= 50, "more was built twice than was running"
    assert len(list((tmp_path / "run" / "failed").iterdir())) == 22


def test_the_driver_needs_the_same_memory_for_more_photos(tmp_path: Path) -> None:
    peaks = []
    for count in (10, 100, 1000, 1001):  # the first imports and compiles; tables of the interpreter grow at times
        tracemalloc.start()
        schedule(tmp_path / str(count), many(tmp_path, count), Stub(count + 1))
        with Index(tmp_path / str(count)) as index:
            index.write_tables()
            write_sheet(index)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(peaks[2:]) - peaks[1] < 250_000, "more than 280 bytes for each photo"


# ------------------------------------------------------------------------------------------------------------- workers


def test_no_photo_stops_the_others(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", a="die", b="bad", c="good", d="die once", e="bug", f="good")
    rows = {row["name"]: row for row in work(folder, tmp_path / "run", cores=3)}
    assert {name: (row["state"], row["attempts"]) for name, row in rows.items()} == {
        "a": ("failed", 3), "b": ("failed", 1), "c": ("done", 1), "d": ("done", 2), "e": ("failed", 1), "f": ("done", 1)
    }  # fmt: skip
    assert rows["a"]["reason"].startswith("The worker was killed by SIGKILL")
    assert rows["a"]["reason"].endswith("This happened 3 times.")
    assert rows["b"]["reason"] == "No person was found in the photo."
    assert rows["b"]["sha256"] == hashlib.sha256(b"bad").hexdigest()
    assert rows["c"]["seconds"] == {"tracking": 1.5}
    note = (tmp_path / "run" / "failed" / "e.txt").read_text()
    assert note.startswith("ZeroDivisionError: a bug\n")
    assert str(folder / "e.jpg") in note and "stub of e.jpg on 3 cores" in note and "Traceback" in note
    assert not (tmp_path / "run" / "work").exists()
    (folder / "b.jpg").write_text("good")
    assert states_of(work(folder, tmp_path / "run"))["b"] == "failed", "it was tried again without --retry-failed"
    assert states_of(work(folder, tmp_path / "run", retry=True))["b"] == "done"
    assert sorted(path.stem for path in (tmp_path / "run" / "failed").iterdir()) == ["a", "e"]
    assert built(folder) == {"b": 1, "c": 1, "d": 1, "f": 1}, "something was built twice"


def job_of(folder: Path) -> Job:
    return Job(1, str(folder / "a.jpg"), "", str(folder / "1.json"), str(folder / "1.log"), "", "", {})


LAST_MOMENT = """
import json, sys, time
with open(json.load(sys.stdin)["result"], "w") as result:
    result.write('{"state": "done"}')
time.sleep(1000)
"""


def states_of(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["name"]: row["state"] for row in rows}


@posix
def test_a_worker_keeps_to_its_share_of_memory(tmp_path: Path) -> None:
    (row,) = work(photos(tmp_path / "in", a="hog"), tmp_path / "run", memory_mb=200)
    assert re.match(r"It took \d+ MB of memory, and its share is 200 MB\. Build fewer at a time", row["reason"])
    assert (row["state"], row["attempts"]) == ("failed", 1)


@posix
@pytest.mark.parametrize("place", [None, "slurm"])
def test_a_build_that_hangs_fails_and_the_others_go_on(tmp_path: Path, place: str | None) -> None:
    """Also one that holds the interpreter, so that no thread of its own can end it."""
    folder = photos(tmp_path / "in", a="hang", b="good")
    make = (lambda: Slurm(2, tmp_path / "slurm", "local", STUB)) if place else (lambda: Local(1, STUB))
    a, b = work(folder, tmp_path / "run", make, minutes=0.25)
    advice = "To allow more, use --retry-failed with a longer --time-limit; finished stages are kept."
    assert (a["state"], a["attempts"], a["reason"]) == ("failed", 1, f"It took longer than 15 s. {advice}")
    assert (b["state"], built(folder)) == ("done", {"b": 1})
    assert gone(folder / "a.began")
    assert "stub of a.jpg" in (tmp_path / "run" / "failed" / "a.txt").read_text()


@posix
def test_a_build_that_ended_when_its_time_was_over_counts(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("good")
    made = worker.Worker(replace(job_of(tmp_path), minutes=1e-6), (sys.executable, "-c", LAST_MOMENT))
    until((tmp_path / "1.json").exists)
    assert made.wait(PATIENCE) == (1, {"state": "done"}, ending(-signal.SIGKILL))


@posix
def test_a_killed_driver_loses_nothing(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", a="good", b="wait", c="wait", d="good"), tmp_path / "run"
    driver = subprocess.Popen([*DRIVER, str(folder), str(out)])
    until(lambda: (folder / "b.began").exists() and (folder / "c.began").exists())
    driver.kill()
    driver.wait()
    until(lambda: gone(folder / "b.began") and gone(folder / "c.began"))  # workers end with their driver
    (folder / "go").touch()
    assert set(states_of(work(folder, out)).values()) == {"done"}
    assert built(folder) == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_a_result_that_no_driver_saw_counts(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", a="bug"), tmp_path / "run"
    with Index(out) as index:
        index.add(read_photos([folder]), lambda preset: {})
        with Workshop(out, {"": {"recipe": {}}}) as workshop:
            job = workshop.job(index.take(1)[0])
            Path(job.result).write_text('{"state": "done"}')
    assert states_of(work(folder, out)) == {"a": "done"}


@posix
def test_another_driver_ends_workers_and_success_stays(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", a="wait", b="bad"), tmp_path / "run"
    old = Workshop(out, {"": {"recipe": {}}})
    a, b = (old.job(Task(number, folder / f"{name}.jpg", None, name, "", None)) for number, name in ((1, "a"), (2, "b")))
    Path(b.result).write_text('{"state": "done"}')
    assert worker.attempt(b, STUB)[1] == {"state": "done"}
    waiting = worker.Worker(a, STUB)
    until((folder / "a.began").exists)
    Workshop(out, {"": {"recipe": {}}})
    assert waiting.wait(PATIENCE) == (1, None, ending(3))
    assert outcome(Path(a.result)) is None


@posix
def test_a_pipe_is_no_photo_and_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    job = job_of(tmp_path)
    worker._leave(job, {"state": "failed", "reason": "a pipe"})
    assert outcome(Path(job.result)) == {"state": "failed", "reason": "a pipe"}


def test_endings_are_said_in_words() -> None:
    assert ending(1) == "The worker ended with exit code 1 and left no result."
    assert ending(-11) == "The worker was killed by SIGSEGV."
    assert ending(-9) == "The worker was killed by SIGKILL, as the system does when memory runs out."


def test_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    from avatarkit_cli.batch import shares

    monkeypatch.setattr(shares, "_memory_mb", lambda: 10_000.0)
    assert local_shares(None, 8, "instant", False) == (4, {"cores": 2, "memory_mb": 2250, "gpus": 0})
    assert local_shares(None, 2, "instant", False) == (2, {"cores": 1, "memory_mb": 4500, "gpus": 0})
    assert local_shares(None, 8, "paper", True) == (1, {"cores": 8, "memory_mb": 9000, "gpus": 0})
    assert local_shares(20, 8, None, False) == (20, {"cores": 1, "memory_mb": 450, "gpus": 0})
    assert shares_of("paper", "auto")["gpus"] == 1
    assert 10 <= minutes_of("instant") < minutes_of("draft") < minutes_of("standard")
    assert minutes_of("paper") == minutes_of("my-recipe") == 0
    assert shares_of("paper", "cpu")["gpus"] == shares_of("instant", "auto")["gpus"] == 0


# ------------------------------------------------------------------------------------------------------------ clusters


@posix
def test_slurm(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", a="good", b="die once", c="bad")
    rows = work(folder, tmp_path / "run", lambda: Slurm(3, tmp_path / "slurm", "local", STUB))
    assert states_of(rows) == {"a": "done", "b": "done", "c": "failed"}
    assert built(folder) == {"a": 1, "b": 1}


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
def test_ray(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", a="good", b="die once", c="bad", d="wait")

    def kill_the_task() -> None:
        until((folder / "d.began").exists)
        status = Path(f"/proc/{(folder / 'd.began').read_text()}/status").read_text()
        os.kill(int(re.findall(r"^PPid:\s*(\d+)", status, re.M)[0]), signal.SIGKILL)
        until(lambda: gone(folder / "d.began"))
        (folder / "go").touch()

    threading.Thread(target=kill_the_task, daemon=True).start()
    rows = work(folder, tmp_path / "run", lambda: executors.Ray(4, "local", STUB), memory_mb=300)
    assert states_of(rows) == {"a": "done", "b": "done", "c": "failed", "d": "done"}
    assert built(folder) == {"a": 1, "b": 1, "d": 1}


def test_clusters_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingDependency, match=r'pip install "avatarkit-oneshot\[ray\]"'):
        executors.Ray(1)
    with pytest.raises(MissingDependency, match=r'pip install "avatarkit-oneshot\[slurm\]"'):
        Slurm(1, tmp_path)


# ------------------------------------------------------------------------------------------------------ for people


def test_the_sheet_and_the_tables_hold_texts_of_strangers_as_texts(tmp_path: Path) -> None:
    with Index(tmp_path / "run") as index:
        index.add([Row(tmp_path / "<script>alert(1)<.jpg", name="=a b#1"), Row(tmp_path / "b\x1b.jpg")], lambda preset: {})
        index.settle([(1, {"state": "done", "psnr": None, "warnings": ["<b>&"]}, ""), (2, {"reason": "\x1b[31m<i>"}, "")])
        index.write_tables()
        write_sheet(index)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page and "<i>" not in page and "\x1b" not in page
    assert 'src="avatars/%3Da%20b%231.avatar/preview.png"' in page
    assert "http" not in page.replace("http-equiv", "")
    with (tmp_path / "run" / "index.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["name"] for row in table] == ["'=a b#1", "photo"]
    assert [row["state"] for row in lines(tmp_path / "run")] == ["done", "failed"]


# ------------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The command with stub workers, in a folder with photos."""
    monkeypatch.setattr(run, "Local", partial(Local, command=STUB))
    monkeypatch.setattr(Workshop, "warm_up", lambda self: None)
    monkeypatch.chdir(tmp_path)
    return photos(tmp_path / "in", a="good", b="bad")


def batch(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["batch", *arguments])


def test_the_command(stubs: Path) -> None:
    result = batch("in", "-o", "out", "--preset", "instant", "--jobs", "2")
    assert result.exit_code == 3, result.output
    assert result.stdout.splitlines()[0] == "out"
    assert result.stdout.splitlines()[-1].split(maxsplit=1) == ["b", "No person was found in the photo."]
    assert "1 of 2 photos are avatars. Contact sheet: out/report.html" in result.stderr
    other = batch("in", "-o", "out", "--preset", "draft")
    assert other.exit_code == 2
    assert "preset: instant -> draft" in other.stderr
    (stubs / "b.jpg").write_text("good")
    again = batch("-o", "out", "--preset", "instant", "--retry-failed", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout) == {
        "run": "out", "counts": {"waiting": 0, "running": 0, "done": 2, "failed": 0}, "failed": []
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out"], "Name photos, for example: avatarkit batch photos/ -o run."),
        (["in", "-o", "in"], "is an input of this command"),
        (["none.jpg", "-o", "out"], "There is no photo none.jpg"),
        (["empty", "-o", "out"], "There are no photos in empty"),
        (["in", "-o", "out", "--on", "moon"], "--on 'moon' is unknown: use local, ray, slurm."),
        (["in", "-o", "out", "--address", "x"], "--address is for --on ray."),
        (["in", "-o", "out", "--time-limit", "-1"], "Invalid value for '--time-limit'"),
        (["in", "-o", "out", "--time-limit", "inf"], "Invalid value for '--time-limit'"),
        (["in", "-o", "out", "--preset", "drft"], "There is no preset 'drft'. Did you mean 'draft'?"),
        (["in", "-o", "out", "--consent-file", "no.csv"], "There is no CSV file no.csv"),
        (["in"], "Missing option '-o' / '--output'"),
    ],
)
def test_mistakes_are_said_in_a_sentence(stubs: Path, arguments: list[str], message: str) -> None:
    (stubs.parent / "empty").mkdir()
    result = batch(*arguments)
    assert (result.exit_code, built(stubs)) == (2, {})
    assert message in result.stderr


@posix
def test_ctrl_c_ends_the_workers_and_writes_the_index(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", a="good", b="wait")
    source = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # background jobs ignore it
        "from functools import partial\nfrom avatarkit_cli.batch import driver, executors, run\n"
        f"run.Local = partial(executors.Local, command={STUB!r})\ndriver.Workshop.warm_up = lambda self: None\n"
        "from avatarkit_cli.entry import main\nmain()\n"
    )
    command = [sys.executable, "-c", source, "batch", str(folder), "-o", str(tmp_path / "out"), "--preset", "instant", "-j", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    until((folder / "b.began").exists)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, told
    assert "interrupted. Run the same command again to continue." in told
    assert gone(folder / "b.began")
    assert states_of(lines(tmp_path / "out")) == {"a": "done", "b": "waiting"}
    assert (tmp_path / "out" / "report.html").exists()


def test_real_workers_build_avatars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVATARKIT_PLUGINS", "")
    (tmp_path / "in").mkdir()
    save_png(tmp_path / "in" / "ada.png", tiny_subject(size=64).photo.image)
    (tmp_path / "in" / "bad.png").write_text("no picture")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "in" / "consents.csv").write_text("photo,person,scope\nada.png,Ada,private\nbad.png,Bob,private\n")
    arguments = ("in", "-o", "out", "--recipe", "tiny.toml", "--plugin", str(PLUGIN), "--consent-file", "in/consents.csv")
    result = batch(*arguments, "--json")
    assert result.exit_code == 3, result.output
    (failed,) = json.loads(result.stdout)["failed"]
    assert (failed["name"], failed["attempts"]) == ("bad", 1)
    assert "bad.png" in failed["reason"]
    manifest = read_manifest(tmp_path / "out" / "avatars" / "ada.avatar")
    assert manifest["consent_record"]["person"] == "Ada"
    assert manifest["consent"] == "Ada agrees to private use."
    (good,) = (row for row in lines(tmp_path / "out") if row["state"] == "done")
    assert good["sha256"] == manifest["inputs"]["photo"]
    assert set(good["seconds"]) == set(manifest["stages"])
    assert good["psnr"] == manifest["metrics"]["psnr_matte"]
    assert good["peak_memory_mb"] > 50
