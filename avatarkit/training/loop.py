"""The optimization loop: draws views, applies losses, saves checkpoints."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, reduce
from pathlib import Path
from typing import Annotated, Any

import torch
from torch.optim.adam import adam

from avatarkit.config.options import Range
from avatarkit.config.sections import TrainingConfig
from avatarkit.errors import StoreError
from avatarkit.interfaces import AvatarModel, Loss, ParameterGroup, Renderer, Subject, TrainStep, with_defaults
from avatarkit.rendering import render_posed
from avatarkit.storage.stage_cache import load_tensors, save_tensors
from avatarkit.training.callbacks import StepEvent, TrainingCallback, notify
from avatarkit.training.sampler import Sampler
from avatarkit.training.views import View, photo_views
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.utils.threads import Workers, shared_workers, single_threaded, spans
from avatarkit.validation import Violation, require_loss

__all__ = ["LossFault", "LossTerm", "TrainingReport", "applicable", "learning_rate_factor", "train"]

log = logging.getLogger("avatarkit.training")

_MOMENTS = "step", "exp_avg", "exp_avg_sq"  # Adam's state of a tensor, as checkpoints name it


@dataclass(frozen=True)
class LossTerm:
    """A loss with its place in the objective.

    Attributes:
        name: name for the curves.
        loss: the term.
        weight: factor (lambda of the paper).
        start: first step at which it is used.
        on: kinds of step on which it is used: ``photo``, ``body``, ``head``.
    """

    name: str
    loss: Loss
    weight: float
    start: int = 0
    on: tuple[str, ...] = ("photo",)

    def __post_init__(self) -> None:
        with_defaults(self.loss, Loss)


class LossFault(Violation):
    """A loss returned what is no loss.

    Attributes:
        name: of its term.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass
class TrainingReport:
    """Record of a training run.

    Attributes:
        steps: number of steps made.
        curves: term -> list of (step, weighted value), thinned out.
    """

    steps: Annotated[int, Range(0, 10_000_000)] = 0
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def applicable(terms: Sequence[LossTerm], avatar: AvatarModel) -> list[LossTerm]:
    """Return the terms that can be computed for an avatar; warn about the others."""
    fitting = [t for t in terms if t.loss.applies_to(avatar)]
    if left_out := [t.name for t in terms if t not in fitting]:
        log.warning("the losses %s need another kind of avatar and are left out", ", ".join(left_out))
    return fitting


@contextmanager
def _deterministic() -> Iterator[None]:
    """Make torch add in the same order in every run, by using one thread.

    Only torch is limited; the rasterizers keep their own threads. On one thread of a CPU all of torch's operations add in one
    order. Its deterministic mode, which would fill all new memory there, too, is for GPUs.
    """
    before, gpu = torch.get_deterministic_debug_mode(), torch.cuda.is_available()
    try:
        with single_threaded():
            if gpu:
                torch.set_deterministic_debug_mode("warn")
            yield
    finally:
        if gpu:
            torch.set_deterministic_debug_mode(before)


