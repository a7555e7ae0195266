"""``avatarkit plugins``: lists, shows, checks and creates plugins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.shared import JsonFlag, PluginFiles, confirm, load_registry, parse_options, print_json, say, table, tell

if TYPE_CHECKING:
    from avatarkit.errors import PluginError
    from avatarkit.registry import ComponentSpec, Registry

__all__ = ["app"]

app = typer.Typer(help="Show, check and create plugins.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _default(ctx: typer.Context, plugin: PluginFiles = None, as_json: JsonFlag = False) -> None:
    if ctx.invoked_subcommand is None:
        _list(load_registry(plugin), as_json)


@app.command("list")
def list_plugins(plugin: PluginFiles = None, as_json: JsonFlag = False) -> None:
    """List all components, commands of plugins, and problems with plugins."""
    _list(load_registry(plugin), as_json)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a component, or KIND/NAME.")],
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one component: options, requirements, license."""
    found = _find(load_registry(plugin), name)
    if as_json:
        print_json({"components": [_details(component) for component in found]})
        return
    for number, component in enumerate(found):
        if number:
            say("")
        _show(component)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the component, lower case with hyphens, e.g. my-loss.")],
    kind: Annotated[str, typer.Option(help="Kind of component: matting, labels, loss, ..., or command.", metavar="KIND")],
    example: Annotated[
        str | None, typer.Option(help="Start from a larger example: diffusers, of the kind labels.", metavar="NAME")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder. [default: avatarkit-NAME in the current folder]")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Create a plugin: a complete project around a working component, with tests and CI."""
    from avatarkit.utils.files import check_output
    from avatarkit.utils.moved import current_name
    from avatarkit_cli.authoring.scaffold import render_project, require_free, write_project

    name = name.removeprefix("avatarkit-")
    render_project(name, kind, example)  # refuses what is no name before it is looked up
    require_free(name, current_name(kind), load_registry())
    folder = output or Path(f"avatarkit-{name}")
    check_output(folder)
    files = write_project(name, kind, folder, example)
    if as_json:
        print_json({"folder": str(folder), "files": [path.relative_to(folder).as_posix() for path in files]})
        return
    for path in files:
        say(str(path))
    tell(f'Next: cd {folder} && pip install -e ".[test]" && pytest')


@app.command("install")
def install(
    source: Annotated[str, typer.Argument(help="A package, a wheel, a folder or an address, as for pip.", metavar="NAME|URL")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install it without being asked.")] = False,
) -> None:
    """Install a plugin with pip into the environment of avatarkit."""
    import importlib.metadata
    import importlib.util
    import subprocess
    import sys

    from avatarkit.errors import ConfigError, MissingDependency, PluginError
    from avatarkit.registry import ENTRY_POINT_GROUP

    def installed() -> dict[str, str]:
        entries = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        return {entry.name: entry.dist.name if entry.dist else "" for entry in entries}

    if source.startswith("-") or not source.strip() or not source.isprintable():
        raise ConfigError(f"{source!r} is not the name or address of a package.")
    if importlib.util.find_spec("pip") is None:
        raise MissingDependency(f"pip is not installed for {sys.executable}. Install {source} with the tool that you use.")
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", source]
    tell(f"This runs: {' '.join(command)}")
    tell("A plugin is a program: its authors' code runs with your rights. Install only what you trust.")
    confirm("Install it?", yes, "Nothing was installed.", "Use --yes to install it without being asked.")
    before = installed()
    if subprocess.run(command, stdout=2, check=False).returncode != 0:
        raise PluginError(f"pip could not install {source}; its last lines say why.")
    importlib.invalidate_caches()
    added = {name: package for name, package in installed().items() if name not in before}
    for name, package in added.items():
        say(f"{name} (from {package})")
    if not added:
        tell(f"Installed, but {source} brings no plugin that was not here before: see avatarkit plugins list.")


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="Name of a component, or KIND/NAME.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one option of the component. May be repeated.", metavar="OPTION=VALUE"),
    ] = None,
    photo: Annotated[
        Path | None,
        typer.Option(
            help="Test it on a photo with a preset's other components. [default: a tiny synthetic person, or the sample"
            " portrait for matting, keypoints and tracker]"
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="Preset whose other components are used.")] = "draft",
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Check a component against the contract of its interface."""
    from avatarkit_cli.authoring import checking

    registry = load_registry(plugin)
    found = _find(registry, name)
    results = []
    for component in found:
        options, origins = parse_options(settings or [], component.owner)
        if options:
            component.make_config(options, origins)
        results.append((component, checking.check(component, registry, options, photo, preset)))
    if as_json:
        print_json(
            {
                "components": [
                    {"kind": c.kind, "name": c.name, "plugin": c.plugin.name, "checks": [dataclasses.asdict(f) for f in findings]}
                    for c, findings in results
                ]
            }
        )
    else:
        for component, findings in results:
            checking.show(component, findings)
    if any(f.state == "failed" for _, findings in results for f in findings):
        raise typer.Exit(2)


def _find(registry: Registry, name: str) -> list[ComponentSpec]:
    from avatarkit.config import SLOTS
    from avatarkit.config.options import did_you_mean
    from avatarkit.errors import PluginError
    from avatarkit.registry import KINDS

    kind, slash, rest = name.partition("/")
    if slash and kind == "command":
        raise _about_command(registry, rest) or PluginError(f"No plugin adds a command {rest!r}. See avatarkit plugins list.")
    if slash:
        return [registry.get(SLOTS.get(kind, kind), rest)]  # a slot of a recipe means its kind
    everything = {kind: registry.components(kind) for kind in KINDS}
    found = [components[name] for components in everything.values() if name in components]
    if not found:
        if about := _about_command(registry, name):
            raise about
        if name in registry.left_out:
            raise PluginError(f"{name!r} was left out with -p no:{name}.")
        for (kind, known), hint in registry.known.items():
            if known == name:
                raise PluginError(f"{kind} {name!r} is not installed. {hint}")
        names = {n for components in everything.values() for n in components}
        raise PluginError(f"There is no component {name!r}.{did_you_mean(name, names)} See avatarkit plugins list.")
    return found


def _about_command(registry: Registry, name: str) -> PluginError | None:
    """Return what to say where a command is named instead of a component; None if there is no such command."""
    from avatarkit.errors import PluginError
    from avatarkit.registry.specs import where
    from avatarkit_cli.plugin_commands import OWN_COMMANDS, add_commands

    found = add_commands(registry, typer.Typer()).get(name)
    if found is None and name not in OWN_COMMANDS:
        return None
    owner = f"the plugin {where(found.plugin)}" if found else "avatarkit itself"
    tests = " Commands are checked by their own tests, which avatarkit plugins new --kind command makes;"
    return PluginError(f"{name!r} is a command of {owner}.{tests} avatarkit {name} --help explains it.")


def _list(registry: Registry, as_json: bool) -> None:
    from avatarkit.registry import KINDS
    from avatarkit.registry.specs import where
    from avatarkit_cli.plugin_commands import add_commands

    commands = add_commands(registry, typer.Typer()).values()

    components = [c for kind in KINDS for c in registry.components(kind).values()]
    if as_json:
        print_json(
            {
                "plugins": [dataclasses.asdict(p) for p in registry.plugins.values()],
                "components": [_summary(c) for c in components],
                "commands": [{"name": c.name, "plugin": c.plugin.name, "summary": c.summary} for c in commands],
                "problems": [dataclasses.asdict(p) for p in registry.problems],
            }
        )
        return
    rows = []
    for component in components:
        missing = _missing(component)
        note = f" [missing: {', '.join(missing)}]" if missing else ""
        rows.append((component.kind, component.name, component.summary + note))
    for command in commands:
        rows.append(("command", command.name, f"{command.summary} [of plugin {where(command.plugin)}]".lstrip()))
    table(("kind", "name", "description"), rows)
    for problem in registry.problems:
        say(f"\nProblem with plugin {problem.owner}: {problem}")


def _missing(component: ComponentSpec) -> list[str]:
    """Return the requirements that are not met, checked without importing anything.

    Devices are left to ``doctor``.
    """
    from avatarkit.registry.requirements import requirements

    return [r.name for r in requirements(component) if not r.met]


def _summary(component: ComponentSpec) -> dict[str, Any]:
    return {
        "kind": component.kind,
        "name": component.name,
        "plugin": component.plugin.name,
        "version": component.plugin.version,
        "summary": component.summary,
        "missing": _missing(component),
    }


def _details(component: ComponentSpec) -> dict[str, Any]:
    return _summary(component) | {
        "target": component.target,
        "revision": component.revision,
        "extra": component.extra,
        "needs": dataclasses.asdict(component.needs),
        "license": dataclasses.asdict(component.terms),
        "options": [dataclasses.asdict(option) for option in component.options()],
    }


def _show(component: ComponentSpec) -> None:
    from avatarkit.registry.requirements import requirements

    license = component.terms
    commercial = {True: "commercial use allowed", False: "no commercial use", None: "commercial use: ask the source"}
    say(f"{component.kind} {component.name}: {component.summary}")
    say(f"from plugin {component.plugin.name} {component.plugin.version}".rstrip())
    say(f"license: {license.code}; weights: {license.weights}; {commercial[license.commercial]}")
    for requirement in requirements(component):
        state = "is available" if requirement.met else f"is missing: {requirement.remedy}"
        say(f"needs the {requirement.kind} {requirement.name}, which {state}")
    options = component.options()
    if options:
        say("")
        table(
            ("option", "default", "description"),
            [(o.name, o.default, f"{o.help} ({o.type})" if o.help else o.type) for o in options],
        )
