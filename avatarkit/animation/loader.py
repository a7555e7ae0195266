"""Opens a finished avatar; it may come from anyone, so everything in it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from avatarkit.animation.avatar import LoadedAvatar
from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.errors import AvatarkitError, InputError, PluginError
from avatarkit.registry import Registry
from avatarkit.registry.specs import error_text
from avatarkit.storage.bundle import read_manifest, read_tensors
from avatarkit.storage.playable import require_header, require_playable, require_pose
from avatarkit.storage.serialization import cameras_from_tensors, params_from_tensors
from avatarkit.utils.threads import single_threaded
from avatarkit.validation import Violation

__all__ = ["assemble", "load"]


@single_threaded()  # the number of threads must not affect the identity
def load(path: Path | str, registry: Registry | None = None, device: str = "auto") -> LoadedAvatar:
    """Open a finished avatar and check its content.

    An avatar may come from an unknown source. Options of its recipe that concern the machine that built it (threads, folders,
    commands) are ignored.

    Raises:
        InputError: it is not an avatar, is damaged or is newer than this program.
        ConfigError: a component of its recipe does not know an option.
        PluginError: a component of its recipe is not installed.
        MissingRequirement: a component of its recipe has missing requirements.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if "recipe" not in manifest:
        raise InputError(f"The avatar {path} is damaged: its manifest has no recipe. Build it again.")
    recipe = Recipe.from_dict(manifest["recipe"], f"the manifest of {path.name}")
    registry = registry or Registry.load()
    registry.use_avatar(manifest, "play")
    registry = replace(registry, known={**_brought_by(recipe, manifest), **registry.known})
    components = Components(recipe, registry, device, seed=manifest.get("seed", 0), foreign=True)
    body, model = components.get("body"), components.get("avatar")
    components.get("renderer")
    try:
        tensors = read_tensors(path, manifest, lambda header: require_header(header, body, model))
        require_playable(tensors, body, model)
        avatar = _assembled(path, components, tensors, manifest)
        with torch.no_grad():
            posed = avatar.model.pose(avatar.photo_params)
        require_pose(posed)
    except Violation as violation:
        raise InputError(
            f"The avatar {path} is damaged, or was made with another version of its components: {violation}. Build it again."
        ) from None
    if undrawn := registry.undrawn(posed.gaussians.features, components.descriptor("renderer")):
        made_by = components.descriptor("avatar")
        raise PluginError(f"The avatar {path} of {made_by.owner} cannot be drawn: {undrawn}, and build it again.")
    return replace(avatar, name=path.resolve().stem)


def _brought_by(recipe: Recipe, manifest: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return (kind, name) -> the package that brought a component when the avatar was built, as its manifest says."""
    found = {}
    for slot, part in manifest.get("components", {}).items():
        package = part.get("distribution") or ""
        if package and slot in recipe.slots:
            version = part.get("version", "")
            how = f"with --plugin {package}" if package.endswith(".py") else f"from the package {package} {version}".rstrip()
            trust = "the avatar's manifest says so; use it only if you trust its authors"
            found[recipe.slots[slot].kind, part["name"]] = f"It came {how} ({trust})."
    return found


def _assembled(
    path: Path, components: Components, tensors: Mapping[str, torch.Tensor], manifest: Mapping[str, Any]
) -> LoadedAvatar:
    """Call ``assemble`` and raise InputError if the component refuses the tensors."""
    try:
        return assemble(components, tensors, manifest)
    except (AvatarkitError, Violation) as error:
        raise InputError(f"The avatar {path} is damaged: {error}. Build it again.".replace("..", ".")) from error
    except Exception as error:
        owner = components.descriptor("avatar")
        raise InputError(
            f"The avatar {path} is damaged: its tensors do not fit {owner.owner} of {owner.maker} ({error_text(error)}). "
            "Build it again."
        ) from error


@single_threaded()  # the number of threads must not affect the identity
def assemble(components: Components, tensors: Mapping[str, torch.Tensor], manifest: Mapping[str, Any]) -> LoadedAvatar:
    """Create an avatar from the tensors of its folder.

    Raises:
        KeyError: a tensor is missing.
    """
    body, model = components.get("body"), components.get("avatar")
    model.load({k.removeprefix("avatar."): v for k, v in tensors.items() if k.startswith("avatar.")})
    x0, y0, x1, y1 = tensors["box"].tolist()
    return LoadedAvatar(
        model=model,
        body=body,
        renderer=components.get("renderer"),
        components=components,
        photo_params=params_from_tensors(tensors, "photo", body.name),
        photo_camera=cameras_from_tensors(tensors, "camera")[0],
        box=(x0, y0, x1, y1),
        manifest=dict(manifest),
    )
