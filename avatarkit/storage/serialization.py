"""The values of the pipeline as files: safetensors for numbers, JSON for the rest. Nothing here can execute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch

from avatarkit.errors import StoreError
from avatarkit.storage.manifest import convert
from avatarkit.storage.stage_cache import load_tensors, read_json, save_tensors, write_json
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Matte, Notice, Quality, Subject

__all__ = [
    "cameras_from_tensors",
    "cameras_to_tensors",
    "load_clip",
    "load_keypoints",
    "load_motions",
    "load_subject",
    "params_from_tensors",
    "params_to_tensors",
    "save_clip",
    "save_keypoints",
    "save_motions",
    "save_subject",
]

_MOVING = ("expression", "root", "translation", "joints")
_KEYPOINTS = ("points", "scores", "points_3d")


class _PhotoFacts(msgspec.Struct):
    sha256: str
    name: str
    focal: float | None


class _KeypointsFacts(msgspec.Struct):
    size: tuple[int, int]
    box: tuple[float, float, float, float]
    person_count: int


class _NoticeFacts(msgspec.Struct):
    code: str
    text: str


class _QualityFacts(msgspec.Struct):
    metrics: dict[str, float | None]
    visible: dict[str, bool]
    warnings: list[_NoticeFacts]
    partially_visible: list[str] = []
    partly: list[str] = []  # its former name


class _SubjectFacts(msgspec.Struct):
    model: str
    photo: _PhotoFacts
    keypoints: _KeypointsFacts
    quality: _QualityFacts


class _MotionFacts(msgspec.Struct):
    name: str
    fps: float
    loop: bool
    model: str


class _MotionsFacts(msgspec.Struct):
    motions: list[_MotionFacts]


class _ClipFacts(msgspec.Struct):
    name: str
    region: Literal["body", "head"]
    model: str
    facts: dict[str, Any] = {}
    from_photo: bool = False


def _write(folder: Path, name: str, tensors: Mapping[str, torch.Tensor], facts: Any) -> None:
    save_tensors(folder / f"{name}.safetensors", tensors)
    write_json(folder / f"{name}.json", facts)


def _read(folder: Path, name: str, schema: type) -> tuple[dict[str, torch.Tensor], Any]:
    """Tensors and facts; the caches of other people's avatars may hold anything."""
    file = folder / f"{name}.json"
    facts = read_json(file)
    try:
        convert(facts, schema)
    except ValueError as error:
        raise StoreError(f"{file} is damaged: it {error}.") from error
    return load_tensors(folder / f"{name}.safetensors"), facts


def params_to_tensors(params: BodyParams, prefix: str) -> dict[str, torch.Tensor]:
    """Tensors of ``params`` under ``prefix.``; the model's name is not among them."""
    return {f"{prefix}.{k}": getattr(params, k) for k in ("shape", *_MOVING)}


def params_from_tensors(tensors: Mapping[str, torch.Tensor], prefix: str, model: str) -> BodyParams:
    """Invert ``params_to_tensors``."""
    return BodyParams(model, **{k: tensors[f"{prefix}.{k}"] for k in ("shape", *_MOVING)})


def cameras_to_tensors(cameras: tuple[Camera, ...], prefix: str) -> dict[str, torch.Tensor]:
    """(T, 3, 3), (T, 4, 4) and (T, 2) sizes of cameras."""
    return {
        f"{prefix}.K": torch.stack([c.K for c in cameras]),
        f"{prefix}.T_camera_world": torch.stack([c.T_camera_world for c in cameras]),
        f"{prefix}.size": torch.tensor([[c.width, c.height] for c in cameras]),
    }


def cameras_from_tensors(tensors: Mapping[str, torch.Tensor], prefix: str) -> tuple[Camera, ...]:
    """Invert ``cameras_to_tensors``."""
    K, T, size = (tensors[f"{prefix}.{k}"] for k in ("K", "T_camera_world", "size"))
    return tuple(Camera(K[i], T[i], int(size[i, 0]), int(size[i, 1])) for i in range(len(K)))


def save_subject(subject: Subject, folder: Path) -> None:
    """Write ``subject.safetensors`` and ``subject.json``."""
    k = subject.keypoints
    tensors = {
        "image": subject.photo.image,
        "alpha": subject.matte.alpha,
        "foreground": subject.matte.foreground,
        "vertex_offsets": subject.vertex_offsets,
        **params_to_tensors(subject.params, "params"),
        **cameras_to_tensors((subject.camera,), "camera"),
    }
    tensors |= _keypoints_to_tensors(k, "keypoints")
    facts = {
        "model": subject.params.model,
        "photo": {"sha256": subject.photo.sha256, "name": subject.photo.name, "focal": subject.photo.focal},
        "keypoints": _keypoints_facts(k),
        "quality": asdict(subject.quality),
    }
    _write(folder, "subject", tensors, facts)


def load_subject(folder: Path) -> Subject:
    """Read what ``save_subject`` wrote."""
    tensors, facts = _read(folder, "subject", _SubjectFacts)
    quality = facts["quality"]
    return Subject(
        photo=Photo(tensors["image"], None, **facts["photo"]),
        matte=Matte(tensors["alpha"], tensors["foreground"]),
        keypoints=_keypoints_from_tensors(tensors, "keypoints", facts["keypoints"]),
        params=params_from_tensors(tensors, "params", facts["model"]),
        camera=cameras_from_tensors(tensors, "camera")[0],
        vertex_offsets=tensors["vertex_offsets"],
        quality=Quality(
            quality["metrics"], quality["visible"], tuple(Notice(**w) for w in quality["warnings"]),
            tuple(quality.get("partially_visible", quality.get("partly", ()))),
        ),
    )  # fmt: skip


