"""Stages: keys, reuse, kills, damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avatarkit.errors import StoreError
from avatarkit.storage.stage_cache import (
    Stage,
    Store,
    content_key,
    load_tensors,
    read_json,
    save_tensors,
    write_json,
)


@dataclass(frozen=True)
class Config:
    steps: int = 5
    sizes: tuple[int, ...] = (1, 2)


def stage(root: Path, **changes: Any) -> Stage:
    parts: dict[str, Any] = {
        "name": "tracking", "component": "fit", "revision": 1, "config": Config(), "seed": 0,
        "inputs": {"photo": "abc"},
    }  # fmt: skip
    return Store(root).stage(**{**parts, **changes})


def fill(a: Stage, text: str = "x") -> None:
    with a.write() as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "result.txt").write_text(text)


def test_a_written_stage_is_ready_and_found_again(tmp_path: Path) -> None:
    a = stage(tmp_path)
    assert not a.ready
    fill(a)
    assert a.ready
    again = stage(tmp_path)
    assert again.ready
    assert again.key == a.key
    assert (again.folder / "sub" / "result.txt").read_text() == "x"
    assert again.record["parts"]["config"] == {"steps": 5, "sizes": [1, 2]}
    assert again.record["seconds"] >= 0
    assert again.record["peak_memory_mb"] > 10
    assert [p.name for p in tmp_path.iterdir()] == [a.folder.name]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"component": "other"}, "component: 'fit' became 'other'"),
        ({"revision": 2}, "revision: 1 became 2"),
        ({"config": Config(steps=6)}, "config.steps: 5 became 6"),
        ({"seed": 1}, "seed: 0 became 1"),
        ({"inputs": {"photo": "abd"}}, "inputs.photo changed"),
    ],
)
def test_every_part_of_the_key_counts_and_is_told(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    a = stage(tmp_path)
    assert a.why_changed() == "not made yet"
    fill(a)
    b = stage(tmp_path, **change)
    assert b.key != a.key
    assert not b.ready
    assert b.why_changed() == why


@pytest.mark.parametrize("damage", ["missing file", "short file", "missing record", "broken record", "other key"])
def test_a_damaged_stage_is_made_again(tmp_path: Path, damage: str) -> None:
    a = stage(tmp_path)
    fill(a, "long enough")
    file, record = a.folder / "sub" / "result.txt", a.folder / "stage.json"
    if damage == "missing file":
        file.unlink()
    elif damage == "short file":
        file.write_text("x")
    elif damage == "missing record":
        record.unlink()
    elif damage == "broken record":
        record.write_text("{")
    else:
        record.write_text(json.dumps({**json.loads(record.read_text()), "key": "0"}))
    assert not a.ready
    assert "damaged" in a.why_changed() or a.why_changed() == "not made yet"
    fill(a, "whole again")
    assert a.ready
    assert file.read_text() == "whole again"


def test_an_exception_leaves_nothing_but_the_partial_work(tmp_path: Path) -> None:
    a = stage(tmp_path)
    (a.scratch / "checkpoint").write_text("50 steps")

    def fails() -> None:
        with a.write() as folder:
            (folder / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert not a.ready
    assert [p.name for p in tmp_path.iterdir()] == [a.scratch.name]
    assert (stage(tmp_path).scratch / "checkpoint").read_text() == "50 steps"
    fill(a)
    assert [p.name for p in tmp_path.iterdir()] == [a.folder.name]


def test_a_kill_in_the_middle_of_writing_leaves_no_stage_and_the_next_run_finishes(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from avatarkit.storage.stage_cache import Store
        a = Store(Path({str(tmp_path)!r})).stage("tracking", "fit", 1, None, 0, {{}})
        (a.scratch / "checkpoint").write_text("x")
        with a.write() as folder:
            (folder / "half").write_text("x")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert run.returncode == -9
    a = stage(tmp_path, config=None, inputs={})
    assert not a.ready
    assert (a.scratch / "checkpoint").exists()
    fill(a)
    assert a.ready
    assert sorted(p.name for p in a.folder.iterdir()) == ["stage.json", "sub"]


def test_discard_and_sweep(tmp_path: Path) -> None:
    old, new = stage(tmp_path, seed=1), stage(tmp_path)
    fill(old)
    fill(new)
    half = tmp_path / f"{new.folder.name}.tmp"
    half.mkdir()
    for name in ("notes.txt", "mine.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "diary").write_text("of the user")
    Store(tmp_path).sweep()
    assert old.ready and new.ready and not half.exists()
    new.discard()
    assert not new.ready and stage(tmp_path, seed=1).ready
    assert (tmp_path / "mine.tmp" / "diary").exists() and (tmp_path / "notes.txt" / "diary").exists()


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(StoreError, match="part of its path is a file"):
        fill(stage(blocked / "cache"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(StoreError, match="The disk is full: /dev/full could not be written"):
        write_json(Path("/dev/full"), {"x": 1})
    with pytest.raises(StoreError, match="The disk is full: /dev/full could not be written"):
        save_tensors(Path("/dev/full"), {"x": torch.zeros(3)})


def test_a_changed_byte_of_the_same_length_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    a = stage(tmp_path)
    fill(a, "right")
    (a.folder / "sub" / "result.txt").write_text("wrong")
    again = stage(tmp_path)
    assert not again.ready
    assert "tracking are damaged or incomplete; they are made again" in caplog.text
    fill(again, "right")
    assert stage(tmp_path).ready


def test_errors_of_the_work_itself_are_not_blamed_on_the_disk(tmp_path: Path) -> None:
    a = stage(tmp_path)

    def fails() -> None:
        with a.write():
            raise FileNotFoundError(2, "No such file", "model.bin")

    with pytest.raises(FileNotFoundError):
        fails()


def test_tensors_come_back_equal_and_their_bytes_depend_on_nothing_else(tmp_path: Path) -> None:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = {
        "view": base[:, 1:3], "transposed": base.T, "whole": base, "again": base, "bytes": base.to(torch.uint8),
        "flags": base > 5, "index": base.long(), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3),
    }  # fmt: skip
    save_tensors(tmp_path / "a.safetensors", tensors)
    back = load_tensors(tmp_path / "a.safetensors")
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    (tmp_path / "folder").mkdir()
    save_tensors(tmp_path / "folder" / "a.safetensors", tensors)
    expected = (tmp_path / "folder").stat().st_mode & 0o666
    assert (tmp_path / "folder" / "a.safetensors").stat().st_mode & 0o777 == expected
    save_tensors(tmp_path / "b.safetensors", {name: tensors[name].clone() for name in tensors})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("keep", [0, 4, 30])
def test_damaged_files_are_one_sentence(tmp_path: Path, keep: int) -> None:
    save_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(30)})
    os.truncate(tmp_path / "a.safetensors", keep)
    with pytest.raises(StoreError, match=r"a\.safetensors is damaged"):
        load_tensors(tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text("[1, 2]" if keep else '{"x": ')
    with pytest.raises(StoreError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")
    with pytest.raises(StoreError, match=r"b\.json is missing"):
        read_json(tmp_path / "b.json")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_keys_do_not_depend_on_order(parts: dict[str, Any]) -> None:
    backwards = dict(reversed(parts.items()))
    assert content_key(parts) == content_key(backwards)
    assert content_key({**parts, "one more": 1}) != content_key({**parts, "one more": 2})


def test_what_has_no_stable_text_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be part of a content key"):
        content_key({"x": object()})
