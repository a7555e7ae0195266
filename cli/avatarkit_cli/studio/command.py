"""``avatarkit studio``: photos become avatars in the browser, on this machine only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["studio"]


def studio(
    folder: Annotated[
        Path, typer.Option("-o", "--folder", help="Where avatars are kept; it is made if it is not there.", metavar="FOLDER")
    ] = Path("avatars"),
    port: Annotated[int, typer.Option(help="Port of the local page; 0 = any free one.", min=0, max=65535)] = 8090,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Make avatars in the browser, without a terminal.

    The page takes a photo, checks it, builds the avatar, shows it live and exports it. Nothing leaves this machine.
    """
    from avatarkit.utils.files import check_output, only_user
    from avatarkit_cli.page_server import open_server, serve
    from avatarkit_cli.studio.builds import Studio
    from avatarkit_cli.studio.server import StudioServer

    check_output(folder)
    with only_user(folder / ".studio", "--folder"):
        server = open_server(port, StudioServer)  # reports a port in use before the folder is made
        made = server.studio = Studio(folder)
        try:
            serve(server, f"The studio is at {{}} (Ctrl-C stops); avatars go to {folder}", open_browser)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("The studio is closed. Start it again to continue builds that were not finished.") from None
        finally:
            server.server_close()
            made.close()
