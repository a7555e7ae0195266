"""Pictures, films and exports that leave the program: what is in them, and what verifying says after each kind of change."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import c2pa
import numpy as np
import pytest
from PIL import Image

from avatarkit.errors import StoreError
from avatarkit.registry import Registry
from avatarkit.utils.files import write_bytes
from avatarkit_provenance import keys
from avatarkit_provenance.claims import definition
from avatarkit_provenance.keys import credentials, own_folder
from avatarkit_provenance.signing import _signature, sign_output
from avatarkit_provenance.streams import Guarded, raise_kept
from avatarkit_provenance.verifying import CODES, verify

Make = Callable[..., Path]
EMBEDDED = (".png", ".jpg", ".webp", ".gif", ".svg", ".mp4", ".mov", ".zip")
BESIDE = (".glb", ".vrm", ".ply", ".spz", ".html", ".webm")


def states(*paths: Path) -> list[str]:
    return [verify(path).state for path in paths]


@pytest.mark.parametrize("suffix", [*EMBEDDED, *BESIDE])
def test_every_format_says_that_it_is_synthetic_and_is_found_unchanged(suffix: str, make: Make) -> None:
    path = make(suffix)
    found = verify(path)
    assert (found.state, found.mine) == ("intact", True), found
    assert found.source_type == "compositeSynthetic"
    assert (found.avatar, found.recipe) == ("cd" * 32, "draft")
    assert found.text == "Synthetic, made with avatarkit, unchanged since you signed it."
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.c2pa"][: 1 + (suffix in BESIDE)]


@pytest.mark.parametrize("suffix", [*EMBEDDED, *BESIDE])
def test_a_byte_that_was_altered_is_found(suffix: str, make: Make) -> None:
    path = make(suffix)
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1  # the picture or the signature, wherever the format puts it
    path.write_bytes(data)
    assert states(path) == ["changed"]


def test_what_is_saved_again_by_another_program_lost_its_signature(make: Make, tmp_path: Path) -> None:
    picture, video = make(".png"), make(".mp4")
    with Image.open(picture) as opened:
        opened.save(tmp_path / "again.png")
        opened.crop((0, 0, 32, 32)).save(tmp_path / "crop.png")
        opened.convert("RGB").save(tmp_path / "again.jpg")
    with av.open(str(video)) as source, av.open(str(tmp_path / "again.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    again = [tmp_path / name for name in ("again.png", "crop.png", "again.jpg", "again.mp4")]
    assert states(*again) == ["unsigned"] * 4
    assert verify(again[0]).text == "Not signed: it was made without a signature, or lost it when it was saved again."


def test_a_signature_that_is_moved_to_another_picture_is_found(make: Make, plain: Any, tmp_path: Path) -> None:
    path = make(".ply")
    other = tmp_path / "other.ply"
    other.write_bytes(plain(".ply") + b"more")
    (tmp_path / "other.ply.c2pa").write_bytes(path.with_name("ada.ply.c2pa").read_bytes())
    assert states(other) == ["changed"]
    path.with_name("ada.ply.c2pa").unlink()
    assert states(path) == ["unsigned"]


def test_a_damaged_signature_is_found(make: Make, tmp_path: Path) -> None:
    path = make(".ply")
    beside = path.with_name("ada.ply.c2pa")
    whole = beside.read_bytes()
    for data in (b"", b"no signature", whole[:-100], whole[:200] + bytes(50) + whole[250:]):
        beside.write_bytes(data)
        assert states(path) == ["changed"], len(data)


@pytest.mark.parametrize(("name", "data"), [("e.png", b""), ("t.png", b"no picture"), ("w.mp4", b"xx" * 50), ("e.ply", b"")])
def test_what_is_no_picture_is_not_called_changed_and_not_signed(name: str, data: bytes, tmp_path: Path, manifest: Any) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert states(path) == ["unsigned"]
    with pytest.raises(StoreError, match="could not be signed .* Use --no-sign to write it without a signature."):
        sign_output(str(path), str(path), manifest, {})
    assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a b", "\u202eevil", "\u65e5\u672c", "-n", "x" * 200, "A.PNG"])
def test_names_may_be_odd(name: str, plain: Any, tmp_path: Path, manifest: Any) -> None:
    path = tmp_path / f"{name}.png"
    path.write_bytes(plain(".png"))
    sign_output(str(path), str(path), manifest, {})
    assert states(path) == ["intact"]


def test_a_name_with_no_room_for_the_signature_is_refused_before_it_is_written(plain: Any, tmp_path: Path, manifest: Any) -> None:
    path = tmp_path / f"{'x' * 248}.ply"
    with (
        pytest.raises(StoreError, match="too long a name"),
        Registry.load(environ={"AVATARKIT_PLUGINS": "provenance"}).output(path, manifest),
    ):
        write_bytes(path, plain(".ply"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_under_the_library_is_one_sentence_and_ends_no_process(plain: Any, tmp_path: Path) -> None:
    """The library aborts the process if a stream raises, so that none may."""

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    stream = Guarded(Full())
    assert stream.write(b"abc") == 3
    with pytest.raises(StoreError, match="No space left|space"):
        raise_kept(tmp_path / "a.png", stream)
    made = keys.new_credentials()
    signer = keys.Credentials(*made, "es256", "x")
    with pytest.raises(StoreError, match="space"):
        _signature(
            definition({}, "image/png"), "image/png", io.BytesIO(plain(".png")), Full(), signer, tmp_path / "a.png"
        )


def test_a_film_of_frames_is_signed_frame_by_frame(make: Make) -> None:
    folder = make("")
    frames = sorted(folder.glob("*.png"))
    assert len(frames) == 6
    assert states(*frames) == ["intact"] * 6
    assert {p.name for p in make("").glob("*.png")} == {p.name for p in frames}  # they count as ours, and are replaced


def test_nothing_of_the_photo_or_of_its_person_is_in_a_signature(make: Make, manifest: dict[str, Any]) -> None:
    record = {"person": "Ada Lovelace", "scope": ["private"], "until": "2099-01-01", "text": "Ada Lovelace agreed."}
    path = make(".png", {**manifest, "consent": record["text"], "consent_record": record})
    data = path.read_bytes()
    assert b"Lovelace" not in data
    assert path.name.encode() not in data  # people name files after people
    with path.open("rb") as stream, c2pa.Reader("image/png", stream) as reader:
        active = reader.get_active_manifest()
    assert [i["instance_id"] for i in active["ingredients"]] == [f"sha256:{manifest['inputs']['photo']}"]
    assert "thumbnail" not in json.dumps(active)
    said = {a["label"]: a["data"] for a in active["assertions"]}
    assert said["org.avatarkit.consent"]["scope"] == ["private"]
    assert said["cawg.training-mining"]["entries"]["cawg.ai_generative_training"] == {"use": "notAllowed"}


@pytest.mark.parametrize(
    ("weights", "kind"),
    [("none", "compositeSynthetic"), ("none; its data", "compositeSynthetic"), ("Wan: Apache-2.0", "trainedAlgorithmicMedia"),
     ("not declared", "trainedAlgorithmicMedia")],
)  # fmt: skip
def test_the_source_type_says_whether_a_generator_took_part(
    weights: str, kind: str, make: Make, manifest: dict[str, Any]
) -> None:
    manifest = {**manifest, "licenses": {"labels/reproject": {"weights": weights}}}
    assert verify(make(".png", manifest)).source_type == kind


# ---------------------------------------------------------------------------------------------------------------- keys


def test_the_key_is_made_once_and_is_the_users_alone(make: Make, home: Path) -> None:
    make(".png")
    key = own_folder() / "key.pem"
    assert key.is_relative_to(home)
    assert os.name == "nt" or stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    make(".jpg")
    assert key.read_bytes() == before


def test_processes_that_start_together_share_one_key(home: Path) -> None:
    program = "from avatarkit_provenance.keys import credentials; import hashlib; print(credentials({}).chain.hex())"
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(3)]
    assert len({process.communicate()[0] for process in started}) == 1
    assert credentials({}).chain


def test_a_picture_of_another_user_is_unchanged_but_its_signer_unknown(make: Make, home: Path, tmp_path: Path) -> None:
    path = make(".png")
    theirs = tmp_path / "theirs.pem"
    theirs.write_bytes((own_folder() / "certificate.pem").read_bytes())
    (own_folder() / "certificate.pem").unlink()
    (own_folder() / "key.pem").unlink()
    make(".jpg")
    assert states(path) == ["unknown signer"]
    assert "a signer whom this machine does not know. If you know who that is, give their certificate" in verify(path).text
    assert (verify(path, (theirs,)).state, verify(path, (theirs,)).mine) == ("intact", False)


def test_a_folder_that_cannot_be_written_gives_a_key_for_this_run(make: Make, tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATARKIT_CACHE", str(tmp_path / "file"))
        path = make(".png")
        assert states(path) == ["unknown signer"]
    assert verify(path).source_type == "compositeSynthetic"
    assert "The signing key is for this run only, because" in caplog.text


def test_a_signature_goes_with_the_file_that_it_signs(make: Make) -> None:
    """Else the new file beside the old signature would be called changed."""
    path = make(".ply")
    make(".ply", sign="no")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert states(path) == ["unsigned"]
    path.with_name(f"{path.name}.c2pa").write_text("mine")
    make(".ply", sign="no")
    assert path.with_name(f"{path.name}.c2pa").read_text() == "mine"


def test_a_folder_of_frames_is_judged_as_one(make: Make, run: Any, tmp_path: Path) -> None:
    folder = make("")
    assert verify(folder).text == "6 of 6 files: Synthetic, made with avatarkit, unchanged since you signed it."
    frame = sorted(folder.glob("*.png"))[2]
    frame.write_bytes(frame.read_bytes() + b"more")
    found = verify(folder)
    assert (found.state, found.problems) == ("changed", (frame.name,))
    assert found.text.startswith("1 of 6 files: Changed since it was signed by ")
    (tmp_path / "empty").mkdir()
    result = run("verify", tmp_path / "empty")
    assert (result.exit_code, result.stderr) == (
        2, f"avatarkit: {tmp_path / 'empty'} is not an avatar, and holds no picture, film or page.\n")  # fmt: skip


def test_no_signature_where_none_is_wanted(make: Make, plain: Any) -> None:
    path = make(".png", sign="no")
    assert path.read_bytes() == plain(".png")
    assert states(path) == ["unsigned"]
    assert not own_folder().exists()


def test_a_file_of_the_users_with_the_name_of_the_signature_is_kept(make: Make, tmp_path: Path) -> None:
    (tmp_path / "ada.ply.c2pa").write_text("mine")
    with pytest.raises(StoreError, match="is not a signature: move it away"):
        make(".ply")
    assert (tmp_path / "ada.ply.c2pa").read_text() == "mine"


def test_verify_prints_one_sentence_per_file_and_ends_with_the_worst(make: Make, run: Any, tmp_path: Path) -> None:
    signed, bare = make(".png"), make(".jpg", sign="no")
    result = run("verify", signed)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (
        0, f"{signed}: Synthetic, made with avatarkit, unchanged since you signed it.")  # fmt: skip
    assert "avatar cdcdcdcdcdcd, recipe draft, source compositeSynthetic" in result.stdout
    result = run("verify", "--json", signed, bare)
    assert result.exit_code == CODES["unsigned"] == 3
    assert [f["state"] for f in json.loads(result.stdout)["files"]] == ["intact", "unsigned"]
    result = run("verify", signed, "--trust", tmp_path / "none.pem")
    assert (result.exit_code, result.stderr) == (
        2, f"avatarkit: There is no certificate {tmp_path / 'none.pem'}. Give the PEM file of one with --trust.\n")  # fmt: skip
    result = run("verify", tmp_path / "none.png")
    assert (result.exit_code, result.stderr) == (2, f"avatarkit: There is no file {tmp_path / 'none.png'}.\n")


def test_pixels_stay_as_they_are(make: Make) -> None:
    def pixels(path: Path) -> np.ndarray:
        with Image.open(path) as opened:
            return np.asarray(opened)

    assert np.array_equal(pixels(make(".png")), pixels(make(".png", sign="no")))


def test_signing_asks_no_network(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses lead nowhere: whatever asks one waits, and fails."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert states(make(".png")) == ["intact"]


def test_without_the_plugin_nothing_is_signed(plain: Any, manifest: dict[str, Any], tmp_path: Path) -> None:
    with Registry.load(environ={"AVATARKIT_PLUGINS": ""}).output(tmp_path / "a.png", manifest):
        (tmp_path / "a.png").write_bytes(plain(".png"))
    assert (tmp_path / "a.png").read_bytes() == plain(".png")
