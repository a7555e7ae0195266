"""Stage folders with content keys: a stage is reused if its key is equal, and never read half written.

A stage of a build is a folder ``NAME-KEY`` with its files and a ``stage.json``; it is written under another name and
renamed.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import logging
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from avatarkit.errors import InputError, StoreError
from avatarkit.utils.files import (
    disk_errors,
    disk_sentence,
    inside,
    read_text,
    relative_name,
    replace,
    sha256_of,
    sync,
    sync_folder,
    utf8_path,
    write_bytes,
    write_text,
)
from avatarkit.utils.folders import exchange
from avatarkit.utils.leftovers import forget, remember
from avatarkit.utils.plain import BadText, parse_json

__all__ = [
    "SCRATCH",
    "Stage",
    "Store",
    "StoredTensor",
    "content_key",
    "load_tensors",
    "peak_memory_mb",
    "read_header",
    "read_json",
    "save_tensors",
    "write_json",
]

log = logging.getLogger("avatarkit.storage.stage_cache")

_RECORD = "stage.json"
SCRATCH = "scratch"
"""Folder beside the stages, of unfinished work inside one of them."""
_STAGE_FOLDER = re.compile(r"[\w.-]+-[0-9a-f]{16}(\.partial|\.tmp)?")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO)
_MOST_JSON_BYTES = 64 << 20
_MOST_HEADER_BYTES = 8 << 20  # of a file of tensors; the landmarks of the longest clip take 3 MB
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Store:
    """The stages of one build.

    Args:
        root: folder of the stages; made when the first one is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def stage(self, name: str, component: str, revision: int, config: Any, seed: int, inputs: Mapping[str, str]) -> Stage:
        """One stage, identified by everything that its result depends on.

        Args:
            name: readable, unique within a build: ``tracking``, ``labels-body-wave``.
            component: name of the component that does the work.
            revision: of that component.
            config: its config: a dataclass, a mapping of plain values, or None.
            seed: of the stage.
            inputs: name -> key of the stages, or sha256 of the files, that it reads.
        """
        parts = {
            "stage": name,
            "component": component,
            "revision": revision,
            "config": _plain(config),
            "seed": seed,
            "inputs": dict(inputs),
        }
        return Stage(self.root, name, parts)

    def sweep(self) -> None:
        """Delete half-written stages of runs that were killed; the caller holds the lock of the output."""
        if self.root.is_dir():
            for folder in self.root.glob("*.tmp"):
                if _STAGE_FOLDER.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                    shutil.rmtree(folder, ignore_errors=True)


    def folders(self) -> list[Path]:
        """Return the folders that builds made here: stages, whole or not, and unfinished work; they hold the photo."""
        if not self.root.is_dir() or self.root.is_symlink():
            return []
        own = (p for p in self.root.iterdir() if p.name == SCRATCH or _STAGE_FOLDER.fullmatch(p.name))
        return sorted(path for path in own if path.is_dir() and not path.is_symlink())


