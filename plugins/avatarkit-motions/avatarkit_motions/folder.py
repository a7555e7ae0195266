"""Motion files in a folder as a ``MotionSource``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from avatarkit.errors import InputError
from avatarkit.motion.files import read_motion
from avatarkit.types.body import Motion
from avatarkit.utils.files import require_file
from avatarkit.utils.paths import expand
from avatarkit_motions.config import FolderConfig
from avatarkit_motions.segments import segment
from avatarkit_motions.source import BuiltinMotions, given_folder

__all__ = ["FolderMotions"]

log = logging.getLogger("avatarkit.motions")

_SUFFIXES = {".bvh", ".glb", ".gltf", ".npz", ".pose", ".vrma"}
_MOST_FILES, _MOST_LOOKED_AT = 100_000, 1_000_000


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield motion files in a folder and the folders in it.

    Links to folders are not followed.

    Raises:
        InputError: it holds more files than any collection of motions.
    """
    found = 0
    for number, path in enumerate(folder.rglob("*")):
        if number > _MOST_LOOKED_AT or found > _MOST_FILES:
            raise InputError(f"The folder {folder} holds too many files; name a folder of at most {_MOST_FILES} motions.")
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            found += 1
            yield path


class FolderMotions(BuiltinMotions):
    """Implements ``MotionSource`` for a folder and the folders in it.

    The built-in motions are there by their names too.
    """

    config: FolderConfig

    @cached_property
    def _files(self) -> dict[str, Path]:
        folder = given_folder(self.config.path, "your motion files")
        found = sorted(_files_in(folder))
        if not found:
            raise InputError(f"The folder {folder} holds no motion files (.bvh .glb .gltf .npz .pose .vrma).")
        return {p.relative_to(folder).as_posix(): p for p in found}

    def names(self) -> tuple[str, ...]:
        """Return the built-in motions, then files, relative to the folder.

        If the folder does not exist, there are no files.
        """
        there = bool(self.config.path) and expand(self.config.path).is_dir()
        return (*super().names(), *(self._files if there else ()))

    def describe(self, name: str) -> str:
        """Return one line about a motion.

        Raises:
            InputError: no such file.
        """
        if name in super().names():
            return super().describe(name)
        return f"{require_file(self._path(name), 'motion file') / 1e6:.1f} MB"

    def motion(self, name: str) -> Motion:
        """Return one motion by name.

        Raises:
            InputError: no such motion, or its file cannot be used.
        """
        if name in super().names():
            return super().motion(name)
        return read_motion(self._path(name), self._context.get("body"))

    def motions(self, count: int, seed: int) -> Iterator[Motion]:
        """Yield segments to make labels from, each from a file chosen at random.

        Files that cannot be used are left out.

        Args:
            count: of motions.
            seed: the same seed gives the same motions, and a larger count only adds some.

        Raises:
            InputError: no file can be used.
        """
        names, broken = list(self._files), set[str]()
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            for k in rng.permutation(len(names)):
                name = names[int(k)]
                if name in broken:
                    continue
                try:
                    whole = read_motion(self._path(name), self._context.get("body"))
                except InputError as error:
                    broken.add(name)
                    log.warning("%s", error)
                    continue
                yield segment(whole, self.config, rng, f"{Path(name).stem}-{number:03d}")
                break
            else:
                raise InputError(f"None of the {len(names)} motion files in {self.config.path} can be used.")

    def _path(self, name: str) -> Path:
        if name not in self._files:
            raise InputError(f"There is no built-in motion {name!r}, and no such file in {self.config.path}.")
        return self._files[name]
