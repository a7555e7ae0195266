"""Lists of files that a server of weights has; nothing in them is taken on trust.

A list is bounded and checked field by field, and every name must be a plain path below a folder.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from avatarkit.errors import ConfigError, InputError, MissingWeights
from avatarkit.utils.files import relative_name
from avatarkit.utils.plain import BadText, parse_json
from avatarkit_cli.checkpoints.web import Broken, Clock, brief, host_of, open_url, phrase, read_whole

if TYPE_CHECKING:
    from avatarkit.hookspecs import Weights

__all__ = ["Listing", "RemoteFile", "list_files", "offline", "side_files"]

ENDPOINT = "https://huggingface.co"
TIMEOUT_SECONDS = 10.0  # without a byte
LISTING_SECONDS = 20.0  # for a whole list
MOST_LISTING = 2_000_000  # bytes; lists of a hundred files have 30 kB
MOST_FILES = 1000
MOST_BYTES = 2_000_000_000_000  # of one file or all together, where the plugin does not say how large they are


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        path: where it goes, below the weights' folder.
        url: of its bytes.
        size: bytes, None = unknown.
        sha256: hexadecimal, None = unknown.
        most: bytes that it may have where its size is unknown.
    """

    path: str
    url: str
    size: int | None
    sha256: str | None
    most: int = MOST_BYTES


@dataclass(frozen=True)
class Listing:
    """The files of some weights, as the server has them now.

    Attributes:
        commit: of the repository, 40 hexadecimal digits.
        files: to fetch; no two of them get in each other's way.
    """

    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes in all; None where a file's size is not known."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None


def offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the user wants no network: ``AVATARKIT_OFFLINE=1``, or ``HF_HUB_OFFLINE=1``."""
    return any(environ.get(name, "0").lower() not in ("", "0", "false", "no") for name in ("AVATARKIT_OFFLINE", "HF_HUB_OFFLINE"))


def list_files(weights: Weights) -> Listing:
    """Ask the server what it has: names, sizes and sha256.

    Raises:
        MissingWeights: it cannot be reached, refuses, or lacks a file.
        InputError: its answer makes no sense.
        ConfigError: ``HF_ENDPOINT`` or ``HF_TOKEN`` makes no sense.
    """
    endpoint = _endpoint()
    repository = quote(weights.repository)
    url = f"{endpoint}/api/models/{repository}/revision/{quote(weights.revision, safe='')}?blobs=true"
    try:
        answer = open_url(url, {}, Clock(TIMEOUT_SECONDS, LISTING_SECONDS))
        with answer:
            if answer.status != 200:
                raise _refused(weights, answer.status)
            facts = parse_json(read_whole(answer, MOST_LISTING))
    except Broken as error:
        raise MissingWeights(f"{weights.name} cannot be fetched: {host_of(url)} is not reached ({error}).") from error
    except BadText as error:
        raise _strange(url, f"its list of files is not readable: {error}") from error
    commit, entries = _entries(facts, url)
    most = MOST_BYTES if weights.size is None else 2 * weights.size + 64_000_000
    files, digests = [], {name: digest.lower() for name, digest in dict(weights.sha256).items()}
    for name in _wanted(weights, entries):
        size, sha256 = _size_and_sum(entries[name], name, url)
        where = f"{endpoint}/{repository}/resolve/{commit}/{quote(name)}"
        files.append(RemoteFile(name.removeprefix(weights.strip), where, size, digests.get(name, sha256), most))
    _check_names(files, weights)
    if (offered := sum(file.size or 0 for file in files)) > most:
        expected = "at most" if weights.size is None else "about"
        limit = MOST_BYTES if weights.size is None else weights.size
        raise _strange(url, f"it offers {offered / 1e9:.1f} GB as {weights.name}, which has {expected} {limit / 1e9:.1f} GB")
    return Listing(commit, tuple(files))


def _endpoint() -> str:
    """Return the address of the server without a slash at its end.

    Raises:
        ConfigError: what the user set is none.
    """
    text = os.environ.get("HF_ENDPOINT", "").strip() or ENDPOINT
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        fine = False
    if not fine or not re.fullmatch(r"[\x21-\x7e]{1,500}", text) or set(text) & set("\\?#<>\"'`{}|^"):
        raise ConfigError(
            f"HF_ENDPOINT is {brief(text)!r}, which is not the address of a web server; unset it, or set it to e.g. {ENDPOINT}."
        )
    return text.rstrip("/")


def _entries(facts: Any, url: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the commit, and name -> entry of each file."""
    if not isinstance(facts, dict) or not isinstance(commit := facts.get("sha"), str) or not re.fullmatch("[0-9a-f]{40}", commit):
        raise _strange(url, "its list of files names no commit of 40 hexadecimal digits")
    entries: dict[str, dict[str, Any]] = {}
    siblings = facts.get("siblings")
    if not isinstance(siblings, list):
        raise _strange(url, "its list of files holds no list 'siblings'")
    for entry in siblings:
        if not isinstance(entry, dict) or not isinstance(name := entry.get("rfilename"), str):
            raise _strange(url, "its list of files holds an entry without a name")
        if name in entries:
            raise _strange(url, f"its list of files holds {brief(name)!r} twice")
        entries[name] = entry
    return commit, entries


