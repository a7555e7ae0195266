"""The method from top to bottom: one photo becomes an avatar in five stages (paper, Fig. 2)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import torch

from avatarkit import validation
from avatarkit.animation import assemble
from avatarkit.components import Components, choose_recipe
from avatarkit.config import Recipe
from avatarkit.config.sections import LabelsConfig, PreviewConfig, TrainingConfig
from avatarkit.errors import ConfigError
from avatarkit.io.consent import read_consent
from avatarkit.io.photo import read_photo, sample_photo
from avatarkit.labelling.color_transfer import calibrated
from avatarkit.labelling.retracking import retrack
from avatarkit.metrics import photo_metrics
from avatarkit.pipeline.manifest import manifest_of
from avatarkit.pipeline.plan import plan
from avatarkit.pipeline.stages import RUNS, STAGES, StageRunner, invalid_result
from avatarkit.registry import Registry
from avatarkit.report.page import render_report
from avatarkit.report.preview import write_preview
from avatarkit.storage.bundle import check_extras, recover, workspace, write_bundle
from avatarkit.storage.manifest import convert, fault
from avatarkit.storage.playable import require_state
from avatarkit.storage.serialization import (
    cameras_to_tensors,
    load_clip,
    load_motions,
    load_subject,
    params_to_tensors,
    save_clip,
    save_motions,
    save_subject,
)
from avatarkit.storage.stage_cache import SCRATCH, Stage, Store, load_tensors, read_json, save_tensors, write_json
from avatarkit.tracking import fit_photo
from avatarkit.training.callbacks import TrainingCallback, notify
from avatarkit.training.loop import LossFault, LossTerm, TrainingReport, applicable, train
from avatarkit.training.views import photo_confidence
from avatarkit.types.body import Motion
from avatarkit.types.photo import Photo
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Notice, Subject
from avatarkit.utils.files import only_user
from avatarkit.utils.progress import Progress, default_progress
from avatarkit.utils.threads import single_threaded

__all__ = ["EXTRAS", "RUNS", "STAGES", "build", "check_photo"]

log = logging.getLogger("avatarkit.pipeline.build")

T = TypeVar("T")


class _Training(msgspec.Struct):
    """Content of ``training.json``, see ``TrainingReport``."""

    steps: Annotated[int, msgspec.Meta(ge=0)]
    curves: dict[str, list[tuple[int, float]]]


EXTRAS = ("preview.png", "preview.mp4", "report.html")
"""Files that every build adds to the tensors and the manifest."""

def build(
    photo: Path | str | None = None,
    output: Path | str | None = None,
    *,
    sample: str | None = None,
    preset: str | None = None,
    recipe: Recipe | Path | str | None = None,
    components: Mapping[str, str | None] | None = None,
    settings: Iterable[str] = (),
    registry: Registry | None = None,
    device: str = "auto",
    seed: int = 0,
    start: str | None = None,
    fresh: bool = False,
    consent: str | Path | Mapping[str, Any] | None = None,
    purpose: str = "",
    keep_photo: bool = False,
    person: int | None = None,
    progress: Progress | None = None,
    callbacks: Iterable[TrainingCallback] = (),
) -> Path:
    """Build an avatar from one photo of a consenting person.

    If a build was stopped, call it again and it continues where it stopped.

    Args:
        photo: path of the photo.
        output: the avatar's folder; None = ``<photo>.avatar`` in the current folder.
        sample: name of a public-domain photo to use instead: ``portrait``.
        preset: ``instant``, ``draft``, ``standard``, ``paper`` or another installed one; None = chosen by the device.
        recipe: a TOML file that changes the preset, or a complete ``Recipe``.
        components: slot -> name of a component, overriding both: ``{"matting": "mediapipe"}``.
        settings: ``slot.option=value`` texts, overriding all: ``["training.steps=500"]``.
        registry: where components are found; None = all installed plugins.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: random seed; the same seed gives the same avatar.
        start: stage to run again, with all stages after it.
        fresh: run all stages again.
        consent: what the person agreed to: a text, a TOML file, or the fields of such a file, see ``io.consent.read_consent``.
        purpose: ``commercial`` = the avatar's uses must be covered by the scope ``commercial`` of the record.
        keep_photo: put the photo itself into the avatar.
        person: number of the person, counted from 1 left to right, if the photo shows several.
        progress: receives progress reports; None = shown in notebooks.
        callbacks: observe training and avatar; a stage that is reused is not trained: ``start="avatar"`` trains again.

    Returns:
        The avatar's folder, for ``avatarkit.load``.

    Raises:
        AvatarkitError: see ``avatarkit.errors``; no partial output is left behind.
    """
    given = read_consent(consent)
    recipe = choose_recipe(preset, recipe, components, settings, device)
    if start is not None and start not in STAGES:
        raise ConfigError(f"There is no stage {start!r}; the stages are {', '.join(STAGES)}.")
    record = given if isinstance(given, dict) else None
    agreed = {"consent": record["text"] if record else given, "consent_record": record, "purpose": purpose}
    if wrong := fault({"format": "", "format_version": 1, **agreed}):
        raise ConfigError(f"The consent must be plain text or a record of it: {wrong.removeprefix('its manifest ')}.")
    if (photo is None) == (sample is None):
        raise ConfigError("Name one photo, or a sample: build('me.jpg'), or build(sample='portrait').")
    name, photo = (sample or Path(str(photo)).stem), sample_photo(sample) if sample else Path(str(photo))
    output = Path(output) if output is not None else Path.cwd() / f"{name}.avatar"
    registry = registry or Registry.load(recipe.plugins)
    progress = progress or default_progress()
    plan(photo, output, recipe, registry, device).require_ready()
    kept = (f"photo{Path(photo).suffix.lower()}",) if keep_photo else ()
    check_extras(output, (*EXTRAS, *kept))
    picture = read_photo(Path(photo))
    with only_user(output):
        recover(output)
        registry.use_avatar({**agreed, "inputs": {"photo": picture.sha256}}, "build")
        made = Components(recipe, registry, device, seed, progress, scratch=workspace(output) / SCRATCH)
        run = _Run(output, made, seed, STAGES[0] if fresh else start, progress, tuple(callbacks))
        tensors, manifest, extras = run.all_stages(picture, person, agreed)
        extras |= dict.fromkeys(kept, Path(photo))
        with registry.output(output, manifest):
            write_bundle(output, tensors, manifest, extras)
    return output


def check_photo(
    photo: Path, output: Path, recipe: Recipe, registry: Registry, *, device: str = "auto", seed: int = 0,
    person: int | None = None, progress: Progress,
) -> Subject:  # fmt: skip
    """Run the first stage of a build alone and return what the photo shows; ``build`` with the same arguments continues from it.

    Args:
        photo: as of ``build``, like all others.
        output: the avatar's folder, beside which the result is kept; the avatar itself is not written.
        recipe: of the build.
        registry: where components are found.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of the build.
        person: number of the person.
        progress: receives progress reports.

    Raises:
        AvatarkitError: as of ``build``; the photo cannot be read, or shows no person or several.
    """
    plan(photo, output, recipe, registry, device).require_ready()
    picture = read_photo(photo)
    with only_user(output):
        recover(output)
        made = Components(recipe, registry, device, seed, progress, scratch=workspace(output) / SCRATCH)
        return _Run(output, made, seed, None, progress).track(picture, person)[0]


class _Run:
    """One run of ``build``. Each method is a stage; an unchanged stage is taken from the store."""

    def __init__(
        self,
        output: Path,
        components: Components,
        seed: int,
        start: str | None,
        progress: Progress,
        callbacks: tuple[TrainingCallback, ...] = (),
    ) -> None:
        self.callbacks = callbacks
        self.components, self.recipe, self.seed, self.progress = components, components.recipe, seed, progress
        store = Store(workspace(output))
        store.sweep()
        self.runner = StageRunner(components, store, start, progress)

    @single_threaded()  # compiled kernels use all cores
    def all_stages(
        self, photo: Photo, person: int | None, agreed: Mapping[str, Any]
    ) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, Path | bytes | str]]:
        """Run all stages.

        Returns:
            Tensors, manifest and further files of the avatar.
        """
        subject, tracking = self.track(photo, person)
        motions, motions_stage = self.motions()
        body_clips = self.labels("body", subject, tracking, motions, motions_stage)
        head_clips = self.labels("head", subject, tracking, motions, motions_stage)
        self.components.close("matting", "keypoints", "tracker", "motions", "body_labels", "head_labels")
        clips = [clip for clip, _ in body_clips + head_clips if clip.confidence.any()]
        tensors, training = self.train(subject, tracking, clips, [stage for _, stage in body_clips + head_clips])
        if self.recipe.losses:  # without names all would be released, and made again for the preview
            self.components.close(*(choice.slot for choice in self.recipe.losses))
        notices = [*self._lost("body", body_clips), *self._lost("head", head_clips), *self._aimless()]
        quality = replace(subject.quality, warnings=(*notices, *subject.quality.warnings))
        subject = replace(subject, quality=quality)

        tensors |= params_to_tensors(subject.params, "photo") | cameras_to_tensors((subject.camera,), "camera")
        tensors["box"] = torch.tensor(subject.matte.box(), dtype=torch.float32)
        manifest = manifest_of(self.components, self.runner.records, photo, subject, agreed)
        manifest["labels"] = {clip.name: dict(clip.facts) for clip, _ in body_clips + head_clips}
        return tensors, manifest, self.preview(tensors, manifest, subject, clips, training)

    # ------------------------------------------------------------------------------------------------------- the stages

    def track(self, photo: Photo, person: int | None) -> tuple[Subject, Stage]:
        """Run stage 1: matte, landmarks and the fitted body."""
        slots = ("matting", "keypoints", "body", "tracker")
        stage = self.runner.stage("tracking", slots, {"photo": photo.sha256}, {"person": person})

        def make(folder: Path) -> None:
            subject = fit_photo(photo, self.components, person, self.progress.update, self.runner.require)
            save_subject(subject, folder)

        def read(folder: Path) -> Subject:
            subject = load_subject(folder)
            validation.require_subject(subject, photo, self.components.get("body"))
            validation.require_tensor(subject.photo.image, (photo.height, photo.width, 3), "the photo", low=0, high=1)
            validation.require_keypoints(subject.keypoints, photo.width, photo.height)
            return subject

        return self.runner.run(stage, "tracking", "tracker", make, read), stage

    def motions(self) -> tuple[list[Motion], Stage]:
        """Run stage 2: motions for the labels."""
        config = self.recipe.section("labels", LabelsConfig)
        counts = {
            region: count if self.recipe.slots[f"{region}_labels"].use else 0
            for region, count in (("body", config.body_clips), ("head", config.head_clips))
        }
        stage = self.runner.stage("motions", ("body", "motions"), {}, counts)

        def make(folder: Path) -> None:
            count = sum(counts.values())
            source = self.components.get("motions") if count else None
            motions = list(source.motions(count, self.seed)) if source else []
            for motion in motions:
                self.runner.require("motions", validation.require_motion, motion, self.components.get("body"))
            save_motions(motions, folder)

        def read(folder: Path) -> list[Motion]:
            motions = load_motions(folder)
            for motion in motions:
                validation.require_motion(motion, self.components.get("body"))
            return motions

        return self.runner.run(stage, "motions", "motions", make, read), stage

    def labels(
        self, region: str, subject: Subject, tracking: Stage, motions: list[Motion], motions_stage: Stage
    ) -> list[tuple[LabelClip, Stage]]:
        """Run stage 3 or 4: one clip for each motion, each cached on its own."""
        slot = f"{region}_labels"
        if not self.recipe.slots[slot].use:
            return []
        config = self.recipe.section("labels", LabelsConfig)
        first = 0 if region == "body" else len(motions) - config.head_clips
        chosen = list(enumerate(motions))[first : first + (config.body_clips if region == "body" else config.head_clips)]
        shows = self.components.get(slot).regions if chosen else (region,)
        if region not in shows:
            owner = self.components.descriptor(slot).owner
            raise ConfigError(
                f"{owner} generates {' and '.join(shows)} labels, not {region} labels. Choose another component for {slot}."
            )
        made = []
        for number, motion in chosen:
            inputs = {"tracking": tracking.key, "motions": motions_stage.key}
            switches = {"retrack": config.retrack, "calibrate": config.calibrate}
            stage = self.runner.stage(f"{region}-labels-{number}", (slot, "renderer"), inputs, switches)

            def make(folder: Path, motion: Motion = motion, number: int = number) -> None:
                self.progress.update(f"{motion.name}", (number - first) / len(chosen))
                clip = self.components.get(slot).generate(subject, motion, self.seed + number)
                self.runner.require(slot, validation.require_clip, clip, self.components.get("body"))
                save_clip(self._aligned(slot, clip, subject, motion), folder)

            def read(folder: Path) -> LabelClip:
                clip = load_clip(folder)
                validation.require_clip(clip, self.components.get("body"))
                return clip

            made.append((self.runner.run(stage, f"{region}-labels", slot, make, read), stage))
        return made

    def _lost(self, region: str, clips: list[tuple[LabelClip, Stage]]) -> list[Notice]:
        """Return a notice if clips were left out because they do not show the person."""
        lost = [clip.name for clip, _ in clips if not clip.confidence.any()]
        if not lost:
            return []
        owner, count = self.components.descriptor(f"{region}_labels").owner, len(clips)
        every = f"All {count} {region} clips" if count > 1 else f"The only {region} clip"
        some = f"{len(lost)} of {count} {region} clips" if len(lost) < count else every
        verb = "does not show the person and was" if count == 1 else "do not show the person and were"
        names = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else "")
        return [Notice("labels", f"{some} of {owner} {verb} left out: {names}.")]

    def _aimless(self) -> list[Notice]:
        """Return a notice if the training had steps and no losses."""
        steps = self.recipe.section("training", TrainingConfig).steps
        if not steps or self.recipe.losses:
            return []
        text = f"The recipe asks for {steps} training steps with no losses, so they changed nothing: add a table [losses.NAME]."
        return [Notice("training", text)]

    def _aligned(self, slot: str, clip: LabelClip, subject: Subject, motion: Motion) -> LabelClip:
        """Return the clip with re-tracked parameters and the photo's colors."""
        get, config = self.components.get, self.recipe.section("labels", LabelsConfig)
        if get(slot).exact:
            return clip
        facts = dict(clip.facts)
        if config.retrack:
            fps, meshes = len(clip) / max(len(motion), 1) * motion.fps, get("renderer").meshes
            self.progress.update(f"tracking {motion.name} again", None)
            clip, drift = retrack(clip, subject, get("body"), get("keypoints"), get("tracker"), meshes, fps)
            facts["drift"] = {k: round(v, 3) if v == v else None for k, v in asdict(drift).items()}
            log.info(
                "clip %s: %.0f mm from the requested pose on average, %.0f %% of the frames without a person",
                clip.name,
                drift.mean_mm,
                drift.lost * 100,
            )
            if drift.lost < 1 and drift.lost + drift.doubted > 0.5:
                log.warning("clip %s: more than half of its frames do not show the requested pose", clip.name)
        if config.calibrate and clip.confidence.any():
            clip, colors = calibrated(clip, subject, get("body"), get("renderer"))
            facts["colors"] = None if colors is None else {"gain": colors.gain.tolist(), "offset": colors.offset.tolist()}
            log.info("clip %s: colors %s", clip.name, colors)
        return replace(clip, facts=facts)

    def train(
        self, subject: Subject, tracking: Stage, clips: list[LabelClip], label_stages: list[Stage]
    ) -> tuple[dict[str, torch.Tensor], TrainingReport]:
        """Run stage 5: the avatar."""
        config = self.recipe.section("training", TrainingConfig)
        inputs = {"tracking": tracking.key} | {s.name: s.key for s in label_stages}
        losses = {
            c.name: self.components.identity(c) | {"weight": c.weight, "start": c.start, "on": c.on} for c in self.recipe.losses
        }
        switches = {"training": asdict(config), "losses": losses}
        stage = self.runner.stage("avatar", ("body", "renderer", "avatar"), inputs, switches)

        def make(folder: Path) -> None:
            self.progress.update("initializing", 0.0)
            avatar = self.components.get("avatar")
            avatar.create(subject, clips)
            with torch.no_grad():
                for posed in (avatar.pose(subject.params), avatar.pose_for_photo(subject.params)):
                    self.runner.require("avatar", validation.require_posed, posed)
                    self.runner.require_drawn(posed)
            self.runner.require("avatar", validation.require_groups, avatar.parameter_groups())
            asked = [LossTerm(c.name, self.components.loss(c), c.weight, c.start, c.on) for c in self.recipe.losses]
            for choice in self.recipe.losses:
                if not callable(loss := self.components.loss(choice)):
                    wrong = validation.Violation(f"{type(loss).__name__} has no method __call__")
                    raise invalid_result(self.components.registry.get("loss", choice.use or ""), wrong)
            terms = applicable(asked, avatar)
            renderer = self.components.get("renderer")
            confidence = photo_confidence(subject, self.components.get("body"), renderer)
            try:
                report = train(
                    avatar, subject, clips, terms, config, renderer, self.seed, stage.scratch, self.progress.update, confidence,
                    self.callbacks,
                )  # fmt: skip
            except LossFault as fault:
                use = next(c.use for c in self.recipe.losses if c.name == fault.name)
                raise invalid_result(self.components.registry.get("loss", use or ""), fault) from None
            state = avatar.state()
            self.runner.require("avatar", validation.require_tensors, state)
            self.runner.require("avatar", require_state, state, avatar)
            save_tensors(folder / "avatar.safetensors", state)
            write_json(folder / "training.json", asdict(report))

        def read(folder: Path) -> tuple[dict[str, torch.Tensor], TrainingReport]:
            tensors, report = load_tensors(folder / "avatar.safetensors"), read_json(folder / "training.json")
            model = self.components.get("avatar")
            require_state(tensors, model)
            model.load(tensors)
            convert(report, _Training)
            return {f"avatar.{k}": v for k, v in tensors.items()}, TrainingReport(report["steps"], report["curves"])

        return self.runner.run(stage, "avatar", "avatar", make, read)

    @single_threaded()
    def preview(
        self,
        tensors: dict[str, torch.Tensor],
        manifest: dict[str, Any],
        subject: Subject,
        clips: list[LabelClip],
        training: TrainingReport,
    ) -> dict[str, Path | bytes | str]:
        """Write pictures and the report, and add the measured quality to the manifest.

        Returns:
            The files.
        """
        config = self.recipe.section("preview", PreviewConfig)
        inputs = {"avatar": self.runner.records["avatar"]["key"]}
        stage = self.runner.stage("preview", ("motions", "renderer"), inputs, asdict(config))
        avatar = assemble(self.components, tensors, manifest)
        notify(self.callbacks, "on_avatar", avatar)

        def make(folder: Path) -> None:
            metrics = photo_metrics(avatar, subject)
            write_json(folder / "metrics.json", metrics)
            write_preview(avatar, folder, config, self.progress.update)

        def read(folder: Path) -> dict[str, Any]:
            metrics = read_json(folder / "metrics.json")
            convert(metrics, dict[str, float | None])
            return metrics

        manifest["metrics"] |= self.runner.run(stage, "preview", "motions", make, read)
        manifest["stages"] = self.runner.records
        extras: dict[str, Path | bytes | str] = {p.name: p for p in stage.folder.glob("preview.*")}
        extras["report.html"] = render_report(subject, clips, training, avatar, manifest, stage.folder)
        return extras
