"""Files and folders that commands write: whole or not at all, and never over what is the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch

from avatarkit.errors import InputError, StoreError
from avatarkit.storage.bundle import write_bundle
from avatarkit.utils import leftovers
from avatarkit.utils.files import (
    check_output,
    only_user,
    relative_name,
    require_file,
    temporary_folder,
    write_bytes,
    write_text,
    writing,
)
from avatarkit.utils.folders import OutputFolder, install

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# ------------------------------------------------------------------------------------------------------------- one file


def fail(place: Path) -> None:
    with writing(place) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def test_a_failure_leaves_the_old_file_and_no_new_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    for place in (tmp_path / "a.txt", tmp_path / "new" / "er" / "b.txt"):
        with pytest.raises(ZeroDivisionError):
            fail(place)
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


@POSIX
def test_permissions_are_those_of_the_older_file_or_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "new", "x")
        with temporary_folder(tmp_path / "folder") as staged:
            os.replace(staged, tmp_path / "folder")
    finally:
        os.umask(old)
    assert mode(tmp_path / "new") == 0o640 and mode(tmp_path / "folder") == 0o750
    (tmp_path / "new").chmod(0o604)
    write_text(tmp_path / "new", "y")
    assert mode(tmp_path / "new") == 0o604


@POSIX
def test_links_are_followed_and_loops_are_told(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/a.txt")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "a.txt").read_text() == "x"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoreError, match="loop could not be written"):
        write_text(tmp_path / "loop", "x")
    assert (tmp_path / "loop").is_symlink()


@POSIX
@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_devices_are_written_to_and_stay(tmp_path: Path) -> None:
    write_text(Path("/dev/null"), "x")
    assert not Path("/dev/null").is_file()
    program = "from pathlib import Path; from avatarkit.utils.files import *; write_text(Path('/dev/stdout'), 'x')"
    run = [sys.executable, "-c", program]
    with (tmp_path / "log").open("w") as log:
        log.write("before ")
        log.flush()
        subprocess.run(run, stdout=log, check=True)
    assert names(tmp_path) == ["log"]
    assert subprocess.run(run, capture_output=True, check=True).stdout == b"x"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("file/a.txt", "file/a.txt cannot be written, because a part of its path is a file"),
        ("file/deeper/a.txt", "file/deeper/a.txt cannot be written, because a part of its path is a file"),
        ("folder", "folder is a folder; name a file"),
        (f"{'x' * 300}", "is too long for this disk"),
    ],
)
def test_places_that_cannot_be_written_are_one_sentence(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match=sentence):
        write_text(tmp_path / name, "x")
    assert names(tmp_path) == ["file", "folder"]


def test_names_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("é" * 127 + "x"), "x")
    assert len(names(tmp_path)) == 1


def test_a_sentence_names_what_the_user_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"^out/a.txt may not be"), writing(Path("out/a.txt")) as temporary:
        raise PermissionError(13, "Permission denied", str(temporary))


# --------------------------------------------------------------------------------------------------- temporary leftovers


def leftover(folder: Path, process: int, home: str | None = None, target: str = "a.txt") -> Path:
    name = leftovers.temporary_name(folder / target)
    leftovers.forget(name)
    parts = name.split("-")
    parts[2], parts[3] = home or parts[2], f"{process:x}"
    (folder / "-".join(parts)).write_text("half")
    return folder / "-".join(parts)


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_leftovers_of_dead_processes_are_swept_and_others_stay(tmp_path: Path) -> None:
    dead, other = dead_process(), subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    swept = [leftover(tmp_path, dead), leftover(tmp_path, os.getpid())]  # a container's main process has the same number
    old_home = leftover(tmp_path, dead, "0000")
    os.utime(old_home, (1e9, 1e9))
    kept = [leftover(tmp_path, other.pid), leftover(tmp_path, dead, "0001"), leftover(tmp_path, dead, target="b.txt")]
    kept += [tmp_path / ".avatarkit-mine.tmp", tmp_path / "a.txt.tmp"]
    for path in kept[-2:]:
        path.write_text("of the user")
    with writing(tmp_path / "a.txt") as running:
        running.write_text("x")
        write_text(tmp_path / "a.txt", "y")
        assert running.exists()
    other.communicate(b"\n")
    assert not any(p.exists() for p in [*swept, old_home]) and all(p.exists() for p in kept)


@POSIX
def test_a_leftover_that_is_a_link_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary").write_text("x")
    path = leftover(tmp_path, dead_process())
    path.unlink()
    path.symlink_to(tmp_path / "home")
    write_text(tmp_path / "a.txt", "y")
    assert not path.is_symlink() and (tmp_path / "home" / "diary").exists()


@POSIX
def test_the_next_run_sweeps_after_a_kill(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from avatarkit.utils.files import writing
        with writing(Path({str(tmp_path / "a.txt")!r})) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False).returncode == -9
    assert len(names(tmp_path)) == 1
    write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]


# -------------------------------------------------------------------------------------------------------------- folders


def fill(folder: OutputFolder, *texts: str) -> None:
    with folder.replace() as staged:
        for text in texts:
            (staged / f"{text}.txt").write_text(text)


def shown(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("[!.]*"))


def test_only_files_of_earlier_runs_are_replaced(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path / "out", "frames")
    fill(out, "a", "b")
    fill(out, "b", "c")
    assert shown(out.path) == ["b.txt", "c.txt"]
    (out.path / "mine").mkdir()
    (out.path / "mine" / "d.txt").write_text("of the user")
    (out.path / "c.txt").write_text("retouched")
    fill(out, "b")
    assert shown(out.path) == ["b.txt", "c.txt", "mine", "mine/d.txt"]
    assert (out.path / "c.txt").read_text() == "retouched"
    with pytest.raises(StoreError, match="out/c.txt was (not made|changed)"):
        fill(out, "c")
    (out.path / "e.txt").write_text("of the user")
    with pytest.raises(StoreError, match="out/e.txt was not made by avatarkit"):
        out.check(["e.txt"])
    assert names(tmp_path) == ["out"]


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    fill(OutputFolder(tmp_path / "out", "results"), "a")
    with pytest.raises(StoreError, match="out holds results, made by avatarkit"):
        OutputFolder(tmp_path / "out", "frames")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".avatarkit.json").write_text("[]")
    with pytest.raises(StoreError, match="avatarkit.json was not made by avatarkit"):
        OutputFolder(tmp_path / "other", "frames")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file is a file"):
        OutputFolder(tmp_path / "file", "frames")


@POSIX
def test_links_in_a_folder_are_of_the_user(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path / "out", "frames")
    fill(out, "a")
    (tmp_path / "mine.txt").write_text("a")
    (out.path / "a.txt").unlink()
    (out.path / "a.txt").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(StoreError, match="a.txt was changed"):
        fill(out, "a")
    (tmp_path / "home").mkdir()
    (out.path / "sub").symlink_to(tmp_path / "home")
    with pytest.raises(StoreError, match="leads out of the folder"):
        out.check(["sub/x.txt"])


def test_files_are_added_one_by_one(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path / "out", "results")
    for text in ("one", "two"):
        out.add("a.txt", lambda path, text=text: path.write_text(text))  # type: ignore[misc]
    out.add("b.txt", lambda path: path.write_text("b"))
    assert shown(out.path) == ["a.txt", "b.txt"] and (out.path / "a.txt").read_text() == "two"
    with pytest.raises(StoreError, match="b.txt may not be"):
        out.add("b.txt", lambda path: (_ for _ in ()).throw(PermissionError(13, "no", str(path))))
    assert (out.path / "b.txt").read_text() == "b" and set(out.files) == {"a.txt", "b.txt"}


@POSIX
def test_the_mode_of_a_folder_stays(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path / "out", "frames")
    fill(out, "a")
    out.path.chmod(0o700)
    fill(out, "b")
    assert mode(out.path) == 0o700 and shown(out.path) == ["b.txt"]


def test_installing_is_all_or_nothing(tmp_path: Path) -> None:
    staged, target = tmp_path / "staged", tmp_path / "target"
    for folder, text in ((staged, "new"), (target, "old")):
        folder.mkdir()
        for name in ("a", "b", "last"):
            (folder / name).write_text(text)
    (target / "b").unlink()
    (target / "b").mkdir()
    with pytest.raises(IsADirectoryError):
        install(staged, target, "last", ["gone"])
    assert (target / "a").read_text() == "old" and names(staged) == ["a", "b", "last"]
    (target / "b").rmdir()
    install(staged, target, "last")
    assert {p.read_text() for p in target.iterdir()} == {"new"} and names(tmp_path) == ["target"]


# ----------------------------------------------------------------------------------------------------- names and locks


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/..", "x" * 201, "é" * 101, "nul\0", "\udcff"])
def test_impossible_outputs_are_told(name: str) -> None:
    with pytest.raises(InputError):
        check_output(Path(name))


def test_folders_of_results_may_be_inside_an_avatar_but_not_the_avatar_or_its_cache(tmp_path: Path) -> None:
    avatar = write_bundle(tmp_path / "ada.avatar", {"x": torch.zeros(1)}, {}, {"report.html": "mine"})
    for name in ("cache", "cache/report", "report.html", "manifest.json"):
        with pytest.raises(InputError, match=f"{name} is a part of ada.avatar and would be overwritten"):
            check_output(avatar / name)
    before = names(avatar)
    for kind in ("results", "frames"):
        with pytest.raises(StoreError, match="ada.avatar is an avatar; choose another folder with -o"):
            OutputFolder(avatar, kind)
    assert names(avatar) == before
    check_output(avatar / "results")
    with OutputFolder(avatar / "results", "results").replace() as folder:
        (folder / "result.json").write_text("{}")
    assert names(avatar / "results") == [".avatarkit.json", "result.json"]


def test_an_input_is_never_the_output(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("")
    check_output(tmp_path / "b.npz", tmp_path / "a.npz", None)
    with pytest.raises(InputError, match="is an input of this command"):
        check_output(tmp_path / "." / "a.npz", tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["../a", "/a", "a//b", "a/./b", "a\\b", "C:a", "a\n", "", "x" * 256, "\udc80", "a/.. ", "b.", 7])
def test_names_that_lead_out_are_refused(name: object) -> None:
    assert relative_name(name) is None


def test_plain_names_are_taken() -> None:
    assert str(relative_name("a/b.c/.d")) == str(Path("a/b.c/.d").as_posix())


def test_inputs_are_ordinary_files(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"12", b"3")
    assert require_file(tmp_path / "a", "file") == 3
    with pytest.raises(InputError, match="at most"):
        require_file(tmp_path / "a", "file", 2)
    with pytest.raises(InputError, match="is a folder"):
        require_file(tmp_path, "file")


def test_one_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    told: list[str] = []

    def other() -> None:
        try:
            with only_user(tmp_path / "x" / ".." / "out"):
                told.append("entered")
        except StoreError as error:
            told.append(str(error))

    with only_user(tmp_path / "out"), only_user(tmp_path / "out"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with only_user(tmp_path / "another"):
            pass
    assert len(told) == 1 and "Another run is making" in told[0]
    other()
    assert told[1] == "entered"


def test_without_a_cache_there_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "file"))
    with only_user(tmp_path / "out"):
        assert json.loads("1") == 1
