"""``avatarkit info``: how an avatar was built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.shared import JsonFlag, PluginFiles, load_registry, print_json, say, table

if TYPE_CHECKING:
    from avatarkit.registry import Registry

__all__ = ["info"]


def info(
    avatar: Annotated[Path, typer.Argument(help="An avatar's folder.", metavar="NAME.avatar")],
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Show how an avatar was built.

    Prints components, licenses, consent, times and measurements, and which components are not installed here.
    """
    from avatarkit.storage.bundle import read_manifest

    manifest = read_manifest(avatar)
    if as_json:
        print_json(manifest)
        return
    made = f"made by avatarkit {manifest.get('avatarkit', '?')} on {manifest.get('device', '?')}"
    recipe = manifest.get("recipe", {}).get("name", "?")
    say(f"{avatar.name}: {made}, recipe {recipe}, seed {manifest.get('seed', '?')}")
    say(f"Consent: {_one_line(manifest.get('consent') or 'not recorded')}")
    registry = load_registry(plugin)
    for line in _agreed(manifest, registry):
        say(line)
    for warning in manifest.get("warnings", ()):
        say(f"Note: {_one_line(warning)}")
    for absence in _absent(manifest, registry):
        say(f"Note: {absence}")
    rows = [
        (slot, f"{component['name']} {component.get('version', '')}".strip(), component.get("distribution", ""))
        for slot, component in manifest.get("components", {}).items()
    ]
    say("")
    table(("slot", "component", "package"), rows)
    licenses: dict[str, Any] = manifest.get("licenses", {})
    say("")
    table(("component", "license"), [(name, _terms(license)) for name, license in licenses.items()])
    stages = manifest.get("stages", {})
    if stages:
        say("")
        table(
            ("stage", "seconds", "peak memory"),
            [(name, f"{s.get('seconds', 0):.1f}", f"{s.get('peak_memory_mb', 0):.0f} MB") for name, s in stages.items()],
        )
    if manifest.get("metrics"):
        say("")
        measures = [(name, "?" if value is None else f"{value:.4g}") for name, value in manifest["metrics"].items()]
        table(("measure", "value"), measures)


def _agreed(manifest: dict[str, Any], registry: Registry) -> list[str]:
    """Return lines about the record of consent, its purpose and its end, and why commands would refuse the avatar."""
    from avatarkit.errors import AvatarkitError

    found = []
    if record := manifest.get("consent_record"):
        facts = {
            "person": record.get("person"), "scope": ", ".join(record.get("scope", ())), "given": record.get("given"),
            "until": record.get("until"), "evidence": (record.get("evidence") or "")[:12],
        }  # fmt: skip
        found.append("Record: " + "; ".join(f"{name} {_one_line(text)}" for name, text in facts.items() if text))
    if purpose := manifest.get("purpose"):
        found.append(f"Purpose: {_one_line(purpose)}")
    if ended := manifest.get("revoked"):
        erased = " and erased" if ended.get("erased") else ""
        reason = _one_line(ended.get("reason") or "no reason given")
        found.append(f"REVOKED{erased} on {_one_line(ended.get('date', '?'))}: {reason}")
        return found
    try:
        registry.use_avatar(manifest, "play")
    except AvatarkitError as error:
        found.append(f"Note: {_one_line(str(error))}")
    return found


def _absent(manifest: dict[str, Any], registry: Registry) -> list[str]:
    """Return a sentence for each component that plays the avatar and is not installed here."""
    from avatarkit.config import SLOTS

    found = []
    for slot in ("body", "avatar", "renderer"):
        part = manifest.get("components", {}).get(slot)
        if part and part["name"] not in registry.components(SLOTS[slot]):
            package = _one_line(part.get("distribution", ""))
            remedy = f"use --plugin {package}" if package.endswith(".py") else f"install {package or 'its package'}"
            state = "is not installed here"
            if part["name"] in registry.left_out:
                state, remedy = f"was left out with -p no:{part['name']}", "leave out that option"
            found.append(f"{slot} {_one_line(part['name'])!r} {state}; to draw this avatar, {remedy}.")
    return found


def _terms(license: dict[str, Any]) -> str:
    weights = license.get("weights", "none")
    code = _one_line(license.get("code", "?") + (f"; {weights}" if weights not in ("none", "not declared") else ""))
    allowed: bool | None = license.get("commercial")
    return f"{code}; commercial use: {'ask' if allowed is None else 'allowed' if allowed else 'not allowed'}"


def _one_line(text: str) -> str:
    """Return text of an avatar on one line.

    The avatar may come from an unknown source, and its text must not look like output of this program.
    """
    return " ".join(text.split())
