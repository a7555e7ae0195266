"""Former names that third-party plugins may use: they still work, with a deprecation warning. Light to import."""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

__all__ = ["MOVED", "current_name", "former_fields", "former_names", "install_aliases", "renamed"]

T = TypeVar("T")

_SLOTS = {"matter": "matting"}
"""Former slot or kind of component -> its name now."""

_SAME = {
    "labelling": "retracking",
    "io": "photo video video_writer",
    "motion": "retargeting",
    "motion.formats": "bvh",
    "pipeline": "estimates plan",
    "registry": "loading",
    "report": "preview",
    "storage": "bundle",
    "training": "views",
    "types": "body camera frames gaussians keypoints mesh subject",
    "appearance": "openings skin texture",
    "geometry": "rotations",
    "config": "options",
    "testing": "motion_faults",
    "utils": "paths progress sequences threads",
}
"""Package -> its modules that lay directly below ``avatarkit``."""

MOVED: dict[str, str] = {old: f"{package}.{old}" for package, names in _SAME.items() for old in names.split()} | {
    "api": "pipeline.build", "artefacts": "storage.serialization", "calibration": "labelling.color_transfer",
    "cameras": "io.camera_json", "comparison": "metrics", "completion": "appearance.color_priors", "contracts": "validation",
    "descriptors": "registry.specs", "joint_names": "motion.skeleton", "kernels": "reference",
    "kernels.gaussians": "reference.gaussians", "kernels.meshes": "reference.meshes", "keypoint_files": "io.keypoint_cache",
    "labels": "types.pseudo_labels", "landmark_motion": "motion.lifting", "motion_files": "motion.files",
    "needs": "registry.requirements", "painting": "appearance.painter", "photo_maps": "appearance.visibility",
    "pictures": "io.image", "pose_file": "motion.formats.pose_format", "posing": "motion.pose_solver",
    "report_parts": "report.parts", "sampling": "training.sampler", "smplx_motion": "motion.formats.smplx", "sound": "io.audio",
    "store": "storage.stage_cache", "surface": "geometry.mesh_graph",
}  # fmt: skip
"""Former module below ``avatarkit`` -> the module that has its names now."""


class _Alias(ModuleType):
    """Stands in for a module that moved."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(f"avatarkit.{MOVED[self.__name__.removeprefix('avatarkit.')]}"), name)


class _Finder:
    """Finds modules by their former path; asked only where there is no module of that path."""

    @staticmethod
    def find_spec(fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        now = MOVED.get(fullname.removeprefix("avatarkit.")) if fullname.startswith("avatarkit.") else None
        if now is None:
            return None
        warnings.warn(f"The module {fullname} is avatarkit.{now} now; import it from there.", DeprecationWarning, stacklevel=2)
        return ModuleSpec(fullname, _Finder, is_package=fullname == "avatarkit.kernels")  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return _Alias(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Load nothing: names are looked up when they are used."""


def install_aliases() -> None:
    """Lets old module paths be imported."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)


def _warn(text: str, level: int = 3) -> None:
    warnings.warn(f"{text}; the old name is removed in version 0.3.", DeprecationWarning, stacklevel=level)


def former_names(module: str, names: Mapping[str, str], level: int = 3) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that knows former names of its contents.

    Args:
        module: path of the module.
        names: former name -> current name.
        level: of the warning in the stack: one more for each function between the function returned and the caller.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{name} is called {names[name]} now", level)
        return getattr(sys.modules[module], names[name])

    return __getattr__


def former_fields(**names: str) -> Callable[[type[T]], type[T]]:
    """Return a decorator for a dataclass that accepts and shows fields by former names (former=current)."""

    def decorate(cls: type[T]) -> type[T]:
        made: Callable[..., None] = cls.__init__

        @functools.wraps(made)
        def __init__(self: T, *args: Any, **given: Any) -> None:  # noqa: N807
            for name in given.keys() & names.keys():
                _warn(f"The argument {name!r} of {cls.__name__} is called {names[name]!r} now", 3)
            made(self, *args, **{names.get(name, name): value for name, value in given.items()})

        def get(self: T, old: str, new: str) -> Any:
            _warn(f"{cls.__name__}.{old} is called {new} now")
            return getattr(self, new)

        cls.__init__ = __init__  # type: ignore[assignment, method-assign]
        for old, new in names.items():
            setattr(cls, old, property(functools.partial(get, old=old, new=new)))
        return cls

    return decorate


def current_name(name: str) -> str:
    """Return the current name of a slot or a kind of component."""
    return _SLOTS.get(name, name)


def renamed(name: str, origin: str) -> str:
    """Return ``current_name`` and log a warning if ``name`` is a former one.

    Args:
        name: name of a slot.
        origin: where it was found: a recipe, a flag.
    """
    now = current_name(name)
    if now != name:
        import logging  # ``import avatarkit`` does without

        log = logging.getLogger("avatarkit.config")
        log.warning("%s says %r: this slot was renamed to %r; the old name is removed in version 0.3.", origin, name, now)
    return now
