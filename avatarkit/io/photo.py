"""Reading the user's photo from a file."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatarkit.config.options import did_you_mean
from avatarkit.errors import ConfigError, InputError, MissingDependency
from avatarkit.types.photo import Photo
from avatarkit.utils.files import require_file, sha256_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["photo_from_array", "read_photo", "sample_photo"]

log = logging.getLogger("avatarkit.io.photo")

# Only these are opened: some of Pillow's other formats start helper programs or are not photos.
FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF", "GIF", "BMP", "DIB", "JPEG2000", "PPM", "MPO")
KNOWN = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF"
MIN_SIDE = 64  # pixels; a smaller person cannot be tracked
MAX_ASPECT = 12.0
MAX_MEGAPIXELS_JPEG = 200.0  # decoded at a fraction of its size, so memory stays small
MAX_MEGAPIXELS = 64.0  # other formats have to be decoded whole, at 4 bytes per pixel and often twice that
MAX_MEGAPIXELS_SLOW = 4.0  # formats that Pillow decodes pixel by pixel in Python
MAX_SCANS = 100  # of a progressive JPEG: each goes over the whole picture; real ones have about ten
MAX_BYTES = 500 << 20
MAX_PROFILE_BYTES = 16 << 20
SENSOR_ASPECTS = (4 / 3, 3 / 2, 16 / 9)
SAMPLES = {"portrait": ("skimage", "data/astronaut.png")}
"""Public-domain photos that installed packages contain: name -> (package, file in it)."""
FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)  # millimeters


def photo_from_array(image: np.ndarray, name: str = "array") -> Photo:
    """Return a photo that is in memory already.

    Args:
        image: (H, W, 3) uint8 sRGB, upright.
        name: what messages and manifests call it; its hash is that of the pixels.

    Raises:
        InputError: another shape or type, or too small.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"{name}: expected an (H, W, 3) uint8 array, got {image.shape} {image.dtype}.")
    _check_size(image.shape[1], image.shape[0], name)
    image = np.ascontiguousarray(image)
    digest = hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
    return Photo(torch.from_numpy(image.astype(np.float32) / 255), None, digest, name)


def sample_photo(name: str) -> Path:
    """Return a public-domain photo that an installed package contains.

    Raises:
        ConfigError: unknown name.
        MissingDependency: its package is not installed.
    """
    if name not in SAMPLES:
        raise ConfigError(f"There is no sample {name!r}.{did_you_mean(name, SAMPLES)} Known: {', '.join(SAMPLES)}.")
    package, file = SAMPLES[name]
    spec = importlib.util.find_spec(package)
    found = Path(spec.origin).parent / file if spec and spec.origin else None
    if found is None or not found.is_file():
        raise MissingDependency(f"The sample {name!r} is part of scikit-image, which is not installed: pip install scikit-image")
    return found


def read_photo(path: str | Path, max_side: int = 2048) -> Photo:
    """Read a picture file: upright, in sRGB, not larger than needed; of an animation the first frame.

    Gray, palette, 1-bit, 16-bit and CMYK files and embedded color profiles are converted. Metadata other than the
    focal length (place, time, camera) is dropped.

    Args:
        path: JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF, or, where pillow-heif is installed, HEIC.
        max_side: larger pictures are scaled down to this many pixels on the longer side.

    Raises:
        InputError: one sentence that says what is wrong with the file and what to do.
    """
    path = Path(path)
    name = path.name
    data_hash = _hash(path)
    with _open(path) as image:
        _check_size(*image.size, name)
        _check_pixels(image, path)
        scale = min(1.0, max_side / max(image.size))
        original = image.size
        try:
            image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
            image.load()
        except Exception as error:  # each decoder has its own kinds of errors; all mean the same to the user
            log.debug("%s: %s", name, error)
            raise InputError(
                f"{name} is damaged or cut off: only a part of the picture is there; copy or download the file again."
            ) from error
        exif = _exif(image)
        profile = image.info.get("icc_profile")
        pixels = _to_srgb(_scaled(_to_8_bit(image, name), original, scale), profile, name)
        pixels = _upright(pixels, exif.get(0x0112, 1))
    array = torch.from_numpy(np.array(pixels, dtype=np.float32) / 255)
    alpha = array[..., 3].contiguous() if array.shape[2] == 4 and array[..., 3].min() < 1 else None
    if alpha is not None and float(alpha.max()) < 0.5:
        raise InputError(f"{name} is transparent everywhere; save the photo without its transparency.")
    focal = _focal(exif, original)
    return Photo(
        array[..., :3].contiguous(),
        alpha,
        data_hash,
        name,
        None if focal is None else focal * max(pixels.size) / max(original),
    )


