"""ComfyUI's images and sounds as files, and pictures as ComfyUI's images."""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageColor

from avatarkit import InputError

__all__ = ["over", "write_photo", "write_sound"]


def write_photo(image: torch.Tensor, folder: Path) -> Path:
    """Write an IMAGE as a PNG file that is named by its content.

    Args:
        image: (1, H, W, 3) sRGB 0 to 1.
        folder: where to write it.

    Raises:
        InputError: it holds several images.
    """
    if len(image) != 1:
        raise InputError(f"An avatar is built from one photo, and the input has {len(image)}: choose one with ImageFromBatch.")
    pixels = (image[0, ..., :3].detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    path = folder / f"photo-{hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]}.png"
    if not path.exists():
        Image.fromarray(pixels).save(path)
    return path


def write_sound(audio: Mapping[str, Any], folder: Path) -> Path:
    """Write an AUDIO as a WAV file of 16 bits that is named by its content.

    Args:
        audio: ``waveform`` (1, channels, samples) -1 to 1, and ``sample_rate`` in hertz.
        folder: where to write it.

    Raises:
        InputError: it holds several sounds, or none.
    """
    waveform, rate = audio["waveform"], int(audio["sample_rate"])
    if waveform.ndim != 3 or len(waveform) != 1 or not waveform.numel():
        raise InputError(f"One sound is needed, and the input has the shape {tuple(waveform.shape)}, not (1, channels, samples).")
    samples = (waveform[0].detach().cpu().float().clamp(-1, 1) * 32767).round().to(torch.int16).T.contiguous().numpy()
    path = folder / f"sound-{hashlib.sha256(f'{rate} {samples.shape}'.encode() + samples.tobytes()).hexdigest()[:16]}.wav"
    if not path.exists():
        with wave.open(str(path), "wb") as file:
            file.setparams((samples.shape[1], 2, rate, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    return path


def over(picture: torch.Tensor, background: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Put a picture on a background.

    Args:
        picture: (H, W, 4) sRGB 0 to 1 with straight alpha.
        background: ``#rrggbb``, a name such as ``white``, or ``transparent``, which leaves the colors as they are.

    Returns:
        Image (H, W, 3) and mask (H, W); the mask is 1 where the person is.

    Raises:
        InputError: it is not a color.
    """
    rgb, alpha = picture[..., :3], picture[..., 3:]
    if background != "transparent":
        try:
            color = torch.tensor(ImageColor.getrgb(background)[:3]) / 255
        except ValueError:
            raise InputError(f"{background!r} is not a color: use '#rrggbb', for example '#ffffff', or transparent.") from None
        rgb = rgb * alpha + color * (1 - alpha)
    return rgb.float().cpu(), alpha[..., 0].float().cpu()
