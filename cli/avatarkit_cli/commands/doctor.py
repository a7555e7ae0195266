"""``avatarkit doctor``: checks the installation and names the command that fixes each problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from avatarkit_cli.shared import JsonFlag, PluginFiles, load_registry, print_json, say

if TYPE_CHECKING:
    from avatarkit.registry import Registry

__all__ = ["doctor"]

_PACKAGES = (
    "torch", "numpy", "safetensors", "pluggy", "pillow", "av",
    "anny", "numba", "scipy", "scikit-image", "stlpips-pytorch", "typer", "rich",
)  # fmt: skip
_FREE_GB = 2.0


def doctor(plugin: PluginFiles = None, as_json: JsonFlag = False) -> None:
    """Check the installation and show how to fix problems.

    Checks Python, packages, plugins, device, folders and disk space.
    """
    registry = _with_commands(load_registry(plugin))
    checks = [*_python(), *_packages(), *_device(), *_folders(), *_components(registry), *_problems(registry)]
    ready = all(check["state"] != "broken" for check in checks)
    if as_json:
        print_json({"ready": ready, "checks": checks})
    else:
        _show(checks, ready)
    if not ready:
        raise typer.Exit(2)


def _with_commands(registry: Registry) -> Registry:
    """Return the registry with problems of the commands that plugins add."""
    from avatarkit_cli.plugin_commands import add_commands

    add_commands(registry, typer.Typer())
    return registry


def _check(group: str, name: str, state: str, detail: str, remedy: str = "") -> dict[str, str]:
    """Return one result of the check.

    ``state`` is ready, missing (something optional) or broken (the default components do not work).
    """
    return {"group": group, "name": name, "state": state, "detail": detail, "remedy": remedy}


def _python() -> list[dict[str, str]]:
    import platform
    import sys

    fine = (3, 11) <= sys.version_info[:2] < (3, 15)
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [_check("machine", "python", "ready" if fine else "broken", detail, "" if fine else "install Python 3.11 to 3.14")]


def _packages() -> list[dict[str, str]]:
    from importlib import metadata

    import avatarkit

    # This code runs, so avatarkit is installed, under whatever name.
    checks = [_check("packages", "avatarkit", "ready", avatarkit.__version__), *_namesake()]
    for name in _PACKAGES:
        try:
            checks.append(_check("packages", name, "ready", metadata.version(name)))
        except metadata.PackageNotFoundError:
            checks.append(_check("packages", name, "broken", "not installed", f"pip install {name}"))
    try:
        import cv2

        checks.append(_check("packages", "OpenCV", "ready", cv2.__version__))  # of whichever package brings it
    except ImportError as error:
        remedy = "pip install --force-reinstall --no-deps opencv-python-headless"
        checks.append(_check("packages", "OpenCV", "broken", f"cannot be loaded ({error})", remedy))
    return checks


def _namesake() -> list[dict[str, str]]:
    """Find another project's distribution ``avatarkit`` that overwrites files of this one."""
    from importlib import metadata

    from avatarkit.registry.specs import DISTRIBUTION

    try:
        other = metadata.distribution("avatarkit")
    except metadata.PackageNotFoundError:
        return []
    ours = any(entry.group == "console_scripts" and entry.module == "avatarkit_cli.main" for entry in other.entry_points)
    if ours or not any(file.parts[0] == "avatarkit" for file in other.files or ()):
        return []
    detail = f"the package avatarkit {other.version} of another project shares a folder with {DISTRIBUTION}"
    remedy = f"pip uninstall avatarkit && pip install --force-reinstall --no-deps {DISTRIBUTION}"
    return [_check("packages", "another avatarkit", "broken", detail, remedy)]


