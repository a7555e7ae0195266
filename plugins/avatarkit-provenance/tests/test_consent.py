"""Consent that has a scope and an end, keys that are wrong, avatars that were revoked: one sentence each."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from avatarkit.errors import AvatarkitError, ConfigError, InputError
from avatarkit.registry import Registry
from avatarkit.storage.bundle import read_manifest, write_bundle
from avatarkit_provenance import keys
from avatarkit_provenance.keys import own_folder
from avatarkit_provenance.revoking import revoke
from avatarkit_provenance.verifying import verify

ROOT = Path(__file__).parents[3]
STAGE = f"cache/tracking-{'ab' * 8}"
TODAY = date.today()
TOMORROW, YESTERDAY = ((TODAY + timedelta(days=d)).isoformat() for d in (1, -1))


class Today(date):
    """The day on which these tests were collected, though midnight may pass before they run."""

    @classmethod
    def today(cls) -> Today:
        return cls(TODAY.year, TODAY.month, TODAY.day)


@pytest.fixture
def same_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatarkit_provenance.consent.date", Today)


def check(manifest: dict[str, Any], purpose: str = "play", **policy: str) -> None:
    registry = Registry.load(environ={"AVATARKIT_PLUGINS": "provenance"})
    registry.policy.update(policy)
    registry.use_avatar(manifest, purpose)


def record(**values: Any) -> dict[str, Any]:
    return {"consent_record": {"person": "Ada", "scope": ["private"], "given": "", "until": "", **values}}


@pytest.mark.parametrize(
    ("manifest", "purpose", "sentence"),
    [
        (record(until=YESTERDAY), "play", f"The consent ended on {YESTERDAY}."),
        (record(given=TOMORROW), "play", f"The consent begins on {TOMORROW}, and the clock of this machine says {TODAY}."),
        ({**record(), "purpose": "commercial"}, "voice", "The consent does not cover speech (its scope: private)."),
        (record(), "voice", "The consent does not cover speech (its scope: private)."),
        (
            {**record(scope=["voice"]), "purpose": "commercial"}, "play",
            "The consent does not cover commercial use (its scope: voice).",
        ),
        ({"revoked": {"date": YESTERDAY, "reason": "she\nasked"}}, "play", f"was revoked on {YESTERDAY} (she asked)."),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("same_day")
def test_a_use_beyond_the_consent_is_one_sentence(manifest: dict[str, Any], purpose: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(manifest, purpose)
    assert sentence in str(caught.value)
    assert str(caught.value).endswith("Ask the person, or use --anyway.")
    check(manifest, purpose, anyway="yes")


@pytest.mark.parametrize(
    ("manifest", "purpose"),
    [
        ({}, "voice"), ({"consent": "Ada agreed."}, "voice"), (record(until=TODAY.isoformat()), "play"),
        (record(scope=["voice"], until=TOMORROW, given=YESTERDAY), "voice"),
        ({**record(scope=["commercial"]), "purpose": "commercial"}, "play"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("same_day")
def test_a_use_within_the_consent_passes(manifest: dict[str, Any], purpose: str) -> None:
    check(manifest, purpose)


# ----------------------------------------------------------------------------------------------------------------- keys


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A key and its certificate."""
    files = tmp_path / "k.pem", tmp_path / "c.pem"
    for file, data in zip(files, keys.new_credentials(), strict=True):
        file.write_bytes(data)
    return files


def locked(pair: tuple[Path, Path]) -> str:
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(pair[0].read_bytes(), None)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pair[0].write_bytes(private.private_bytes(encoding, form, serialization.BestAvailableEncryption(b"secret")))
    return f"{pair[0]},{pair[1]}"


def other(pair: tuple[Path, Path]) -> str:
    pair[0].write_bytes(keys.new_credentials()[0])
    return f"{pair[0]},{pair[1]}"


def shifted(pair: tuple[Path, Path], years: int) -> str:
    """Credentials whose certificate was made so many years from now."""

    class Clock(datetime):
        @classmethod
        def now(cls, zone: Any = None) -> Any:
            return datetime.now(zone) + timedelta(days=366 * years)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "datetime", Clock)
        for file, data in zip(pair, keys.new_credentials(), strict=True):
            file.write_bytes(data)
    return f"{pair[0]},{pair[1]}"


