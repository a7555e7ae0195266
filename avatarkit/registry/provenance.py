"""What results depend on besides options: the source of edited plugins, and weights. Fast to import."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from avatarkit.errors import MissingWeights, StoreError
from avatarkit.registry.specs import ComponentSpec, is_editable
from avatarkit.utils.files import sha256_of, write_text
from avatarkit.utils.paths import cache_folder, find_weights

__all__ = ["source_digest", "weights_digests"]

_MOST_BYTES = 4_000_000  # of the file of known digests


def source_digest(component: ComponentSpec) -> str | None:
    """Return a digest of the Python files of a plugin that may be edited: a single file, or an editable installation.

    It is taken once per process, as Python loads modules once. None for an installed plugin, whose version stands for its source.
    """
    return _digest_of(component.plugin.distribution, component.target.partition(":")[0].partition(".")[0])


@functools.cache
def _digest_of(distribution: str, package: str) -> str | None:
    if distribution.endswith(".py"):
        files = [Path(distribution)]
    elif is_editable(distribution):
        spec = importlib.util.find_spec(package)
        roots = list(spec.submodule_search_locations or ()) if spec else []
        files = sorted(path for root in roots for path in Path(root).rglob("*.py"))
        if spec and spec.origin and not roots:
            files = [Path(spec.origin)]
    else:
        return None
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def weights_digests(component: ComponentSpec, tell: Callable[[str], None] = lambda message: None) -> dict[str, str]:
    """Return name -> sha256 of all weights that a component declares and that are installed.

    Digests are kept in the user's cache with size and time of the files, because large files take minutes.

    Args:
        component: its descriptor.
        tell: told when files are read.

    Raises:
        MissingWeights: they cannot be read.
    """
    found = {}
    for name in component.needs.weights:
        path = find_weights(name)
        if path is not None:
            try:
                found[name] = _weights_digest(path, lambda name=name: tell(f"reading the weights {name} once"))  # type: ignore[misc]
            except OSError as error:
                raise MissingWeights(f"The weights {name} cannot be read: {error}.") from error
    return found


def _weights_digest(path: Path, about_to_read: Callable[[], None]) -> str:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    facts = [(p.relative_to(path).as_posix(), p.stat().st_size, p.stat().st_mtime_ns, p.stat().st_ino) for p in files]
    stamp = hashlib.sha256(repr((str(path.resolve()), facts)).encode()).hexdigest()
    memory = cache_folder() / "weights-digests.json"
    known: dict[str, str] = {}
    with suppress(OSError, ValueError):
        if memory.stat().st_size <= _MOST_BYTES:
            known = {k: v for k, v in json.loads(memory.read_text(encoding="utf-8")).items() if isinstance(v, str)}
    if stamp not in known:
        about_to_read()
        digest = hashlib.sha256()
        for file, (name, *_) in zip(files, facts, strict=True):
            digest.update(f"{name}\0{sha256_of(file)}\0".encode())
        known = {**dict(list(known.items())[-1000:]), stamp: digest.hexdigest()}
        with suppress(OSError, StoreError):  # it only costs the time again
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_text(memory, json.dumps(known))
    return known[stamp]
