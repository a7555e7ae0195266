"""Brings a job through the checkout's programs, believing files rather than exit codes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatarkit.utils.files import writing
from avatarkit_portrait4d.checkout import GENERATE, PREPARE, Checkout
from avatarkit_portrait4d.config import Portrait4DConfig
from avatarkit_portrait4d.job import SOURCE, Face, Job
from avatarkit_portrait4d.process import Ended, explain, failure, run

__all__ = ["Runner", "resnet34_state"]

log = logging.getLogger("avatarkit.portrait4d")

TRIES = 2  # of one chunk; only where the reason may pass
GAPS = 3  # frames without a face, one after the other, before the official preparation is given up
_PRETRAINED = "hub/checkpoints/resnet34-333f7ec4.pth"


class Runner:
    """Runs the programs of one checkout for one job.

    Attributes:
        commands: that were run, with how they ended, for the record.
    """

    def __init__(
        self, checkout: Checkout, config: Portrait4DConfig, job: Job, cache: Path, report: Callable[[str, float], None]
    ) -> None:
        self._checkout, self._config, self._job = checkout, config, job
        self._cache, self._report = cache, report
        self.commands: list[dict[str, Any]] = []

    # ------------------------------------------------------------------------------------------------ official preparation

    def prepare_source(self, picture: np.ndarray) -> Face:
        """Return the photo's face, as the checkout's own preparation sees it.

        Raises:
            InputError: it fails, or finds no face.
        """
        face = self._job.read_face(self._prepare("prep_source", {SOURCE: picture}), SOURCE)
        if face is None:
            raise failure(f"its preparation found no face in the photo{explain(self._job.log)}", self._job.log)
        return face

    def prepare_drivers(self, pictures: Mapping[int, np.ndarray]) -> dict[int, Face]:
        """Return the driving faces, as far as they are found.

        The program stops at the first picture without a face and still ends with code 0; it is then started again for those
        after that one.

        Raises:
            InputError: it fails, or finds no face in several frames on end.
        """
        faces: dict[int, Face] = {}
        left, gaps, turn = sorted(pictures), 0, 0
        while left:
            self._report("preparing the driving frames", len(faces) / len(pictures))
            root = self._prepare(f"prep_{turn:03d}", {f"{n:06d}": pictures[n] for n in left})
            found = 0
            for number in left:
                face = self._job.read_face(root, f"{number:06d}")
                if face is None:
                    break
                faces[number], found = face, found + 1
            gaps, turn = (1 if found else gaps + 1), turn + 1
            if found < len(left):
                log.warning("Portrait4D's preparation found no face in frame %d", left[found])
                if gaps >= GAPS:
                    raise failure(f"its preparation found no face in {GAPS} frames on end", self._job.log)
            left = left[found + 1 :]
        return faces

    def _prepare(self, name: str, pictures: dict[str, np.ndarray]) -> Path:
        raw, target = self._job.write_pictures(f"{name}_raw", pictures), self._job.folder / name
        for script, given, made in (
            (PREPARE[0], raw, target / "align_images"),
            (PREPARE[1], target, target / "bfm2flame_params_simplified"),
        ):
            if not given.is_dir():
                break
            path = self._checkout.root / script
            try:
                self._run([path.name, f"--input_dir={given}", f"--save_dir={target}"], path.parent, made)
            except Ended as ended:
                raise failure(f"its preparation failed, {ended.reason}", self._job.log) from ended
        return target

    # ---------------------------------------------------------------------------------------------------------- generation

    def generate(self, source: Face, drivers: Mapping[int, Face]) -> dict[int, str]:
        """Make the frames that are not there yet.

        Returns:
            Number of a frame that could not be had -> why.

        Raises:
            InputError: the program failed for good; frames that it made are kept for the next try.
        """
        folder = self._job.write_faces("src", {SOURCE: source})
        todo = [number for number in sorted(drivers) if self._job.frame(number) is None]
        lost: dict[int, str] = {}
        for turn, first in enumerate(range(0, len(todo), self._config.chunk)):
            numbers = todo[first : first + self._config.chunk]
            for attempt in range(1, TRIES + 1):
                name = f"{turn:03d}" if attempt == 1 else f"{turn:03d}_again"
                missing, ended = self._chunk(name, folder, {n: drivers[n] for n in numbers}, len(todo))
                if ended is not None and (ended.hopeless or attempt == TRIES):
                    raise failure(ended.reason, self._job.log) from ended
                numbers = sorted(missing)
                if not missing:
                    break
                log.warning("Portrait4D: %d frames are missing or damaged, e.g. %d", len(missing), numbers[0])
            lost |= missing
        if lost and len(lost) == len(todo):
            number, why = min(lost.items())
            raise failure(f"frame {number} {why}, and so do all others", self._job.log)
        return lost

    def _chunk(self, name: str, source: Path, drivers: dict[int, Face], total: int) -> tuple[dict[int, str], Ended | None]:
        """Return one run: frames that are missing afterwards, and how it ended where it did not end well."""
        numbers = sorted(drivers)
        driving = self._job.write_faces(f"drv_{name}", {f"{n:06d}": drivers[n] for n in numbers})
        out = self._job.folder / f"out_{name}"
        script = self._checkout.root / GENERATE
        command = [
            script.name, f"--network={self._checkout.network}", f"--srcdir={source}", f"--tardir={driving}",
            f"--outdir={out}", "--use_simplified=1",
        ]  # fmt: skip
        ended = None
        try:
            self._run(command, script.parent, out / SOURCE, len(numbers) / total)
        except Ended as error:
            ended = error
        return self._job.take_frames(out, numbers), ended

    # ----------------------------------------------------------------------------------------------------------- processes

    def _run(self, arguments: list[str], cwd: Path, results: Path, share: float = 1.0) -> None:
        """Run one program of the checkout.

        ``results`` is where its files appear, one by one.
        """
        config = self._config

        def made() -> int:
            try:
                count = len(os.listdir(results))
            except OSError:
                return 0
            self._report("moving the face", min(1.0, count * share / max(config.chunk, 1)))
            return count

        command = [str(self._checkout.python), *arguments]
        record: dict[str, Any] = {"command": command, "ended": "well"}
        self.commands.append(record)
        try:
            run(command, cwd, self._job.log, self._environment(), made, config.startup_seconds, config.frame_seconds)
        except Ended as ended:
            record["ended"] = ended.reason
            raise

    def _environment(self) -> dict[str, str]:
        """Return the environment of the programs: no network access, and a folder for compiled code."""
        home = self._cache / "torch"
        stand_in = home / _PRETRAINED
        if not stand_in.is_file():
            # The program asks for ImageNet's weights, and overwrites them with the checkpoint's at once.
            with writing(stand_in) as temporary:
                torch.save(resnet34_state(), temporary)
        extra = {"TORCH_HOME": str(home), "TORCH_EXTENSIONS_DIR": str(self._cache / "extensions")}
        return extra | ({"CUDA_VISIBLE_DEVICES": self._config.gpu} if self._config.gpu else {})


def resnet34_state() -> dict[str, torch.Tensor]:
    """Return tensors in the names and shapes of torchvision's ResNet-34.

    Their values do not matter.
    """
    state: dict[str, torch.Tensor] = {}

    def layer(conv: str, norm: str, n_in: int, n_out: int, kernel: int) -> None:
        state[f"{conv}.weight"] = torch.zeros(n_out, n_in, kernel, kernel)
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            state[f"{norm}.{name}"] = torch.full((n_out,), value)
        state[f"{norm}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)

    layer("conv1", "bn1", 3, 64, 7)
    width = 64
    for stage, (blocks, out) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            layer(f"{name}.conv1", f"{name}.bn1", width, out, 3)
            layer(f"{name}.conv2", f"{name}.bn2", out, out, 3)
            if width != out:
                layer(f"{name}.downsample.0", f"{name}.downsample.1", width, out, 1)
            width = out
    state["fc.weight"], state["fc.bias"] = torch.zeros(1000, 512), torch.zeros(1000)
    return state