@pytest.mark.parametrize(
    ("make_wrong", "sentence"),
    [
        (lambda pair: "k.pem", "--sign 'k.pem' is not of the form KEY,CERT"),
        (lambda pair: f"{pair[0]}x,{pair[1]}", "There is no key .*k.pemx. Give one with --sign KEY,CERT, or use --no-sign."),
        (lambda pair: f"{pair[0]},{pair[1]}x", "There is no certificate .*c.pemx."),
        (lambda pair: f"{pair[0].parent},{pair[1]}", "The key .* is not a PEM file."),
        (lambda pair: f"{pair[1]},{pair[1]}", "c.pem is not a private key in PEM."),
        (lambda pair: f"{pair[0]},{pair[0]}", "k.pem holds no certificate in PEM."),
        (other, "The key .* does not belong to the certificate"),
        (locked, "The key .* is locked with a password; write it without one"),
        (lambda pair: shifted(pair, 3), "The clock of this machine says .*, but the certificate .* begins on .*Set the clock"),
        (lambda pair: shifted(pair, -12), "The certificate .* ended on .*Give others with --sign"),
    ],
)
def test_a_wrong_key_is_one_sentence_before_any_work(make_wrong: Any, sentence: str, pair: tuple[Path, Path]) -> None:
    with pytest.raises(InputError) as caught:
        check({}, sign=make_wrong(pair))
    assert re.search(sentence, str(caught.value)), caught.value


def test_a_key_that_is_half_missing_is_one_sentence(make: Callable[..., Path], tmp_path: Path) -> None:
    make(".png")
    (own_folder() / "certificate.pem").unlink()
    with pytest.raises(InputError, match="There is no certificate"):
        make(".jpg")
    assert not (tmp_path / "ada.jpg").exists()


def test_a_given_key_signs(make: Callable[..., Path], pair: tuple[Path, Path]) -> None:
    path = make(".png", sign=f"{pair[0]},{pair[1]}")
    assert verify(path).state == "unknown signer"
    assert verify(path, (pair[1],)).state == "intact"
    assert not own_folder().exists()


def test_a_certificate_that_c2pa_does_not_take_is_one_sentence(make: Callable[..., Path], pair: tuple[Path, Path]) -> None:
    """One that signs itself: C2PA wants an authority above."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    private: Any = serialization.load_pem_private_key(pair[0].read_bytes(), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "me")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, private.public_key(), 7, now - timedelta(1), now + timedelta(1))
    pair[1].write_bytes(made.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    with pytest.raises(AvatarkitError, match="Give another one, or use --no-sign|without a signature"):
        make(".png", sign=f"{pair[0]},{pair[1]}")


# ------------------------------------------------------------------------------------------------------------- revoking


@pytest.fixture
def avatar(tmp_path: Path, manifest: dict[str, Any]) -> Path:
    """An avatar with stages and a file of the user's; it cannot be played."""
    import torch

    facts = {k: v for k, v in manifest.items() if k != "files"} | record(scope=["voice"])
    path = tmp_path / "ada.avatar"
    extras: dict[str, Any] = {"report.html": "<p>report"}
    with Registry.load(environ={"AVATARKIT_PLUGINS": "provenance"}).output(path, facts):
        write_bundle(path, {"box": torch.zeros(4)}, facts, extras)
    for name in (STAGE, f"../.ada.avatar.work/{STAGE[6:]}", "cache/scratch/wan/ab"):
        (path / name).mkdir(parents=True)
        (path / name / "photo.safetensors").write_bytes(b"the photo")
    (path / "cache" / "note.txt").write_text("mine")
    (path / "mine.txt").write_text("mine")
    return path


def test_an_avatar_is_signed_as_a_whole(avatar: Path) -> None:
    assert verify(avatar).state == "intact"
    (avatar / "report.html").write_text("<p>other")
    found = verify(avatar)
    assert (found.state, found.text, found.problems) == ("changed", "report.html changed since it was signed.", ("report.html",))
    text = (avatar / "manifest.json").read_text()
    (avatar / "manifest.json").write_text(text.replace('"voice"', '"commercial"'))
    assert verify(avatar).state == "changed"
    (avatar / "manifest.c2pa").unlink()
    assert verify(avatar).text == "Not signed, and report.html changed since it was built."


def test_a_rebuild_replaces_the_signature(avatar: Path) -> None:
    import torch

    for sign, state in (("", "intact"), ("no", "unsigned")):
        registry = Registry.load(environ={"AVATARKIT_PLUGINS": "provenance"})
        registry.policy.update({"sign": sign} if sign else {})
        with registry.output(avatar, {}):
            write_bundle(avatar, {"box": torch.ones(4)}, {}, {})
        assert verify(avatar).state == state
    assert sorted(p.name for p in avatar.iterdir()) == ["avatar.safetensors", "cache", "manifest.json", "mine.txt"]


