"""Commands that plugins add to the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from avatarkit.registry import Plugin

__all__ = ["OWN_COMMANDS", "PluginCommand", "add_commands"]

OWN_COMMANDS = (
    "build", "batch", "animate", "talk", "render", "view", "studio", "export", "track", "evaluate", "info", "licenses",
    "motions", "plugins", "weights", "clean", "doctor",
)  # fmt: skip
"""Names that no plugin can take."""


@dataclass(frozen=True)
class PluginCommand:
    """A command that a plugin adds.

    Attributes:
        name: what is typed after ``avatarkit``.
        plugin: its owner.
        summary: first line of its help.
    """

    name: str
    plugin: Plugin
    summary: str


def add_commands(registry: Any, cli: typer.Typer) -> dict[str, PluginCommand]:
    """Let plugins add commands; one whose name is taken is left out, and recorded as a problem.

    Returns:
        name -> the command, without those that were left out.
    """
    from avatarkit.registry.specs import where

    owners = dict.fromkeys(OWN_COMMANDS, "avatarkit itself")
    kept: dict[str, PluginCommand] = {}
    known = {id(entry) for infos in (cli.registered_commands, cli.registered_groups) for entry in infos}

    def added(plugin: Any) -> str | None:
        taken = []
        infos: Any
        for infos in (cli.registered_commands, cli.registered_groups):
            for new in [entry for entry in infos if id(entry) not in known]:
                name = new.name or getattr(new.callback, "__name__", "").replace("_", "-")
                if name in owners:
                    infos.remove(new)
                    taken.append(f"{name!r}, which is one of {owners[name]}")
                else:
                    owners[name] = f"the plugin {where(plugin)}"
                    known.add(id(new))
                    text = next((t for t in (new.help, getattr(new.callback, "__doc__", "")) if isinstance(t, str)), "")
                    kept[name] = PluginCommand(name, plugin, next(iter(text.strip().splitlines()), ""))
        return f"It adds the command {' and '.join(taken)}; its own is left out." if taken else None

    registry.register_commands(cli, added)
    return kept
