"""Fetches checkpoint files over HTTP: whole or not at all, resumed where it was cut off, checked before it counts."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from avatarkit.errors import InputError, MissingWeights

if TYPE_CHECKING:
    from avatarkit.hookspecs import Weights

__all__ = ["Listing", "RemoteFile", "fetch_file", "list_files", "offline"]

ENDPOINT = "https://huggingface.co"
TRIES, PAUSE_SECONDS, TIMEOUT_SECONDS, BLOCK = 4, 0.5, 60.0, 2**20
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        path: where it goes, below the weights' folder. url: of its bytes.
        size: bytes, None = unknown. sha256: hexadecimal, None = unknown.
    """

    path: str
    url: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Listing:
    """The files of some weights, as the server has them now.

    Attributes:
        commit: of the repository. files: to fetch.
    """

    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes in all; None where a file's size is not known."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None


def offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the user wants no network: ``AVATARKIT_OFFLINE=1``, or ``HF_HUB_OFFLINE=1``."""
    return any(environ.get(name, "0").lower() not in ("", "0", "false", "no") for name in ("AVATARKIT_OFFLINE", "HF_HUB_OFFLINE"))


def list_files(weights: Weights) -> Listing:
    """Asks the server what it has: names, sizes and sha256.

    Raises:
        MissingWeights: it cannot be reached, refuses, or lacks a file. InputError: its answer makes no sense.
    """
    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    url = f"{endpoint}/api/models/{weights.repository}/revision/{quote(weights.revision, safe='')}?blobs=true"
    try:
        with _open(url, {}) as answer:
            facts = json.load(answer)
        commit, entries = str(facts["sha"]), {str(e["rfilename"]): e for e in facts["siblings"]}
    except urllib.error.HTTPError as error:
        raise _refused(weights, error) from error
    except _BROKEN as error:
        raise MissingWeights(f"{weights.name} cannot be fetched: {_host(url)} is not reached ({_reason(error)}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{_host(url)} does not answer as a server of weights does; nothing was fetched.") from error
    known = dict(weights.sha256)
    files = []
    for pattern in weights.files:
        matches = [name for name in sorted(entries) if fnmatchcase(name, pattern)]
        if not matches:
            raise MissingWeights(f"{weights.repository} has no file {pattern} any more; see {weights.source}.")
        for name in matches:
            entry = entries[name]
            lfs = entry.get("lfs") or {}
            path = name.removeprefix(weights.strip)
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise InputError(f"{weights.repository} holds a file with the strange name {name!r}; nothing was fetched.")
            where = f"{endpoint}/{weights.repository}/resolve/{commit}/{quote(name)}"
            files.append(RemoteFile(path, where, entry.get("size"), known.get(name) or lfs.get("sha256")))
    return Listing(commit, tuple(files))


def fetch_file(file: RemoteFile, target: Path, report: Callable[[int], None] = lambda bytes_here: None) -> str:
    """Fetches one file; what an earlier try left in ``TARGET.part`` is gone on from.

    Args:
        file: what. target: where it goes; it is there only when it is whole and right.
        report: told how many bytes are here.

    Returns:
        Its sha256, hexadecimal.

    Raises:
        MissingWeights: it was cut off, or is refused. InputError: it is not what it should be; it is deleted.
    """
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            if _go_on(file, part, report):
                break
            reason = "the connection was closed early"
        except urllib.error.HTTPError as error:
            if error.code not in (408, 416, 429) and error.code < 500:
                raise MissingWeights(f"{file.path} cannot be fetched: the server answers {error.code} {error.reason}.") from error
            reason = f"the server answers {error.code}"
        except _BROKEN as error:
            reason = _reason(error)
    else:
        here = part.stat().st_size if part.is_file() else 0
        of = f" of {file.size}" if file.size is not None else ""
        raise MissingWeights(
            f"{file.path} was cut off after {here}{of} bytes ({reason}). What came is kept: give the same command again."
        )
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if file.sha256 and digest != file.sha256.lower():
        part.unlink()
        raise InputError(
            f"{file.path} is not what it should be and was deleted: its sha256 is {digest}, not {file.sha256}. Fetch it again."
        )
    os.replace(part, target)
    _tag(part).unlink(missing_ok=True)
    return digest


def _go_on(file: RemoteFile, part: Path, report: Callable[[int], None]) -> bool:
    """One request; True where the part is whole."""
    here = part.stat().st_size if part.is_file() else 0
    tag = _tag(part)
    if file.size is not None and here == file.size:
        return True
    if file.size is not None and here > file.size:
        here = 0
    headers = {}
    if here and tag.is_file():
        headers = {"Range": f"bytes={here}-", "If-Range": tag.read_text(encoding="ascii", errors="replace").strip()}
    with _open(file.url, headers) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {here}-")
        here = here if resumed else 0
        length = answer.headers.get("Content-Length")
        total = file.size if file.size is not None else (here + int(length) if length and length.isdecimal() else None)
        if not resumed and (etag := answer.headers.get("ETag", "")) and not etag.startswith("W/"):
            tag.write_text(etag, encoding="ascii", errors="replace")
        elif not resumed:
            tag.unlink(missing_ok=True)
        with part.open("ab" if resumed else "wb") as stream:
            while block := answer.read(BLOCK):
                stream.write(block)
                here += len(block)
                report(here)
                if total is not None and here > total:
                    raise InputError(f"{file.path} is longer than the {total} bytes that it should have; nothing was kept.")
    return total is None or here == total


def _tag(part: Path) -> Path:
    """Where the server's tag of a part is kept: bytes of two versions must not be mixed."""
    return part.with_name(f"{part.name}.etag")


def _open(url: str, headers: Mapping[str, str]) -> Any:
    """An answer. The user's token goes to the server that was asked, never to one that it points to."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{url} is no address on the web.")
    request = urllib.request.Request(url, headers={"User-Agent": "avatarkit", "Accept-Encoding": "identity", **headers})
    if token := os.environ.get("HF_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise


def _refused(weights: Weights, error: urllib.error.HTTPError) -> MissingWeights:
    if error.code in (401, 403) or weights.gated:
        return MissingWeights(
            f"{weights.name} is gated: accept its terms on {weights.source}, then set HF_TOKEN to a token of yours, or download "
            f"it there and run: avatarkit weights add {weights.name} FILE"
        )
    answer = f"the server answers {error.code} {error.reason}"
    return MissingWeights(f"{weights.name} cannot be fetched: {answer}; see {weights.source}.")


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__
