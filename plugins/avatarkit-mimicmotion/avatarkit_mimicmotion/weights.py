"""Reads checkpoints, strictly: names and shapes must match, and no code is executed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from avatarkit.errors import InputError, MissingWeights
from avatarkit.labelling.checkpoints import fill, flat, read_settings, read_state
from avatarkit_mimicmotion.model import build_pose_net, build_unet

__all__ = ["Networks", "load_networks"]

PREFIXES = {"unet": "unet.", "pose_net": "pose_net.", "vae": "vae.", "image_encoder": "image_encoder."}
# What older programs wrote into files and newer modules do not keep.
OBSOLETE = ("vision_model.embeddings.position_ids",)


@dataclass(frozen=True)
class Networks:
    """All networks of the generator, in evaluation mode, on the CPU.

    Attributes:
        unet: ``PoseUNet``.
        pose_net: ``PoseNet``.
        vae: of Stable Video Diffusion.
        image_encoder: CLIP with projection.
    """

    unet: nn.Module
    pose_net: nn.Module
    vae: nn.Module
    image_encoder: nn.Module


def load_networks(checkpoint: Path, base: Path, pose_net: Path | None = None, dtype: torch.dtype = torch.float32) -> Networks:
    """Build all networks from files.

    Args:
        checkpoint: the released file (``unet.*`` and ``pose_net.*``), or the video network alone without prefix.
        base: folder of Stable Video Diffusion: ``vae/``, ``image_encoder/`` and, if there, ``unet/config.json``.
        pose_net: the pose network's own file, where ``checkpoint`` has none.
        dtype: of the networks.

    Raises:
        MissingWeights: a file is not there, or a network is in none of them.
        InputError: a file is damaged, is no checkpoint, or does not fit the networks.
    """
    parts = _split(_read(checkpoint))
    with torch.device("meta"):
        unet = build_unet(read_settings(base / "unet" / "config.json", optional=True))
        width = unet.get_submodule("conv_in").out_channels
        networks = Networks(unet, build_pose_net({"noise_latent_channels": width}), _vae(base), _image_encoder(base))
    _fill(networks.unet, parts.get("unet", {}), "the video network", checkpoint, dtype)
    if pose_net is not None:
        own = _split(_read(pose_net), default="pose_net").get("pose_net", {})
        _fill(networks.pose_net, own, "the pose network", pose_net, dtype)
    elif "pose_net" in parts:
        _fill(networks.pose_net, parts["pose_net"], "the pose network", checkpoint, dtype)
    else:
        raise MissingWeights(
            f"{checkpoint.name} holds the video network alone; give the pose network's file with the option 'pose_net'."
        )
    for name, stem, what in (
        ("vae", "diffusion_pytorch_model", "the VAE"),
        ("image_encoder", "model", "the image encoder"),
    ):
        if name in parts:  # the released file holds neither; one that does is taken at its word
            _fill(getattr(networks, name), parts[name], what, checkpoint, dtype)
        else:
            path = _find(base / name, stem)
            _fill(getattr(networks, name), _read(path), what, path, dtype)
    return networks


def _read(path: Path) -> dict[str, torch.Tensor]:
    return flat(read_state(path), path)


def _split(state: dict[str, torch.Tensor], default: str = "unet") -> dict[str, dict[str, torch.Tensor]]:
    """Sort tensors by network.

    Those without a network's prefix belong to ``default``.
    """
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        owner = next((name for name, prefix in PREFIXES.items() if key.startswith(prefix)), None)
        parts.setdefault(owner or default, {})[key.removeprefix(PREFIXES[owner]) if owner else key] = value
    return parts


def _find(folder: Path, stem: str) -> Path:
    """Return the safetensors file of one network of the base model, half precision first."""
    candidates = [folder / f"{stem}.fp16.safetensors", folder / f"{stem}.safetensors"]
    for path in candidates:
        if path.is_file():
            return path
    raise MissingWeights(f"The base model is incomplete: there is no {candidates[0]}.")


def _vae(base: Path) -> nn.Module:
    path = base / "vae" / "config.json"
    config = {key: value for key, value in read_settings(path).items() if not key.startswith("_")}
    try:
        return AutoencoderKLTemporalDecoder(**config)
    except Exception as error:  # whatever the library makes of foreign entries
        raise InputError(f"{path} is not the configuration of Stable Video Diffusion's VAE.") from error


def _image_encoder(base: Path) -> nn.Module:
    path = base / "image_encoder" / "config.json"
    config = read_settings(path)
    try:
        model = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    except Exception as error:  # whatever the library makes of foreign entries
        raise InputError(f"{path} is not the configuration of a CLIP image encoder.") from error
    # Not kept in checkpoints; without this it would stay an empty tensor on the meta device.
    embeddings = model.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions, device="cpu").expand((1, -1))
    return model


def _fill(module: nn.Module, state: dict[str, torch.Tensor], what: str, path: Path, dtype: torch.dtype) -> None:
    """Put a state into a module that lies on the meta device."""
    wanted = module.state_dict()
    fill(module, {k: v for k, v in state.items() if k in wanted or k not in OBSOLETE}, what, path, dtype)