@_deterministic()
def train(
    avatar: AvatarModel,
    subject: Subject,
    labels: Sequence[LabelClip],
    terms: Sequence[LossTerm],
    config: TrainingConfig,
    renderer: Renderer,
    seed: int,
    checkpoints: Path | None = None,
    progress: Callable[[str, float], None] = lambda message, fraction: None,
    confidence: torch.Tensor | None = None,
    callbacks: tuple[TrainingCallback, ...] = (),
) -> TrainingReport:
    """Fit an initialized avatar to photo and labels with Adam (paper, 3.3 and 3.4).

    Every step draws from generators seeded by (seed, step), so an interrupted run that continues from its checkpoint gives
    the same avatar, bit for bit, as an uninterrupted one. The views of a step are looked at on threads of their own, and their
    gradients are added in a fixed order, so that the number of threads does not change the bits either.

    Args:
        avatar: initialized; it is changed in place.
        subject: the tracked photo.
        labels: clips of pseudo-labels.
        terms: of the objective.
        config: number of steps and their sizes.
        renderer: draws the avatar.
        seed: of all random draws.
        checkpoints: folder for the latest checkpoint; None = no checkpoints.
        progress: receives a report for every step.
        confidence: (H, W) confidence of the photo's pixels, see ``views.photo_confidence``.
        callbacks: observe the run without changing it.
    """
    with_defaults(avatar, AvatarModel)
    groups = avatar.parameter_groups()
    optimizer = _Adam(groups, config.adam_eps)
    report = TrainingReport()
    start = _resume(optimizer, report, checkpoints)
    photos = photo_views(subject, config.resolution, confidence)
    sampler = Sampler(photos, labels, config)
    solves = _color_solves(config)
    targets = photos.color_targets(config.detail_share) if solves else ()
    if start == 0 and 0 in solves:
        avatar.solve_colors(targets, config.color_iterations)
    for step in range(start, config.steps):
        seeds = ((seed * 1_000_003 + step) * config.views + k for k in range(config.views))
        generators = [torch.Generator().manual_seed(number % 2**63) for number in seeds]
        views = [sampler.draw(g, k, config.views) for k, g in enumerate(generators)]
        factor = learning_rate_factor(step, config)
        values, gradients = _look(avatar, views, terms, renderer, step, generators, optimizer.tensors)
        optimizer.step(gradients, factor)
        if step + 1 in solves:
            avatar.solve_colors(targets, config.color_iterations)
        if callbacks:
            rates = {g.name: g.lr * factor for g in groups}
            notify(callbacks, "on_step", StepEvent(step, config.steps, "+".join(v.kind for v in views), values, rates, avatar))
        if step % max(1, config.steps // 200) == 0:
            for name, value in values.items():
                if not math.isfinite(number := float(value)):
                    raise LossFault(name, f"the loss is {number} at step {step}")
                report.curves.setdefault(name, []).append((step, number))
        report.steps = step + 1
        if checkpoints is not None and (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps:
            notify(callbacks, "on_checkpoint", step + 1, _save(optimizer, report, checkpoints))
        if callbacks and ((step + 1) % config.evaluate_every == 0 or step + 1 == config.steps):
            notify(callbacks, "on_evaluation", step + 1, *_evaluation(avatar, photos.full, renderer))
        progress(f"step {step + 1} of {config.steps}", (step + 1) / config.steps)
    report.curves = {t.name: report.curves[t.name] for t in terms if t.name in report.curves}  # checkpoints lose the order
    return report


class _Adam:
    """Adam with step sizes that follow a schedule, on gradients that are still to be added.

    Attributes:
        tensors: all parameters. state: the moments of those that have moved.
    """

    def __init__(self, groups: Sequence[ParameterGroup], eps: float) -> None:
        self._groups, self._eps, self.tensors = groups, eps, [t for g in groups for t in g.tensors]
        self.state: dict[torch.Tensor, dict[str, torch.Tensor]] = {}

    @torch.no_grad()
    def step(self, gradients: Sequence[Sequence[torch.Tensor]], factor: float) -> None:
        """Move each tensor against the sum of its gradients, with step sizes times ``factor``; without any it stays.

        It calls the function: the class ``torch.optim.Adam`` imports torch's compiler, which takes a second.
        """
        sums = {t: reduce(torch.add, found) for t, found in zip(self.tensors, gradients, strict=True) if found}
        for group in self._groups:
            moving = [t for t in group.tensors if t in sums]
            for t in (t for t in moving if t not in self.state):
                zeros = torch.zeros((), device=t.device), torch.zeros_like(t), torch.zeros_like(t)
                self.state[t] = dict(zip(_MOMENTS, zeros, strict=True))
            steps, mean, square = ([self.state[t][name] for t in moving] for name in _MOMENTS)
            rates: dict[str, Any] = {"lr": group.lr * factor, "beta1": 0.9, "beta2": 0.999, "eps": self._eps, "weight_decay": 0.0}
            adam(moving, [sums[t] for t in moving], mean, square, [], steps, fused=True, amsgrad=False, maximize=False, **rates)


def _color_solves(config: TrainingConfig) -> set[int]:
    """Return after how many steps colors are solved."""
    return {config.steps - config.steps * k // max(config.color_solves - 1, 1) for k in range(config.color_solves)}


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step as a fraction of the first one."""
    part = step / config.steps
    if config.schedule == "exponential":
        factor = max(config.lr_end, 1e-12) ** part
    else:
        falling = {"cosine": 0.5 * (1 + math.cos(math.pi * part)), "linear": 1 - part, "constant": 1.0}[config.schedule]
        factor = config.lr_end + (1 - config.lr_end) * falling
    return factor * min(1.0, (step + 1) / config.warmup) if config.warmup else factor


@torch.no_grad()
def _evaluation(avatar: AvatarModel, view: View, renderer: Renderer) -> tuple[dict[str, float], torch.Tensor]:
    """Return the measures of the photo's view and the picture (H, W, 3) on white."""
    white = torch.ones(3, device=view.image.device)
    drawn = render_posed(renderer, avatar.pose_for_photo(view.params), view.camera, white).rgb.clamp(0, 1)
    error = (drawn - view.image)[view.alpha > 0.5]
    psnr = -10 * math.log10(max(float(error.square().mean()), 1e-10))
    return {"l1": float(error.abs().mean()), "psnr": psnr}, drawn.cpu()


def _look(
    avatar: AvatarModel, views: Sequence[View], terms: Sequence[LossTerm], renderer: Renderer, step: int,
    generators: Sequence[torch.Generator], tensors: Sequence[torch.Tensor],
) -> tuple[dict[str, torch.Tensor], list[list[torch.Tensor]]]:  # fmt: skip
    """Return the weighted terms, by name, as means over the views that have them; and for each tensor gradients to be added.

    The gradient is that of the mean over views of the sum of their terms. Terms of the avatar alone are computed in one view.
    """
    active = [[t for t in terms if v.kind in t.on and step >= t.start and t.weight != 0] for v in views]
    count = Counter(t.name for found in active for t in found)
    once = {t.name: k for k, found in enumerate(active) for t in found if t.loss.of_avatar}
    values: list[dict[str, torch.Tensor]] = [{} for _ in views]
    gradients: list[Sequence[torch.Tensor | None]] = [() for _ in views]

    def look(start: int, stop: int) -> None:
        for k in range(start, stop):
            own = [t for t in active[k] if once.get(t.name, k) == k]
            values[k] = _losses(avatar, views[k], own, renderer, step, generators[k]) if own else {}
            weights = ((count[name] if name in once else 1) / len(views) for name in values[k])
            parts = [w * v for w, v in zip(weights, values[k].values(), strict=True) if v.requires_grad]  # a term may be constant
            gradients[k] = torch.autograd.grad(torch.stack(parts).sum(), tensors, allow_unused=True) if parts else ()

    workers = shared_workers() if all(t.device.type == "cpu" for t in tensors) else Workers(1)
    workers.run(look, spans(len(views), len(views)))
    means = {name: torch.stack([v[name].detach() for v in values if name in v]).mean() for name in count}
    return means, [[g for found in gradients if found and (g := found[n]) is not None] for n in range(len(tensors))]


def _losses(
    avatar: AvatarModel, view: View, active: Sequence[LossTerm], renderer: Renderer, step: int, g: torch.Generator
) -> dict[str, torch.Tensor]:
    """Return the weighted terms of one view, by name."""
    background = torch.rand(3, generator=g).to(view.image.device)
    pose = avatar.pose_for_photo if view.kind == "photo" else avatar.pose
    posed = pose(view.params)
    rendering = render_posed(renderer, posed, view.camera, background)
    target = view.image * view.alpha[..., None] + background * (1 - view.alpha[..., None])

    @cache
    def mesh_mask() -> torch.Tensor:
        if posed.mesh is None:
            raise StoreError("a loss needs the mask of the mesh, but this avatar has no mesh")
        return renderer.meshes.render(posed.mesh, view.camera).mask

    train_step = TrainStep(
        step, view.kind, target, view.alpha, view.confidence, view.camera, background, rendering, posed, avatar,
        mesh_mask, g, view.image,
    )  # fmt: skip
    return {t.name: t.weight * _value(t, train_step) for t in active}


def _value(term: LossTerm, step: TrainStep) -> torch.Tensor:
    value = term.loss(step)
    try:
        require_loss(value)
    except Violation as violation:
        raise LossFault(term.name, str(violation)) from None
    return value


# ------------------------------------------------------------------------------------------------------- checkpoints


def _save(optimizer: _Adam, report: TrainingReport, folder: Path) -> Path:
    """Write one file atomically: learned tensors, Adam's moments and the curves; return its path."""
    tensors = {"step": torch.tensor(report.steps)}
    for i, p in enumerate(optimizer.tensors):
        tensors[f"{i}.value"] = p.contiguous()
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"{i}.{key}"] = value
    for name, points in report.curves.items():
        tensors[f"curve.{name}"] = torch.tensor(points, dtype=torch.float64)
    path = folder / "checkpoint.safetensors"
    save_tensors(path, tensors)
    return path


def _fits(tensors: Mapping[str, torch.Tensor], number: int, parameter: torch.Tensor) -> bool:
    """Return whether a checkpoint holds valid values and moments of a parameter.

    Either all or none of Adam's moments must be there.
    """
    names = ["value"] + (["exp_avg", "exp_avg_sq"] if f"{number}.step" in tensors else [])
    found = [tensors[f"{number}.{name}"] for name in names]
    return all(t.shape == parameter.shape and t.dtype == parameter.dtype for t in found) and (
        len(names) == 1 or tensors[f"{number}.step"].ndim == 0
    )


def _resume(optimizer: _Adam, report: TrainingReport, folder: Path | None) -> int:
    """Load the latest checkpoint and return the step to continue with."""
    path = None if folder is None else folder / "checkpoint.safetensors"
    if path is None or not path.is_file():
        return 0
    try:
        tensors = load_tensors(path)
        fits = all(_fits(tensors, i, p) for i, p in enumerate(optimizer.tensors)) and tensors["step"].dtype == torch.int64
        fits &= tensors["step"].ndim == 0 and bool(tensors["step"] >= 0)
        fits &= all(t.ndim == 2 and t.shape[1] == 2 for name, t in tensors.items() if name.startswith("curve."))
        fits &= all(bool(torch.isfinite(t).all()) for t in tensors.values())
    except (StoreError, KeyError):  # checkpoints only save time: a damaged one must not stop the build
        fits = False
    if not fits:
        log.warning("the training checkpoint cannot be read; training starts again from step 0")
        return 0
    for i, p in enumerate(optimizer.tensors):
        with torch.no_grad():
            p.copy_(tensors[f"{i}.value"])
        if f"{i}.step" in tensors:
            optimizer.state[p] = {name: tensors[f"{i}.{name}"].to(p.device) for name in _MOMENTS}
    for key, points in tensors.items():
        if key.startswith("curve."):
            report.curves[key.removeprefix("curve.")] = [(int(s), float(v)) for s, v in points.tolist()]
    report.steps = int(tensors["step"])
    log.info("training continues from step %d", report.steps)
    return report.steps