class Stage:
    """A step of a build and the folder of its results; made by ``Store.stage``, which also starts its clock.

    Attributes:
        key: sha256 of ``parts``, hexadecimal. folder: of the results; read it where ``ready``.
        parts: what the key is made of.
    """

    def __init__(self, root: Path, name: str, parts: Mapping[str, Any]) -> None:
        self.name = name
        self.parts = dict(parts)
        self.key = content_key(parts)
        self.folder = root / f"{name}-{self.key[:16]}"
        self._verified: bool | None = None
        self._started = time.perf_counter()
        _reset_peak_memory()

    @property
    def ready(self) -> bool:
        """Whether the results are there, whole: each file is compared with its checksum. A damaged folder is not."""
        if self._verified is None:
            self._verified = inside(self.folder, _RECORD) and not self.folder.is_symlink() and self._verify()
        return self._verified

    def _verify(self) -> bool:
        try:
            record = read_json(self.folder / _RECORD)
            files = record["files"]
            if any(isinstance(entry, int) for entry in files.values()):  # sizes: of a version before checksums
                return False
            names = {relative_name(name) for name in files}
            whole = (
                record["key"] == self.key
                and None not in names
                and all(inside(self.folder, name) for name in files)
                and all(sha256_of(self.folder / name) == sha256 for name, sha256 in files.items())
                and all(type(record[name]) in (int, float) and record[name] >= 0 for name in ("seconds", "peak_memory_mb"))
            )
        except (OSError, StoreError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            log.warning("The kept results of the stage %s are damaged or incomplete; they are made again.", self.name)
        return whole

    @property
    def record(self) -> dict[str, Any]:
        """``stage.json``: key, parts, seconds, peak_memory_mb, files.

        Raises:
            StoreError: the stage is not ready.
        """
        return read_json(self.folder / _RECORD)

    @property
    def scratch(self) -> Path:
        """A folder for partial work (checkpoints); it outlives kills and is deleted when the stage is written."""
        folder = self.folder.with_name(f"{self.folder.name}.partial")
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def write(self) -> Iterator[Path]:
        """Give a temporary folder for the results; it becomes the stage's folder at the end, or nothing does.

        Raises:
            StoreError: no space, no permission.
        """
        temporary = self.folder.with_name(f"{self.folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with disk_errors(self.folder):
                temporary.mkdir(parents=True)
            remember(temporary.name)
            yield temporary
            with disk_errors(self.folder):
                self._commit(temporary)
        except OSError as error:  # raised by the body: an error of the disk, or of other code
            if error.errno not in _DISK and str(temporary) not in str(error.filename):
                raise
            raise StoreError(disk_sentence(Path(error.filename or self.folder), error.errno, error)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            forget(temporary.name)
            with suppress(OSError):
                self.folder.parent.rmdir()  # where nothing at all was made, nothing stays
        shutil.rmtree(self.folder.with_name(f"{self.folder.name}.partial"), ignore_errors=True)

    def _commit(self, temporary: Path) -> None:
        files = {p.relative_to(temporary).as_posix(): sha256_of(p) for p in sorted(temporary.rglob("*")) if p.is_file()}
        record = {
            "key": self.key,
            "parts": self.parts,
            "seconds": round(time.perf_counter() - self._started, 3),
            "peak_memory_mb": peak_memory_mb(),
            "files": files,
        }
        write_json(temporary / _RECORD, record)
        sync_folder(temporary)
        if self.folder.is_symlink() or self.folder.is_file():  # in a cache from another person
            self.folder.unlink()
        if not self.folder.exists():
            replace(temporary, self.folder)
        elif not exchange(temporary, self.folder):  # damaged, or made again on purpose
            shutil.rmtree(self.folder)
            replace(temporary, self.folder)
        sync(self.folder.parent)
        self._verified = None

    def discard(self) -> None:
        """Delete the results and the partial work, so that the stage is made again."""
        self._verified = False
        for folder in (self.folder, self.folder.with_name(f"{self.folder.name}.partial")):
            shutil.rmtree(folder, ignore_errors=True)

    def why_changed(self) -> str:
        """Why the stage has to be made: what differs from the latest results of this name. For logs."""
        earlier = []
        for path in self.folder.parent.glob(f"{self.name}-*/{_RECORD}"):
            try:
                parts = read_json(path)["parts"]
                if parts["stage"] == self.name:
                    earlier.append((path.stat().st_mtime, path.parent, parts))
            except (OSError, StoreError, KeyError, TypeError):
                continue
        if not earlier:
            return "not made yet"
        _, folder, parts = max(earlier, key=lambda e: e[0])
        if folder == self.folder:
            return "its results are damaged"
        return "; ".join(_differences(parts, self.parts)) or "its results are damaged"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b, f"{above}{name}.")
        elif a != b:
            secret = above.startswith("inputs.")  # hashes tell a person nothing
            yield f"{above}{name} changed" if secret else f"{above}{name}: {a!r} became {b!r}"


# ----------------------------------------------------------------------------------------------------------------- keys


def content_key(parts: Any) -> str:
    """sha256, hexadecimal, of plain values as canonical JSON."""
    text = json.dumps(_plain(parts), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} cannot be part of a content key; use numbers, text, lists and mappings.")


# ---------------------------------------------------------------------------------------------------------------- files


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors; equal tensors give equal bytes.

    Raises:
        StoreError: no space, no permission.
    """
    ready: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        t = tensor.detach().cpu().contiguous()
        if t.untyped_storage().nbytes() != t.nbytes or t.data_ptr() in seen:  # safetensors refuses shared memory
            t = t.clone()
        seen.add(t.data_ptr())
        ready[name] = t
    # save_file would write to a temporary name of its own, which a kill leaves behind and only its owner may read
    write_bytes(path, save(ready, dict(metadata) if metadata else None))


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        dtype: of its numbers. shape: of it.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]


@contextmanager
def _reading(path: Path) -> Iterator[str]:
    """Give the name of a file of tensors to the library, and turn what it says into one sentence.

    Raises:
        StoreError: the file is missing, or its header is damaged or does not describe exactly the file's bytes.
    """
    if not path.is_file():
        raise StoreError(f"{path} is missing.")
    try:
        with path.open("rb") as stream:
            if int.from_bytes(stream.read(8), "little") > _MOST_HEADER_BYTES:
                raise ValueError("its header is too long")
        with utf8_path(path) as name:
            yield name
    except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise StoreError(f"{path} is damaged: {error}.") from error
    except OSError as error:
        raise StoreError(disk_sentence(path, error.errno, error)) from error


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Read which tensors a file of ``save_tensors`` holds, and none of their numbers.

    Raises:
        StoreError: the file is missing or damaged, or holds tensors of other types.
    """
    with _reading(path) as name, safe_open(name, framework="pt") as file:
        stored = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
        found = {key: StoredTensor(_DTYPES[tensor.get_dtype()], tuple(tensor.get_shape())) for key, tensor in stored.items()}
        if any(len(tensor.shape) > 8 or max(tensor.shape, default=0) > 2**40 for tensor in found.values()):
            raise ValueError("a tensor has an impossible shape")
        return found


def load_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Read what ``save_tensors`` wrote.

    Raises:
        StoreError: the file is missing or damaged.
    """
    with _reading(path) as name:
        return load_file(name, device=str(device))


def write_json(path: Path, data: Any) -> None:
    """Write plain values, whole or not at all.

    Raises:
        StoreError: no space, no permission.
    """
    write_text(path, json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, most_bytes: int = _MOST_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object, within the bounds of ``parse_json``.

    Args:
        path: of the file.
        most_bytes: the largest size that is read.

    Raises:
        StoreError: the file is missing, too large or damaged.
    """
    if not path.exists():
        raise StoreError(f"{path} is missing.")
    try:
        data = parse_json(read_text(path, "JSON file", most_bytes))
    except InputError as error:
        raise StoreError(str(error)) from error
    except BadText as error:
        raise StoreError(f"{path} is damaged: {error}.") from error
    if not isinstance(data, dict):
        raise StoreError(f"{path} is damaged: it is not a JSON object.")
    return data


# --------------------------------------------------------------------------------------------------------------- memory


def _reset_peak_memory() -> None:
    """Start a new peak where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Largest resident memory of this process in MB, since the latest stage began (outside Linux: since its start)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    if sys.platform == "win32":
        return 0.0
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
