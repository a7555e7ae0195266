"""The nodes. Their errors are those of avatarkit: one sentence that says what is wrong and what to do."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch

import avatarkit

from . import host, media

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

AVATAR, MOTION = "AVATARKIT_AVATAR", "AVATARKIT_MOTION"
MOTION_FILES = (".bvh", ".glb", ".gltf", ".npz", ".pose", ".vrma")
SIZE = {"min": 0, "max": 4096, "step": 2}
NO_CONSENT = (
    "Write into 'consent' what the person in the photo agreed to, for example 'Ada agreed to a private avatar on 2026-01-31.'"
)

Inputs = dict[str, dict[str, tuple[Any, ...]]]


@dataclass(frozen=True)
class Avatar:
    """What flows between nodes as an avatar.

    Attributes:
        path: its folder.
        loaded: it, ready to play.
    """

    path: Path
    loaded: avatarkit.LoadedAvatar


@dataclass(frozen=True)
class Move:
    """What flows between nodes as a motion.

    Attributes:
        motion: a built-in motion or a file, by name, or a motion for the avatar's body model.
        sound: the sound file that belongs to it.
    """

    motion: str | avatarkit.Motion
    sound: Path | None = None


class Node:
    """What all nodes have in common.

    ComfyUI runs nodes in torch's inference mode, in which nothing can be trained, so a node leaves it while it works.
    """

    CATEGORY: ClassVar[str] = "avatarkit"
    FUNCTION: ClassVar[str] = "run"
    DESCRIPTION: ClassVar[str] = ""
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ()

    def run(self, **inputs: Any) -> Any:
        """Do the work with the inputs that ``INPUT_TYPES`` names."""
        with torch.inference_mode(False), torch.enable_grad():
            return self.work(**inputs)

    def work(self, *args: Any, **inputs: Any) -> Any:
        """Return what ComfyUI expects: a tuple of outputs, or a dictionary with what the interface shows."""
        raise NotImplementedError


class BuildAvatar(Node):
    """Builds an avatar from one photo."""

    DESCRIPTION = "Builds an avatar of a consenting person from one photo. Save Avatar keeps it."
    RETURN_TYPES, RETURN_NAMES = (AVATAR,), ("avatar",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs."""
        presets = list(avatarkit.presets())
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "One photo: one person from the front, face and hands in view."}),
                "preset": (
                    presets,
                    {"default": "draft", "tooltip": "More quality takes more time; paper needs a GPU."},
                ),
                "consent": ("STRING", {"multiline": True, "tooltip": "What the person agreed to; it is stored in the avatar."}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**32 - 1}),
            },
            "optional": {
                "person": (
                    "INT",
                    {"default": 0, "min": 0, "max": 99, "tooltip": "Which one from the left; 0 = the only one."},
                ),
                "device": (["auto", "cpu", "cuda"], {"default": "auto"}),
                "settings": ("STRING", {"multiline": True, "tooltip": "Changes of the preset, one a line: training.steps=200"}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, consent: str | None = None) -> bool | str:
        """Find a missing consent before anything runs; None is one that another node will give."""
        return True if consent is None or consent.strip() else NO_CONSENT

    def work(
        self,
        image: torch.Tensor,
        preset: str,
        consent: str,
        seed: int,
        person: int = 0,
        device: str = "auto",
        settings: str = "",
    ) -> tuple[Avatar]:
        """Build the avatar in ComfyUI's temporary folder; the same inputs continue or reuse an earlier build."""
        if not consent.strip():
            raise avatarkit.InputError(NO_CONSENT)
        folder = host.temporary_folder()
        photo = media.write_photo(image, folder)
        options: dict[str, Any] = {
            "preset": preset,
            "consent": consent.strip(),
            "seed": seed,
            "person": person or None,
            "device": device,
        }
        options["settings"] = [line.strip() for line in settings.splitlines() if line.strip()]
        asked = repr((photo.name, sorted(options.items())))
        output = folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.avatar"
        progress = host.ComfyProgress()
        try:
            avatarkit.build(photo, output, progress=progress, **options)
        except avatarkit.AvatarkitError:
            if progress.interrupted is not None:
                raise progress.interrupted from None
            raise
        return (Avatar(output, avatarkit.load(output, device=device)),)


class LoadAvatar(Node):
    """Opens an avatar of ComfyUI's input or output folder."""

    DESCRIPTION = "Opens an avatar: a folder NAME.avatar in ComfyUI's input or output folder."
    RETURN_TYPES, RETURN_NAMES = (AVATAR,), ("avatar",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs."""
        return {
            "required": {"avatar": (host.found(".avatar"),)},
            "optional": {"device": (["auto", "cpu", "cuda"], {"default": "auto"})},
        }

    @classmethod
    def IS_CHANGED(cls, avatar: str, device: str = "auto") -> str:
        """Return the hash of the manifest, which lists those of all files."""
        return hashlib.sha256((host.located(avatar) / "manifest.json").read_bytes()).hexdigest()

    def work(self, avatar: str, device: str = "auto") -> tuple[Avatar]:
        """Open the avatar."""
        path = host.located(avatar)
        return (Avatar(path, avatarkit.load(path, device=device)),)


class SaveAvatar(Node):
    """Copies an avatar into ComfyUI's output folder."""

    DESCRIPTION = "Copies an avatar into ComfyUI's output folder, without the stages of its build. Load Avatar lists it."
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs."""
        return {"required": {"avatar": (AVATAR,), "filename_prefix": ("STRING", {"default": "avatars/avatar"})}}

    def work(self, avatar: Avatar, filename_prefix: str) -> dict[str, Any]:
        """Copy it under a new name; the copy appears when it is complete."""
        target, _ = host.output_name(filename_prefix, ".avatar")
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            shutil.copytree(avatar.path, partial, ignore=shutil.ignore_patterns("cache"))
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return {"ui": {"text": [str(target)]}}


class AvatarMotion(Node):
    """Chooses a built-in motion or a motion file."""

    DESCRIPTION = "A built-in motion, or a motion file in ComfyUI's input or output folder (BVH, GLB, VRMA, npz, .pose)."
    RETURN_TYPES, RETURN_NAMES = (MOTION,), ("motion",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs."""
        return {"required": {"motion": ([*builtin_motions(), *host.found(*MOTION_FILES)], {"default": "talk"})}}

    @classmethod
    def IS_CHANGED(cls, motion: str) -> str:
        """Return the time of a file."""
        return "" if motion in builtin_motions() else str(host.located(motion).stat().st_mtime_ns)

    def work(self, motion: str) -> tuple[Move]:
        """Name the motion."""
        return (Move(motion if motion in builtin_motions() else str(host.located(motion))),)


class AvatarSpeech(Node):
    """Makes an avatar talk along with a sound."""

    DESCRIPTION = "The motion of an avatar that talks along with a sound: mouth, face, head and hands."
    RETURN_TYPES, RETURN_NAMES = (MOTION,), ("motion",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs."""
        return {
            "required": {"avatar": (AVATAR,), "audio": ("AUDIO",)},
            "optional": {
                "text": (
                    "STRING",
                    {"multiline": True, "tooltip": "The English words in it: lips become more exact."},
                ),
                "style": (["lively", "calm"], {"default": "lively"}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**32 - 1, "tooltip": "Other gestures for the same sound."}),
            },
        }

    def work(self, avatar: Avatar, audio: dict[str, Any], text: str = "", style: str = "lively", seed: int = 0) -> tuple[Move]:
        """Make the motion, 30 frames per second."""
        sound = media.write_sound(audio, host.temporary_folder())
        return (Move(avatar.loaded.speech(sound, text.strip(), style=style, seed=seed), sound),)


class AnimateAvatar(Node):
    """Renders an avatar in motion as images."""

    DESCRIPTION = "Renders an avatar in motion: images, masks that are 1 where the person is, and frames per second."
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK", "FLOAT"), ("images", "masks", "fps")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs."""
        return {
            "required": {"avatar": (AVATAR,), "motion": (MOTION,), "fps": ("FLOAT", {"default": 15.0, "min": 1.0, "max": 120.0})},
            "optional": {
                **view_inputs(),
                "camera": (["front", "orbit"], {"default": "front"}),
                "max_frames": ("INT", {"default": 0, "min": 0, "max": 18000, "tooltip": "0 = the whole motion."}),
            },
        }

    def work(
        self,
        avatar: Avatar,
        motion: Move,
        fps: float,
        width: int = 0,
        height: int = 512,
        background: str = "#ffffff",
        camera: str = "front",
        max_frames: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Render the frames."""
        size = size_of(avatar, width, height)
        animation = avatar.loaded.animate(motion.motion, camera, size, fps, "transparent")
        count = min(animation.count, max_frames or animation.count)
        images, masks = torch.empty(count, size[1], size[0], 3), torch.empty(count, size[1], size[0])
        progress = host.ComfyProgress()
        for i, frame in zip(range(count), animation, strict=False):
            images[i], masks[i] = media.over(frame.image, background)
            progress.update("rendering", (i + 1) / count)
        return images, masks, animation.fps


class SaveAvatarVideo(Node):
    """Saves an avatar in motion as a signed video with sound."""

    DESCRIPTION = "Saves an avatar in motion as MP4 with the sound of its speech, signed as synthetic (C2PA)."
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs."""
        inputs = AnimateAvatar.INPUT_TYPES()
        del inputs["optional"]["max_frames"]
        inputs["required"]["filename_prefix"] = ("STRING", {"default": "video/avatar"})
        return inputs

    def work(
        self,
        avatar: Avatar,
        motion: Move,
        fps: float,
        filename_prefix: str,
        width: int = 0,
        height: int = 512,
        background: str = "#ffffff",
        camera: str = "front",
    ) -> dict[str, Any]:
        """Save the video and show it."""
        path, subfolder = host.output_name(filename_prefix, ".mp4")
        size = size_of(avatar, width, height)
        avatar.loaded.animate(motion.motion, camera, size, fps, background, audio=motion.sound).save(path, host.ComfyProgress())
        shown = {"filename": path.name, "subfolder": subfolder, "type": "output"}
        return {"ui": {"images": [shown], "animated": (True,)}}


class RenderAvatar(Node):
    """Renders an avatar as in the photo, from any side."""

    DESCRIPTION = "Renders an avatar as in the photo, from another side: an image, and a mask that is 1 where the person is."
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("image", "mask")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs."""
        turn = {"default": 0.0, "min": -180.0, "max": 180.0, "step": 1.0}
        return {
            "required": {
                "avatar": (AVATAR,),
                "yaw": ("FLOAT", {**turn, "tooltip": "Degrees around the person; the photo shows one side."}),
                "pitch": ("FLOAT", {**turn, "min": -89.0, "max": 89.0}),
            },
            "optional": view_inputs(),
        }

    def work(
        self, avatar: Avatar, yaw: float, pitch: float, width: int = 0, height: int = 512, background: str = "#ffffff"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Render the picture."""
        shape = size_of(avatar, width, height)
        picture = avatar.loaded.render(yaw=yaw, pitch=pitch, width=shape[0], height=shape[1], background="transparent")
        image, mask = media.over(picture, background)
        return image[None], mask[None]


def view_inputs() -> dict[str, tuple[Any, ...]]:
    """Return the inputs of size and background."""
    return {
        "width": ("INT", {"default": 0, **SIZE, "tooltip": "Pixels; 0 = as the photo's shape wants."}),
        "height": ("INT", {"default": 512, **SIZE, "tooltip": "Pixels; 0 = as the photo's shape wants."}),
        "background": ("STRING", {"default": "#ffffff", "tooltip": "'#rrggbb', or transparent: colors without background."}),
    }


def size_of(avatar: Avatar, width: int, height: int) -> tuple[int, int]:
    """Return (width, height), even; 0 is filled in with the photo's aspect ratio."""
    w, h = avatar.loaded.default_size()
    width = width or (round(height * w / h / 2) * 2 if height else w)
    return width, height or max(2, round(width * h / w / 2) * 2)


@cache
def builtin_motions() -> tuple[str, ...]:
    """Return the names of the built-in motions."""
    components = avatarkit.Components(avatarkit.Recipe.load("standard"), avatarkit.Registry.load(), "cpu")
    return tuple(components.get("motions").names())


_NODES = {
    "Build Avatar": BuildAvatar,
    "Load Avatar": LoadAvatar,
    "Save Avatar": SaveAvatar,
    "Avatar Motion": AvatarMotion,
    "Avatar Speech": AvatarSpeech,
    "Animate Avatar": AnimateAvatar,
    "Render Avatar": RenderAvatar,
    "Save Avatar Video": SaveAvatarVideo,
}
NODE_CLASS_MAPPINGS = {f"Avatarkit{node.__name__}": node for node in _NODES.values()}
NODE_DISPLAY_NAME_MAPPINGS = {f"Avatarkit{node.__name__}": name for name, node in _NODES.items()}
