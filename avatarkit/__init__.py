"""avatarkit: one photo in, an animatable, talking, gesturing 3D avatar out.

::

    import avatarkit

    path = avatarkit.build("ada.jpg", preset="draft")
    avatar = avatarkit.load(path)
    avatar.picture(yaw=20).save("side.png")  # notebooks show it, and the avatar itself

``__init__.pyi`` lists the public names. Each is imported on first use, so that ``import avatarkit`` does not load torch.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import lazy_loader

from avatarkit.utils.moved import install_aliases

__version__ = "0.1.0"

_DEPRECATED: dict[str, tuple[str, str, str]] = {
    "Component": ("ComponentSpec", "0.1", "0.3"),
    "Licence": ("License", "0.1", "0.3"),
}
"""Former public name -> (new name, deprecated since, removed in); see docs/plugins/publishing.md."""

install_aliases()
_import, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _DEPRECATED:
        now, since, until = _DEPRECATED[name]
        text = f"avatarkit.{name} was renamed to avatarkit.{now} in {since}; the old name is removed in {until}."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(__name__), now)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
