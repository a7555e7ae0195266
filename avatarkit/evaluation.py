"""Self-driven reenactment (paper, section 4.2): one frame of a clip is the photo, the others are the truth.

The same run computes two baselines: ``still``, the unchanged photo, and ``mesh``, the fitted mesh with the photo's colors and
without training. An avatar that does not beat both has failed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatarkit.animation import LoadedAvatar, load
from avatarkit.appearance.texture import sample_texture, texture_from_photo
from avatarkit.components import Components, choose_recipe
from avatarkit.config import Recipe
from avatarkit.errors import ConfigError, InputError
from avatarkit.interfaces import Loss, PerceptualDistance, Subject, with_defaults
from avatarkit.io.image import load_png, on_white, save_png
from avatarkit.io.photo import photo_from_array
from avatarkit.io.video import VideoWriter, probe, read_frames
from avatarkit.metrics import METRICS, compare, mean_scores, resized, windows
from avatarkit.pipeline.build import build
from avatarkit.pipeline.stages import keyed_stage, load_tracked_subject
from avatarkit.registry import Registry
from avatarkit.registry.requirements import requirements
from avatarkit.storage.bundle import workspace
from avatarkit.storage.serialization import load_keypoints, load_motions, save_keypoints, save_motions
from avatarkit.storage.stage_cache import Stage, Store, read_json, write_json
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh
from avatarkit.utils.files import only_user, sha256_of
from avatarkit.utils.folders import OutputFolder
from avatarkit.utils.progress import Progress, default_progress
from avatarkit.utils.threads import cores, prefetch, single_threaded

__all__ = ["METHODS", "METRICS", "evaluate", "losses_to"]

log = logging.getLogger("avatarkit.evaluation")

METHODS = ("avatar", "still", "mesh")
_RUNS = ("animation", "appearance", "geometry", "io", "metrics", "types")  # packages of the core that affect the comparison
REPORT = "results"
"""Kind of the folder that ``evaluate`` writes, see ``OutputFolder``."""
_FILES = ("photo.png", "result.json", "comparison.png", "comparison.mp4")
_LANDMARKS = "landmarks.safetensors"
_LONGEST = 300  # most frames of a clip that are tracked
_SIDE = 1920  # pixels, longer side of the frames when read; the photo is one of them
_COMPARED_SIDE = 512  # pixels, longer side of the person's window when compared
_MARGIN = 0.05  # of the person's longer side, white margin in that window


def evaluate(
    video: Path | str,
    output: Path | str = "report",
    *,
    preset: str | None = None,
    recipe: Recipe | Path | str | None = None,
    components: Mapping[str, str | None] | None = None,
    settings: Iterable[str] = (),
    registry: Registry | None = None,
    frames: int = 24,
    photo_frame: int = 0,
    perceptual: Sequence[str] = (),
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Build an avatar from one frame of a clip and compare it with the others.

    Shape and camera are those of the photo; the recipe's own tracker tracks the other frames. An interrupted run continues where
    it stopped; runs of other recipes into the same folder share what they have in common.

    Args:
        video: the clip, of one person, by a camera that stands still.
        output: folder for ``result.json``, ``comparison.mp4``, ``comparison.png`` and the avatar.
        preset: as for ``avatarkit.build``, and so are ``recipe``, ``components`` and ``settings``.
        recipe: a TOML file, or a complete ``Recipe``.
        components: slot -> name of a component.
        settings: ``slot.option=value`` texts.
        registry: where components are found; None = all installed plugins.
        frames: number of frames to compare, spread evenly.
        photo_frame: number of the frame that is the photo, from 0.
        perceptual: losses that may measure ``lpips``, the best first; the first whose requirements are met is used, else the
            recipe's own.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: random seed.
        progress: receives progress reports; None = shown in notebooks.

    Returns:
        The content of ``result.json``: ``clip``, facts about it; ``perceptual``, the exact name of the metric behind ``lpips``;
        ``methods``: for each of ``METHODS`` the mean of each of ``METRICS`` over the frames, on white, and the same per region
        under ``regions``; ``frames``: the same for each frame.

    Raises:
        InputError: the clip cannot be used.
        StoreError: a file of the user is in the way in ``output``, or another run is writing there.
    """
    video, output = Path(video), Path(output)
    recipe = choose_recipe(preset, recipe, components, settings, device)
    registry, progress = registry or Registry.load(recipe.plugins), progress or default_progress()
    run = _Evaluation(video, output, recipe, registry, photo_frame, device, seed, progress)
    run.folder.check(_FILES)
    with only_user(output):
        run.store.sweep()
        run.build()
        run.track()
        chosen = run.cut_out(frames)
        distance, name = run.metric(perceptual)
        scores = run.compare(chosen, distance, name)
        result = {
            "clip": run.facts(chosen, scores),
            "perceptual": name,
            "methods": {m: mean_scores([s[m] for s in scores]) for m in METHODS},
            "frames": [{"frame": i, **s} for i, s in zip(chosen, scores, strict=True)],
        }
        run.folder.add("result.json", lambda path: write_json(path, result))
        run.write_pictures(chosen)
    return result


