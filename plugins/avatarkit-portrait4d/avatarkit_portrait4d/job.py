"""The folder of files exchanged with the checkout's programs: inputs and results."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avatarkit.errors import InputError
from avatarkit.utils.files import disk_errors, write_text, writing
from avatarkit_portrait4d.faces import SIZE

__all__ = ["Face", "Job"]

SOURCE = "source"
_IMAGES, _LANDMARKS, _PARAMETERS = "align_images", "3dldmks_align", "bfm2flame_params_simplified"


@dataclass(frozen=True)
class Face:
    """A face as the networks want it.

    Attributes:
        image: (512, 512, 3) uint8 crop.
        landmarks: (68, 2) in it.
        parameters: (437,) float32.
    """

    image: np.ndarray
    landmarks: np.ndarray
    parameters: np.ndarray


class Job:
    """One clip's folder.

    Its name holds a digest of all that the clip depends on, so that a killed run finds its frames.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def log(self) -> Path:
        """Output of the programs."""
        return self.folder / "log.txt"

    def open(self, facts: dict[str, Any]) -> None:
        """Make the folder, keeping the frames that an earlier run of the same job left.

        Raises:
            StoreError: no space, no permission.
        """
        with disk_errors(self.folder):
            (self.folder / "frames").mkdir(parents=True, exist_ok=True)
            for path in self.folder.iterdir():
                if path.is_dir() and path.name != "frames":
                    shutil.rmtree(path)
            self.log.unlink(missing_ok=True)
            self.log.touch()
            self.write("job.json", facts)

    def write(self, name: str, facts: dict[str, Any]) -> None:
        """Write a JSON file of the job."""
        write_text(self.folder / name, json.dumps(facts, indent=2) + "\n")

    def write_faces(self, name: str, faces: dict[str, Face]) -> Path:
        """Return a set of faces, in the program's layout.

        Stem -> face. Returns its folder.
        """
        root = self.folder / name
        with disk_errors(root):
            for part in (_IMAGES, _LANDMARKS, _PARAMETERS):
                (root / part).mkdir(parents=True)
            for stem, face in faces.items():
                Image.fromarray(face.image).save(root / _IMAGES / f"{stem}.png")
                np.save(root / _LANDMARKS / f"{stem}.npy", face.landmarks.astype(np.float64))
                np.save(root / _PARAMETERS / f"{stem}.npy", face.parameters.astype(np.float32))
        return root

    def write_pictures(self, name: str, pictures: dict[str, np.ndarray]) -> Path:
        """Return pictures for the checkout's own preparation.

        Stem -> (H, W, 3) uint8. Returns their folder.
        """
        root = self.folder / name
        with disk_errors(root):
            root.mkdir(parents=True)
            for stem, picture in pictures.items():
                Image.fromarray(picture).save(root / f"{stem}.png")
        return root

    @staticmethod
    def read_face(root: Path, stem: str) -> Face | None:
        """Return a face that the checkout's own preparation made.

        None where a part is missing, damaged or of a wrong size.
        """
        try:
            with Image.open(root / _IMAGES / f"{stem}.png") as picture:
                image = np.asarray(picture.convert("RGB"))
            landmarks = np.load(root / _LANDMARKS / f"{stem}.npy", allow_pickle=False)
            numbers = np.load(root / _PARAMETERS / f"{stem}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError):
            return None
        right = image.shape == (SIZE, SIZE, 3) and landmarks.shape == (68, 2) and numbers.size == 437
        if not right or not (np.isfinite(landmarks).all() and np.isfinite(numbers).all()):
            return None
        return Face(image, landmarks, numbers.reshape(437))

    def take_frames(self, out: Path, numbers: list[int]) -> dict[int, str]:
        """Move the middle panels of a run into ``frames/``.

        Args:
            out: the run's folder of results.
            numbers: of the job's frames that the run was to make, in its order.

        Returns:
            Number of a frame that is missing or damaged -> why.

        Raises:
            InputError: there are unexpected files.
        """
        results = out / SOURCE
        wanted = {f"{k:05d}.jpg": number for k, number in enumerate(numbers)}
        found = {path.name for path in results.iterdir()} if results.is_dir() else set()
        strange = sorted(name for name in found - set(wanted) if name.endswith((".jpg", ".png")))
        if strange:
            raise InputError(f"Portrait4D wrote an unexpected file: {results / strange[0]}.")
        missing = {}
        for name, number in wanted.items():
            if name not in found:
                missing[number] = "is missing"
                continue
            try:
                with Image.open(results / name) as image:
                    panels = image.convert("RGB")
            except (OSError, ValueError, SyntaxError):
                missing[number] = "is damaged"
                continue
            if panels.size != (3 * SIZE, SIZE):
                missing[number] = f"has {panels.size[0]} x {panels.size[1]} pixels instead of {3 * SIZE} x {SIZE}"
                continue
            self._keep(number, panels.crop((SIZE, 0, 2 * SIZE, SIZE)))
        return missing

    def frame(self, number: int) -> np.ndarray | None:
        """Return a generated frame (512, 512, 3) uint8, or None if it is missing."""
        try:
            with Image.open(self._place(number)) as image:
                frame = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            return None
        return frame if frame.shape == (SIZE, SIZE, 3) else None

    def remove(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keep(self, number: int, image: Image.Image) -> None:
        path = self._place(number)
        with disk_errors(path), writing(path) as temporary:
            image.save(temporary, format="PNG")

    def _place(self, number: int) -> Path:
        return self.folder / "frames" / f"{number:06d}.png"
