"""Where an avatar and its pictures come from: signatures, consent and its end. Hook implementations only."""

from __future__ import annotations

from typing import Any

from avatarkit.hookspecs import hookimpl


@hookimpl
def use_avatar(manifest: dict[str, Any], purpose: str, policy: dict[str, str]) -> None:
    from avatarkit_provenance.consent import check_use

    check_use(manifest, purpose, policy)


@hookimpl
def finish_output(path: str, target: str, manifest: dict[str, Any], policy: dict[str, str]) -> dict[str, bytes] | None:
    from avatarkit_provenance.signing import sign_output

    return sign_output(path, target, manifest, policy)


@hookimpl
def register_commands(cli: Any) -> None:
    from avatarkit_provenance.commands import add

    add(cli)
