"""``avatarkit view``: shows an avatar in the browser, for this machine only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import Anyway, Device, PluginFiles, load_registry

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
    from avatarkit_cli.page_server import PageServer, open_server, serve

    registry = load_registry(plugin, no_sign=True, anyway=anyway)
    component = registry.get("exporter", "web")
    server = open_server(port, PageServer)  # reports a port in use before the avatar is read
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
        serve(server, f"{avatar.name} is at {{}} (Ctrl-C stops)", open_browser)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The page is closed.") from None
    finally:
        server.server_close()
