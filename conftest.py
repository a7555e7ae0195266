"""Settings of all tests, of the core and of the plugins."""

from __future__ import annotations

import os

from hypothesis import settings

# Shared machines are slow at times; the same examples every time.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

for name in ("AVATARKIT_PLUGINS", "AVATARKIT_STRICT", "AVATARKIT_TRACE"):
    os.environ.pop(name, None)
