"""A command that says what an avatar is made of."""

from pathlib import Path

import typer

from avatarkit import InputError, hookimpl


@hookimpl
def register_commands(cli):
    @cli.command("count")
    def count(avatar: Path = typer.Argument(help="Folder of an avatar.")) -> None:
        """Say what an avatar is made of."""
        import avatarkit

        made = avatarkit.load(avatar)
        stages = made.manifest["stages"]
        if not stages:
            raise InputError(f"{avatar} does not say how it was built.")
        clips = sum("labels" in name for name in stages)
        seconds = sum(stage["seconds"] for stage in stages.values())
        typer.echo(f"{made.contents}, {clips} clips of labels, built in {seconds:.0f} s")
