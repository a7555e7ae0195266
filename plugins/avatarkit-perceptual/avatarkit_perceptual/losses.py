"""L_LPIPS (paper, eq. 9) on random crops."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from avatarkit.errors import MissingDependency, MissingWeights
from avatarkit.interfaces import Context, TrainStep
from avatarkit_perceptual.config import LpipsConfig, StLpipsConfig
from avatarkit_perceptual.networks import ALEX_SHIFT_TOLERANT, VGG16, VGG16_SHIFT_TOLERANT, LpipsNetwork

__all__ = ["Lpips", "ShiftTolerantLpips"]


class _PerceptualLoss:
    """What both metrics share: a network, and crops of the person."""

    name: str
    network: LpipsNetwork

    def __init__(self, crop: int, crops: int) -> None:
        self.crop, self.crops = crop, crops

    def distance(self, prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Return distance of whole pictures (B, 3, H, W), 0 to 1 -> (B,)."""
        return self.network(prediction, target, weights)

    def __call__(self, step: TrainStep) -> torch.Tensor:
        """Return mean distance over crops centered on trusted pixels of the person."""
        prediction, target = step.rendering.rgb, step.target
        H, W = step.alpha.shape
        side = min(self.crop or max(H, W), H, W)
        windows = [(0, 0, H, W)]
        if side < max(H, W):
            windows = [(*self._corner(step, side), side, side) for _ in range(self.crops)]
        a, b, w = [], [], []
        for y, x, h, v in windows:
            a.append(prediction[y : y + h, x : x + v])
            b.append(target[y : y + h, x : x + v])
            w.append(step.confidence[y : y + h, x : x + v])
        stack = [torch.stack(t) for t in (a, b, w)]
        return self.network(stack[0].permute(0, 3, 1, 2), stack[1].permute(0, 3, 1, 2), stack[2]).mean()

    @staticmethod
    def _corner(step: TrainStep, side: int) -> tuple[int, int]:
        """Return the top left corner of a crop whose center is drawn from alpha x confidence."""
        H, W = step.alpha.shape
        p = (step.alpha * (step.confidence + 0.05))[::8, ::8].flatten() + 1e-8
        k = int(torch.multinomial(p, 1, generator=step.generator))
        columns = (W + 7) // 8
        y, x = (k // columns) * 8, (k % columns) * 8
        jitter = torch.randint(-side // 4, side // 4 + 1, (2,), generator=step.generator)
        y = min(max(y + int(jitter[0]) - side // 2, 0), H - side)
        x = min(max(x + int(jitter[1]) - side // 2, 0), W - side)
        return y, x


class ShiftTolerantLpips(_PerceptualLoss):
    """ST-LPIPS (Ghildyal and Liu 2022): LPIPS that forgives imperceptible shifts, as imperfect labels have them.

    Reads the weights that the wheel ``stlpips-pytorch`` ships as data; its modules are not imported.
    """

    def __init__(self, config: StLpipsConfig, context: Context) -> None:
        super().__init__(config.crop, config.crops)
        self._config, self._context = config, context
        self.name = f"st-lpips-{config.trunk}"
        spec = importlib.util.find_spec("stlpips_pytorch")
        if spec is None or not spec.submodule_search_locations:
            raise MissingDependency("st-lpips needs the package stlpips-pytorch: pip install stlpips-pytorch")
        path = Path(next(iter(spec.submodule_search_locations))) / "weights/vST0.0"
        state = torch.load(path / f"{config.trunk}_shift_tolerant.pth", weights_only=True, map_location="cpu")
        table = VGG16_SHIFT_TOLERANT if config.trunk == "vgg" else ALEX_SHIFT_TOLERANT
        self.network = LpipsNetwork(table, _convolutions(state), _linear(state)).to(context.device)

    def for_evaluation(self) -> ShiftTolerantLpips:
        """Return the variant with VGG-16, which agrees better with people than AlexNet."""
        return self if self._config.trunk == "vgg" else ShiftTolerantLpips(replace(self._config, trunk="vgg"), self._context)


class Lpips(_PerceptualLoss):
    """LPIPS with VGG-16 (Zhang et al. 2018), the paper's choice."""

    name = "lpips-vgg"

    def __init__(self, config: LpipsConfig, context: Context) -> None:
        super().__init__(config.crop, config.crops)
        spec = importlib.util.find_spec("lpips")
        if spec is None or not spec.submodule_search_locations:
            raise MissingDependency("lpips needs the package lpips: pip install 'avatarkit-oneshot[lpips]'")
        trunk = Path(config.weights) if config.weights else context.cache / "weights" / "vgg16.pth"
        if not trunk.is_file():
            raise MissingWeights(
                f"lpips needs torchvision's vgg16 checkpoint, and {trunk.name} is not there: avatarkit weights add vgg16 FILE"
            )
        linear = Path(next(iter(spec.submodule_search_locations))) / "weights/v0.1/vgg.pth"
        state = torch.load(trunk, weights_only=True, map_location="cpu")
        calibration = torch.load(linear, weights_only=True, map_location="cpu")
        self.network = LpipsNetwork(VGG16, _convolutions(state), _linear(calibration)).to(context.device)


def _convolutions(state: Mapping[str, torch.Tensor]) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Return convolutions by index, from names such as ``net.slice2.6.weight`` or ``features.5.weight``."""
    out = {}
    for key, value in state.items():
        stem, _, kind = key.rpartition(".")
        if kind == "bias" and key.startswith(("net.", "features.")):
            out[int(stem.rpartition(".")[2])] = (state[f"{stem}.weight"], value)
    return out


def _linear(state: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(state[f"lin{k}.model.1.weight"] for k in range(5))