def _hash(path: Path) -> str:
    """sha256 of the file, with the plain mistakes found on the way."""
    if require_file(path, "photo", MAX_BYTES) == 0:
        raise InputError(f"{path.name} is empty (0 bytes); copy or download the photo again.")
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error


def _open(path: Path) -> Image.Image:
    """Read the header only.

    Pillow's own ``open`` stops at a pixel count that cannot be set without changing it for the whole program, and that
    is too low for pictures that are decoded at a fraction of their size; so its formats are tried here one by one.
    """
    from PIL import Image

    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass  # optional: HEIC files are then refused with words
    Image.init()
    with path.open("rb") as file:
        prefix = file.read(512)
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        try:
            verdict = accept(prefix[:16]) if accept else True
        except (struct.error, IndexError):  # of a file of a few bytes
            continue
        if factory is None or not verdict or isinstance(verdict, str):
            continue
        try:
            return factory(path, str(path))  # type: ignore[arg-type]  # the stub leaves paths out
        except Exception as error:
            if accept:
                log.debug("%s as %s: %s", path.name, name, error)
                raise InputError(
                    f"{path.name} begins like a {name} picture but is damaged; copy or download the file again."
                ) from error
    raise InputError(f"{path.name} {_what_it_is(prefix)}")


def _what_it_is(prefix: bytes) -> str:
    """Return the rest of a sentence about a file that is no picture we read."""
    start = prefix.lstrip().lower()
    if prefix[4:8] == b"ftyp" and prefix[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "is a HEIC photo; install the package pillow-heif, or save the photo as JPEG."
    if start.startswith((b"<!doctype", b"<html")) or b"<html" in start:
        return "is a web page, not a photo; save the picture itself, not the page around it."
    if start.startswith((b"<svg", b"<?xml", b"%pdf", b"%!ps")):
        return f"is a document or drawing, not a photo; save it as {KNOWN}."
    if prefix[4:8] == b"ftyp" or prefix[:4] in (b"RIFF", b"\x1aE\xdf\xa3"):
        return "is a video or sound file, not a photo; save one frame of it as a picture and use that."
    if all(c in b"\t\n\r" or c >= 32 for c in prefix):
        return f"is a text file, not a photo; give a {KNOWN} file."
    return f"is not a photo that can be read; save it as {KNOWN}."


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"{name} is too small ({width}x{height} pixels); give a photo with at least {MIN_SIDE} pixels on each "
            "side, better 512 or more."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"{name} is a strip of {width}x{height} pixels; crop it to the person.")


def _check_pixels(image: Image.Image, path: Path) -> None:
    """Before anything is decoded: how much memory and time that may take."""
    limit = MAX_MEGAPIXELS
    if image.format in ("JPEG", "MPO") and not image.info.get("progressive"):
        limit = MAX_MEGAPIXELS_JPEG
    elif any(str(tile[0]) in ("ppm", "ppm_plain") for tile in getattr(image, "tile", ())):
        limit = MAX_MEGAPIXELS_SLOW
    megapixels = image.width * image.height / 1e6
    if image.info.get("progressive") and _scans(path) > MAX_SCANS:
        raise InputError(f"{path.name} is a JPEG of more than {MAX_SCANS} scans; open it in an editor and save it again.")
    if megapixels > limit:
        raise InputError(
            f"{path.name} is too large ({image.width}x{image.height}, {megapixels:.0f} million pixels; the limit is "
            f"{limit:.0f}); scale it down, 4000 pixels on the longer side are plenty."
        )


