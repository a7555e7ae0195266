"""``avatarkit weights`` with wrong names, files, records and plugins: one sentence, and no file of the user's is lost."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from avatarkit import Needs, hookimpl
from avatarkit.errors import PluginError
from avatarkit.hookspecs import Weights
from avatarkit.registry import Registry
from avatarkit.utils.paths import find_weights, weights_folder, weights_record
from avatarkit_cli.main import app


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a working folder beside it."""
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "cache"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["weights", *arguments])


def sentence(result: Result) -> str:
    """The one sentence of a command that failed."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    *_, last = result.stderr.strip().splitlines()
    assert last.startswith(("avatarkit: ", "Error: Invalid value for ")) and len(last) < 500
    return last


NAMES = [
    "../../x",
    "../weights/liveportrait",
    "/etc/passwd",
    "",
    ".",
    "..",
    ".records",
    "a/b",
    "live*",
    "[a-z]*",
    "x" * 300,
    "a\nb",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out(name: str, cache: Path) -> None:
    (cache / "weights").mkdir(parents=True)
    (cache / "x").write_bytes(b"mine")
    assert find_weights(name) is None and weights_record(name) is None
    for arguments in (["where", "--", name], ["add", "--", name, str(cache / "x")], ["fetch", "--yes", "--", name]):
        sentence(run(*arguments))
    assert sorted(p.name for p in cache.rglob("*")) == ["weights", "x"]


def test_what_cannot_be_added(cache: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (cache / "weights" / ".partial" / "x").mkdir(parents=True)
    for path in (
        "pipe",
        "loop",
        "gone",
        "none",
        "none/none",
        "cache",
        "cache/weights",
        ".",
        "cache/weights/.partial/x",
        "n" * 300,
    ):
        sentence(run("add", "vgg16", str(tmp_path / path)))
    for path in ("/dev/null", "/", "~nosuchuser"):
        sentence(run("add", "vgg16", path))
    assert find_weights("vgg16") is None
    assert sorted(p.name for p in (cache / "weights").iterdir()) == [".partial"]


def test_adding_replaces_links_and_nothing_else(cache: Path, tmp_path: Path) -> None:
    for name in ("a.pth", "b.bin"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_bytes(b"x")
    (cache / "weights" / ".records").mkdir(parents=True)
    (cache / "weights" / ".records" / "vgg16.json").write_text("{}")
    for name in ("a.pth", "b.bin", "folder", "a.pth"):
        assert run("add", "vgg16", str(tmp_path / name)).exit_code == 0
        (link,) = (cache / "weights").glob("vgg16*")
        assert Path(os.path.realpath(link)) == tmp_path / name
    (tmp_path / "a.pth").rename(tmp_path / "c.pth")  # now the link leads nowhere
    assert "is not installed" in sentence(run("where", "vgg16"))
    assert run("add", "vgg16", str(tmp_path / "c.pth")).exit_code == 0
    assert run("add", "vgg16", str(cache / "weights" / "vgg16.pth")).exit_code == 0  # the link itself
    assert Path(os.path.realpath(cache / "weights" / "vgg16.pth")) == tmp_path / "c.pth"
    assert not (cache / "weights" / ".records" / "vgg16.json").exists()
    (cache / "weights" / "vgg16.pth").unlink()
    (cache / "weights" / "vgg16.pth").write_bytes(b"mine")
    for name in ("c.pth", "b.bin", "folder"):
        assert "is here already" in sentence(run("add", "vgg16", str(tmp_path / name)))
    assert (cache / "weights" / "vgg16.pth").read_bytes() == b"mine"
    assert [p.name for p in (cache / "weights").iterdir() if p.name != ".records"] == ["vgg16.pth"]
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.*")} == {"b.bin": b"b.bin", "c.pth": b"a.pth"}


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without links."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)


def test_without_links_files_and_folders_are_copied_whole(
    no_links: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "a.bin").write_bytes(b"a")
    (tmp_path / "b.pth").write_bytes(b"b")
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("folder", "b.pth"):
        assert "disk is full" in sentence(run("add", "vgg16", str(tmp_path / name)))
        assert list((cache / "weights").iterdir()) == []
    monkeypatch.setattr(os, "fsync", real)
    assert run("add", "vgg16", str(tmp_path / "folder")).exit_code == 0
    assert (cache / "weights" / "vgg16" / "sub" / "a.bin").read_bytes() == b"a"
    assert "is here already" in sentence(run("add", "vgg16", str(tmp_path / "b.pth")))


def test_a_folder_that_cannot_be_copied(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    assert "is a link to a folder" in sentence(run("add", "vgg16", str(folder)))
    (folder / "up").unlink()
    (tmp_path / "pipe").rename(folder / "pipe")
    assert "is a pipe" in sentence(run("add", "vgg16", str(folder)))
    assert list((cache / "weights").iterdir()) == []


GOOD = {"repository": "a/b", "commit": "c" * 40, "license": "MIT", "sha256": {"x": "d" * 64}}


@pytest.mark.parametrize(
    "record",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000, b'{"repository": NaN}', b"{}"),
        *(json.dumps(GOOD | change).encode() for change in (
            {"license": 5}, {"license": "\ud800"}, {"commit": "\x1b[2J"}, {"sha256": []}, {"sha256": {"x": 5}}, {"more": 1},
            {"sha256": {"\x07": "d"}},
        )),
    ],
)  # fmt: skip
def test_damaged_records_do_not_break_the_list(record: bytes, cache: Path) -> None:
    (cache / "weights" / ".records").mkdir(parents=True)
    (cache / "weights" / "vgg16").mkdir()
    path = cache / "weights" / ".records" / "vgg16.json"
    path.write_bytes(json.dumps(GOOD).encode())
    assert weights_record("vgg16") == GOOD
    path.write_bytes(record)
    result = run("list", "--json")
    assert result.exit_code == 0
    (entry,) = (w for w in json.loads(result.stdout)["weights"] if w["name"] == "vgg16")
    assert entry["path"] and entry["fetched"] is None


def test_a_pipe_as_a_record_does_not_stop_the_list(cache: Path) -> None:
    (cache / "weights" / ".records").mkdir(parents=True)
    os.mkfifo(cache / "weights" / ".records" / "vgg16.json")
    assert weights_record("vgg16") is None


def test_a_longer_name_is_not_taken_for_a_shorter_one(cache: Path) -> None:
    weights_folder().mkdir(parents=True)
    (weights_folder() / "wan.2.pth").write_bytes(b"")
    (weights_folder() / "wan.safetensors").write_bytes(b"")
    assert find_weights("wan") == weights_folder() / "wan.safetensors"
    assert find_weights("wan.2") == weights_folder() / "wan.2.pth"


FINE: dict[str, Any] = {
    "name": "mine-1.0", "source": "huggingface.co/me/mine", "license": "MIT", "repository": "me/mine", "files": ("*.pth",),
    "sha256": (("a.pth", "A" * 64),), "size": 5, "commercial": None,
}  # fmt: skip


class _Plugin:
    def __init__(self, needs: Any) -> None:
        self.needs = needs

    @hookimpl
    def register_losses(self, register: Any) -> None:
        register("mine", target="a:B", needs=self.needs)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", name) for name in (*NAMES, 5, None, "-x", "x.")),
        *(("source", value) for value in (None, 5, "\x1b[2J", "x" * 501)),
        *(("repository", value) for value in ("mine", "../x", "a/../b", "a/b/c", "me/mine?x=", "me/mi ne", None, 5, "/etc")),
        *(("files", value) for value in ("*.pth", (), (5,), ("a\nb",), None)),
        *(("sha256", value) for value in (5, (("a", "b"),), (("a", 5),), "x", (5,))),
        *(("size", value) for value in (-1, "3 GB", True, 2.5, 10**30)),
        *(("commercial", "yes"), ("gated", 5), ("single", None), ("strip", 5), ("revision", ""), ("license", "\x07")),
    ],
)
def test_plugins_that_describe_weights_wrongly(field: str, value: Any) -> None:
    registry = Registry.load(environ={"AVATARKIT_PLUGINS": ""})
    registry.add(_Plugin(Needs(sources=(Weights(**FINE),))), "fine")
    needs = Needs(sources=(Weights(**FINE | {field: value}),))
    with pytest.raises(PluginError, match=re.escape(f"the field '{field}' of weights")) as caught:
        registry.add(_Plugin(needs), "broken")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    assert list(registry.components("loss")) == ["mine"]


@pytest.mark.parametrize("needs", [Needs(weights=("../../x",)), Needs(weights=("",)), Needs(sources=("x",)), "vgg", None])
def test_plugins_that_need_weights_of_no_name(needs: Any) -> None:
    with pytest.raises(PluginError, match="loss 'mine'"):
        Registry.load(environ={"AVATARKIT_PLUGINS": ""}).add(_Plugin(needs), "broken")
