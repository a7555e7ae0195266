"""``avatarkit view``: shows an avatar in the browser, for this machine only."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import Anyway, Device, PluginFiles, load_registry, say

if TYPE_CHECKING:
    from avatarkit_cli.page_server import PageServer

__all__ = ["view"]


def view(
    avatar: Annotated[Path, typer.Argument(help="An avatar's folder.", metavar="NAME.avatar")],
    port: Annotated[int, typer.Option(help="Port of the local page; 0 = any free one.", min=0, max=65535)] = 8080,
    motion: Annotated[
        list[Path] | None,
        typer.Option(help="A motion file to add to the built-in ones. May be repeated.", metavar="FILE"),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    anyway: Anyway = False,
    device: Device = "auto",
    plugin: PluginFiles = None,
) -> None:
    """Show an avatar in the browser.

    You can look around it, move face and body, play motions and save pictures.
    """
    registry = load_registry(plugin, no_sign=True, anyway=anyway)
    component = registry.get("exporter", "web")
    server = _server(port)  # reports a port in use before the avatar is read
    try:
        import tempfile

        from avatarkit.animation import load

        with make_progress() as progress, tempfile.TemporaryDirectory(prefix="avatarkit-") as folder:
            with progress.stage("loading"):
                loaded = load(avatar, registry, device)
            with progress.stage("preparing"):
                options = {"controls": True, "autoplay": False, "motions": ("all", *map(str, motion or ()))}
                exporter = component.create(options, loaded.components.context)
                page = Path(folder) / "view.html"
                exporter.write(loaded.model, loaded.photo_params, page, **loaded.export_options())
                server.page = page.read_bytes()
        address = f"http://{server.server_name}:{server.server_port}/"
        say(f"{avatar.name} is at {address} (Ctrl-C stops)")
        sys.stdout.flush()  # a reader of a pipe waits for it
        if open_browser:
            import webbrowser

            webbrowser.open(address)
        server.serve_forever()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The page is closed.") from None
    finally:
        server.server_close()


def _server(port: int) -> PageServer:
    """Return a server on the loopback interface.

    Raises:
        InputError: the port is in use, or only an administrator may use it.
    """
    from avatarkit.errors import InputError
    from avatarkit_cli.page_server import PageServer

    try:
        return PageServer(port)
    except PermissionError:
        raise InputError(f"Port {port} is reserved for administrators. Choose one above 1023, e.g. --port 8081.") from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise InputError(f"Port {port} cannot be opened: {error.strerror}. Choose another with --port.") from error
        other = port + 1 if port < 65535 else 8080
        raise InputError(f"Port {port} is in use by another program. Choose another, e.g. --port {other}.") from None