def _device() -> list[dict[str, str]]:
    import os

    try:
        import torch
    except ImportError as error:
        return [
            _check(
                "machine",
                "device",
                "broken",
                f"torch cannot be loaded ({error})",
                "pip install --force-reinstall torch",
            )
        ]
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return [_check("machine", "device", "ready", f"{properties.name}, {properties.total_memory / 2**30:.0f} GB, CUDA")]
    return [_check("machine", "device", "ready", f"CPU with {os.cpu_count()} cores; no CUDA (not needed by the default stack)")]


def _folders() -> list[dict[str, str]]:
    import shutil
    from pathlib import Path

    from avatarkit.utils.paths import cache_folder, plugins_folder, writable_home

    own = plugins_folder()
    count = len(list(own.glob("[!_]*.py"))) if own.is_dir() else 0
    checks = [_check("machine", "plugins folder", "ready", f"{own}, {count} Python files, which are always loaded")]
    for name, folder in (("cache folder", cache_folder()), ("current folder", Path.cwd())):
        existing, writable = writable_home(folder)
        if not writable:
            remedy = "set AVATARKIT_CACHE to a writable folder" if name == "cache folder" else "change to a writable folder"
            checks.append(_check("machine", name, "broken", f"{folder} is not writable", remedy))
            continue
        free = shutil.disk_usage(existing).free / 1e9
        remedy = "" if free >= _FREE_GB else "free some disk space"
        checks.append(_check("machine", name, "ready" if free >= _FREE_GB else "broken", f"{folder}, {free:.1f} GB free", remedy))
    return checks


def _components(registry: Registry) -> list[dict[str, str]]:
    from avatarkit.config import presets
    from avatarkit.registry import KINDS
    from avatarkit.registry.requirements import requirements
    from avatarkit.registry.specs import DISTRIBUTION

    default = _used_by("standard") if "standard" in presets() else set()
    device = _device_type()
    checks = []
    for kind in KINDS:
        for component in registry.components(kind).values():
            missing = [r for r in requirements(component, device) if not r.met]
            if not missing:
                checks.append(_check("components", component.owner, "ready", component.summary))
                continue
            state = "broken" if (kind, component.name) in default else "missing"
            detail = "needs " + ", ".join(f"{r.kind} {r.name}" for r in missing)
            checks.append(_check("components", component.owner, state, detail, missing[0].remedy))
    for kind, name in sorted(default):
        if name not in registry.components(kind):
            detail = "not installed, but used by the preset standard"
            checks.append(
                _check("components", f"{kind} {name!r}", "broken", detail, f"pip install --force-reinstall {DISTRIBUTION}")
            )
    return checks


def _device_type() -> str:
    try:
        import torch
    except ImportError:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def _used_by(preset: str) -> set[tuple[str, str]]:
    """Return (kind, name) of the components of a preset."""
    from avatarkit.config import Recipe

    recipe = Recipe.load(preset)
    return {(choice.kind, choice.use) for choice in (*recipe.slots.values(), *recipe.losses) if choice.use}


def _problems(registry: Registry) -> list[dict[str, str]]:
    return [
        _check("plugins", f"plugin {p.plugin!r}", "missing", f"{p.message} [{p.distribution}]", p.remedy)
        for p in registry.problems
    ]


def _show(checks: list[dict[str, Any]], ready: bool) -> None:
    ready_components = [c["name"] for c in checks if c["group"] == "components" and c["state"] == "ready"]
    packages = [f"{c['name']} {c['detail']}" for c in checks if c["group"] == "packages" and c["state"] == "ready"]
    say(f"ok  packages: {', '.join(packages)}")
    if ready_components:
        say(f"ok  components: {', '.join(ready_components)}")
    marks = {"ready": "ok ", "missing": "-- ", "broken": "!! "}
    for check in checks:
        if check["state"] == "ready" and check["group"] != "machine":
            continue
        say(f"{marks[check['state']]} {check['name']}: {check['detail']}")
        if check["remedy"]:
            say(f"      fix: {check['remedy']}")
    say("")
    say(
        "Everything that the default stack needs is ready."
        if ready
        else "The default stack does not work yet: see the lines with !!."
    )
