"""The key and the certificate that sign: the user's own, made at first use, or given ones."""

from __future__ import annotations

import functools
import logging
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarkit.errors import InputError, StoreError
from avatarkit.utils.files import writing
from avatarkit.utils.paths import expand, plugins_folder

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["Credentials", "anchors", "credentials", "given", "own_folder", "own_serial", "preflight"]

log = logging.getLogger("avatarkit.provenance")

_REMEDY = "Give one with --sign KEY,CERT, or use --no-sign."
_YEARS = 10
_EARLIER = timedelta(days=1)  # clocks of machines differ
_MOST_BYTES = 1 << 20  # of a key or a chain of certificates
_CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"  # what C2PA's certificates are for
_EMAIL = "1.3.6.1.5.5.7.3.4"  # the same in C2PA before 2.1, which other readers still require


@dataclass(frozen=True)
class Credentials:
    """What signs.

    Attributes:
        key: private key, PEM. chain: the certificate and those above it, PEM.
        algorithm: of C2PA: ``es256``, ``es384``, ``es512``, ``ps256``, ``ed25519``.
        source: where they come from, for messages.
    """

    key: bytes
    chain: bytes
    algorithm: str
    source: str


def own_folder() -> Path:
    """Return the folder of the user's key: ``keys`` beside the user's plugins."""
    return plugins_folder().parent / "keys"


def credentials(policy: dict[str, str]) -> Credentials:
    """Return what signs: ``policy["sign"]`` as ``KEY,CERT``, else the user's own, which are made at first use.

    Where the user's folder cannot be written, they hold for this process only.

    Raises:
        InputError: a file is missing, damaged or out of date, or key and certificate do not belong together.
    """
    if policy.get("sign"):
        return given(policy["sign"])
    key, certificate = own_folder() / "key.pem", own_folder() / "certificate.pem"
    if not (os.path.lexists(key) or os.path.lexists(certificate)):
        try:
            _make_own(key, certificate)
        except (OSError, StoreError) as error:
            return _for_this_run(str(getattr(error, "strerror", None) or error).rstrip("."))
    return _read(key, certificate, "Move both files away to get new ones, or use --no-sign.")


def preflight(policy: dict[str, str]) -> None:
    """Check what is there to sign with, before work begins that ends in a signature; makes nothing.

    Raises:
        InputError: as ``credentials``.
    """
    if policy.get("sign") or os.path.lexists(own_folder() / "key.pem"):
        credentials(policy)


def given(text: str) -> Credentials:
    """Return the credentials that ``KEY,CERT`` names, two PEM files.

    Raises:
        InputError: as ``credentials``.
    """
    key, comma, certificate = text.partition(",")
    if not (key and comma and certificate):
        raise InputError(f"--sign {text!r} is not of the form KEY,CERT: the PEM files of a private key and its certificate.")
    return _read(expand(key), expand(certificate), "Give others with --sign KEY,CERT, or use --no-sign.")


def anchors(more: tuple[Path, ...] = ()) -> str:
    """Return the certificates that ``verify`` trusts, PEM: the user's own and those in the files ``more``.

    Raises:
        InputError: a file in ``more`` holds no certificate.
    """
    found = [_certificates(path, "Give the PEM file of one with --trust.") for path in more]
    if (own_folder() / "certificate.pem").is_file():
        found.append(_certificates(own_folder() / "certificate.pem"))
    return "".join(_pem(certificate).decode() for chain in found for certificate in chain)


def own_serial() -> str:
    """Return the serial number of the user's own certificate; "" if there is none."""
    try:
        return str(_certificates(own_folder() / "certificate.pem")[0].serial_number)
    except InputError:
        return ""


# ------------------------------------------------------------------------------------------------------------- reading


