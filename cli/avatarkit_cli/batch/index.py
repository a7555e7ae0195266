"""The index of a run: an SQLite file that is the truth while the run lasts, and tables for people when it ends.

The driver is the only writer. A kill at any point loses nothing that was committed; what a worker finished and the driver did
not read yet lies in its result file.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from avatarkit.errors import ConfigError, StoreError
from avatarkit.utils.files import disk_errors, relative_name, writing
from avatarkit.utils.text import json_safe, printable, shortened
from avatarkit_cli.batch.inputs import Row

__all__ = ["COLUMNS", "Index", "Task"]

_MOST_ATTEMPTS = 3  # a photo whose worker dies so often has failed
_MARK = 0x41_56_42_31  # "AVB1", the application id of an index
_MOST_DIFFERENCES = 12  # shown of two recipes
_SCHEMA = """
CREATE TABLE rows (
    id INTEGER PRIMARY KEY, photo BLOB NOT NULL, person INTEGER NOT NULL, name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    preset TEXT NOT NULL, consent TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL, facts TEXT NOT NULL DEFAULT '{}', UNIQUE (photo, person)
);
CREATE INDEX by_state ON rows (state, attempts, id);
CREATE TABLE recipes (preset TEXT PRIMARY KEY, fingerprint TEXT NOT NULL);
"""
COLUMNS = (
    "name", "photo", "person", "preset", "state", "reason", "attempts", "sha256", "seconds", "peak_memory_mb", "psnr", "iou",
    "warnings",
)  # fmt: skip
"""Of ``index.csv`` and ``index.jsonl``."""


@dataclass(frozen=True)
class Task:
    """A row that is to be built now."""

    id: int
    photo: Path
    person: int | None
    name: str
    preset: str
    consent: str | dict[str, Any] | None


class Index:
    """The rows of a run and their states: waiting, running, done, failed. A context manager.

    Args:
        folder: of the run; made if it is not there.

    Raises:
        StoreError: another run uses the folder, or it is no folder of a run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        file = folder / "index.sqlite"
        with disk_errors(folder), _database(folder):
            if folder.is_dir() and any(folder.iterdir()) and not file.exists():
                raise StoreError(f"{folder} exists and holds something else than a batch: choose another name with -o.")
            folder.mkdir(parents=True, exist_ok=True)
            self._base = base = sqlite3.connect(file, timeout=0.2, isolation_level=None)
            try:
                base.execute("PRAGMA locking_mode = EXCLUSIVE")  # one driver, and no shared memory: works on network disks
                mark = base.execute("PRAGMA application_id").fetchone()[0]
                tables = base.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
                if mark != _MARK and tables:
                    raise StoreError(f"{file} is no index of a batch, or from another version: choose another name with -o.")
                base.execute("PRAGMA journal_mode = WAL")
                base.execute("PRAGMA synchronous = NORMAL")
                if not tables:
                    base.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {_MARK}; {_SCHEMA} COMMIT;")
                base.executescript("BEGIN IMMEDIATE; COMMIT;")  # locks it
            except BaseException:
                base.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._base.close()

    @contextmanager
    def _changes(self) -> Iterator[sqlite3.Connection]:
        """Commit all changes of the block together, or none."""
        with _database(self.folder):
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._base.execute("ROLLBACK")
                raise

    # ----------------------------------------------------------------------------------------------------- what to build

    def _agree(self, preset: str, fingerprint: Mapping[str, Any]) -> None:
        """Record what a preset of this run means; raise ConfigError with the differences if it meant something else before."""
        known = self._base.execute("SELECT fingerprint FROM recipes WHERE preset = ?", (preset,)).fetchone()
        if known is None:
            self._base.execute("INSERT INTO recipes VALUES (?, ?)", (preset, json.dumps(fingerprint)))
            return
        older, newer = dict(_leaves(json.loads(known[0]))), dict(_leaves(json.loads(json.dumps(fingerprint))))
        changed = [key for key in dict.fromkeys([*newer, *older]) if older.get(key) != newer.get(key)]
        if changed:
            lines = [f"  {key}: {_shown(older.get(key))} -> {_shown(newer.get(key))}" for key in changed[:_MOST_DIFFERENCES]]
            lines += [f"  and {len(changed) - _MOST_DIFFERENCES} more"] * (len(changed) > _MOST_DIFFERENCES)
            advice = "Run the command as before, or choose another folder with -o."
            raise ConfigError("\n".join([f"{self.folder} was begun with another recipe or version:", *lines, advice]))

    def add(self, rows: Iterable[Row], meaning: Callable[[str], Mapping[str, Any]]) -> None:
        """Add rows that are new, and update those that are not built yet; all or none.

        Args:
            rows: in any order, also such that are there.
            meaning: preset of a row, "" = that of the run -> everything that changes its result, as plain values.

        Raises:
            ConfigError: a row contradicts one that is built, its name is taken, or a preset meant something else when the run
                began; the message shows the differences.
        """
        with self._changes():
            for row in rows:
                self._add(row)
            for preset in self.presets():
                self._agree(preset, meaning(preset))

    def _add(self, row: Row) -> None:
        photo, person, consent = os.fsencode(row.photo), row.person or 0, json.dumps(row.consent)
        state, reason = ("failed" if row.problem else "waiting"), printable(row.problem)
        known = self._base.execute(
            "SELECT id, name, preset, consent, state, attempts FROM rows WHERE photo = ? AND person = ?", (photo, person)
        ).fetchone()
        if known is None:
            name = row.name or self._free_name(row.photo.stem)
            if taken := self._base.execute("SELECT photo FROM rows WHERE name = ?", (name,)).fetchone():
                raise ConfigError(f"Two photos have the name {name!r}: {os.fsdecode(taken[0])} and {row.photo}.")
            self._base.execute(
                "INSERT INTO rows (photo, person, name, preset, consent, state, reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (photo, person, name, row.preset, consent, state, reason),
            )
            return
        number, name, *before, older, attempts = known
        if row.name not in ("", name) or (older == "done" and before != [row.preset, consent]):
            what = f"{row.photo} is in {self.folder} as {name}, with another name, preset or consent"
            raise ConfigError(f"{what}: keep what it was built with, or choose another folder with -o.")
        if older != "done":
            self._base.execute("UPDATE rows SET preset = ?, consent = ? WHERE id = ?", (row.preset, consent, number))
            if row.problem or (older == "failed" and attempts == 0):  # it had a problem
                change = "UPDATE rows SET state = ?, reason = ?, attempts = 0 WHERE id = ?"
                self._base.execute(change, (state, reason, number))

    def _free_name(self, stem: str) -> str:
        """Return a name for an avatar that no row has: ``ada``, ``ada-2``, ..."""
        fine = relative_name(stem) is not None and len(stem.encode()) <= 150
        stem = stem if fine else "photo"
        for number in range(1, 1 << 30):
            name = stem if number == 1 else f"{stem}-{number}"
            if self._base.execute("SELECT 1 FROM rows WHERE name = ?", (name,)).fetchone() is None:
                return name
        raise AssertionError

    # -------------------------------------------------------------------------------------------------------- the states

    def resume(self, retry_failed: bool = False) -> None:
        """Let rows that a killed driver was building wait again, and where that is wanted those that failed.

        Rows that were never tried have a problem, such as no consent; only ``add`` can end it.
        """
        with self._changes() as base:
            base.execute("UPDATE rows SET state = 'waiting' WHERE state = 'running'")
            if retry_failed:
                change = "UPDATE rows SET state = 'waiting', attempts = 0, reason = ''"
                base.execute(f"{change} WHERE state = 'failed' AND attempts > 0")

    def take(self, count: int) -> list[Task]:
        """Return the next rows to build, which are running from now on; rows whose workers died come last."""
        if count < 1:
            return []
        with self._changes() as base:
            found = base.execute(
                "SELECT id, photo, person, name, preset, consent FROM rows WHERE state = 'waiting' ORDER BY attempts, id LIMIT ?",
                (count,),
            ).fetchall()
            base.executemany("UPDATE rows SET state = 'running' WHERE id = ?", [(row[0],) for row in found])
        return [Task(n, Path(os.fsdecode(p)), w or None, name, preset, json.loads(c)) for n, p, w, name, preset, c in found]

    def settle(self, outcomes: Iterable[tuple[int, Mapping[str, Any] | None, str]]) -> list[tuple[int, str, str, str]]:
        """Record how builds ended.

        Args:
            outcomes: id of the row, result of the worker, and how the worker ended if it left no result. Success beats failure.

        Returns:
            Id, name, new state and reason of the rows.
        """
        changed = []
        with self._changes() as base:
            for number, result, how in outcomes:
                row = base.execute("SELECT state, attempts, name, reason FROM rows WHERE id = ?", (number,)).fetchone()
                if row is None:
                    continue
                state, attempts, name, reason = row
                if state != "done":
                    attempts += 1
                    if result is not None:
                        state = "done" if result.get("state") == "done" else "failed"
                        reason = printable(result.get("reason", ""))
                    elif attempts < _MOST_ATTEMPTS:
                        state, reason = "waiting", how
                    else:
                        state, reason = "failed", f"{how} This happened {attempts} times."
                    facts = json.dumps({k: v for k, v in (result or {}).items() if k not in ("state", "reason")})
                    base.execute(
                        "UPDATE rows SET state = ?, attempts = ?, reason = ?, facts = ? WHERE id = ?",
                        (state, attempts, reason, facts, number),
                    )
                changed.append((number, name, state, reason))
        return changed

    def presets(self) -> list[str]:
        """Return the presets of all rows; "" = that of the run."""
        with _database(self.folder):
            return [preset for (preset,) in self._base.execute("SELECT DISTINCT preset FROM rows ORDER BY preset")]

    def counts(self) -> dict[str, int]:
        """Return the number of rows in each state."""
        with _database(self.folder):
            found = dict(self._base.execute("SELECT state, count(*) FROM rows GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in ("waiting", "running", "done", "failed")}

    # ------------------------------------------------------------------------------------------------------- for people

    def rows(self, where: str = "1") -> Iterator[dict[str, Any]]:
        """Yield all rows, or those for which an SQL condition holds, as plain values; see ``index.jsonl``."""
        with _database(self.folder):
            found = self._base.execute(
                f"SELECT name, photo, person, preset, state, reason, attempts, facts FROM rows WHERE {where} ORDER BY id"
            )
            for name, photo, person, preset, state, reason, attempts, facts in found:
                values = {
                    "name": name, "photo": printable(os.fsdecode(photo)), "person": person or None, "preset": preset,
                    "state": "waiting" if state == "running" else state, "reason": reason, "attempts": attempts,
                }  # fmt: skip
                yield dict.fromkeys(COLUMNS) | values | json.loads(facts)

    def write_tables(self) -> None:
        """Write ``index.csv`` and ``index.jsonl``, row by row.

        Raises:
            StoreError: they cannot be written.
        """
        with writing(self.folder / "index.jsonl") as temporary, temporary.open("w", encoding="utf-8") as stream:
            for row in self.rows():
                stream.write(json_safe(json.dumps(row, ensure_ascii=False)) + "\n")
        with writing(self.folder / "index.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(COLUMNS)
            for row in self.rows():
                row["seconds"] = " ".join(f"{stage}={value:g}" for stage, value in (row["seconds"] or {}).items())
                row["warnings"] = " ".join(row["warnings"] or ())
                table.writerow([_cell(row[name]) for name in COLUMNS])


@contextmanager
def _database(folder: Path) -> Iterator[None]:
    """Turn errors of SQLite into sentences."""
    try:
        yield
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise StoreError(f"Another run is using {folder} right now; wait for it, or choose another name with -o.") from None
        advice = "Check the disk, or choose another folder with -o."
        raise StoreError(f"The index of {folder} cannot be read or written: {error}. {advice}") from error


def _cell(value: object) -> object:
    """Return a value for spreadsheets, which take some texts for formulas."""
    text = printable("" if value is None else value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text


def _leaves(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and value of everything inside nested tables."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{above}.{name}" if above else str(name))
    else:
        yield above, value


def _shown(value: Any) -> str:
    return "nothing" if value is None else shortened(str(value))