def _scans(path: Path) -> int:
    """Count the scans of a JPEG file; within a scan the bytes of its start cannot occur."""
    count, last = 0, b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count += (last + block).count(b"\xff\xda")
            last = block[-1:]
    return count


def _exif(image: Image.Image) -> dict[int, Any]:
    """Orientation and lens tags; a broken block counts as none."""
    try:
        exif = image.getexif()
        return {**dict(exif), **dict(exif.get_ifd(0x8769))}
    except Exception as error:
        log.debug("metadata cannot be read: %s", error)
        return {}


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """L, LA, RGB, RGBA or CMYK with 8 bits per channel."""
    from PIL import Image

    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        if image.mode in ("L", "RGB") and "transparency" in image.info:
            return image.convert("RGBA")
        return image
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        most = np.fmax.reduce(values, axis=None)
        full = 1.0 if image.mode == "F" and most <= 1 else 65535.0 if most > 255 else 255.0
        out = np.empty(values.shape, np.uint8)
        for y in range(0, len(values), 256):  # in strips, as floats take four times the memory
            strip = np.nan_to_num(values[y : y + 256].astype(np.float32), posinf=1e9, neginf=0.0)
            out[y : y + 256] = np.clip(strip * np.float32(255 / full) + np.float32(0.5), 0, 255).astype(np.uint8)
        return Image.fromarray(out)
    try:
        return image.convert("L" if image.mode == "1" else "RGBA" if image.mode == "RGBa" else "RGB")
    except ValueError as error:
        raise InputError(f"{name} has colors of the kind {image.mode}; save it as an RGB picture.") from error


def _scaled(image: Image.Image, original: tuple[int, int], scale: float) -> Image.Image:
    from PIL import Image

    if scale == 1.0:
        return image
    size = (max(1, round(original[0] * scale)), max(1, round(original[1] * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """RGB or RGBA in sRGB; alpha is left alone."""
    from PIL import Image, ImageCms

    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colors = image.convert({"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode))
    if profile and len(profile) <= MAX_PROFILE_BYTES:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                target = ImageCms.createProfile("sRGB")
                colors = ImageCms.profileToProfile(colors, source, target, outputMode="RGB") or colors
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            log.debug("%s: color profile is not used: %s", name, error)
    colors = colors.convert("RGB")
    if alpha is None:
        return colors
    return Image.merge("RGBA", (*colors.split(), alpha))


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Apply the EXIF orientation, 1 to 8."""
    from PIL.Image import Transpose

    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return image if turn is None else image.transpose(turn)


def _focal(exif: dict[int, Any], size: tuple[int, int]) -> float | None:
    """Focal length in pixels of the stored picture, where its metadata say so believably.

    Tags: FocalLengthIn35mmFilm (0xA405, relates to the diagonal), else FocalLength (0x920A) with FocalPlaneXResolution
    (0xA20E) and its unit (0xA210). Editors keep these tags when they crop, so a picture that has not the
    shape of a camera's sensor any more is not believed, and neither is an angle of view that no usual lens has.
    """
    longer, shorter = max(size), min(size)
    if all(abs(longer / shorter / aspect - 1) > 0.01 for aspect in SENSOR_ASPECTS):
        return None
    try:
        if equivalent := float(exif.get(0xA405, 0)):
            focal = equivalent / FULL_FRAME_DIAGONAL * math.hypot(*size)
        else:
            pixels = max(float(exif[0xA002]), float(exif[0xA003]))
            millimeters = pixels / float(exif[0xA20E]) * {2: 25.4, 3: 10.0, 4: 1.0}[int(exif.get(0xA210, 2))]
            focal = float(exif[0x920A]) / millimeters * longer
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return focal if 0.5 * longer < focal < 6 * longer else None
