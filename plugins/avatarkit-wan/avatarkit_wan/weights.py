"""Loads the pipeline from a folder on disk, strictly: nothing is downloaded or replaced by defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanAnimatePipeline, WanAnimateTransformer3DModel
from diffusers.utils import logging as diffusers_logging
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPVisionModel, UMT5EncoderModel
from transformers.utils import logging as transformers_logging

from avatarkit.errors import AvatarkitError, InputError, MissingWeights
from avatarkit_wan.config import missing_parts

__all__ = ["load_part", "load_pipeline", "require_folder"]

PARTS = {
    "transformer": WanAnimateTransformer3DModel,
    "vae": AutoencoderKLWan,
    "image_encoder": CLIPVisionModel,
    "text_encoder": UMT5EncoderModel,
    "scheduler": UniPCMultistepScheduler,
    "image_processor": CLIPImageProcessor,
    "tokenizer": AutoTokenizer,
}
NETWORKS = ("transformer", "vae", "image_encoder", "text_encoder")
# What transformers keeps twice, and may or may not write into files.
HARMLESS = ("embeddings.position_ids", "encoder.embed_tokens.weight")


def load_pipeline(folder: Path, dtype: torch.dtype) -> Any:
    """Return a ``WanAnimatePipeline`` without text encoder and tokenizer.

    ``load_part`` loads them if a prompt is new.
    """
    require_folder(folder)
    parts = {name: load_part(folder, name, dtype) for name in PARTS if name not in ("text_encoder", "tokenizer")}
    pipeline: Any = WanAnimatePipeline(text_encoder=None, tokenizer=None, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def require_folder(folder: Path) -> None:
    """Check that the folder has all parts.

    Raises:
        MissingWeights: naming what is not there.
    """
    if missing := missing_parts(folder):
        raise MissingWeights(missing[0])


def load_part(folder: Path, name: str, dtype: torch.dtype) -> Any:
    """Return one part of the pipeline, in evaluation mode on the CPU.

    Weights are read from safetensors only.

    Raises:
        InputError: it is damaged, or tensors are missing, unknown or of other shapes.
    """
    options: dict[str, Any] = {"local_files_only": True}
    strict = name in NETWORKS
    if strict:
        # The VAE is small and clips in half precision.
        number = torch.float32 if name == "vae" else dtype
        options |= {"torch_dtype" if name in ("transformer", "vae") else "dtype": number}
        options |= {"use_safetensors": True, "output_loading_info": True}
    try:
        with _quiet():
            loaded = PARTS[name].from_pretrained(folder / name, **options)
    except AvatarkitError:
        raise
    except Exception as error:  # whatever the libraries make of foreign files
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"The part {name} of {folder.name} is damaged or not Wan-Animate's: {reason}") from error
    if not strict:
        return loaded
    network, report = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(str(key) for key in report.get(kind, ()) if not str(key).endswith(HARMLESS))
        if keys:
            what = kind.removesuffix("_keys")
            raise InputError(
                f"The part {name} of {folder.name} is not Wan-Animate's: {len(keys)} {what} tensors, e.g. {keys[0]}."
            )
    return network.requires_grad_(False).eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Return the libraries' own words about loading would only disturb the progress bar."""
    before = [(library, library.get_verbosity()) for library in (diffusers_logging, transformers_logging)]
    try:
        for library, _ in before:
            library.set_verbosity_error()
        yield
    finally:
        for library, level in before:
            library.set_verbosity(level)