def _wanted(weights: Weights, entries: Mapping[str, Any]) -> list[str]:
    """Return the names that the patterns of the weights match, each once, in order."""
    found: dict[str, None] = {}
    for pattern in weights.files:
        matches = [name for name in sorted(entries) if fnmatchcase(name, pattern)]
        if not matches:
            raise MissingWeights(f"{weights.repository} has no file {pattern} any more; see {weights.source}.")
        found.update(dict.fromkeys(matches))
    if len(found) > (most := 1 if weights.single else MOST_FILES):
        raise InputError(
            f"{weights.repository} has {len(found)} files for {weights.name}, where {most} may be; nothing was fetched."
        )
    return list(found)


def _size_and_sum(entry: Mapping[str, Any], name: str, url: str) -> tuple[int | None, str | None]:
    """Return size in bytes and sha256 of a file, if the server states them."""
    size, lfs = entry.get("size"), entry.get("lfs")
    if lfs is not None and not isinstance(lfs, dict):
        raise _strange(url, f"the field 'lfs' of {brief(name)!r} is no table")
    for value in (size, (lfs or {}).get("size")):
        if value is not None and (type(value) is not int or not 0 <= value <= MOST_BYTES):
            raise _strange(url, f"the size of {brief(name)!r} is no number of bytes: {brief(repr(value), 40)}")
    sha256 = (lfs or {}).get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        raise _strange(url, f"the sha256 of {brief(name)!r} is none")
    return size, sha256 and sha256.lower()


def _check_names(files: list[RemoteFile], weights: Weights) -> None:
    """Check that every file has a place of its own below the folder, on disks of every kind.

    Raises:
        InputError: a name leads out, or two get in each other's way.
    """
    places: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    for file in files:
        path = relative_name(file.path)
        if (
            path is None
            or not file.path.isprintable()
            or any(part.endswith((".", " ")) for part in path.parts)
            or len(path.name.encode()) > 240
        ):
            raise InputError(
                f"{weights.repository} holds a file with the strange name {brief(file.path)!r}; nothing was fetched."
            )
        for own in (path, *map(path.with_name, side_files(path.name))):
            place = tuple(unicodedata.normalize("NFKC", part).casefold() for part in own.parts)
            above = {place[:n] for n in range(1, len(place))}
            if place in places or place in folders or above & places:
                raise InputError(
                    f"{weights.repository} holds two files that get in each other's way, one of them {brief(file.path)!r}; "
                    "nothing was fetched."
                )
            places.add(place)
            folders |= above


def _refused(weights: Weights, status: int) -> MissingWeights:
    if status in (401, 403) or (weights.gated and status == 404):  # some servers hide what is gated
        return MissingWeights(
            f"{weights.name} is gated: accept its terms on {weights.source}, then set HF_TOKEN to a token of yours, or download "
            f"it there and run: avatarkit weights add {weights.name} FILE"
        )
    return MissingWeights(f"{weights.name} cannot be fetched: the server answers {phrase(status)}; see {weights.source}.")


def _strange(url: str, what: str) -> InputError:
    return InputError(f"{host_of(url)} does not answer as a server of weights does: {what}; nothing was fetched.")


def side_files(name: str) -> tuple[str, str]:
    """Return the names that a file has while it comes: its bytes so far, and the server's tag of them."""
    return f"{name}.part", f"{name}.part.etag"
