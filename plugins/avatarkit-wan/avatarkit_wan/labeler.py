"""Body labels made by Wan-Animate."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanAnimatePipeline, WanAnimateTransformer3DModel
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPVisionModel, UMT5EncoderModel

from avatarkit.errors import ConfigError, MissingWeights, StoreError
from avatarkit.interfaces import Context
from avatarkit.labelling.driving import HeadPainter
from avatarkit.labelling.pipelines import from_hub_or_folder, load_part, move, number_format
from avatarkit.labelling.request import ClipRequest
from avatarkit.labelling.scratch import Scratch
from avatarkit.labelling.wholebody import FACE
from avatarkit.storage.stage_cache import load_tensors, save_tensors
from avatarkit.types.body import Motion
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject
from avatarkit_wan.config import WanConfig, missing_parts
from avatarkit_wan.style import STYLE, face_box

__all__ = ["WanLabeler"]

log = logging.getLogger("avatarkit.wan")

WEIGHTS = "wan-animate-14b"  # name of ``avatarkit weights``
PARTS = {
    "transformer": WanAnimateTransformer3DModel,
    "vae": AutoencoderKLWan,
    "image_encoder": CLIPVisionModel,
    "text_encoder": UMT5EncoderModel,
    "scheduler": UniPCMultistepScheduler,
    "image_processor": CLIPImageProcessor,
    "tokenizer": AutoTokenizer,
}
TEXT = ("text_encoder", "tokenizer")  # loaded only when a prompt is new


class WanLabeler:
    """``PseudoLabeler`` around diffusers' ``WanAnimatePipeline``: drawn poses move the body, drawn faces the face.

    Attributes:
        exact: the frames show what was asked for only roughly, and have to be tracked again.
        regions: what it can show.
    """

    exact = False
    regions = ("body",)

    def __init__(self, config: WanConfig, context: Context) -> None:
        self._config, self._context = config, context
        self._pipeline: Any = None

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """See ``PseudoLabeler.generate``.

        The motion is thinned to the config's frames per second. ``params`` equal ``requested``: the network keeps to
        its request only roughly, so the frames have to be tracked again. The camera is the photo's, in the window that
        was shown to the network.

        Raises:
            MissingWeights: the folder of weights, or a part of it, is not there.
            InputError: a checkpoint is damaged or not the right one, or the matte is empty.
        """
        config = self._config
        self._folder()
        request = ClipRequest.of(self._context, subject, motion, fps=config.fps, size=(config.short, config.long))
        poses, faces = self._driving(request)
        return request.clip(self._animate(request.reference, poses, faces, seed), config.confidence)

    def _driving(self, request: ClipRequest) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Stick figures (H, W, 3) and face crops (S, S, 3), uint8, one of each for every frame."""
        body, renderer, camera = self._context.get("body"), self._context.get("renderer"), request.camera
        poses = list(request.pose_maps(STYLE))
        size = self._ready_pipeline().transformer.config.motion_encoder_size
        boxes = _filled([face_box(p[FACE], camera.height, camera.width) for p in request.points[0]])
        if boxes is None:
            log.warning("no face is seen in the motion; the face is left to the network")
            return poses, [np.zeros((size, size, 3), np.uint8)] * len(poses)
        views = [camera.cropped(x0, y0, x1 - x0, y1 - y0).resized(size, size) for x0, y0, x1, y1 in boxes]
        painter = HeadPainter(request.subject, body, renderer)
        return poses, painter.draw(request.params, views, lambda part: self._context.progress("drawing the face", part))

    def _animate(self, reference: torch.Tensor, poses: list[np.ndarray], faces: list[np.ndarray], seed: int) -> torch.Tensor:
        """Return (T, H, W, 3) uint8."""
        config, pipeline = self._config, self._ready_pipeline()
        overlap, count = int(config.overlap), len(poses)
        # The pipeline wants more frames than it goes on from, and at least two.
        spare = max(2, overlap + 1) - count
        poses, faces = (list(frames) + [frames[-1]] * max(spare, 0) for frames in (poses, faces))
        segments = -(-(len(poses) - overlap) // (config.segment - overlap))
        inputs = (reference, np.stack(poses), np.stack(faces), self._folder())
        scratch = Scratch.for_clip(self._context, "wan", str(config), str(self._dtype()), seed, *inputs)
        known = _kept(scratch, segments)
        total, done = segments * config.steps, 0

        def step(pipeline: Any, number: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            nonlocal done
            done += 1
            self._context.progress("denoising", done / total)
            segment, last = (done - 1) // config.steps, done % config.steps == 0
            if last and segment < len(known):
                return {"latents": known[segment].to(tensors["latents"])}
            if last:
                scratch.save(f"segment_{segment:06d}", latents=tensors["latents"].detach().cpu())
            return {}

        with _skipped(pipeline.transformer, lambda: done < len(known) * config.steps):
            video = self._run(pipeline, reference, poses, faces, seed, step)
        if not np.isfinite(video).all():
            raise ConfigError("wan: the number format is too narrow here, frames are not finite; set dtype = 'float32'.")
        scratch.remove()
        return torch.from_numpy((np.asarray(video[:count]).clip(0, 1) * 255).round().astype(np.uint8))

    def _run(
        self, pipeline: Any, reference: torch.Tensor, poses: list[np.ndarray], faces: list[np.ndarray], seed: int, step: Any
    ) -> np.ndarray:
        """Return (T, H, W, 3), 0 to 1; ``step`` is called after each denoising step."""
        config, (height, width) = self._config, reference.shape[:2]
        return pipeline(  # type: ignore[no-any-return]
            image=Image.fromarray(reference.numpy()),
            pose_video=[Image.fromarray(frame) for frame in poses],
            face_video=[Image.fromarray(frame) for frame in faces],
            prompt_embeds=self._prompt(config.prompt),
            negative_prompt_embeds=self._prompt("") if config.guidance > 1 else None,
            height=height,
            width=width,
            segment_frame_length=config.segment,
            num_inference_steps=config.steps,
            prev_segment_conditioning_frames=int(config.overlap),
            guidance_scale=config.guidance,
            generator=torch.Generator().manual_seed(seed),
            callback_on_step_end=step,
            output_type="np",
        ).frames[0]

    def _prompt(self, text: str) -> torch.Tensor:
        """Return (1, 512, D) embedding.

        Kept on disk, because the text encoder is the second largest network of all.
        """
        folder = self._folder()
        files = [(p.name, p.stat().st_size) for p in sorted((folder / "text_encoder").iterdir())]
        digest = hashlib.sha256(repr((text, files, str(self._dtype()))).encode()).hexdigest()[:32]
        path = self._context.cache / "wan" / f"prompt-{digest}.safetensors"
        try:
            if path.is_file():
                return load_tensors(path)["embeds"]
        except (StoreError, KeyError):
            log.warning("the kept prompt %s is damaged, and is made again", path.name)
        self._context.progress("reading the prompt", None)
        pipeline = self._ready_pipeline()
        pipeline.text_encoder, pipeline.tokenizer = (load_part(folder / name, PARTS[name], self._dtype()) for name in TEXT)
        try:
            with torch.no_grad():
                embeds, _ = pipeline.encode_prompt(
                    text, do_classifier_free_guidance=False, max_sequence_length=512, device=torch.device("cpu")
                )
        finally:
            pipeline.text_encoder = pipeline.tokenizer = None
        try:
            save_tensors(path, {"embeds": embeds})
        except StoreError as error:  # it only costs the time again
            log.warning("the prompt cannot be kept: %s", error)
        return torch.as_tensor(embeds)

    def _ready_pipeline(self) -> Any:
        """Load the networks when first asked."""
        if self._pipeline is None:
            self._pipeline = from_hub_or_folder(
                WanAnimatePipeline, self._folder(), self._context, dtype=self._dtype(), without=TEXT, parts=PARTS,
                formats={"vae": torch.float32},  # it is small, and clips in half precision
            )  # fmt: skip
            move(self._pipeline, self._context.device, self._config.offload)
        return self._pipeline

    def _folder(self) -> Path:
        folder = self._config.weights or self._context.weights(WEIGHTS)
        if missing := missing_parts(folder):
            raise MissingWeights(missing[0])
        return folder

    def _dtype(self) -> torch.dtype:
        return number_format(self._config.dtype, self._context.device, half=torch.bfloat16)


def _kept(scratch: Scratch, segments: int) -> list[torch.Tensor]:
    """Return the latents of the first segments, as far as an earlier run came."""
    found: list[torch.Tensor] = []
    while len(found) < segments and (kept := scratch.load(f"segment_{len(found):06d}", "latents")) is not None:
        found.append(kept["latents"])
    return found


@contextmanager
def _skipped(transformer: Any, known: Callable[[], bool]) -> Iterator[None]:
    """Let a network return zeros while ``known()``: what it would predict is replaced at the end of the segment."""
    own, forward = vars(transformer).get("forward"), transformer.forward

    def run(*args: Any, hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        if known():
            return (hidden_states.new_zeros(len(hidden_states), transformer.config.out_channels, *hidden_states.shape[2:]),)
        return forward(*args, hidden_states=hidden_states, **kwargs)

    transformer.forward = run
    try:
        yield
    finally:
        del transformer.forward
        if own is not None:
            transformer.forward = own


def _filled(boxes: list[tuple[int, int, int, int] | None]) -> list[tuple[int, int, int, int]] | None:
    """Return face boxes for all frames; frames without a face use the previous one.

    Frames before the first face use the first one.
    """
    last = next((box for box in boxes if box is not None), None)
    if last is None:
        return None
    filled = []
    for box in boxes:
        last = last if box is None else box
        filled.append(last)
    return filled
