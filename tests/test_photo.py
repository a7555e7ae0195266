"""Reading photos: every kind of file that a user may have, right or refused with one clear sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from avatarkit.errors import InputError
from avatarkit.io.photo import photo_from_array, read_photo


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """120 x 90: red grows to the right, green downwards, a blue block top left shows which way is up."""
    y, x = np.mgrid[:90, :120]
    array = np.stack([60 + x, 60 + y, 0 * x + 40], -1).astype(np.uint8)
    array[:30, :40] = (20, 40, 220)
    return Image.fromarray(array)


def close(photo_image: np.ndarray, picture: Image.Image, tolerance: float) -> bool:
    expected = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    assert photo_image.shape == expected.shape
    return float(np.abs(photo_image - expected).mean()) < tolerance


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 1e-6),
        ("a.jpg", {"quality": 95}, 0.02),
        ("a.jpg", {"quality": 95, "progressive": True}, 0.02),
        ("a.webp", {"lossless": True}, 1e-6),
        ("a.bmp", {}, 1e-6),
        ("a.tif", {"compression": "tiff_lzw"}, 1e-6),
        ("имя с пробелом 写真.png", {}, 1e-6),
    ],
)
def test_reads_common_formats(tmp_path: Path, picture: Image.Image, name: str, options: dict, tolerance: float) -> None:
    picture.save(tmp_path / name, **options)
    photo = read_photo(tmp_path / name)
    assert (photo.width, photo.height, photo.name, photo.alpha) == (120, 90, name, None)
    assert close(photo.image.numpy(), picture, tolerance)


def test_type_is_judged_by_content_not_by_name(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "really_png.jpg", format="PNG")
    picture.save(tmp_path / "no_suffix", format="PNG")
    assert close(read_photo(tmp_path / "really_png.jpg").image.numpy(), picture, 1e-6)
    assert close(read_photo(tmp_path / "no_suffix").image.numpy(), picture, 1e-6)


def test_gray_palette_and_one_bit(tmp_path: Path, picture: Image.Image) -> None:
    for mode, tolerance in (("L", 1e-6), ("P", 0.05), ("1", 1e-6)):
        converted = picture.convert(mode)
        converted.save(tmp_path / f"{mode}.png")
        assert close(read_photo(tmp_path / f"{mode}.png").image.numpy(), converted, tolerance)


def test_16_bit_gray_keeps_its_range(tmp_path: Path) -> None:
    values = np.tile(np.linspace(0, 65535, 100).astype(np.uint16), (80, 1))
    Image.fromarray(values).save(tmp_path / "gray16.png")
    image = read_photo(tmp_path / "gray16.png").image.numpy()
    assert np.abs(image[..., 0] - values / 65535).max() < 0.003


def test_16_bit_rgb(tmp_path: Path) -> None:
    """Written by hand: Pillow cannot write such files."""
    row = b"\0" + struct.pack(">3H", 65535, 32768, 0) * 70
    chunks = [
        (b"IHDR", struct.pack(">2I5B", 70, 70, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * 70)),
        (b"IEND", b""),
    ]
    blob = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        blob += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    (tmp_path / "rgb16.png").write_bytes(blob)
    np.testing.assert_allclose(read_photo(tmp_path / "rgb16.png").image[35, 35], [1, 0.5, 0], atol=0.005)


def test_cmyk_has_the_right_colors(tmp_path: Path, picture: Image.Image) -> None:
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert close(read_photo(tmp_path / "cmyk.jpg").image.numpy(), picture, 0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, picture: Image.Image, orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera held so would have stored
    stored = picture if orientation == 1 else picture.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    assert close(read_photo(tmp_path / "turned.png").image.numpy(), picture, 1e-6)


def test_alpha_is_kept_only_where_it_says_something(tmp_path: Path, picture: Image.Image) -> None:
    alpha = Image.fromarray((np.mgrid[:90, :120][1] > 60).astype(np.uint8) * 255)
    for mode in ("RGBA", "LA"):
        cut = picture.convert(mode)
        cut.putalpha(alpha)
        cut.save(tmp_path / "cut.png")
        photo = read_photo(tmp_path / "cut.png")
        assert photo.alpha is not None
        np.testing.assert_array_equal(photo.alpha.numpy(), np.asarray(alpha) / 255)
    picture.convert("RGBA").save(tmp_path / "opaque.png")
    assert read_photo(tmp_path / "opaque.png").alpha is None
    clear = picture.convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    with pytest.raises(InputError, match="transparent everywhere"):
        read_photo(tmp_path / "clear.png")


def test_palette_with_transparency(tmp_path: Path, picture: Image.Image) -> None:
    palette = picture.quantize(16)
    palette.save(tmp_path / "palette.png", transparency=0)
    photo = read_photo(tmp_path / "palette.png")
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha.numpy() == 0, np.asarray(palette) == 0)


def test_color_profile_is_applied(tmp_path: Path) -> None:
    lab = Image.new("RGB", (80, 80), (120, 160, 90))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    lab.save(tmp_path / "srgb.png", icc_profile=profile.tobytes())
    np.testing.assert_allclose(read_photo(tmp_path / "srgb.png").image[0, 0] * 255, [120, 160, 90], atol=1.01)
    lab.save(tmp_path / "broken.png", icc_profile=b"nonsense" * 30)
    np.testing.assert_allclose(read_photo(tmp_path / "broken.png").image[0, 0] * 255, [120, 160, 90], atol=0.01)


def test_animations_give_their_first_frame(tmp_path: Path, picture: Image.Image) -> None:
    for name in ("a.gif", "a.webp", "a.png"):
        other = Image.new("RGB", picture.size, "white")
        picture.save(tmp_path / name, save_all=True, append_images=[other, other], duration=50)
        assert close(read_photo(tmp_path / name).image.numpy(), picture, 0.05)


def test_large_photos_are_scaled(tmp_path: Path, picture: Image.Image) -> None:
    picture.resize((1200, 900)).save(tmp_path / "large.jpg", quality=95)
    photo = read_photo(tmp_path / "large.jpg", max_side=120)
    assert (photo.width, photo.height) == (120, 90)
    assert close(photo.image.numpy(), picture, 0.03)


def test_huge_jpeg_is_read_scaled(tmp_path: Path) -> None:
    """Above the pixel count at which Pillow itself would refuse."""
    Image.new("L", (14000, 13000), 77).save(tmp_path / "huge.jpg")
    photo = read_photo(tmp_path / "huge.jpg", max_side=1024)
    assert (photo.width, photo.height) == (1024, 951)
    assert abs(float(photo.image.mean()) - 77 / 255) < 0.005


def focal_file(path: Path, size: tuple[int, int], **tags: float) -> Path:
    exif = Image.Exif()
    numbers = {"equivalent": 0xA405, "focal": 0x920A, "width": 0xA002, "height": 0xA003}
    numbers |= {"resolution": 0xA20E, "unit": 0xA210}
    exif.get_ifd(0x8769).update({numbers[name]: value for name, value in tags.items()})
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 0.0)})
    Image.new("RGB", size).save(path, exif=exif)
    return path


def test_focal_length_from_metadata(tmp_path: Path) -> None:
    full_frame = focal_file(tmp_path / "a.jpg", (600, 400), equivalent=36)
    assert read_photo(full_frame).focal == pytest.approx(600, rel=1e-3)
    assert read_photo(full_frame, max_side=300).focal == pytest.approx(300, rel=1e-3)
    sensor = {"focal": 72.0, "width": 6000, "height": 4000, "resolution": 6000 / 3.6, "unit": 3}
    assert read_photo(focal_file(tmp_path / "b.jpg", (600, 400), **sensor)).focal == pytest.approx(1200, rel=1e-3)
    assert read_photo(focal_file(tmp_path / "cropped.jpg", (400, 400), equivalent=36)).focal is None
    assert read_photo(focal_file(tmp_path / "absurd.jpg", (600, 400), equivalent=2)).focal is None


def test_hash_is_of_the_file(tmp_path: Path, picture: Image.Image) -> None:
    import hashlib

    picture.save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()


def jpeg(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_unusable_files_are_refused_in_one_sentence(tmp_path: Path, picture: Image.Image) -> None:
    whole = jpeg(picture, quality=95)
    png = io.BytesIO()
    picture.save(png, "PNG")
    cases = {
        "cut.jpg": (whole[: len(whole) // 2], "cut off"),
        "cut.png": (png.getvalue()[: len(png.getvalue()) // 2], "cut off"),
        "noise.jpg": (whole[:20] + np.random.default_rng(0).bytes(5000), "damaged"),
        "empty.jpg": (b"", "empty"),
        "words.jpg": (b"I am not a photo.\n" * 40, "text file"),
        "page.png": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        "drawing.jpg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "drawing"),
        "film.jpg": (b"\0\0\0\x20ftypisom" + bytes(600), "video"),
        "junk.jpg": (bytes(range(128, 256)) * 9, "not a photo"),
        "tiny.png": (jpeg(Image.new("RGB", (51, 64))), "too small"),
        "strip.png": (jpeg(Image.new("RGB", (3000, 80))), "strip"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_photo(tmp_path / name)
        message = str(caught.value)
        assert words in message
        assert name in message
        assert "\n" not in message
    with pytest.raises(InputError, match="no photo"):
        read_photo(tmp_path / "nowhere.jpg")
    with pytest.raises(InputError, match="folder"):
        read_photo(tmp_path)


def test_pixel_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    import time

    header = struct.pack(">2I5B", 30000, 30000, 1, 0, 0, 0, 0)
    blob = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(3751) * 3000)), (b"IEND", b"")):
        blob += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    (tmp_path / "bomb.png").write_bytes(blob)
    before = time.process_time()
    with pytest.raises(InputError, match="900 million pixels"):
        read_photo(tmp_path / "bomb.png")
    assert time.process_time() - before < 0.5


def test_photo_from_array() -> None:
    array = np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8)
    photo = photo_from_array(array, "camera")
    assert (photo.height, photo.width, photo.name) == (70, 80, "camera")
    np.testing.assert_array_equal(photo.to_uint8(), array)
    assert photo.sha256 != photo_from_array(array[::-1]).sha256
    with pytest.raises(InputError, match="uint8"):
        photo_from_array(array.astype(np.float32))