def save_keypoints(frames: Sequence[Keypoints | None], path: Path) -> None:
    """Write the landmarks of a clip, None for frames without a person, as one file of tensors."""
    seen = [(number, k) for number, k in enumerate(frames) if k is not None]
    tensors = {
        "frames": torch.tensor(len(frames)),
        "seen": torch.tensor([number for number, _ in seen], dtype=torch.int64),
        "facts": torch.tensor([(k.width, k.height, *k.box, k.person_count) for _, k in seen], dtype=torch.float64).reshape(-1, 7),
    }
    for kind in _KEYPOINTS:
        for name in sorted({name for _, k in seen for name in getattr(k, kind)}):
            having = [(number, getattr(k, kind)[name]) for number, k in seen if name in getattr(k, kind)]
            tensors[f"{kind}/{name}/at"] = torch.tensor([number for number, _ in having])
            values = np.stack([values for _, values in having]).astype(np.float32, copy=False)
            tensors[f"{kind}/{name}/values"] = torch.from_numpy(values)
    save_tensors(path, tensors)


def load_keypoints(path: Path) -> list[Keypoints | None]:
    """Read what ``save_keypoints`` wrote.

    Raises:
        StoreError: the file is missing or damaged.
    """
    tensors = load_tensors(path)
    try:
        seen = tensors["seen"].tolist()
        sets: dict[int, dict[str, dict[str, np.ndarray]]] = {number: {kind: {} for kind in _KEYPOINTS} for number in seen}
        for entry in [entry for entry in tensors if entry.endswith("/values")]:
            kind, name, _ = entry.split("/")
            for number, values in zip(tensors[f"{kind}/{name}/at"].tolist(), tensors[entry].numpy(), strict=True):
                sets[number][kind][name] = values
        out: list[Keypoints | None] = [None] * int(tensors["frames"])
        for number, (width, height, *box, count) in zip(seen, tensors["facts"].tolist(), strict=True):
            out[number] = Keypoints(int(width), int(height), **sets[number], box=tuple(box), person_count=int(count))
    except (LookupError, TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        raise StoreError(f"{path} is damaged ({type(error).__name__}).") from error
    return out


def _keypoints_to_tensors(keypoints: Keypoints, prefix: str) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}.{kind}.{name}": torch.from_numpy(np.ascontiguousarray(array, np.float32))
        for kind in _KEYPOINTS
        for name, array in getattr(keypoints, kind).items()
    }


def _keypoints_facts(keypoints: Keypoints) -> dict[str, Any]:
    box = [float(v) for v in keypoints.box]
    return {"size": [keypoints.width, keypoints.height], "box": box, "person_count": keypoints.person_count}


def _keypoints_from_tensors(tensors: Mapping[str, torch.Tensor], prefix: str, facts: Mapping[str, Any]) -> Keypoints:
    sets: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in _KEYPOINTS}
    for key, tensor in tensors.items():
        if key.startswith(f"{prefix}."):
            _, kind, name = key.split(".", 2)
            sets[kind][name] = tensor.numpy()
    width, height = facts["size"]
    return Keypoints(width, height, **sets, box=tuple(facts["box"]), person_count=facts["person_count"])


def save_motions(motions: list[Motion], folder: Path) -> None:
    """Write ``motions.safetensors`` and ``motions.json``."""
    tensors: dict[str, torch.Tensor] = {}
    facts = []
    for i, m in enumerate(motions):
        tensors |= params_to_tensors(m.params, str(i))
        if m.valid is not None:
            tensors[f"{i}.valid"] = m.valid
        facts.append({"name": m.name, "fps": m.fps, "loop": m.loop, "model": m.params.model})
    _write(folder, "motions", tensors, {"motions": facts})


def load_motions(folder: Path) -> list[Motion]:
    """Read what ``save_motions`` wrote."""
    tensors, facts = _read(folder, "motions", _MotionsFacts)
    return [
        Motion(f["name"], f["fps"], params_from_tensors(tensors, str(i), f["model"]), f["loop"], tensors.get(f"{i}.valid"))
        for i, f in enumerate(facts["motions"])
    ]


def save_clip(clip: LabelClip, folder: Path) -> None:
    """Write ``clip.safetensors`` and ``clip.json``."""
    tensors = {k: getattr(clip, k) for k in ("frames", "alpha", "confidence")}
    tensors |= params_to_tensors(clip.requested, "requested") | params_to_tensors(clip.params, "params")
    tensors |= cameras_to_tensors(clip.cameras, "cameras")
    facts = {
        "name": clip.name, "region": clip.region, "model": clip.params.model, "facts": dict(clip.facts),
        "from_photo": clip.from_photo,
    }  # fmt: skip
    _write(folder, "clip", tensors, facts)


def load_clip(folder: Path) -> LabelClip:
    """Read what ``save_clip`` wrote."""
    tensors, facts = _read(folder, "clip", _ClipFacts)
    return LabelClip(
        name=facts["name"],
        region=facts["region"],
        requested=params_from_tensors(tensors, "requested", facts["model"]),
        params=params_from_tensors(tensors, "params", facts["model"]),
        cameras=cameras_from_tensors(tensors, "cameras"),
        facts=facts.get("facts", {}),
        from_photo=facts.get("from_photo", False),
        **{k: tensors[k] for k in ("frames", "alpha", "confidence")},
    )
