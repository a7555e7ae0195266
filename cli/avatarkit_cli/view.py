"""``avatarkit view``: an avatar in the browser, served to this machine only."""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import Device, PluginFiles, load_registry, say, tell

__all__ = ["view"]

_HOST = "127.0.0.1"


def view(
    avatar: Annotated[Path, typer.Argument(help="An avatar's folder.", metavar="NAME.avatar")],
    port: Annotated[int, typer.Option(help="Of the local page; 0 = any that is free.", min=0, max=65535)] = 8080,
    motion: Annotated[
        list[Path] | None,
        typer.Option(help="A motion file to offer beside the built-in ones. May be repeated.", metavar="FILE"),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    device: Device = "auto",
    plugin: PluginFiles = None,
) -> None:
    """Show an avatar in the browser: look around it, move face and body, play motions, save pictures."""
    registry = load_registry(plugin)
    component = registry.get("exporter", "web")
    server = _server(port)  # a taken port is told before the avatar is read
    try:
        from avatarkit.animation import load

        with make_progress() as progress, tempfile.TemporaryDirectory(prefix="avatarkit-") as folder:
            with progress.stage("loading"):
                loaded = load(avatar, registry, device)
            with progress.stage("preparing"):
                options = {"controls": True, "autoplay": False, "motions": ",".join(["all", *map(str, motion or ())])}
                exporter = component.create(options, loaded.components.context)
                page = Path(folder) / "view.html"
                exporter.write(loaded.model, loaded.photo_params, page, **loaded.export_options())
                server.page = page.read_bytes()
        address = f"http://{_HOST}:{server.server_port}/"
        say(f"{avatar.name} is at {address} (Ctrl-C stops)")
        sys.stdout.flush()  # who reads it through a pipe waits for it
        if open_browser:
            webbrowser.open(address)
        server.serve_forever()
    except KeyboardInterrupt:
        tell("Stopped.")
    finally:
        server.server_close()


class _Server(ThreadingHTTPServer):
    """Gives one page to this machine."""

    daemon_threads = True
    page = b""


def _server(port: int) -> _Server:
    """Listens on the loopback interface.

    Raises:
        InputError: the port is taken, or only an administrator may use it.
    """
    from avatarkit.errors import InputError

    try:
        return _Server((_HOST, port), _Handler)
    except PermissionError:
        raise InputError(f"Port {port} needs an administrator: choose one above 1023, e.g. --port 8081.") from None
    except OSError:
        other = port + 1 if port < 65535 else 8080
        raise InputError(f"Port {port} is taken by another program: choose another, e.g. --port {other}.") from None


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(self.server.page)

    def do_HEAD(self) -> None:
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        # A page of somebody else whose name was made to point here must not read the avatar.
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (_HOST, "localhost"):
            self.send_error(403)
        elif self.path.partition("?")[0] != "/":
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(self.server.page)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who looks at the page is looking at it."""
