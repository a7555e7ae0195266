"""Imports plugins safely: one that raises, exits or hangs does not stop the program. Fast to import."""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from avatarkit import __version__
from avatarkit.errors import ConfigError, PluginError
from avatarkit.registry.specs import DISTRIBUTION, Plugin, error_place, error_text
from avatarkit.utils.paths import plugins_folder

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = [
    "LoadFailure",
    "check_version",
    "import_entry_point",
    "import_file",
    "import_seconds",
    "leave_out",
    "mend",
    "requires_namesake",
    "user_plugins",
]


class LoadFailure(Exception):
    """A plugin cannot be loaded.

    Attributes:
        message: what is wrong.
        remedy: what to do.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


def leave_out(plugin: Plugin) -> str:
    """Return the command or setting that disables a broken plugin."""
    if plugin.distribution.endswith(".py"):
        return "leave it out"
    installed = plugin.distribution and not plugin.bundled
    return f"pip uninstall {plugin.distribution}" if installed else f"leave {plugin.name!r} out with AVATARKIT_PLUGINS"


def mend(plugin: Plugin, how: str = "", ask: str = "Update it, ask its authors") -> str:
    """Return what to do about a fault of a plugin, which differs for its author and for its users.

    Args:
        plugin: the plugin.
        how: what its author changes: ``give it another name``.
        ask: what its users do.
    """
    what = plugin.distribution if plugin.distribution.endswith(".py") else repr(plugin.name)
    fix = f"Fix {what}: {how}" if how else f"Fix {what}"
    return f"{fix if plugin.local else ask}, or {leave_out(plugin)}."


def import_seconds(environ: Mapping[str, str]) -> float:
    """Return the time limit for importing one plugin, in seconds.

    It is ``AVATARKIT_IMPORT_SECONDS``, or 30 if that is not set or not a valid number.
    """
    try:
        return max(0.1, float(environ.get("AVATARKIT_IMPORT_SECONDS", "30")))
    except ValueError:
        return 30.0


def import_entry_point(entry: metadata.EntryPoint, plugin: Plugin, seconds: float) -> ModuleType:
    """Import the module of an entry point, on its own thread and with a time limit.

    Raises:
        LoadFailure: it cannot be imported, exits or hangs.
    """
    found: list[ModuleType] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(entry.load())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name=f"import of {entry.name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if found:
        return found[0]
    if not failed:
        raise LoadFailure(
            f"Its import hangs: it was given up after {seconds:g} s.",
            f"A plugin's __init__ must not import large packages or wait. {mend(plugin, ask='Ask its authors')}",
        )
    error = failed[0]
    if isinstance(error, (KeyboardInterrupt, MemoryError)):
        raise error
    remedy = mend(plugin)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name != entry.module:
        missing = error.name.partition(".")[0]
        if missing != entry.module.partition(".")[0]:
            remedy = f"pip install {missing}, or {leave_out(plugin)}."
    raise LoadFailure(f"It cannot be imported: {error_text(error)}.", remedy) from error


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this thread after a time, where the system can: what it does cleans up after itself."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_version(distribution: metadata.Distribution | None, plugin: Plugin) -> None:
    """Check that the plugin's distribution accepts this version of avatarkit.

    Args:
        distribution: distribution of the plugin, or None.
        plugin: plugin to name in messages.

    Raises:
        LoadFailure: it requires another version.
    """
    for requirement in _requirements(distribution, plugin):
        if not requirement.specifier.contains(__version__, prereleases=True):
            raise LoadFailure(
                f"It needs avatarkit{requirement.specifier}, and this is {__version__}.",
                f'pip install --upgrade {plugin.distribution}, or pip install "{DISTRIBUTION}{requirement.specifier}".',
            )


def requires_namesake(distribution: metadata.Distribution | None, plugin: Plugin) -> bool:
    """Return whether the distribution requires ``avatarkit``, another project's package."""
    return any(requirement.name.lower() == "avatarkit" for requirement in _requirements(distribution, plugin))


def _requirements(distribution: metadata.Distribution | None, plugin: Plugin) -> list[Requirement]:
    """Return a distribution's requirements of avatarkit, under the name of either package."""
    found: list[Requirement] = []
    if distribution is None or plugin.bundled:
        return found
    for text in distribution.requires or ():
        if not text.lower().startswith("avatarkit"):
            continue
        from packaging.requirements import InvalidRequirement, Requirement  # takes 10 ms to import and is rarely needed
        from packaging.utils import canonicalize_name

        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and canonicalize_name(requirement.name) in (DISTRIBUTION, "avatarkit"):
            found.append(requirement)
    return found


def user_plugins(environ: Mapping[str, str]) -> list[Path]:
    """Return the Python files in the user's folder of plugins, see ``utils.paths.plugins_folder``.

    Names that begin with an underscore, and all that ``AVATARKIT_PLUGINS`` leaves out, do not count.
    """
    allowed = environ.get("AVATARKIT_PLUGINS")
    names = None if allowed is None else {name.strip() for name in allowed.split(",")}
    try:
        files = sorted(plugins_folder().glob("[!_]*.py"))
    except (OSError, ConfigError):  # no home folder, or one that may not be read
        return []
    return [path for path in files if names is None or path.stem in names]


def import_file(path: Path, seconds: float = 30.0) -> ModuleType:
    """Import a plugin from a single Python file.

    Raises:
        PluginError: it is not a Python file, or cannot be imported.
    """
    name = path.stem
    if not path.is_file() or path.suffix != ".py" or not name.isidentifier():
        raise PluginError(f"--plugin {path} must be an existing Python file whose name is an identifier, e.g. my_loss.py.")
    loaded = sys.modules.get(name)
    if loaded is not None:
        if getattr(loaded, "__file__", None) != str(path.resolve()):
            raise PluginError(f"--plugin {path}: a module named {name!r} is loaded already; give the file another name.")
        return loaded
    namesake = importlib.util.find_spec(name)  # it would be hidden from all that import it later
    if namesake is not None and (namesake.origin is None or Path(namesake.origin).resolve() != path.resolve()):
        raise PluginError(f"--plugin {path}: there is a module named {name!r} already; give the file another name.")
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # so that its target "my_loss:MyLoss" can be imported
    try:
        with _limited(seconds):
            spec.loader.exec_module(loaded)
    except TimeoutError:
        sys.modules.pop(name, None)
        raise PluginError(f"--plugin {path}: its import hangs and was given up after {seconds:g} s.") from None
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)  # it may have been removed already
        raise PluginError(f"--plugin {path} cannot be loaded: {error_text(error)}{error_place(error, name)}") from error
    return loaded
