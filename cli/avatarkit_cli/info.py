"""``avatarkit info``: how an avatar was built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from avatarkit_cli.shared import JsonFlag, print_json, say, table

__all__ = ["info"]


def info(
    avatar: Annotated[Path, typer.Argument(help="An avatar's folder.", metavar="NAME.avatar")],
    as_json: JsonFlag = False,
) -> None:
    """Show how an avatar was built.

    Components, licences, consent, times and measures.
    """
    from avatarkit.storage.bundle import read_manifest

    manifest = read_manifest(avatar)
    if as_json:
        print_json(manifest)
        return
    say(f"{avatar.name}: made by avatarkit {manifest.get('avatarkit', '?')} on {manifest.get('device', '?')}, "
        f"recipe {manifest.get('recipe', {}).get('name', '?')}, seed {manifest.get('seed', '?')}")  # fmt: skip
    say(f"Consent: {manifest.get('consent') or 'none was recorded'}")
    for warning in manifest.get("warnings", ()):
        say(f"Note: {warning}")
    licences: dict[str, Any] = manifest.get("licences", {})
    rows = []
    for slot, component in manifest.get("components", {}).items():
        licence = licences.get(component["name"], {})
        terms = licence.get("code", "?") + (
            f"; {licence['weights']}" if licence.get("weights", "none") != "none" else ""
        )
        rows.append((slot, f"{component['name']} {component.get('version', '')}".strip(), terms))
    say("")
    table(("slot", "component", "licence"), rows)
    stages = manifest.get("stages", {})
    if stages:
        say("")
        table(
            ("stage", "seconds", "peak memory"),
            [
                (name, f"{s.get('seconds', 0):.1f}", f"{s.get('peak_memory_mb', 0):.0f} MB")
                for name, s in stages.items()
            ],
        )
    if manifest.get("metrics"):
        say("")
        table(("measure", "value"), [(name, f"{value:.4g}") for name, value in manifest["metrics"].items()])
