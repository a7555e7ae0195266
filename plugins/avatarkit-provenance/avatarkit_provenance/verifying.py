"""Is a file ours, signed by whom, unchanged since, of which avatar?"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from avatarkit.errors import InputError
from avatarkit.utils.files import disk_errors, inside, sha256_of
from avatarkit.utils.text import one_line
from avatarkit_provenance.claims import AVATAR, CONSENT, avatar_id
from avatarkit_provenance.keys import anchors, own_serial
from avatarkit_provenance.revocations import revocation
from avatarkit_provenance.signing import SEAL, SIDECAR, SIGNED_IN_FOLDERS, kind_of
from avatarkit_provenance.streams import Guarded, raise_kept

__all__ = ["CODES", "Verdict", "verify"]

CODES = {"intact": 0, "unsigned": 3, "foreign": 3, "unknown signer": 4, "changed": 5, "revoked": 6}
"""State -> exit code of ``avatarkit verify``."""
_WORDS = b"synthetic, made with avatarkit"  # in the header of what has no place for a signature
_HEAD = 1 << 20  # bytes in which they are looked for
_MOST_BYTES = 16 << 20  # of a signature beside a file
_OTHER = "application/octet-stream"
_CHANGED = ("mismatch", "missing", "Hash", "hash")


@dataclass(frozen=True)
class Verdict:
    """What is known of one file.

    Attributes:
        file: as the user named it.
        state: one of ``CODES``.
        text: the same as a sentence.
        signer: name in the certificate, and its number; "" without a signature.
        mine: whether the user's own key signed.
        avatar: sha256 of the avatar's tensors. recipe: name of its recipe.
        source_type: IPTC's digital source type. consent: what the signature says was agreed.
        problems: what is wrong, in C2PA's words, or names of files of an avatar.
    """

    file: str
    state: str
    text: str
    signer: str = ""
    mine: bool = False
    avatar: str = ""
    recipe: str = ""
    source_type: str = ""
    consent: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def verify(path: Path, trust: tuple[Path, ...] = ()) -> Verdict:
    """Say what a picture, film, export or avatar is; nothing is asked of a network.

    Args:
        path: of a file, of an avatar's folder, or of a folder of pictures or pages, which are judged together.
        trust: files of certificates of known signers, besides the user's own.

    Raises:
        InputError: there is no such file, nothing to judge in a folder, or no certificate in a file of ``trust``.
    """
    with disk_errors(path):
        if path.is_dir():
            return _avatar(path, trust) if os.path.lexists(path / "manifest.json") else _folder(path, trust)
        if path.suffix.lower() == SIDECAR and path.with_suffix("").is_file():
            path = path.with_suffix("")
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
        found, beside = _read(path, None, trust), path.with_name(f"{path.name}{SIDECAR}")
        if found is None and not beside.is_file():
            return Verdict(str(path), "unsigned", _without(path))
        found = found or _read(path, beside, trust)
        if found is None:
            return Verdict(str(path), "changed", "The signature cannot be read: it is damaged.")
        return _judged(path, found)


def _without(path: Path) -> str:
    with path.open("rb") as stream:
        if _WORDS in stream.read(_HEAD):
            return "Not signed; the file itself says that it is synthetic and made with avatarkit."
    return "Not signed: it was made without a signature, or lost it when it was saved again."


def _folder(folder: Path, trust: tuple[Path, ...]) -> Verdict:
    """Judge the files of a folder whose kinds are signed when avatarkit writes folders; the worst one counts."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SIGNED_IN_FOLDERS and file.is_file())
    if not files:
        raise InputError(f"{folder} is not an avatar, and holds no picture, film or page.")
    found = [verify(file, trust) for file in files]
    worst = max(found, key=lambda verdict: CODES[verdict.state])
    alike = [verdict.file for verdict in found if verdict.state == worst.state]
    names = () if worst.state == "intact" else tuple(Path(file).relative_to(folder).as_posix() for file in alike)
    return replace(worst, file=str(folder), text=f"{len(alike)} of {len(files)} files: {worst.text}", problems=names)


def _avatar(folder: Path, trust: tuple[Path, ...]) -> Verdict:
    """Judge an avatar: the signature of its manifest, then the files that the manifest lists."""
    from avatarkit.storage.bundle import read_manifest  # it imports torch, which files do not need

    manifest = read_manifest(folder)
    ended = revocation(manifest)
    facts: dict[str, Any] = {"avatar": avatar_id(manifest), "recipe": str(manifest.get("recipe", {}).get("name", ""))}
    changed = tuple(name for name, digest in manifest.get("files", {}).items() if not _same(folder, name, digest))
    if ended is not None:
        erased = " and erased" if ended.erased else ""
        text = f"The consent to {ended.what} was revoked{erased} on {ended.date or 'an unknown date'}."
        return Verdict(str(folder), "revoked", text, problems=() if erased else changed, **facts)
    if not (folder / SEAL).is_file():
        state, text = ("changed", f"Not signed, and {_list(changed)} changed since it was built.") if changed else (
            "unsigned", "Not signed; its files are as its manifest says.")  # fmt: skip
        return Verdict(str(folder), state, text, problems=changed, **facts)
    found = _read(folder / "manifest.json", folder / SEAL, trust)
    if found is None:
        return Verdict(str(folder), "changed", "The signature of its manifest cannot be read: it is damaged.", **facts)
    verdict = _judged(folder, found, manifest)
    if changed and verdict.state != "changed":
        return Verdict(
            str(folder), "changed", f"{_list(changed)} changed since it was signed.", verdict.signer, verdict.mine,
            problems=changed, **facts,
        )  # fmt: skip
    return verdict


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _same(folder: Path, name: str, digest: str) -> bool:
    try:
        return inside(folder, name) and sha256_of(folder / name) == digest
    except OSError:
        return False


