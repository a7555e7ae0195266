"""The user's checkout of Portrait4D: its required files and its version. Fast to import; nothing of it is imported."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avatarkit.errors import ConfigError, InputError, MissingRequirement, MissingWeights
from avatarkit.utils.files import sha256_of
from avatarkit.utils.paths import find_weights

if TYPE_CHECKING:
    from avatarkit_portrait4d.config import Portrait4DConfig

__all__ = ["Checkout", "checked_sha256", "open_checkout", "problems"]

WEIGHTS = "portrait4d"  # name of ``avatarkit weights``
SOURCE = "github.com/YuDeng/Portrait-4D"
GENERATE = "portrait4d/gen_images_portrait4d.py"
PREPARE = ("data_preprocess/preprocess_dir.py", "data_preprocess/bfm2flame_simplified.py")
_HUB = "huggingface.co/bEijuuu/Portrait4D"
_GENERATE_FILES = {
    "portrait4d/models/pdfgc/weights/motion_model.pth": _HUB,
    "portrait4d/models/FLAME/geometry/generic_model.pkl": "flame.is.tue.mpg.de",
    "portrait4d/models/FLAME/mask/FLAME_masks.pkl": _HUB,
}
_PREPARE_FILES = tuple(
    f"data_preprocess/assets/{name}"
    for name in (
        "facedetect/retinaface/Resnet50_Final.pth",
        "facerecon/deep3d_2023/epoch_20.pth",
        "facerecon/bfm/BFM_model_front.mat",
        "hrnet_w18_wflw/h3r/model.pth",
        "landmark3d/3DFAN4-4a694010b9.zip",
        "landmark3d/depth-6c4283c0e0.zip",
    )
)


@dataclass(frozen=True)
class Checkout:
    """A checkout that has all that a run needs.

    Attributes:
        root: its folder.
        python: interpreter of its environment.
        network: the checkpoint.
    """

    root: Path
    python: Path
    network: Path

    @property
    def revision(self) -> str:
        """Commit of the checkout, read from its files; empty if it is not a clone."""
        try:
            head = (self.root / ".git" / "HEAD").read_text(encoding="utf-8").strip()
            if head.startswith("ref: "):
                head = (self.root / ".git" / head.removeprefix("ref: ")).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return head[:40]


def open_checkout(config: Portrait4DConfig) -> Checkout:
    """Return the checkout that a config names."""
    root = config.checkout or find_weights(WEIGHTS)
    if root is None or not root.is_dir():
        raise MissingWeights(f"portrait4d needs your checkout of {SOURCE}: avatarkit weights add {WEIGHTS} FOLDER")
    root = root.resolve()
    if not (root / GENERATE).is_file():
        raise MissingWeights(f"{root} is no checkout of {SOURCE}: it has no {GENERATE}.")
    network = (root / "portrait4d" / config.network).resolve()
    wanted = {network: _HUB} | {root / name: source for name, source in _GENERATE_FILES.items()}
    if config.preparation == "official":
        wanted |= {root / name: SOURCE for name in PREPARE} | {root / name: _HUB for name in _PREPARE_FILES}
    for path, source in wanted.items():
        if not path.is_file():
            raise MissingWeights(f"The checkout of Portrait4D is incomplete: there is no {path}; it comes from {source}.")
    python = _python(root, config.python)
    if not config.allow_pickle:
        raise ConfigError(
            f"Portrait4D's checkpoint {network.name} is a pickle, and loading it runs the code that it holds, in the "
            "checkout's own Python. If you trust it, say --set head_labels.allow_pickle=true."
        )
    return Checkout(root, python, network)


def problems(config: Portrait4DConfig) -> list[str]:
    """Return the errors that ``open_checkout`` would raise, or nothing."""
    try:
        open_checkout(config)
    except (MissingRequirement, ConfigError) as error:
        return [str(error)]
    return []


def _python(root: Path, chosen: Path | None) -> Path:
    scripts = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    places = [chosen] if chosen else [root.joinpath(name, *scripts) for name in (".venv", "venv")]
    for path in places:
        if path.is_file() and os.access(path, os.X_OK):
            return path.absolute()  # not resolved: an environment's Python is a link, and knows itself by its place
    if chosen:
        raise MissingRequirement(f"There is no Python {chosen}; name the one of Portrait4D's environment.")
    raise MissingRequirement(
        f"portrait4d needs the Python of its own environment: make one in {root / '.venv'}, or name it with "
        "--set head_labels.python=PATH."
    )


def checked_sha256(path: Path, expected: str = "") -> str:
    """Return the sha256 of the checkpoint, hexadecimal; it must be the ``expected`` one, if any."""
    digest = sha256_of(path)
    if expected and digest != expected.lower():
        raise InputError(f"{path.name} is not the checkpoint of the option sha256: its sha256 is {digest}.")
    return digest
