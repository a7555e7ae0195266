"""The server of the studio: the page, its data, uploads and downloads, for this machine only."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from avatarkit.errors import AvatarkitError, InputError
from avatarkit.utils.files import write_bytes, writing
from avatarkit.utils.text import escaped
from avatarkit_cli.page_server import PageHandler, PageServer, policy_of
from avatarkit_cli.studio.builds import Studio
from avatarkit_cli.studio.outputs import VIEW

__all__ = ["MOST_PHOTO_BYTES", "MOST_VIDEO_BYTES", "StudioServer"]

MOST_PHOTO_BYTES = 64_000_000
MOST_VIDEO_BYTES = 500_000_000
_MOST_JSON_BYTES = 64_000
_TOKEN = "X-Avatarkit-Token"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALLOWED = {"Permissions-Policy": "camera=(self), geolocation=(), microphone=(self), payment=(), usb=()"}
_REPORT = (  # an avatar may come from an unknown source; without an origin its report can read nothing of ours
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
)
_KINDS = {
    ".avif": "image/avif", ".bmp": "image/bmp", ".gif": "image/gif", ".html": "text/html; charset=utf-8", ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg", ".mp4": "video/mp4", ".png": "image/png", ".webp": "image/webp",
}  # fmt: skip
_PAGE = {
    "/studio.css": "text/css; charset=utf-8",
    **{f"/{name}.js": "text/javascript; charset=utf-8" for name in ("studio", "views", "dom", "camera")},
}
"""Parts of the page."""
_EXTRAS: dict[str, dict[str, str]] = {"preview.png": {}, "preview.mp4": {}, "report.html": {"Content-Security-Policy": _REPORT}}
"""Files of an avatar that the page shows, and headers for them."""


class StudioServer(PageServer):
    """Serves ``studio``, which is set before it answers.

    ``token`` is in its page alone, and every request that changes something must bring it.
    """

    studio: Studio

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe(32)
        super().__init__(port, _Handler)
        text = files("avatarkit_cli.studio").joinpath("page/index.html").read_text(encoding="utf-8")
        self.page = text.replace("@TOKEN@", escaped(self.token)).encode()


class _Handler(PageHandler):
    server: StudioServer
    methods = "GET, HEAD, POST, DELETE"

    # ------------------------------------------------------------------------------------------------------------ reading

    def do_GET(self) -> None:  # noqa: N802 - http.server calls it
        """Send the page, the state, or a file."""
        path = self.path.partition("?")[0]
        if not self.for_us():
            self.send_error(HTTPStatus.FORBIDDEN)
        elif path == "/":
            self.answer(self.server.page, "text/html; charset=utf-8", {"Content-Security-Policy": _POLICY, **_ALLOWED})
        elif path in _PAGE:
            self.answer(files("avatarkit_cli.studio").joinpath(f"page{path}").read_bytes(), _PAGE[path])
        elif path == "/api/state":
            self._json({**self.server.studio.state(), "most_bytes": MOST_PHOTO_BYTES, "most_video_bytes": MOST_VIDEO_BYTES})
        else:
            self._file(*self._found([unquote(part) for part in path[1:].split("/")]))

    def _found(self, parts: list[str]) -> tuple[Path | None, dict[str, str]]:
        """Return the file of a path, if there is one, and headers for it. Nothing of the path becomes a path on the disk."""
        studio, nothing = self.server.studio, dict[str, str]()
        match parts:
            case ["photos", id]:
                return studio.photo(id), nothing
            case ["avatars", name, file] if file in _EXTRAS and name in studio.library.names():
                return studio.library.path(name) / file, _EXTRAS[file]
            case ["avatars", name, format] if format == VIEW and (page := studio.outputs.file(name, VIEW)):
                return page, _framed(page)
            case ["builds", id, format] if format == VIEW and (page := studio.page(id)):
                return page, _framed(page)
            case ["avatars", name, "files", format] if made := studio.outputs.file(name, format):
                download = f"attachment; filename*=UTF-8''{quote(name + made.suffix)}"
                return made, {"Content-Type": "application/octet-stream", "Content-Disposition": download}
        return None, nothing

    def _file(self, path: Path | None, headers: Mapping[str, str]) -> None:
        if path is None or path.is_symlink() or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as stream:
            size = path.stat().st_size
            self.head(HTTPStatus.OK, _KINDS.get(path.suffix, "application/octet-stream"), size, headers)
            while self.command != "HEAD" and size > 0 and (part := stream.read(min(size, 1 << 20))):
                self.wfile.write(part)
                size -= len(part)

    def _json(self, data: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.answer(json.dumps(data).encode(), "application/json", status=status)

    # ----------------------------------------------------------------------------------------------------------- changing

    def do_POST(self) -> None:  # noqa: N802 - http.server calls it
        """Take in a photo, or do what the page asks for."""
        self._change()

    def do_DELETE(self) -> None:  # noqa: N802 - http.server calls it
        """Forget a photo, or delete an avatar."""
        self._change()

    def _change(self) -> None:
        lengths = self.headers.get_all("Content-Length", ["0"])
        length = int(lengths[0]) if len(lengths) == 1 and lengths[0].isdecimal() and len(lengths[0]) < 20 else -1
        parts = [unquote(part) for part in self.path.partition("?")[0][1:].split("/")]
        match self.command, parts:
            case "POST", ["api", "photos"]:
                most, work = MOST_PHOTO_BYTES, self._photo
            case "POST", ["api", "avatars", name, "video"]:
                most, work = MOST_VIDEO_BYTES, partial(self._video, name)
            case _:
                most, work = _MOST_JSON_BYTES, partial(self._do, parts)
        if not self.for_us() or not secrets.compare_digest(self.headers.get(_TOKEN, "").encode(), self.server.token.encode()):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif length < 0 or self.headers.get("Transfer-Encoding") is not None:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
        elif length > most:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self.server.asked(self.connection)
            try:
                work(length)
            except (ValueError, TypeError, RecursionError):
                self.send_error(HTTPStatus.BAD_REQUEST)
            except AvatarkitError as error:
                self._json({"error": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)

    def _do(self, parts: list[str], length: int) -> None:
        given = json.loads(b"".join(self.rfile.body(length)) or b"{}")
        if not isinstance(given, dict):
            raise ValueError
        if (action := self._action(parts)) is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._json(action(given) or {})

    def _photo(self, length: int) -> None:
        build = self.server.studio.add(*self._upload(length))
        self._json({"id": build.id}, HTTPStatus.CREATED)

    def _video(self, name: str, length: int) -> None:
        self.server.studio.outputs.drive(name, *self._upload(length))
        self._json({}, HTTPStatus.CREATED)

    def _upload(self, length: int) -> tuple[str, Callable[[Path], None]]:
        """Return what the user calls a file, and a function that writes it to a path."""
        if not length:
            raise InputError("The file is empty. Choose another one.")

        def fill(path: Path) -> None:
            with writing(path) as temporary, temporary.open("wb") as stream:
                for part in self.rfile.body(length):
                    stream.write(part)

        return unquote(self.headers.get("X-Name", "")), fill

    def _sample(self) -> dict[str, str]:
        sample = self.server.studio.workers.sample
        if not sample:
            raise InputError("The studio is still getting ready. Try it again in a moment.")

        def fill(path: Path) -> None:
            write_bytes(path, Path(sample).read_bytes())

        return {"id": self.server.studio.add("portrait.png", fill).id}

    def _action(self, parts: list[str]) -> Callable[[dict[str, Any]], Any] | None:
        """Return what a path stands for."""
        studio = self.server.studio
        if parts[:1] != ["api"]:
            return None
        match self.command, parts[1:]:
            case "POST", ["sample"]:
                return lambda given: self._sample()
            case "POST", ["builds", id, "choose"]:
                return lambda given: studio.choose(id, **given)
            case "POST", ["builds", id, "build"]:
                return lambda given: studio.build(id, **given)
            case "POST", ["builds", id, "cancel"]:
                return lambda given: studio.cancel(id)
            case "POST", ["builds", id, "resume"]:
                return lambda given: studio.resume(id)
            case "DELETE", ["builds", id]:
                return lambda given: studio.remove(id)
            case "POST", ["avatars", name, "files", format]:
                return lambda given: studio.outputs.produce(name, format)
            case "DELETE", ["avatars", name, "video"]:
                return lambda given: studio.outputs.leave(name)
            case "DELETE", ["avatars", name]:
                return lambda given: studio.outputs.delete(name)
        return None


def _framed(page: Path) -> dict[str, str]:
    """Return headers for the page of an avatar, which the studio shows in a frame."""
    with page.open("rb") as stream:
        policy = policy_of(stream.read(1 << 16), "'self'")
    return {"Content-Security-Policy": policy, "X-Frame-Options": "SAMEORIGIN"}
