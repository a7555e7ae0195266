"""Avatar folders: whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from avatarkit.errors import InputError, StoreError
from avatarkit.storage.bundle import read_bundle, read_manifest, workspace, write_bundle
from avatarkit.testing.faults import Killed, disk_operations, inject
from avatarkit.utils.files import sha256_of
from avatarkit.utils.leftovers import forget

TENSORS = {"avatar.x": torch.arange(6.0).reshape(2, 3), "box": torch.tensor([1, 2])}


def build(path: Path, seed: int = 0) -> Path:
    work = workspace(path)
    work.mkdir(parents=True, exist_ok=True)
    (work / "stage").write_text(f"seed {seed}")
    return write_bundle(path, TENSORS, {"seed": seed}, {"report.html": "<p>é</p>", "preview.png": b"\x89"})


def test_an_avatar_comes_back_as_written(tmp_path: Path) -> None:
    path = build(tmp_path / "ada.avatar")
    read = read_bundle(path)
    assert set(read.tensors) == set(TENSORS)
    assert torch.equal(read.tensors["avatar.x"], TENSORS["avatar.x"])
    assert (read.manifest["format"], read.manifest["format_version"], read.manifest["seed"]) == (
        "avatarkit-avatar",
        1,
        0,
    )
    assert (path / "report.html").read_text(encoding="utf-8") == "<p>é</p>"
    assert (path / "cache" / "stage").read_text() == "seed 0"
    assert [p.name for p in tmp_path.iterdir()] == ["ada.avatar"]


def test_an_older_avatar_is_replaced_and_its_cache_and_the_users_files_stay(tmp_path: Path) -> None:
    path = build(tmp_path / "ada.avatar")
    (path / "notes.txt").write_text("of the user")
    (path / "mine").mkdir()
    (path / "mine" / "talk.mp4").write_bytes(b"of the user")
    (path / "cache" / "kept").write_text("x")
    build(path, seed=1)
    assert read_manifest(path)["seed"] == 1
    assert (path / "notes.txt").read_text() == "of the user"
    assert (path / "mine" / "talk.mp4").read_bytes() == b"of the user"
    assert sorted(p.name for p in (path / "cache").iterdir()) == ["kept", "stage"]
    assert [p.name for p in tmp_path.iterdir()] == ["ada.avatar"]


def test_copied_files_and_folders_may_be_extras(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"123")
    path = write_bundle(tmp_path / "x", TENSORS, {}, {"deep/er/b.bin": tmp_path / "a.bin"})
    assert (path / "deep/er/b.bin").read_bytes() == b"123"


def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """Each rename, deletion, flush and new folder of a replacement; what is in the folder of the user stays."""

    def replacement() -> None:
        write_bundle(tmp_path / "ada.avatar", TENSORS, {"seed": 1}, {"report.html": "new", "photo.jpg": b"photo"})

    def start() -> Path:
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        path = tmp_path / "ada.avatar"
        (workspace(path)).mkdir()
        (workspace(path) / "stage").write_text("seed 0")
        write_bundle(path, TENSORS, {"seed": 0}, {"preview.png": b"old", "photo.jpg": b"photo", "old.bin": b"1"})
        (path / "notes.txt").write_text("mine")
        return path

    start()
    operations = [o.call for o in disk_operations(tmp_path, replacement)]
    chosen = [n for n, call in enumerate(operations) if call in ("replace", "unlink", "rmdir", "mkdir", "fsync", "open")]
    assert operations.count("replace") > 6
    for number in chosen:
        path = start()
        with pytest.raises(Killed), inject(tmp_path, number, "kill"):
            replacement()
        forget()
        read = read_bundle(path)
        assert read.manifest["seed"] in (0, 1)
        assert {n: sha256_of(path / n) for n in read.manifest["files"]} == read.manifest["files"]
        assert (workspace(path) / "stage").read_text() == "seed 0"
        assert (path / "notes.txt").read_text() == "mine"
        assert (path / "old.bin").exists() == (path / "preview.png").exists() == (read.manifest["seed"] == 0)
        replacement()
        assert sorted(p.name for p in path.iterdir()) == [
            "avatar.safetensors", "cache", "manifest.json", "notes.txt", "photo.jpg", "report.html",
        ]  # fmt: skip
        assert [p.name for p in tmp_path.iterdir()] == ["ada.avatar"]


def test_an_avatar_of_an_older_version_is_replaced(tmp_path: Path) -> None:
    """Before 0.1, manifests listed only the tensors, though a build with previews wrote more."""
    path = build(tmp_path / "ada.avatar")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"] = {"avatar.safetensors": manifest["files"]["avatar.safetensors"]}
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "preview.mp4").write_text("of the older version")
    with pytest.raises(StoreError, match="report.html exists and is not part of the avatar"):
        build(path, seed=1)  # no build made it
    (path / "manifest.json").write_text(json.dumps(manifest | {"stages": {"preview": {}}}))
    build(path, seed=1)
    assert read_bundle(path).manifest["seed"] == 1
    assert (path / "preview.mp4").read_text() == "of the older version"  # perhaps the user's: it stays
    assert sorted(read_manifest(path)["files"]) == ["avatar.safetensors", "preview.png", "report.html"]


def test_a_folder_of_the_user_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    path = build(tmp_path / "ada.avatar")
    (path / "preview.png").unlink()
    (path / "preview.png").mkdir()
    with pytest.raises(StoreError, match="preview.png exists and is not part of the avatar"):
        build(path, seed=1)
    assert read_bundle(path).manifest["seed"] == 0


def test_links_out_of_an_avatar_are_not_followed(tmp_path: Path) -> None:
    """A manifest of somebody else names a file behind a link; a rebuild does not delete it."""
    path = write_bundle(tmp_path / "ada.avatar", TENSORS, {"seed": 0})
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "profile").write_text("x")
    (path / "link").symlink_to(tmp_path / "home")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["link/profile"] = sha256_of(tmp_path / "home" / "profile")
    (path / "manifest.json").write_text(json.dumps(manifest))
    write_bundle(path, TENSORS, {"seed": 1})
    assert (tmp_path / "home" / "profile").read_text() == "x"


def test_a_failure_while_writing_leaves_the_old_avatar(tmp_path: Path) -> None:
    path = build(tmp_path / "ada.avatar")
    with pytest.raises(TypeError):
        write_bundle(path, TENSORS, {"seed": object()})
    assert read_bundle(path).manifest["seed"] == 0
    assert (path / "cache" / "stage").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["ada.avatar"]


def test_a_foreign_folder_or_file_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    assert workspace(folder).name == ".holiday.work"
    (folder / "photo.jpg").write_text("x")
    (tmp_path / "file").write_text("x")
    for path in (folder, tmp_path / "file"):
        with pytest.raises(StoreError, match="exists and is not an avatar: choose another name with -o"):
            write_bundle(path, TENSORS, {})
    assert (folder / "photo.jpg").exists()


def test_the_manifest_tells_nothing_of_the_disk(tmp_path: Path) -> None:
    manifest = {
        "recipe": {"matting": {"weights": "/home/ada/secret/model.pth"}},
        "list": ["C:\\Users\\ada\\model.pth", Path("/home/ada/x.npz")],
        "text": "see /home for more",
    }
    path = write_bundle(tmp_path / "a", TENSORS, manifest)
    text = (path / "manifest.json").read_text()
    assert "ada" not in text
    read = read_manifest(path)
    assert read["recipe"]["matting"]["weights"] == "model.pth"
    assert read["list"] == ["model.pth", "x.npz"]
    assert read["text"] == "see /home for more"
    assert str(tmp_path) not in text


def damaged(path: Path, how: str) -> None:
    manifest = path / "manifest.json"
    if how == "no tensors":
        (path / "avatar.safetensors").unlink()
    elif how == "short tensors":
        os.truncate(path / "avatar.safetensors", 40)
    elif how == "changed tensors":
        data = bytearray((path / "avatar.safetensors").read_bytes())
        data[-1] ^= 1
        (path / "avatar.safetensors").write_bytes(data)
    elif how == "broken manifest":
        manifest.write_text("{")
    elif how == "foreign manifest":
        manifest.write_text('{"name": "a web app"}')
    elif how == "newer":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 99}))
    elif how == "no manifest":
        manifest.unlink()
    elif how == "not there":
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no tensors", "is damaged: avatar.safetensors is missing or was changed. Build it again"),
        ("short tensors", "is damaged"),
        ("changed tensors", "is damaged"),
        ("broken manifest", "is damaged: .*manifest.json is damaged"),
        ("foreign manifest", "is not an avatar"),
        ("newer", r"newer avatarkit \(format 99, this one reads 1\): pip install --upgrade avatarkit-oneshot"),
        ("no manifest", "is not an avatar: an avatar is a folder with a manifest.json"),
        ("not there", "There is no avatar"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, how: str, message: str) -> None:
    path = build(tmp_path / "ada.avatar")
    damaged(path, how)
    with pytest.raises(InputError, match=message):
        read_bundle(path)