def test_a_revoked_avatar_says_so_and_its_copies_and_films_too(
    avatar: Path, make: Callable[..., Path], tmp_path: Path, run: Any
) -> None:
    manifest = read_manifest(avatar)
    film, copy = make(".mp4", manifest), tmp_path / "copy.avatar"
    shutil.copytree(avatar, copy)
    result = run("revoke", avatar, "--reason", "Ada asked for it.")
    assert (result.exit_code, result.stdout) == (0, f"{avatar}: revoked on {date.today()}.\n")
    assert read_manifest(avatar)["revoked"] == {"date": str(date.today()), "reason": "Ada asked for it.", "erased": False}
    assert [verify(path).state for path in (avatar, copy, film)] == ["revoked"] * 3
    assert "but the consent to its avatar was revoked" in verify(film).text
    for path in (avatar, copy):
        with pytest.raises(ConfigError, match="The consent to this avatar was revoked on"):
            check(read_manifest(path))
    assert run("verify", film).exit_code == 6


def test_another_avatar_of_the_photo_is_revoked_until_the_person_agrees_again(avatar: Path, make: Callable[..., Path]) -> None:
    manifest = read_manifest(avatar)
    again = {**manifest, "files": {"avatar.safetensors": "12" * 32}}  # built with another preset
    del again["consent_record"]
    revoke(avatar, "Ada asked for it.")
    for purpose in ("play", "build"):
        with pytest.raises(ConfigError, match="to an avatar of the same photo was revoked on .* \\(Ada asked for it.\\)"):
            check(again, purpose)
    check(again, anyway="yes")
    check({**again, "inputs": {"photo": "34" * 32}})
    assert verify(make(".png", again)).state == "revoked"
    assert "the consent to an avatar of the same photo was revoked" in verify(make(".png", again)).text
    today = {**again, **record(given=str(date.today()))}
    with pytest.raises(ConfigError, match="was revoked on"):  # given before it was revoked
        check(today)
    log = json.loads((own_folder().parent / "revoked.json").read_text())
    for entry in log.values():
        entry["date"] = YESTERDAY
    (own_folder().parent / "revoked.json").write_text(json.dumps(log))
    check(today)
    assert verify(make(".png", today)).state == "intact"


def test_info_says_what_commands_would_refuse(avatar: Path, run: Any, tmp_path: Path) -> None:
    shutil.copytree(avatar, tmp_path / "copy.avatar")
    assert "Note:" not in run("info", avatar).stdout
    run("revoke", avatar)
    assert f"REVOKED on {date.today()}: no reason given" in run("info", avatar).stdout
    assert f"Note: The consent to this avatar was revoked on {date.today()}." in run("info", tmp_path / "copy.avatar").stdout


def test_the_first_day_and_reason_of_a_revocation_stay(avatar: Path, tmp_path: Path, home: Path) -> None:
    shutil.copytree(avatar, tmp_path / "copy.avatar")
    revoke(avatar, "Ada asked for it.")
    assert revoke(tmp_path / "copy.avatar", erase=True)["reason"] == "Ada asked for it."
    (entry,) = json.loads((home / "revoked.json").read_text()).values()
    assert (entry["date"], entry["reason"]) == (str(date.today()), "Ada asked for it.")


@pytest.mark.parametrize("wrong", ["no certificate", "no folder"])
def test_an_avatar_can_be_revoked_whatever_happened_to_the_key(wrong: str, avatar: Path, run: Any, tmp_path: Path) -> None:
    if wrong == "no certificate":
        (own_folder() / "certificate.pem").unlink()
        result = run("revoke", avatar)
        assert (result.exit_code, "or use --no-sign" in result.stderr) == (2, True)
        result = run("revoke", avatar, "--no-sign", "--erase", "--yes")
    else:
        (tmp_path / "file").write_text("a file where the folder should be")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AVATARKIT_CACHE", str(tmp_path / "file"))
            result = run("revoke", avatar, "--erase", "--yes")
    assert result.exit_code == 0, result.stderr
    assert read_manifest(avatar)["revoked"]["erased"]
    assert not (avatar / "avatar.safetensors").exists()
    assert (avatar / "receipt.json").exists()
    assert (avatar / "manifest.c2pa").exists() is (wrong == "no folder")
    assert run("revoke", avatar, "--no-sign", "--sign", "a,b").exit_code == 2


