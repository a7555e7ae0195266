"""Loads diffusers pipelines from disk, strictly, and fits them into the memory of a GPU.

Nothing is downloaded, no code of a checkpoint runs, and no missing tensor is replaced by a default.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from avatarkit.errors import AvatarkitError, InputError, MissingWeights
from avatarkit.interfaces import Context
from avatarkit.labelling.checkpoints import read_settings
from avatarkit.utils.paths import weights_record

__all__ = ["DType", "Offload", "choose_offload", "from_hub_or_folder", "load_part", "move", "number_format", "resolve_offload"]

log = logging.getLogger("avatarkit.labelling")

DType = Literal["auto", "float16", "bfloat16", "float32"]
Offload = Literal["auto", "none", "modules", "layers"]

LIBRARIES = ("diffusers", "transformers")  # a pipeline's parts come from these; others could run code
ACTIVATIONS = 0.4  # share of the free memory that is left to what networks compute
# What transformers keeps twice, and may or may not write into files.
HARMLESS = ("embeddings.position_ids", "encoder.embed_tokens.weight")


def number_format(dtype: DType, device: torch.device, half: torch.dtype = torch.float16) -> torch.dtype:
    """Return the number format of an option: ``auto`` is ``half`` on CUDA and float32 elsewhere."""
    if dtype == "auto":
        return half if device.type == "cuda" else torch.float32
    return {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}[dtype]


def from_hub_or_folder(
    pipeline: type,
    source: str | Path,
    context: Context,
    *,
    dtype: torch.dtype,
    without: Collection[str] = (),
    parts: Mapping[str, type] | None = None,
    formats: Mapping[str, torch.dtype] | None = None,
    **more: Any,
) -> Any:
    """Load a diffusers pipeline in evaluation mode on the CPU.

    Args:
        pipeline: class of the pipeline.
        source: name of weights of ``avatarkit weights``, which fetches them from a hub and shows their license first; or a
            folder in diffusers' layout.
        context: of the component.
        dtype: number format of the networks.
        without: parts to leave out; the pipeline gets None for them.
        parts: part -> class; None = as the folder's ``model_index.json`` says.
        formats: part -> number format, where it is another.
        more: parts that the folder lacks, such as ``controlnet``, loaded with ``load_part``.

    Raises:
        MissingWeights: there are no weights of that name, or the folder lacks a part.
        InputError: a part is damaged or does not fit.
    """
    folder = context.weights(source) if isinstance(source, str) else source
    record = weights_record(source) if isinstance(source, str) else None
    log.info("weights %s, license: %s", folder.name, record["license"] if record else "not recorded")
    context.progress(f"loading {folder.name}", None)
    classes = parts or _classes(folder, pipeline, {*without, *more})
    loaded = {n: load_part(folder / n, c, (formats or {}).get(n, dtype)) for n, c in classes.items() if n not in without}
    loaded |= dict.fromkeys(without) | more
    asked = inspect.signature(pipeline.__init__).parameters  # type: ignore[misc]
    switches = {"requires_safety_checker": False} if "requires_safety_checker" in asked else {}
    made: Any = pipeline(**loaded, **switches)
    made.set_progress_bar_config(disable=True)
    return made


def _classes(folder: Path, pipeline: type, known: Collection[str]) -> dict[str, Any]:
    """Return part -> class as ``model_index.json`` says, for parts that the pipeline takes and that are not ``known``."""
    if not folder.is_dir():
        raise MissingWeights(f"There is no folder {folder}.")
    index, asked = read_settings(folder / "model_index.json"), inspect.signature(pipeline.__init__).parameters  # type: ignore[misc]
    found: dict[str, Any] = {}
    for name, value in index.items():
        if name not in asked or name in known or not isinstance(value, list):
            continue
        library, cls = (*value, None, None)[:2]
        if library is None:
            found[name] = None
        elif library not in LIBRARIES or not isinstance(cls, str) or not cls.isidentifier():
            raise InputError(f"The part {name} of {folder.name} is not of diffusers or transformers, and could run code.")
        else:
            found[name] = getattr(importlib.import_module(library), cls, None)
            if not isinstance(found[name], type):
                raise InputError(f"The part {name} of {folder.name} needs {library}.{cls}, which is not installed.")
    return found


def load_part(folder: Path, cls: Any, dtype: torch.dtype) -> Any:
    """Return one part of a pipeline; networks are in evaluation mode on the CPU.

    Weights are read from safetensors only.

    Args:
        folder: of the part.
        cls: class of diffusers or transformers.
        dtype: number format of a network.

    Raises:
        MissingWeights: the folder lacks the part.
        InputError: it is damaged, or tensors are missing, unknown or of other shapes.
    """
    if cls is None:
        return None
    if not folder.is_dir():
        raise MissingWeights(f"The weights are incomplete: there is no folder {folder}. Download them again.")
    part = f"{folder.name} of {folder.parent.name}"
    options: dict[str, Any] = {"local_files_only": True}
    network = issubclass(cls, nn.Module)
    if network:
        options |= {"torch_dtype" if cls.__module__.startswith("diffusers.") else "dtype": dtype}
        options |= {"use_safetensors": True, "output_loading_info": True}
    try:
        with _quiet():
            loaded = cls.from_pretrained(folder, **options)
    except AvatarkitError:
        raise
    except Exception as error:  # any error of the libraries about third-party files
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"The part {part} is damaged or of another model: {reason}") from error
    if not network:
        return loaded
    made, report = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(str(key) for key in report.get(kind, ()) if not str(key).endswith(HARMLESS))
        if keys:
            what = kind.removesuffix("_keys")
            raise InputError(f"The part {part} does not fit: {len(keys)} {what} tensors, e.g. {keys[0]}.")
    return made.requires_grad_(False).eval()


def choose_offload(sizes: Mapping[str, int], free: int) -> Offload:
    """Return how to keep networks on a GPU.

    Args:
        sizes: name -> bytes of each network.
        free: bytes that may be used; two fifths of them are left to activations.
    """
    room = (1 - ACTIVATIONS) * free
    if sum(sizes.values()) <= room:
        return "none"
    return "modules" if max(sizes.values()) <= room else "layers"


def resolve_offload(
    networks: Mapping[str, Any], device: torch.device, offload: Offload = "auto", memory_gb: float | None = None
) -> Offload:
    """Return the way to keep networks on a device; ``auto`` chooses by the memory that is free.

    Args:
        networks: name -> network; other objects do not count.
        device: of the build.
        offload: ``none`` keeps all networks on the GPU, ``modules`` only the active one, ``layers`` one layer at a time (slow).
        memory_gb: memory that ``auto`` may use; None = what is free.
    """
    if device.type == "cpu":
        return "none"
    if offload != "auto":
        return offload
    parts = {name: part for name, part in networks.items() if isinstance(part, nn.Module)}
    sizes = {name: sum(p.numel() * p.element_size() for p in part.parameters()) for name, part in parts.items()}
    free = torch.cuda.mem_get_info(device)[0] if memory_gb is None else int(memory_gb * 1e9)
    chosen = choose_offload(sizes, free)
    log.info("networks of %.1f GB, %.1f GB free: offload %s", sum(sizes.values()) / 1e9, free / 1e9, chosen)
    return chosen


def move(pipeline: Any, device: torch.device, offload: Offload = "auto", memory_gb: float | None = None) -> Offload:
    """Put a pipeline of diffusers on a device, keep what does not fit on the CPU, and return the choice.

    The arguments are those of ``resolve_offload``.
    """
    if device.type == "cpu":
        return "none"
    offload = resolve_offload(pipeline.components, device, offload, memory_gb)
    if offload == "modules":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "layers":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return offload


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries' own messages about loading, which would disturb the progress bar."""
    libraries = [importlib.import_module(f"{library}.utils.logging") for library in LIBRARIES]
    before = [library.get_verbosity() for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
    finally:
        for library, level in zip(libraries, before, strict=True):
            library.set_verbosity(level)
            library.enable_progress_bar()
