"""An avatar ready to play, and its animations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from avatarkit.animation.cameras import follow, frame_window
from avatarkit.animation.exporting import run_exporter
from avatarkit.animation.placement import place
from avatarkit.components import Components
from avatarkit.errors import InputError
from avatarkit.interfaces import AvatarModel, BodyModel, GetComponent, Posed, Renderer, SpeechSource
from avatarkit.io.image import encode_png
from avatarkit.io.video_writer import VideoWriter
from avatarkit.motion.mixing import with_resting_arms
from avatarkit.motion.speech import SpokenText, options_of_speech, speech_motion
from avatarkit.rendering import render_posed
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera, orbit
from avatarkit.types.frames import Frame
from avatarkit.utils.html import avatar_card, avatar_line
from avatarkit.utils.progress import Progress, default_progress
from avatarkit.utils.threads import prefetch, single_threaded

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Animation", "LoadedAvatar", "parse_color"]

_TRUNK = ("spine", "neck", "head")


@dataclass
class Animation:
    """An avatar in motion: iterate over its frames once, or save them as a video.

    Attributes:
        motion: the motion that is played.
        frames: iterator of the frames.
        size: (width, height) in pixels.
        fps: frames per second.
        count: number of frames.
        transparent: whether the background is transparent.
        audio: sound file that the saved video contains.
        output: what ``save`` writes in, see ``LoadedAvatar.output``.
        spoken: what was said, whose sound file is ``audio``.
    """

    motion: Motion
    frames: Iterator[Frame]
    size: tuple[int, int]
    fps: float
    count: int
    transparent: bool = False
    audio: Path | None = None
    output: Callable[[Path], AbstractContextManager[None]] = lambda path: nullcontext()
    spoken: SpokenText | None = None

    def __iter__(self) -> Iterator[Frame]:
        return self.frames

    def __next__(self) -> Frame:
        return next(self.frames)

    def __len__(self) -> int:
        return self.count

    def save(self, path: Path | str, progress: Progress | None = None) -> Path:
        """Render the frames into a video (.mp4 .mov .webm .mkv), or a folder of PNG files without suffix.

        Returns:
            ``path``.
        """
        report, path = progress or default_progress(), Path(path)
        writer = VideoWriter(path, *self.size, self.fps, transparent=self.transparent, audio=self.audio)
        with report.stage("rendering"), self.output(path), writer:
            for frame in self.frames:
                writer.write(frame.pixels(self.transparent))
                report.update(f"frame {writer.count} of {self.count}", writer.count / self.count)
        return path


@dataclass(frozen=True)
class LoadedAvatar:
    """An avatar ready to play.

    Attributes:
        model: the avatar model.
        body: its body model.
        renderer: its renderer.
        components: creates other components of its recipe.
        photo_params: parameters of the person in the photo.
        photo_camera: camera of the photo.
        box: (4,) x0, y0, x1, y1 of the person in the photo, pixels.
        manifest: manifest of the folder.
        name: name of the folder, without its suffix.
    """

    model: AvatarModel
    body: BodyModel
    renderer: Renderer
    components: Components
    photo_params: BodyParams
    photo_camera: Camera
    box: tuple[float, float, float, float]
    manifest: dict[str, Any]
    name: str = "avatar"

    def __repr__(self) -> str:
        """Return one line; notebooks show pictures instead."""
        return avatar_line(self.name, self.contents, self.manifest)

    def _repr_png_(self) -> bytes:
        """Return the picture for notebooks without HTML."""
        return encode_png(self.render(height=320))

    def _repr_html_(self) -> str:
        """Return three views and a few facts for notebooks."""
        views = {"from the left": -25.0, "from the front": 0.0, "from the right": 25.0}
        pictures = {what: encode_png(self.render(yaw=yaw, height=320)) for what, yaw in views.items()}
        return avatar_card(self.name, self.contents, self.manifest, pictures)

    @property
    def contents(self) -> str:
        """Say what the avatar is made of: ``60,000 Gaussians``."""
        posed = self._posed(self.photo_params)
        if len(posed.gaussians) or posed.mesh is None:
            return f"{len(posed.gaussians):,} Gaussians"
        return f"a mesh of {len(posed.mesh.vertices):,} vertices"

    @cached_property
    def center(self) -> torch.Tensor:
        """(3,) world point that cameras turn around: the middle of the joints that the photo shows."""
        joints = self._joints(self.photo_params)[0]
        seen = joints[self._seen(joints)]
        return (seen.amin(0) + seen.amax(0)) / 2

    @property
    def centre(self) -> torch.Tensor:
        """Return ``center`` under its former name."""
        warnings.warn("LoadedAvatar.centre is called center now.", DeprecationWarning, stacklevel=2)
        return self.center

    def _joints(self, params: BodyParams) -> torch.Tensor:
        """Return the world positions of the joints, (T, J, 3)."""
        p = params.batched()
        skeleton = self.body.skeleton(p.shape)
        A = self.body.joint_transforms(skeleton, p.root, p.translation, p.joints)
        return (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]

    def _seen(self, joints: torch.Tensor) -> torch.Tensor:
        """Return which joints (J, 3) the photo shows, (J,) bool; all if it shows none."""
        pixels = self.photo_camera.project(joints)
        size = torch.tensor([self.photo_camera.width, self.photo_camera.height], device=pixels.device)
        inside = ((pixels >= 0) & (pixels < size)).all(1)
        return inside if inside.any() else torch.ones_like(inside)

    def _travel(self, world: BodyParams, fps: float) -> torch.Tensor:
        """Return the camera's displacements (T, 3) in meters.

        It follows the visible parts of trunk and head.
        """
        trunk = {j for g in self.body.pose_groups if g.name.startswith(_TRUNK) for j in g.joints}
        start = self._joints(self.photo_params)[0]
        seen = self._seen(start)
        chosen = [j for j in sorted(trunk) if seen[j]] or [0]
        return follow(self._joints(world)[:, chosen].mean(1) - start[chosen].mean(0), fps)

    def default_size(self, height: int = 512) -> tuple[int, int]:
        """Return (width, height) with the photo's aspect ratio, even, at most ``height`` high."""
        c = self.photo_camera
        h = min(height, c.height)
        return max(2, round(h * c.width / c.height / 2) * 2), max(2, round(h / 2) * 2)

    def camera(self, size: tuple[int, int] | None = None, yaw: float = 0.0, pitch: float = 0.0) -> Camera:
        """Return the photo's camera, turned around the person and fitted to an aspect ratio."""
        width, height = size or self.default_size()
        x, y, w, h = frame_window(self.box, self.photo_camera, width / height)
        camera = self.photo_camera.cropped(x, y, round(w), round(h)).resized(width, height)
        return orbit(camera, self.center, yaw, pitch) if yaw or pitch else camera

    def export_options(self) -> dict[str, Any]:
        """Return the options that ``Exporter.write`` accepts besides avatar and pose."""
        view = {"center": self.center, "centre": self.center, "box": self.box}  # "centre" is a former name
        return {"name": self.name, "consent": self.manifest.get("consent"), "camera": self.photo_camera, **view}

    def render(
        self,
        params: BodyParams | None = None,
        yaw: float = 0.0,
        pitch: float = 0.0,
        width: int | None = None,
        height: int | None = None,
        background: str = "#ffffff",
        camera: Camera | None = None,
    ) -> torch.Tensor:
        """Render one picture.

        Args:
            params: pose in the world; None = as in the photo.
            yaw: degrees that the camera turns around the person, positive to the picture's right.
            pitch: degrees that the camera rises.
            width: pixels; None = computed from ``height``, or as in the photo.
            height: pixels; None = computed from ``width``, or as in the photo.
            background: ``#rrggbb`` or ``transparent``.
            camera: used instead of yaw, pitch, width and height.

        Returns:
            (H, W, 4) sRGB 0 to 1 with straight alpha.
        """
        if camera is None:
            camera = self.camera(self._size(width, height), yaw, pitch)
        return self._draw(self._posed(self.photo_params if params is None else params), camera, background)

    def _posed(self, params: BodyParams) -> Posed:
        with torch.no_grad(), single_threaded():
            return self.model.pose(params)

    def _draw(self, posed: Posed, camera: Camera, background: str) -> torch.Tensor:
        color = parse_color(background)
        with torch.no_grad(), single_threaded():
            drawn = render_posed(self.renderer, posed, camera, color if color is not None else torch.zeros(3))
            if color is not None:
                return torch.cat([drawn.rgb.clamp(0, 1), torch.ones_like(drawn.alpha)[..., None]], -1)
            alpha = drawn.alpha[..., None]
            return torch.cat([(drawn.rgb / alpha.clamp(min=1e-3)).clamp(0, 1), alpha], -1)

    def picture(self, **options: Any) -> PIL.Image.Image:
        """Render a picture that notebooks show and that you can save.

        The arguments are those of ``render``: ``avatar.picture(yaw=20).save("side.png")``.
        """
        from PIL import Image

        return Image.fromarray((self.render(**options) * 255).round().to(torch.uint8).numpy())

    def _size(self, width: int | None, height: int | None) -> tuple[int, int]:
        """Return (width, height) if one or both are given; the other follows the photo's aspect."""
        w, h = self.default_size()
        if width is None and height is not None:
            return max(2, round(height * w / h)), height
        if height is None and width is not None:
            return width, max(2, round(width * h / w))
        return width or w, height or h

    def animate(
        self,
        motion: Motion | Path | str,
        camera: str | Camera = "front",
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        background: str = "#ffffff",
        keep: str | None = None,
        audio: Path | str | None = None,
    ) -> Animation:
        """Play a motion: ``avatar.animate("wave").save("wave.mp4")``, or iterate over the frames.

        Args:
            motion: name of a built-in motion, a motion file, or a relative ``Motion`` for this avatar's body model.
            camera: ``front``, or ``orbit`` (back and forth within 30 degrees around the person); both follow a person who walks
                away. Or a camera, which stands still.
            size: (width, height).
            fps: frames per second; None = as in the motion.
            background: see ``render``.
            keep: part that stays as in the photo: legs, trunk or none; see ``place``.
            audio: sound file that the saved video contains.
        """
        if not isinstance(motion, Motion):
            from avatarkit.motion.files import find_motion  # readers of many formats, which playing needs rarely

            motion = find_motion(str(motion), cast(GetComponent, self.components.get))
        motion.require_model(self.body.name)
        if not isinstance(camera, Camera) and camera not in ("front", "orbit"):
            raise InputError(f"There is no camera {camera!r}: use front, orbit, or the JSON file of a camera.")
        rate = fps or motion.fps
        count = max(1, round(len(motion) / motion.fps * rate))
        shape = size or ((camera.width, camera.height) if isinstance(camera, Camera) else self.default_size())
        frames = self._play(motion, camera, size, rate, count, background, keep)
        sound = None if audio is None else Path(audio)
        return Animation(motion, frames, shape, rate, count, background == "transparent", sound, self.output)

    def speak(
        self,
        sound: Path | str,
        text: str = "",
        subtitles: Path | str | None = None,
        style: str = "lively",
        seed: int = 0,
        driver: str | None = None,
        settings: Sequence[str] = (),
        **options: Any,
    ) -> Animation:
        """Talk along with a sound file: ``avatar.speak("hello.wav").save("hello.mp4")``.

        Args:
            sound: the sound file, which the saved video contains.
            text: the English words in it, if you know them.
            subtitles: file of subtitles (.srt .vtt), instead of ``text``.
            style: ``calm`` or ``lively``.
            seed: the same seed gives the same gestures.
            driver: a speech driver; None = the one that avatarkit brings.
            settings: options of the driver: ``["speech.gestures=0.5"]``.
            options: as for ``animate``.
        """
        motion = self.speech(sound, text, subtitles, style, seed, driver, options.get("fps"), settings)
        return self.animate(motion, audio=sound, **options)

    def talk(self, text: str, voice: str | None = None, engine: str | None = None, **options: Any) -> Animation:
        """Say a text: ``avatar.talk("Hello, and welcome.").save("hello.mp4")``.

        Args:
            text: what to say.
            voice: a voice of the engine; None = its first.
            engine: a speech synthesizer; None = the one that avatarkit brings, which calls eSpeak NG.
            options: as for ``speak``; ``settings`` may have options of the engine: ``["synthesizer.words_per_minute=140"]``.
        """
        spoken = SpokenText(self.components.outside_builds, text, voice, engine, options.pop("settings", ()))
        return replace(self.speak(spoken.path, spoken.text, settings=spoken.settings, **options), spoken=spoken)

    def speech(
        self,
        sound: Path | str,
        text: str = "",
        subtitles: Path | str | None = None,
        style: str = "lively",
        seed: int = 0,
        driver: str | None = None,
        fps: float | None = None,
        settings: Sequence[str] = (),
    ) -> Motion:
        """Return the motion of ``speak``, 30 frames per second unless ``fps`` is given."""
        if driver is None and issubclass(self.components.descriptor("motions").implementation(), SpeechSource):
            return self.components.get("motions").from_sound(Path(sound), text)  # deprecated
        self.components.registry.use_avatar(self.manifest, "voice")
        chosen = self.components.speech_driver(driver, options_of_speech("speech", settings))
        motion = speech_motion(chosen, sound, text, subtitles, fps or 30.0, seed, style)
        return with_resting_arms(motion, self.photo_params, self.body)

    def export(self, kind: str, path: Path | str, pose: BodyParams | None = None, **options: Any) -> Path:
        """Write the avatar for other programs: ``avatar.export("glb", "ada.glb")``.

        Args:
            kind: an exporter: ``ply, spz, glb, vrm, web``, or one of a plugin.
            path: file or folder to write.
            pose: pose in the world; None = as in the photo.
            options: options of the exporter.

        Returns:
            ``path``.
        """
        component, path = self.components.registry.get("exporter", kind), Path(path)
        exporter = component.create(options, self.components.context)
        params = self.photo_params if pose is None else pose
        with self.output(path):
            run_exporter(component, exporter, self.model, params, path, self.export_options())
        return path

    def output(self, path: Path) -> AbstractContextManager[None]:
        """Return the context in which to write a picture, film or export of this avatar, so that plugins can sign it.

        ``Animation.save`` and ``export`` do so. Signing is the plugin ``provenance``'s.
        """
        return self.components.registry.output(path, self.manifest)

    def _play(
        self,
        motion: Motion,
        camera: str | Camera,
        size: tuple[int, int] | None,
        rate: float,
        count: int,
        background: str,
        keep: str | None,
    ) -> Iterator[Frame]:
        """Yield the frames of ``animate``."""
        world = place(motion, self.photo_params, self.body, keep)
        if not isinstance(camera, Camera):
            world = replace(world, translation=world.translation - self._travel(world, motion.fps))
        front = camera if isinstance(camera, Camera) else self.camera(size)
        poses = (world[min(len(motion) - 1, int(i / rate * motion.fps + 0.5))] for i in range(count))
        for i, posed in enumerate(prefetch(self._posed, poses)):
            view = front
            if camera == "orbit":
                view = self.camera(size, yaw=30 * float(torch.sin(torch.tensor(2 * torch.pi * i / count))))
            yield Frame(self._draw(posed, view, background), view, i / rate)


def parse_color(text: str) -> torch.Tensor | None:
    """Convert ``#rrggbb`` to (3,) 0 to 1, and ``transparent`` to None.

    Raises:
        InputError: any other text.
    """
    if text == "transparent":
        return None
    digits = text.removeprefix("#")
    try:
        if len(digits) != 6:
            raise ValueError
        return torch.tensor([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    except ValueError:
        raise InputError(f"{text!r} is not a color: use '#rrggbb', for example '#ffffff', or transparent.") from None