def _read(key: Path, certificate: Path, remedy: str) -> Credentials:
    from cryptography.hazmat.primitives import serialization

    data = _bytes(key, "key")
    chain = _certificates(certificate)
    try:
        private: Any = serialization.load_pem_private_key(data, None)
    except TypeError:
        raise InputError(f"The key {key} is locked with a password; write it without one to sign with it. {remedy}") from None
    except Exception as error:  # the library raises errors of several kinds
        raise InputError(f"{key} is not a private key in PEM. {remedy}") from error
    if _public(private.public_key()) != _public(chain[0].public_key()):
        raise InputError(f"The key {key} does not belong to the certificate {certificate}. {remedy}")
    now, first, last = datetime.now(UTC), chain[0].not_valid_before_utc, chain[0].not_valid_after_utc
    if now < first:
        raise InputError(
            f"The clock of this machine says {now:%Y-%m-%d}, but the certificate {certificate} begins on {first:%Y-%m-%d}. "
            "Set the clock, or use --no-sign."
        )
    if now > last:
        raise InputError(f"The certificate {certificate} ended on {last:%Y-%m-%d}. {remedy}")
    plain = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Credentials(plain, b"".join(map(_pem, chain)), _algorithm(private, key), str(certificate))


def _bytes(path: Path, what: str, remedy: str = _REMEDY) -> bytes:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST_BYTES:
            raise InputError(f"The {what} {path} is not a PEM file. {remedy}")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no {what} {path}. {remedy}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"The {what} {path} cannot be read ({getattr(error, 'strerror', None) or error}). {remedy}") from None


def _certificates(path: Path, remedy: str = _REMEDY) -> list[Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(_bytes(path, "certificate", remedy))
    except ValueError:
        raise InputError(f"{path} holds no certificate in PEM. {remedy}") from None


def _algorithm(private: Any, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "ps256"
    sizes = {256: "es256", 384: "es384", 521: "es512"}
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name.startswith("secp") and private.key_size in sizes:
        return sizes[private.key_size]
    raise InputError(
        f"The key {path} is of a kind that C2PA does not know: use P-256, P-384, P-521, Ed25519 or RSA from 2048 bits."
    )


def _public(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    data: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return data


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


# -------------------------------------------------------------------------------------------------------------- making


def _make_own(key: Path, certificate: Path) -> None:
    """Write a new key and its certificate; the first of two processes wins.

    Raises:
        OSError, StoreError: the folder cannot be written.
    """
    from filelock import FileLock

    key.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(key.parent / ".lock", timeout=20):
        if key.exists():
            return
        made, chain = new_credentials()
        for path, data, mode in ((certificate, chain, 0o644), (key, made, 0o600)):
            with writing(path) as temporary:
                os.chmod(temporary, mode)  # before anything is in it
                descriptor = os.open(temporary, os.O_WRONLY)
                try:
                    os.write(descriptor, data)
                finally:
                    os.close(descriptor)
    log.info("a key that signs what you make is in %s", key.parent)


@functools.cache
def _for_this_run(reason: str) -> Credentials:
    key, chain = new_credentials()
    log.warning("Note: The signing key is for this run only, because %s cannot be written (%s).", own_folder(), reason)
    return Credentials(key, chain, "es256", "a key for this run only")


def new_credentials() -> tuple[bytes, bytes]:
    """Return a new private key and the chain of its certificate, PEM.

    C2PA refuses certificates that sign themselves, so a second one signs it, whose key is not kept. Their names hold a number
    and nothing of the user.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    above, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    digest = x509.SubjectKeyIdentifier.from_public_key(own.public_key()).digest.hex()[:8]
    first = datetime.now(UTC) - _EARLIER
    last = first + timedelta(days=_YEARS * 365.25)

    def name(text: str) -> x509.Name:
        parts = {NameOID.ORGANIZATION_NAME: "avatarkit user", NameOID.COMMON_NAME: text}
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts.items()])

    def certificate(public: ec.EllipticCurvePublicKey, subject: x509.Name, authority: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(name(f"root of avatarkit user {digest}"), subject, public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(first)
            .not_valid_after(last)
            .add_extension(x509.BasicConstraints(authority, 0 if authority else None), critical=True)
            .add_extension(x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )

    uses = x509.ExtendedKeyUsage([x509.ObjectIdentifier(_CLAIM_SIGNING), x509.ObjectIdentifier(_EMAIL)])
    root = certificate(above.public_key(), name(f"root of avatarkit user {digest}"), True).sign(above, hashes.SHA256())
    end = certificate(own.public_key(), name(f"avatarkit user {digest}"), False).add_extension(uses, critical=False)
    end = end.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), critical=False)
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key, _pem(end.sign(above, hashes.SHA256())) + _pem(root)
