"""Signing with C2PA: in the file where its format has a place, else in a file ``NAME.c2pa`` beside it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import IO, Any

from avatarkit.errors import InputError, StoreError
from avatarkit.utils.files import disk_errors, replace, sha256_of, write_bytes, write_text
from avatarkit.utils.leftovers import forget, temporary_name
from avatarkit_provenance.claims import definition
from avatarkit_provenance.keys import Credentials, credentials
from avatarkit_provenance.streams import Guarded, raise_kept

__all__ = [
    "EMBEDDED", "SEAL", "SIDECAR", "SIGNED_IN_FOLDERS", "is_store", "kind_of", "seal_avatar", "sign_output", "signature_of",
]  # fmt: skip

SIDECAR = ".c2pa"
SEAL = "manifest.c2pa"
"""Signature of an avatar's ``manifest.json``, which lists the sha256 of all other files."""
EMBEDDED = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".svg": "image/svg+xml", ".mp4": "video/mp4", ".m4v": "video/x-m4v", ".mov": "video/quicktime", ".zip": "application/x-zip",
}  # fmt: skip
"""Suffix -> media type of the formats that hold their signature."""
_BESIDE = {".html": "text/html", ".htm": "text/html", ".glb": "model/gltf-binary", ".vrm": "model/gltf-binary"}
SIGNED_IN_FOLDERS = frozenset((*EMBEDDED, *_BESIDE))
"""Suffixes of the files that are signed one by one where avatarkit writes a folder: frames of a film, pages."""
_OTHER = "application/octet-stream"
_PREVIEWS = ("preview.png", "preview.mp4")
_LONGEST_NAME = 255  # bytes; of common file systems
_MANIFEST, _TENSORS = "manifest.json", "avatar.safetensors"


def kind_of(path: Path) -> str:
    """Return the media type of a file by its suffix."""
    suffix = path.suffix.lower()
    return EMBEDDED.get(suffix) or _BESIDE.get(suffix, _OTHER)


def sign_output(path: str, target: str, manifest: dict[str, Any], policy: dict[str, str]) -> dict[str, bytes] | None:
    """See the hook ``finish_output``.

    Raises:
        InputError: there is nothing to sign with.
        StoreError: a file cannot be signed or written, or a file of the user's has the name of the signature.
    """
    place, named = Path(path), Path(target)
    sidecar = named.with_name(f"{named.name}{SIDECAR}")
    if policy.get("sign") == "no":
        if is_store(sidecar):  # of the file that is replaced
            with disk_errors(sidecar):
                sidecar.unlink()
        return None
    signer = credentials(policy)
    with disk_errors(named):
        if not place.is_dir():
            beside = _sign(place, named, manifest, signer)
            if beside is None:
                return None
            if len(os.fsencode(sidecar.name)) > _LONGEST_NAME:
                raise StoreError(f"{named.name[:40]}... is too long a name for a signature beside it: choose a shorter one.")
            if os.path.lexists(sidecar) and not is_store(sidecar):
                raise StoreError(f"{sidecar} exists and is not a signature: move it away, or use --no-sign.")
            return {sidecar.name: beside}
        if (place / _MANIFEST).is_file() and (place / _TENSORS).is_file():
            seal_avatar(place, signer)
            return None
        for file in sorted(p for p in place.rglob("*") if p.is_file() and p.suffix.lower() in SIGNED_IN_FOLDERS):
            if (beside := _sign(file, file, manifest, signer)) is not None:
                write_bytes(file.with_name(f"{file.name}{SIDECAR}"), beside)
    return None


def seal_avatar(folder: Path, signer: Credentials) -> None:
    """Sign the previews of an avatar that is being written, and its manifest.

    The tensors stay as they are: same input, same avatar.
    """
    with disk_errors(folder):
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        for name in _PREVIEWS:
            if name in manifest.get("files", {}) and (folder / name).is_file() and not manifest.get("revoked"):
                _sign(folder / name, folder / name, manifest, signer)
                manifest["files"][name] = sha256_of(folder / name)
        write_text(folder / _MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        write_bytes(folder / SEAL, signature_of(folder / _MANIFEST, manifest, signer))


def signature_of(path: Path, manifest: dict[str, Any], signer: Credentials) -> bytes:
    """Return the signature of a file whose format has no place for one.

    Args:
        path: of the file.
        manifest: of its avatar.
        signer: what signs.

    Raises:
        InputError, StoreError: as ``sign_output``.
    """
    with path.open("rb") as source:
        return _signature(definition(manifest, _OTHER), _OTHER, source, None, signer, path)


def is_store(path: Path) -> bool:
    """Return whether a file is a store of C2PA manifests: a box of the type ``jumb``."""
    try:
        with path.open("rb") as stream:
            return stream.read(8)[4:] == b"jumb"
    except OSError:
        return False


def _sign(path: Path, named: Path, manifest: dict[str, Any], signer: Credentials) -> bytes | None:
    """Sign a file in place and return None, or return the signature that goes beside it."""
    kind = kind_of(named)
    about = definition(manifest, kind)
    if named.suffix.lower() not in EMBEDDED:
        with path.open("rb") as source:
            return _signature(about, _OTHER, source, None, signer, named)
    # The name is one of the target's temporary files, so that the next run sweeps it after a kill.
    temporary = path.with_name(temporary_name(Path(os.path.realpath(named))))
    try:
        with path.open("rb") as source, temporary.open("w+b") as signed:
            _signature(about, kind, source, signed, signer, named)
        os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
        replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        forget(temporary.name)
    return None


def _signature(
    about: dict[str, Any], kind: str, source: IO[bytes], signed: IO[bytes] | None, signer: Credentials, named: Path
) -> bytes:
    """Sign ``source`` into ``signed``; None = return the signature alone.

    Raises:
        InputError: the certificate is none of C2PA's.
        StoreError: the library cannot do it.
    """
    import c2pa

    algorithm = getattr(c2pa.C2paSigningAlg, signer.algorithm.upper())
    # Nothing is asked of a network: no time stamp, no list of revoked certificates.
    settings = {
        "version": 1,
        "verify": {"verify_after_sign": False, "ocsp_fetch": False, "remote_manifest_fetch": False},
        "builder": {"thumbnail": {"enabled": False}},
    }
    reading, writing = Guarded(source), Guarded(signed)
    try:
        made = c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, signer.chain, signer.key, None))
        with c2pa.Context(c2pa.Settings.from_dict(settings)) as context, c2pa.Builder(about, context=context) as builder:
            if signed is None:
                builder.set_no_embed()
            store: bytes = builder.sign(made, kind, reading, writing)
    except c2pa.C2paError as error:
        raise_kept(named, reading, writing)
        text = str(error).partition(":")[2].strip() or str(error)
        if "certificate" in text.lower() or "Cose" in text or isinstance(error, c2pa.C2paError.Signature):
            raise InputError(
                f"The certificate {signer.source} cannot sign ({text}). Give another one, or use --no-sign."
            ) from error
        raise StoreError(f"{named} could not be signed ({text}). Use --no-sign to write it without a signature.") from error
    raise_kept(named, reading, writing)
    return store
