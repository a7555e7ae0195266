"""The commands of this plugin: ``verify`` and ``revoke``. They print plain lines; nothing is imported before one runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from avatarkit.utils.text import json_safe, printable

__all__ = ["add"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and everything else on stderr.")]


def add(cli: Any) -> None:
    """Add the commands to the command line."""
    cli.command("verify")(_verify)
    cli.command("revoke")(_revoke)


def _verify(
    files: Annotated[list[Path], typer.Argument(help="Pictures, films, exports, their folders, or avatars.", metavar="FILE...")],
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="Certificate of a signer whom you know, besides your own. May be repeated.", metavar="CERT.pem"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether files are made with avatarkit, signed by whom, and unchanged since.

    Exit codes: 0 all unchanged, and signed by you or a signer whom you know; 3 not signed, or not made with avatarkit;
    4 signed by a signer whom this machine does not know; 5 changed; 6 the consent was revoked. Of several files, the highest
    counts.
    """
    from avatarkit_provenance.verifying import CODES, verify

    verdicts = [verify(file, tuple(trust or ())) for file in files]
    if as_json:
        typer.echo(json_safe(json.dumps({"files": [verdict.to_dict() for verdict in verdicts]}, indent=2)))
    else:
        for verdict in verdicts:
            typer.echo(printable(f"{verdict.file}: {verdict.text}"))
            known = {"avatar": verdict.avatar[:12], "recipe": verdict.recipe, "source": verdict.source_type}
            if facts := ", ".join(f"{name} {value}" for name, value in known.items() if value):
                typer.echo(printable(f"  {facts}"))
            if verdict.problems:
                typer.echo(printable(f"  {', '.join(verdict.problems[:5])}"))
    raise typer.Exit(max(CODES[verdict.state] for verdict in verdicts))


def _revoke(
    avatar: Annotated[Path, typer.Argument(help="An avatar's folder.", metavar="NAME.avatar")],
    reason: Annotated[str, typer.Option(help="Why, for whoever checks it later.", metavar="TEXT")] = "",
    erase: Annotated[
        bool, typer.Option("--erase", help="Also delete the avatar's tensors, pictures and stages, with a receipt.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Erase without a question.")] = False,
    sign: Annotated[str | None, typer.Option(help="As for build.", metavar="KEY,CERT")] = None,
    no_sign: Annotated[bool, typer.Option("--no-sign", help="Do not sign the record.")] = False,
    as_json: Json = False,
) -> None:
    """Record that the person's consent to an avatar ended.

    On this machine all commands then refuse the avatar, its copies and other avatars of the same photo. Pictures and films made
    with it stay as they are; verify says that the consent was revoked.
    """
    from avatarkit.errors import ConfigError
    from avatarkit_provenance.revoking import revoke

    if erase and not yes:
        if as_json or sys.stdin is None or not sys.stdin.isatty():
            raise ConfigError("Nothing was erased. Say --yes where no question can be answered.")
        if not typer.confirm(f"Erase {avatar} for good?", err=True):
            raise ConfigError("Nothing was erased.")
    if no_sign and sign:
        raise ConfigError("--sign and --no-sign contradict each other. Leave one out.")
    receipt = revoke(avatar, reason, erase, {"sign": "no"} if no_sign else {"sign": sign} if sign else {})
    if as_json:
        typer.echo(json_safe(json.dumps(receipt, indent=2)))
        return
    typer.echo(printable(f"{avatar}: revoked on {receipt['date']}."))
    if erase:
        typer.echo(printable(f"{len(receipt['erased'])} files were erased; the receipt is {avatar / 'receipt.json'}."))
