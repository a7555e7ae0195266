"""Old module paths of third-party plugins: they still import, with a deprecation warning. Light to import."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MOVED", "install_aliases"]

MOVED: dict[str, str] = {
    "artefacts": "storage.serialization",
    "body": "types.body",
    "bundle": "storage.bundle",
    "bvh": "motion.bvh",
    "calibration": "labelling.color_transfer",
    "camera": "types.camera",
    "cameras": "io.camera_json",
    "comparison": "metrics",
    "completion": "appearance.color_priors",
    "contracts": "validation",
    "descriptors": "registry.specs",
    "estimates": "pipeline.estimates",
    "frames": "types.frames",
    "gaussians": "types.gaussians",
    "joint_names": "motion.skeleton",
    "kernels": "reference",
    "kernels.gaussians": "reference.gaussians",
    "kernels.meshes": "reference.meshes",
    "keypoint_files": "io.keypoint_cache",
    "keypoints": "types.keypoints",
    "labels": "types.pseudo_labels",
    "landmark_motion": "motion.lifting",
    "loading": "registry.loading",
    "mesh": "types.mesh",
    "motion_files": "motion.files",
    "needs": "registry.requirements",
    "openings": "appearance.openings",
    "options": "config.options",
    "painting": "appearance.painter",
    "paths": "utils.paths",
    "photo": "io.photo",
    "photo_maps": "appearance.visibility",
    "pictures": "io.image",
    "plan": "pipeline.plan",
    "pose_file": "motion.pose_format",
    "posing": "motion.pose_solver",
    "preview": "report.preview",
    "progress": "utils.progress",
    "report_parts": "report.parts",
    "retargeting": "motion.retargeting",
    "retracking": "labelling.retracking",
    "rotations": "geometry.rotations",
    "sampling": "training.sampler",
    "sequences": "utils.sequences",
    "skin": "appearance.skin",
    "smplx_motion": "motion.smplx",
    "sound": "io.audio",
    "store": "storage.stage_cache",
    "subject": "types.subject",
    "surface": "geometry.mesh_graph",
    "texture": "appearance.texture",
    "threads": "utils.threads",
    "video": "io.video",
    "video_writer": "io.video_writer",
    "views": "training.views",
}
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
        """Loads nothing: names are looked up when they are used."""


def install_aliases() -> None:
    """Lets old module paths be imported."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)
