"""Runs an exporter, and checks what it wrote."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from avatarkit.errors import PluginError
from avatarkit.interfaces import AvatarModel
from avatarkit.registry.specs import ComponentSpec
from avatarkit.types.body import BodyParams

__all__ = ["run_exporter"]


def run_exporter(
    component: ComponentSpec, exporter: Any, avatar: AvatarModel, params: BodyParams, path: Path, options: Mapping[str, Any]
) -> None:
    """Write an avatar with an exporter; where it fails, no file or folder stays that was not there before.

    Args:
        component: descriptor of the exporter, for messages.
        exporter: an instance of it.
        avatar: what is written.
        params: pose in the world.
        path: file or folder to write.
        options: further arguments of ``Exporter.write``.

    Raises:
        PluginError: its method does not take these arguments, or it wrote nothing.
    """
    owner = f"{component.owner} of {component.maker}"
    if wrong := _wrong_method(getattr(exporter, "write", None), (avatar, params, path), options):
        raise PluginError(f"{owner}: {wrong}. {component.remedy}")
    before = os.path.lexists(path)
    try:
        exporter.write(avatar, params, path, **options)
    except BaseException:
        if not before:
            _remove(path)
        raise
    if not os.path.lexists(path):
        raise PluginError(f"{owner}: its method write returned without writing {path}. {component.remedy}")


def _wrong_method(write: Any, given: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    """Say what is wrong with the method of an exporter; "" if it takes the arguments."""
    try:
        inspect.signature(write).bind(*given, **options)
    except TypeError as error:
        with suppress(TypeError):
            inspect.signature(write).bind(*given)
            return "its method write does not take the options that every exporter gets: add **options to write"
        return f"it has no method write(avatar, params, path, **options): {error}"
    return ""


def _remove(path: Path) -> None:
    """Delete what a failed exporter left."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
