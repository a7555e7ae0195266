"""avatarkit: one photo in, an animatable, talking, gesturing 3D avatar out.

::

    import avatarkit

    path = avatarkit.build("ada.jpg", preset="draft")
    avatar = avatarkit.load(path)
    avatar.picture(yaw=20).save("side.png")  # notebooks show it, and the avatar itself

``__init__.pyi`` lists the public names. Each is imported on first use, so that ``import avatarkit`` does not load torch.
"""

from __future__ import annotations

from typing import Any

import lazy_loader

from avatarkit.utils.moved import former_names, install_aliases

__version__ = "0.1.0"

install_aliases()
_import, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
_former = former_names(__name__, {"Component": "ComponentSpec", "Licence": "License"}, level=4)


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    return _import(name) if name in __all__ else _former(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
