"""``avatarkit licenses``: terms of code, weights and training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarkit_cli.shared import JsonFlag, PluginFiles, load_registry, print_json, say, table

__all__ = ["licenses"]


def licenses(
    avatar: Annotated[
        Path | None, typer.Argument(help="An avatar's folder. [default: all components]", metavar="NAME.avatar")
    ] = None,
    spdx: Annotated[bool, typer.Option("--spdx", help="Print an SPDX 2.3 document, as JSON.")] = False,
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the terms of all components, or of those that made an avatar.

    Terms are what the authors state, with their source; what is uncertain about them is said. This is no legal advice.
    """
    from avatarkit.errors import ConfigError
    from avatarkit_cli.trust.ledger import bundled, entries_of, entries_of_manifest

    if spdx and as_json:
        raise ConfigError("--spdx prints JSON by itself. Leave --json out.")
    if avatar is None:
        entries = [*entries_of(load_registry(plugin).all_components()), *bundled()]
    else:
        from avatarkit.storage.bundle import read_manifest

        entries = entries_of_manifest(read_manifest(avatar))
    name = "avatarkit" if avatar is None else avatar.name
    if spdx:
        from avatarkit_cli.trust.spdx import spdx_document

        say(spdx_document(entries, name, "Apache-2.0" if avatar is None else ""))
    elif as_json:
        print_json({"name": name, "licenses": [entry.to_dict() for entry in entries]})
    else:
        words = {True: "yes", False: "no", None: "ask"}
        rows = [
            (e.name, words[e.commercial], "; ".join(filter(None, [e.code, e.weights, f"trained on: {e.data}" if e.data else ""])))
            for e in entries
        ]
        table(("what", "commercial", "code; weights; training data"), rows)
        for entry in entries:
            if entry.doubt:
                say(f"{entry.name}: {entry.doubt} {entry.source}".rstrip())
