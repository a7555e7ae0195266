"""Callbacks that observe the training of an avatar, and a logger for TensorBoard.

Callbacks see everything and change nothing: a build with them gives the same avatar, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from avatarkit.animation import LoadedAvatar
from avatarkit.errors import AvatarkitError, MissingDependency, PluginError
from avatarkit.interfaces import AvatarModel
from avatarkit.registry.specs import DISTRIBUTION, error_text

__all__ = ["StepEvent", "TensorBoardLogger", "TrainingCallback", "notify"]


@dataclass(frozen=True)
class StepEvent:
    """One step of the optimization, after the parameters moved.

    Attributes:
        step: number of the step, from 0.
        steps: number of steps in all.
        kind: what the step showed: ``photo``, ``body`` or ``head``; of several views ``photo+head``.
        losses: term -> weighted value (), mean over views, without gradient, on the training device; empty if no term applied.
        learning_rates: parameter group -> step size.
        avatar: the avatar in training; leave it as it is.
    """

    step: int
    steps: int
    kind: str
    losses: Mapping[str, torch.Tensor]
    learning_rates: Mapping[str, float]
    avatar: AvatarModel


class TrainingCallback:
    """Base class of callbacks: override what you need, and pass instances to ``avatarkit.build(callbacks=...)``."""

    def on_step(self, event: StepEvent) -> None:
        """Observe a step."""

    def on_evaluation(self, step: int, metrics: Mapping[str, float], picture: torch.Tensor) -> None:
        """Observe the photo's view, rendered every ``training.evaluate_every`` steps and after the last one.

        Args:
            step: number of steps made.
            metrics: ``l1`` and ``psnr`` (dB) to the photo, both inside its matte.
            picture: (H, W, 3) float32 0 to 1, the avatar in the photo's view on white.
        """

    def on_checkpoint(self, step: int, path: Path) -> None:
        """Observe a checkpoint, a safetensors file that the next one replaces.

        Args:
            step: number of steps made.
            path: the file.
        """

    def on_avatar(self, avatar: LoadedAvatar) -> None:
        """Observe the finished avatar, before its pictures and its report are made; also where its training was reused."""


class TensorBoardLogger(TrainingCallback):
    """Writes losses, learning rates, measures and pictures for TensorBoard: ``tensorboard --logdir FOLDER``.

    Args:
        folder: where to write event files; existing ones are kept.
        every: steps between two entries of losses.

    Raises:
        MissingDependency: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | str, every: int = 10) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            command = f'pip install "{DISTRIBUTION}[tensorboard]"'
            raise MissingDependency(f"TensorBoard is not installed: {command}") from error
        self._writer: Any = SummaryWriter(str(folder))
        self._every = every

    def on_step(self, event: StepEvent) -> None:
        """Write losses and learning rates."""
        if event.step % self._every == 0:
            for name, value in event.losses.items():
                self._writer.add_scalar(f"loss/{name}", float(value), event.step)
            for name, rate in event.learning_rates.items():
                self._writer.add_scalar(f"learning rate/{name}", rate, event.step)

    def on_evaluation(self, step: int, metrics: Mapping[str, float], picture: torch.Tensor) -> None:
        """Write measures and the picture."""
        for name, value in metrics.items():
            self._writer.add_scalar(f"photo/{name}", value, step)
        self._writer.add_image("photo", picture, step, dataformats="HWC")
        self._writer.flush()


def notify(callbacks: tuple[TrainingCallback, ...], method: str, *arguments: Any) -> None:
    """Call a method of all callbacks.

    Raises:
        PluginError: one raised an exception; the message names it.
    """
    for callback in callbacks:
        try:
            getattr(callback, method)(*arguments)
        except AvatarkitError:
            raise
        except Exception as error:
            what = f"The training callback {type(callback).__name__} raised in {method}: {error_text(error)}"
            raise PluginError(f"{what}. Fix it or leave it out.") from error
