"""A web page with the avatar in it: runs from a file, without a server and without a network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from avatarkit import __version__
from avatarkit.errors import InputError
from avatarkit.interfaces import AvatarModel, BodyModel, Context
from avatarkit.motion.files import read_motion
from avatarkit.rendering import render_posed
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera, front_camera
from avatarkit.utils.folders import OutputFolder
from avatarkit.utils.text import escaped, one_line
from avatarkit.utils.threads import single_threaded
from avatarkit_export.config import WebConfig
from avatarkit_export.files import check_options, write_file
from avatarkit_export.web_data import avatar_arrays, motion_arrays, pack, page_head

__all__ = ["WebExporter"]


class WebExporter:
    """One HTML file: the avatar skinned and splatted by the visitor's GPU, motions, sliders, microphone.

    The page (``page/``, built from ``web/`` of this plugin) draws with three.js and Spark; both are inside.
    """

    def __init__(self, config: WebConfig, context: Context) -> None:
        self.config, self.context = config, context

    def write(self, avatar: AvatarModel, params: BodyParams, path: Path, **options: Any) -> None:
        """See ``Exporter.write``.

        Args:
            avatar: Gaussians on the mesh of its body model.
            params: the pose to start from.
            path: a folder, which gets an ``index.html``, or a file that ends in .html.
            options: ``consent``, ``name``, ``camera``, ``center`` and ``box`` as ``Exporter.write`` says.

        Raises:
            ConfigError, InputError, StoreError: unknown option; wrong suffix or motion; disk.
            PluginError: the avatar is of another kind.
        """
        check_options("web", options)
        if path.suffix.lower() in (".html", ".htm") and not path.is_dir():
            write_file(path, self.page(avatar, params, **options).encode())
            return
        if path.is_file():
            raise InputError(f"{path} is a file; name a folder or a file that ends in .html.")
        folder = OutputFolder(path, "page")
        folder.check(("index.html", "NOTICES.txt"))
        page = self.page(avatar, params, **options).encode()
        with folder.replace() as staged:
            write_file(staged / "index.html", page)
            write_file(staged / "NOTICES.txt", _part("NOTICES.txt"))

    @single_threaded()
    def page(self, avatar: AvatarModel, params: BodyParams, **options: Any) -> str:
        """Return the page as text; options as those of ``write``."""
        body: BodyModel = self.context.get("body")
        camera: Camera = options.get("camera") or front_camera(512, 512)
        center, box = options.get("center"), options.get("box") or (0.0, 0.0, camera.width, camera.height)
        tell = self.context.progress
        tell("motions", 0.1)
        motions, arrays = motion_arrays(self._motions(), params, body, self.config.fps)
        tell("avatar", 0.4)
        arrays = avatar_arrays(avatar, body, params) | arrays
        head = page_head(body, params, camera, params.translation if center is None else center, box)
        tell("compressing", 0.6)
        data = pack(head | {"motions": motions, "autoplay": self.config.autoplay}, arrays)
        consent = " ".join(one_line(options.get("consent") or "none was recorded").split())
        template, engine = _part("page.html").decode(), _part("app.js.gz")
        filled = {
            "GENERATOR": f"avatarkit {__version__}",
            "TITLE": escaped(one_line(options.get("name") or "avatar")),
            "CONSENT": escaped(consent.rstrip(".")),
            "SCRIPTS": " ".join(map(_source, [*re.findall("<script>(.*?)</script>", template, re.S), gzip.decompress(engine)])),
            "STYLES": " ".join(map(_source, re.findall("<style>(.*?)</style>", template, re.S))),
            "BODY_CLASS": "panel" if self.config.controls else "",
            "PANEL": str(self.config.controls).lower(),
            "POSTER": f"data:image/jpeg;base64,{base64.b64encode(self._poster(avatar, params, camera)).decode()}",
            "NOTICES": escaped(_part("NOTICES.txt").decode()),
            "DATA": base64.b64encode(data).decode(),
            "ENGINE": base64.b64encode(engine).decode(),
        }
        return re.sub("@([A-Z_]+)@", lambda match: filled[match[1]], template)

    def _motions(self) -> list[Motion]:
        """Return the motions that the option ``motions`` names: built-in ones and files.

        Raises:
            InputError: unknown motion.
        """
        motions: list[Motion] = []
        given = self.config.motions
        for name in [part.strip() for part in given.split(",")] if isinstance(given, str) else given:
            if name in ("", "none"):
                continue
            if Path(name).suffix or os.path.isfile(name):
                motions.append(read_motion(Path(name), self.context.get("body")))
                continue
            source = self.context.get("motions")
            motions += [source.motion(n) for n in (source.names() if name == "all" else (name,))]
        return motions

    def _poster(self, avatar: AvatarModel, params: BodyParams, camera: Camera) -> bytes:
        """Return the picture that the page shows while it loads, as a JPEG."""
        with torch.no_grad():
            drawn = render_posed(self.context.get("renderer"), avatar.pose(params), camera, torch.ones(3))
        pixels = (drawn.rgb.cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="JPEG", quality=85)
        return stream.getvalue()


def _part(name: str) -> bytes:
    return files("avatarkit_export").joinpath("page", name).read_bytes()


def _source(text: str | bytes) -> str:
    """Return the entry of a script or style in a content security policy.

    Only listed scripts run, whatever else the page contains.
    """
    data = text.encode() if isinstance(text, str) else text
    return f"'sha256-{base64.b64encode(hashlib.sha256(data).digest()).decode()}'"