def losses_to(methods: dict[str, Any]) -> list[str]:
    """Return the baselines that the avatar does not beat, e.g. ``still in psnr``.

    Empty if it beats both.
    """
    found = []
    for other in METHODS[1:]:
        for metric in ("psnr", "ssim", "lpips"):
            mine, theirs = methods["avatar"][metric], methods[other][metric]
            if mine >= theirs if metric == "lpips" else mine <= theirs:
                found.append(f"{other} in {metric}")
    return found


class _Evaluation:
    """One run of ``evaluate``; an unchanged step is taken from the store."""

    def __init__(
        self,
        video: Path,
        output: Path,
        recipe: Recipe,
        registry: Registry,
        photo_frame: int,
        device: str,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.video, self.output, self.recipe, self.registry = video, output, recipe, registry
        self.device, self.seed, self.progress = device, seed, progress or default_progress()
        self.info = probe(video)
        self.clip_key = sha256_of(video)
        self.photo_frame = photo_frame
        self.first = photo_frame if photo_frame >= _LONGEST else 0  # number of the first frame used
        self.folder = OutputFolder(output, REPORT)
        self.store = Store(output / "cache")
        self.components = Components(recipe, registry, device, seed, self.progress)
        self._pictures: dict[int, list[Path]] = {}  # pictures of each frame, in the order of METHODS

    # ------------------------------------------------------------------------------------------------------ the steps

    def build(self) -> None:
        """Build the avatar from one frame."""
        photo = next((image for number, image in self._frames() if number == self.photo_frame), None)
        if photo is None:
            raise InputError(f"{self.video.name} has no frame {self.photo_frame}. Frames are counted from 0.")
        path = self.output / "photo.png"
        self.folder.add("photo.png", lambda place: save_png(place, torch.from_numpy(photo).float() / 255))
        try:
            folder = build(
                path, self.output / "person.avatar", recipe=self.recipe, registry=self.registry, device=self.device,
                seed=self.seed, progress=self.progress,
            )  # fmt: skip
        except InputError as error:
            raise InputError(
                f"Frame {self.photo_frame} of {self.video.name} cannot be used as the photo: {error} "
                "Choose another frame with --photo-frame N."
            ) from error
        self.avatar: LoadedAvatar = load(folder, self.registry, self.device)
        self.subject: Subject = load_tracked_subject(workspace(folder), self.avatar.manifest)

    def track(self) -> None:
        """Track the person through the clip, with the photo's shape and camera."""
        get, tell = self.components.get, self.progress.update
        expected = min(self.info.frames or _LONGEST, _LONGEST)

        def told() -> Iterator[np.ndarray]:
            for number, image in self._frames():
                tell(f"looking at frame {number}", min(1.0, 0.5 * (number - self.first) / expected))
                yield image

        self.seen = self._stage("landmarks", ("keypoints",), {"clip": self.clip_key}, {"first": self.first, "format": 2})
        with self.progress.stage("track the clip"):
            if not self.seen.ready:
                with self.seen.write() as folder:
                    save_keypoints(list(get("keypoints").detect_video(told())), folder / _LANDMARKS)
            self.keypoints: list[Keypoints | None] = load_keypoints(self.seen.folder / _LANDMARKS)
            if sum(k is not None for k in self.keypoints) < 2:
                raise InputError(f"No person could be tracked in {self.video.name}: it must show one person from the front.")
            inputs = {"landmarks": self.seen.key, "photo": self._key("tracking")}
            self.tracked = self._stage("tracked", ("body", "tracker"), inputs, {"fps": self.info.fps})
            if not self.tracked.ready:
                images = (image for _, image in self._frames())
                motion = get("tracker").track(self.keypoints, self.subject, self.info.fps, images=images)
                with self.tracked.write() as folder:
                    save_motions([motion], folder)
            self.motion: Motion = load_motions(self.tracked.folder)[0]

    def cut_out(self, count: int) -> list[int]:
        """Save the truth, the person in ``count`` frames on white.

        Returns:
            The numbers of the frames.
        """
        usable = [self.first + k for k, found in enumerate(self.keypoints) if found is not None]
        chosen = _spread([number for number in usable if number != self.photo_frame], count)
        missing = [number for number in chosen if not self._truth(number).ready]
        with self.progress.stage("cut the person out"):
            for number, image in self._frames() if missing else ():
                if number in missing:
                    self.progress.update(f"frame {number}", (missing.index(number) + 1) / len(missing))
                    with self._truth(number).write() as folder:
                        self._cut(number, image, folder)
        boxes = {number: read_json(self._truth(number).folder / "box.json")["box"] for number in chosen}
        found = [number for number in chosen if boxes[number] is not None]
        if not found:
            raise InputError(f"No person could be cut out of {self.video.name}: it must show one person from the front.")
        self._frame(np.asarray([self.subject.matte.box(), *(boxes[number] for number in found)]))
        return found

    def _cut(self, number: int, image: np.ndarray, folder: Path) -> None:
        """Save one frame of the truth; without a person, only an empty box."""
        photo = photo_from_array(image, f"frame {number}")
        try:
            matte = self.components.get("matting").matte(photo, self._landmarks(number))
        except InputError as error:
            log.warning("frame %d is left out: %s", number, error)
            write_json(folder / "box.json", {"box": None})
            return
        layers = torch.cat([on_white(matte.foreground, matte.alpha), matte.alpha[..., None]], -1)
        save_png(folder / "truth.png", layers)
        write_json(folder / "box.json", {"box": matte.box()})

    def _frame(self, boxes: np.ndarray) -> None:
        """Set the window to compare: everything that the person ever covers.

        The paper crops its clips the same way (section 4.1).
        """
        camera = self.subject.camera
        low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        margin = _MARGIN * (high - low).max()
        x0, y0 = (max(0, int(v - margin)) for v in low)
        x1, y1 = min(camera.width, int(high[0] + margin)), min(camera.height, int(high[1] + margin))
        self.window = x0, y0, x1, y1
        scale = min(1.0, _COMPARED_SIDE / max(x1 - x0, y1 - y0))
        self.size = 2 * round((x1 - x0) * scale / 2), 2 * round((y1 - y0) * scale / 2)
        self.camera: Camera = camera.cropped(x0, y0, x1 - x0, y1 - y0).resized(*self.size)

    def _framed(self, image: torch.Tensor) -> torch.Tensor:
        """Return the comparison window of a whole frame (H, W, C)."""
        x0, y0, x1, y1 = self.window
        return resized(image[y0:y1, x0:x1], *self.size)

    def metric(self, names: Sequence[str]) -> tuple[Any, str]:
        """Return the perceptual distance and its exact name."""
        losses = self.registry.components("loss")
        for name in (*names, self.recipe.slots["perceptual"].use):
            found = losses.get(name) if name else None
            if found is not None and all(r.met for r in requirements(found, str(self.components.device))):
                loss = with_defaults(found.create({}, self.components.context), Loss).for_evaluation()
                if isinstance(loss, PerceptualDistance):
                    return loss.distance, loss.name
        raise ConfigError("No perceptual metric is available. Run avatarkit doctor to see what is missing.")

    def compare(self, chosen: Sequence[int], distance: Any, metric: str) -> list[dict[str, Any]]:
        """Return the scores of all methods for each frame, and save their pictures; frames are compared on all cores."""
        stages = {number: {method: self._drawn(method, number, metric) for method in METHODS} for number in chosen}

        def drawn() -> Iterator[tuple[int, dict[str, torch.Tensor], torch.Tensor]]:
            for number in chosen:
                images = {method: self._draw(method, number) for method, stage in stages[number].items() if not stage.ready}
                if images:
                    yield number, images, self._true(number)

        def scored(pictures: tuple[int, dict[str, torch.Tensor], torch.Tensor]) -> tuple[int, dict[str, Any]]:
            number, images, truth = pictures
            places = windows(self._landmarks(number), self.window, self.size)
            scores = compare({m: image[..., :3] for m, image in images.items()}, truth[..., :3], places, distance)
            for method, image in images.items():
                scores[method]["mask_iou"] = _iou(image[..., 3] > 0.5, truth[..., 3] > 0.5)
            return number, {method: (image[..., :3], scores[method]) for method, image in images.items()}

        with self.progress.stage("compare"), single_threaded():
            for number, results in prefetch(scored, drawn(), cores()):
                for method, (picture, scores) in results.items():
                    with stages[number][method].write() as folder:
                        save_png(folder / "picture.png", picture)
                        write_json(folder / "scores.json", scores)
                self.progress.update(f"frame {number}", (list(chosen).index(number) + 1) / len(chosen))
        self._pictures |= {number: [stage.folder / "picture.png" for stage in made.values()] for number, made in stages.items()}
        return [{method: read_json(stage.folder / "scores.json") for method, stage in stages[n].items()} for n in chosen]

    def facts(self, chosen: Sequence[int], scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return facts about the clip and how well it was tracked.

        ``mask_iou`` compares the fitted mesh with the matte: mean over the frames, and of the photo.
        """
        seen = sum(k is not None for k in self.keypoints) / len(self.keypoints)
        return {
            "name": self.video.name, "sha256": self.clip_key, "width": self.info.width, "height": self.info.height,
            "fps": self.info.fps, "frames": len(self.keypoints), "detected": seen, "photo_frame": self.photo_frame,
            "compared": list(chosen), "window": list(self.window), "compared_size": list(self.size),
            "mask_iou": float(np.mean([s["mesh"]["mask_iou"] for s in scores])),
            "photo_mask_iou": self.subject.quality.metrics.get("mask_iou"),
        }  # fmt: skip

    def write_pictures(self, chosen: Sequence[int]) -> None:
        """Write truth, avatar, still and mesh side by side.

        Four frames go into a picture, all of them into a video.
        """

        def row(number: int) -> torch.Tensor:
            return torch.cat([self._true(number)[..., :3], *(load_png(path) for path in self._pictures[number])], 1)

        def film(path: Path) -> None:
            with VideoWriter(path, 4 * self.size[0], self.size[1], max(2.0, min(self.info.fps, 6.0))) as video:
                for number in chosen:
                    video.write((row(number) * 255).round().to(torch.uint8).numpy())

        picture = torch.cat([row(n) for n in _spread(chosen, 4)], 0)
        self.folder.add("comparison.png", lambda path: save_png(path, picture))
        self.folder.add("comparison.mp4", film)

    # ------------------------------------------------------------------------------------------------------- pictures

    @cached_property
    def _texture(self) -> torch.Tensor:
        return texture_from_photo(self.subject, self.avatar.body, self.avatar.renderer).rgb

    def _true(self, number: int) -> torch.Tensor:
        """Return the true picture (H, W, 4) on white, and the matte."""
        return self._framed(load_png(self._truth(number).folder / "truth.png"))

    def _draw(self, method: str, number: int) -> torch.Tensor:
        """Return a rendering (H, W, 4) on white, and its coverage."""
        if method == "avatar":
            drawn = self.avatar.render(self._pose(number), camera=self.camera, background="transparent").cpu()
            return torch.cat([on_white(drawn[..., :3], drawn[..., 3]), drawn[..., 3:]], -1)
        if method == "still":
            matte = self.subject.matte
            return self._framed(torch.cat([on_white(matte.foreground, matte.alpha), matte.alpha[..., None]], -1))
        body = self.avatar.body
        mesh = Mesh(body.vertices(self._pose(number).batched(), self.subject.vertex_offsets)[0], body.faces)
        with torch.no_grad():
            seen = self.avatar.renderer.meshes.render(mesh, self.camera)
        hit, mask = seen.face_index >= 0, seen.mask.clamp(0, 1)
        image = torch.ones(*hit.shape, 3)
        image[hit] = sample_texture(self._texture, body, seen.face_index[hit], seen.barycentric[hit].float())
        return torch.cat([on_white(image, mask), mask[..., None]], -1)

    def _pose(self, number: int) -> BodyParams:
        return replace(self.motion.params[number - self.first], shape=self.subject.params.shape)

    # ------------------------------------------------------------------------------------------------------ machinery

    def _frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the frames in use with their numbers, one at a time."""
        for number, (_, image) in enumerate(read_frames(self.video, max_side=_SIDE)):
            if number >= self.first + _LONGEST:
                log.warning("only %d frames of %s are used, from number %d on", _LONGEST, self.video.name, self.first)
                return
            if number >= self.first:
                yield number, image

    def _landmarks(self, number: int) -> Keypoints:
        found = self.keypoints[number - self.first]
        assert found is not None  # only frames with a person are chosen
        return found

    def _key(self, stage: str) -> str:
        """Return the key of a stage of the build."""
        return str(self.avatar.manifest["stages"][stage]["key"])

    def _truth(self, number: int) -> Stage:
        inputs = {"clip": self.clip_key, "landmarks": self.seen.key}
        return self._stage(f"truth-{number:05d}", ("matting",), inputs, {})

    def _drawn(self, method: str, number: int, metric: str) -> Stage:
        inputs = {"truth": self._truth(number).key, "photo": self._key("avatar" if method == "avatar" else "tracking")}
        if method != "still":
            inputs["tracked"] = self.tracked.key
        config = {"metric": metric, "window": list(self.window), "size": list(self.size)}
        return self._stage(f"{method}-{number:05d}", ("body", "renderer"), inputs, config)

    def _stage(self, name: str, slots: tuple[str, ...], inputs: dict[str, str], config: dict[str, Any]) -> Stage:
        """Return a stage whose key covers the components in ``slots``."""
        return keyed_stage(self.store, self.components, name, slots, inputs, config, _RUNS)


def _spread(indices: Sequence[int], count: int) -> list[int]:
    """Return at most ``count`` of the indices, spread evenly."""
    if len(indices) <= count:
        return list(indices)
    return [indices[round(k)] for k in np.linspace(0, len(indices) - 1, count)]


def _iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a & b).sum() / (a | b).sum().clamp(min=1))