def _read(path: Path, beside: Path | None, trust: tuple[Path, ...]) -> dict[str, Any] | None:
    """Return what the library says, with the state of the validation; None = there is no signature, or a damaged one."""
    import c2pa

    known = anchors(trust)
    settings: dict[str, Any] = {"version": 1, "verify": {"ocsp_fetch": False, "remote_manifest_fetch": False}}
    if known:
        settings["trust"] = {"user_anchors": known}
    store = None
    if beside is not None:
        if beside.stat().st_size > _MOST_BYTES:
            return None
        store = beside.read_bytes()
    kind = _OTHER if beside is not None else kind_of(path)
    with disk_errors(path), path.open("rb") as stream:
        guarded = Guarded(stream)
        try:
            with c2pa.Context(c2pa.Settings.from_dict(settings)) as context:
                reader = c2pa.Reader(kind, guarded, store, context=context)
            with reader:
                found = {"state": str(reader.get_validation_state()), **json.loads(reader.json())}
        except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
            found = None
        except c2pa.C2paError as error:
            signed = beside is not None or _holds_store(path)
            found = {"state": "Invalid", "unreadable": str(error)} if signed else None
        raise_kept(path, guarded)
    return found


def _holds_store(path: Path) -> bool:
    """Return whether a file that cannot be parsed still holds something of a signature near its start or end."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        stream.seek(max(0, path.stat().st_size - _HEAD))
        return b"c2pa" in head or b"c2pa" in stream.read(_HEAD)


def _judged(path: Path, found: dict[str, Any], manifest: dict[str, Any] | None = None) -> Verdict:
    active = found.get("manifests", {}).get(found.get("active_manifest"), {})
    said = {a.get("label"): a.get("data") for a in active.get("assertions", ()) if isinstance(a.get("data"), dict)}
    about, info = said.get(AVATAR, {}), active.get("signature_info") or {}
    problems = tuple(dict.fromkeys(str(s.get("code")) for s in found.get("validation_status", ()))) or (
        (found["unreadable"],) if "unreadable" in found else ()
    )
    name = one_line(info.get("common_name") or info.get("issuer") or "an unknown signer")
    number = str(info.get("cert_serial_number", ""))
    mine = found["state"] == "Trusted" and number == own_serial()
    actions: list[Any] = [a for label, d in said.items() if str(label).startswith("c2pa.actions") for a in d.get("actions", ())]
    facts: dict[str, Any] = {
        "signer": f"{name} ({number})" if number else "",
        "mine": mine,
        "avatar": str(about.get("avatar", "")) or (avatar_id(manifest) if manifest else ""),
        "recipe": one_line(about.get("recipe", "")),
        "source_type": next((str(a["digitalSourceType"]).rpartition("/")[2] for a in actions if "digitalSourceType" in a), ""),
        "consent": said.get(CONSENT, {}),
        "problems": tuple(p for p in problems if p != "signingCredential.untrusted"),
    }
    who = "you" if mine else name
    ended = revocation(_origin(facts["avatar"], active, facts["consent"])) if facts["avatar"] else None
    if found["state"] not in ("Trusted", "Valid"):
        expired = [p for p in problems if "expired" in p or "outsideValidity" in p]
        if expired and not [p for p in problems if any(w in p for w in _CHANGED)]:
            text = f"Signed by {name}, whose certificate is not valid today, by the clock of this machine."
            return Verdict(str(path), "unknown signer", text, **facts)
        return Verdict(str(path), "changed", f"Changed since it was signed by {name}." if info else
                       "Changed since it was signed; the signature is damaged.", **facts)  # fmt: skip
    if not about:
        maker = (active.get("claim_generator_info") or [{}])[0].get("name", "another program")
        return Verdict(str(path), "foreign", f"Signed by {name}, but made with {one_line(maker)}, not with avatarkit.", **facts)
    if ended is not None:
        avatar = ended.what.replace("this", "its")
        text = f"Unchanged since {who} signed it, but the consent to {avatar} was revoked on {ended.date or 'an unknown date'}."
        return Verdict(str(path), "revoked", text, **facts)
    if found["state"] == "Valid":
        text = (
            f"Unchanged since {name} signed it, a signer whom this machine does not know. If you know who that is, "
            "give their certificate with --trust CERT.pem."
        )
        return Verdict(str(path), "unknown signer", text, **facts)
    return Verdict(str(path), "intact", f"Synthetic, made with avatarkit, unchanged since {who} signed it.", **facts)


def _origin(avatar: str, active: dict[str, Any], agreed: dict[str, Any]) -> dict[str, Any]:
    """Return what a signature says of its avatar, in the form of the avatar's manifest."""
    sources = [str(ingredient.get("instance_id", "")) for ingredient in active.get("ingredients", ())]
    photo = next((name.removeprefix("sha256:") for name in sources if name.startswith("sha256:")), "")
    days = {"given": str(agreed.get("given", ""))}
    return {"files": {"avatar.safetensors": avatar}, "inputs": {"photo": photo}, "consent_record": days}