def test_erasing_leaves_the_users_files_and_a_signed_receipt(avatar: Path, run: Any, tmp_path: Path) -> None:
    result = run("revoke", avatar, "--erase")
    assert (result.exit_code, result.stderr) == (
        2, "avatarkit: Nothing was erased. Say --yes where no question can be answered.\n")  # fmt: skip
    assert (avatar / "avatar.safetensors").exists()
    result = run("revoke", avatar, "--erase", "--yes")
    assert result.exit_code == 0, result.output
    assert sorted(p.relative_to(avatar).as_posix() for p in avatar.rglob("*")) == [
        "cache", "cache/note.txt", "manifest.c2pa", "manifest.json", "mine.txt", "receipt.json", "receipt.json.c2pa"]  # fmt: skip
    assert not (tmp_path / ".ada.avatar.work").exists()
    receipt = json.loads((avatar / "receipt.json").read_text())
    assert set(receipt["erased"]) == {
        "avatar.safetensors", "report.html", f"{STAGE}/photo.safetensors", "cache/scratch/wan/ab/photo.safetensors"}  # fmt: skip
    assert verify(avatar / "receipt.json").mine
    assert verify(avatar).text == f"The consent to this avatar was revoked and erased on {date.today()}."
    with pytest.raises(InputError, match="was revoked and erased on"):
        check(read_manifest(avatar), anyway="yes")
    assert revoke(avatar)["date"] == str(date.today())  # again: nothing changes
    assert read_manifest(avatar)["revoked"]["erased"]


def test_a_folder_of_stages_that_leads_elsewhere_is_not_followed(avatar: Path, tmp_path: Path) -> None:
    shutil.rmtree(avatar / "cache")
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "a.jpg").write_bytes(b"mine")
    (avatar / "cache").symlink_to(tmp_path / "holiday")
    with pytest.raises(InputError, match="is a link"):
        revoke(avatar, erase=True)
    assert (tmp_path / "holiday" / "a.jpg").exists()
    assert (avatar / "avatar.safetensors").exists()


def test_a_damaged_list_of_revoked_avatars_is_one_sentence(avatar: Path, home: Path) -> None:
    (home / "revoked.json").write_text("{")
    with pytest.raises(AvatarkitError, match="cannot be read"):
        verify(avatar)


# ------------------------------------------------------------------------------------------------- with the whole program


@pytest.mark.slow
def test_a_build_with_a_record_from_the_command_to_the_film(
    run: Callable[..., Result], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avatarkit.io.image import save_png
    from avatarkit.testing import tiny_subject

    def alone(*words: str) -> subprocess.CompletedProcess[str]:
        """The command in a process of its own."""
        return subprocess.run([sys.executable, "-m", "avatarkit_cli.main", *words], capture_output=True, text=True, check=False)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVATARKIT_PLUGINS", "provenance")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plugin = ("--plugin", str(ROOT / "tests" / "tiny_plugin.py"))
    save_png(tmp_path / "ada.png", tiny_subject(size=64).photo.image)
    slots = ("matting", "keypoints", "body", "tracker", "motions", "body_labels", "head_labels", "avatar", "renderer")
    recipe = "".join(f'[{slot}]\nuse = "tiny"\n' for slot in slots)
    (tmp_path / "r.toml").write_text(recipe + "[training]\nsteps = 1\nresolution = 32\n[preview]\nheight = 16\nseconds = 0.2\n"
                                     'motion = "tiny"\n[labels]\nbody_clips = 1\nhead_clips = 0\n')  # fmt: skip
    (tmp_path / "c.toml").write_text(f'person = "Ada"\nscope = ["private"]\nuntil = {TOMORROW}\n')
    built = alone("build", "ada.png", "--recipe", "r.toml", "--consent", "c.toml", *plugin)
    assert built.returncode == 0, built.stderr
    manifest = read_manifest(tmp_path / "ada.avatar")
    assert manifest["consent"] == f"Ada agrees to private use until {TOMORROW}."
    assert run("verify", "ada.avatar").exit_code == 0
    unsigned = run("build", "ada.png", "--recipe", "r.toml", "--no-sign", "-o", "other.avatar", *plugin)
    assert unsigned.exit_code == 0, unsigned.stderr
    tensors = [(tmp_path / name / "avatar.safetensors").read_bytes() for name in ("ada.avatar", "other.avatar")]
    assert tensors[0] == tensors[1]
    assert run("animate", "ada.avatar", "-o", "a.mp4", "--motion", "tiny", *plugin).exit_code == 0
    assert alone("verify", "a.mp4", "ada.avatar/preview.mp4").returncode == 0
    talk = ("talk", "ada.avatar", "--text", "Hello", "-o", "b.mp4", *plugin)
    said = run(*talk)
    assert said.exit_code == 2
    assert "The consent does not cover speech (its scope: private). Ask the person, or use --anyway." in said.stderr
    assert "No speech synthesizer" in run(*talk, "--anyway").stderr
    assert run("revoke", "ada.avatar", "--erase", "--yes").exit_code == 0
    played = run("render", "ada.avatar", "-o", "c.png", *plugin)
    assert (played.exit_code, "revoked and erased" in played.stderr) == (2, True)
