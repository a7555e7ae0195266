"""Finds plugins, asks them what they have, and makes components.

One broken plugin never breaks the rest: what went wrong is kept as a ``Problem`` and everything that the plugin had
registered is taken back. Light to import: no torch, no plugin before ``Registry.load``.

Environment: ``AVATARKIT_PLUGINS=a,b`` loads only these; ``AVATARKIT_STRICT=1`` raises where a Problem would be kept;
``AVATARKIT_TRACE=1`` writes hook calls to stderr.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from avatarkit import hookspecs
from avatarkit.config import Choice
from avatarkit.errors import AvatarkitError, ConfigError, MissingDependency, PluginError
from avatarkit.hookspecs import Licence, Needs
from avatarkit.options import Option, did_you_mean, make_config, options_of

__all__ = ["ENTRY_POINT_GROUP", "KINDS", "Component", "Plugin", "Problem", "Registry"]

ENTRY_POINT_GROUP = "avatarkit"

KINDS: dict[str, str] = {
    "matter": "register_matters",
    "keypoints": "register_keypoint_detectors",
    "body": "register_body_models",
    "tracker": "register_trackers",
    "motions": "register_motion_sources",
    "labels": "register_pseudo_labelers",
    "avatar": "register_avatars",
    "loss": "register_losses",
    "renderer": "register_renderers",
    "exporter": "register_exporters",
}
"""Kind of component -> the hook that registers it."""


@dataclass(frozen=True)
class Plugin:
    """Where components come from.

    Attributes:
        name: of the entry point, or of the file given with ``--plugin``.
        version: of the distribution that it belongs to. distribution: its name, or the path of the file.
    """

    name: str
    version: str = ""
    distribution: str = ""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a plugin.

    Attributes:
        plugin: whose. message: a sentence or two: what is wrong and what to do.
    """

    plugin: str
    message: str


@dataclass(frozen=True)
class Component:
    """What a plugin registered; see ``hookspecs.Register`` for the fields."""

    kind: str
    name: str
    plugin: Plugin
    target: str
    config: str | None = None
    summary: str = ""
    needs: Needs = Needs()
    extra: str | None = None
    licence: Licence = Licence()
    revision: int = 1

    @property
    def owner(self) -> str:
        """How messages call it: ``tracker 'exavatar'``."""
        return f"{self.kind} {self.name!r}"

    def config_type(self) -> type | None:
        """The config class, imported now; None where there are no options."""
        return None if self.config is None else self._import(self.config)

    def options(self) -> tuple[Option, ...]:
        """The options with their help."""
        cls = self.config_type()
        return () if cls is None else options_of(cls)

    def make_config(self, options: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> Any:
        """The checked config for ``options``; None where the component has none.

        Raises:
            ConfigError: an option is unknown or wrong.
        """
        cls = self.config_type()
        if cls is None:
            if options:
                source = (origins or {}).get(next(iter(options)))
                raise ConfigError(
                    f"{self.owner} has no options, but {next(iter(options))!r} was given"
                    + (f" (from {source})." if source else ".")
                )
            return None
        return make_config(cls, options, owner=self.owner, origins=origins)

    def create(self, options: Mapping[str, Any], context: Any, origins: Mapping[str, str] | None = None) -> Any:
        """Imports the component and makes one.

        Raises:
            ConfigError: an option is unknown or wrong.
            MissingDependency: a module that it needs is not installed.
            PluginError: it cannot be imported or made.
        """
        config = self.make_config(options, origins)
        cls = self._import(self.target)
        try:
            return cls(config, context)
        except AvatarkitError:
            raise
        except Exception as error:
            raise PluginError(
                f"{self.owner} of plugin {self.plugin.name!r} could not be made: {_text(error)}"
            ) from error

    def _import(self, path: str) -> type:
        module, _, name = path.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except AvatarkitError:
            raise
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in {need.partition(".")[0] for need in self.needs.modules}:
                raise MissingDependency(
                    f"{self.owner} needs the Python module {missing!r}: {self.install_hint(missing)}"
                ) from error
            raise PluginError(f"Plugin {self.plugin.name!r}: {path} cannot be imported: {_text(error)}") from error
        except Exception as error:
            raise PluginError(f"Plugin {self.plugin.name!r}: {path} cannot be imported: {_text(error)}") from error
        if not isinstance(found, type):
            raise PluginError(f"Plugin {self.plugin.name!r}: {path} is not a class.")
        return found

    def install_hint(self, module: str) -> str:
        """The command that brings a missing module."""
        wanted = f'"{self.plugin.distribution or "avatarkit"}[{self.extra}]"' if self.extra else module
        return f"pip install {wanted}"


@dataclass
class Registry:
    """All components that installed plugins offer; make one with ``load``.

    Attributes:
        plugins: that were loaded, by name. problems: what is wrong with plugins.
        known: (kind, name) -> how to get a component that is known but not installed.
    """

    plugins: dict[str, Plugin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    known: Mapping[tuple[str, str], str] = field(default_factory=dict)
    _components: dict[tuple[str, str], list[Component]] = field(default_factory=dict)
    _manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager("avatarkit"))
    _strict: bool = False

    @classmethod
    def load(
        cls,
        files: Iterable[Path | str] = (),
        *,
        known: Mapping[tuple[str, str], str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Registry:
        """Loads the plugins that are installed, then ``files``.

        Args:
            files: Python files with hook implementations, for one-offs.
            known: see the attribute.
            environ: where the ``AVATARKIT_...`` switches are read.

        Raises:
            PluginError: a file cannot be loaded, or ``AVATARKIT_STRICT`` is set and a plugin is broken.
        """
        registry = cls(known=known or {}, _strict=environ.get("AVATARKIT_STRICT", "0") not in ("", "0"))
        registry._manager.add_hookspecs(hookspecs)
        if environ.get("AVATARKIT_TRACE", "0") not in ("", "0"):
            registry._manager.trace.root.setwriter(sys.stderr.write)
            registry._manager.enable_tracing()
        allowed = environ.get("AVATARKIT_PLUGINS")
        names = None if allowed is None else {name.strip() for name in allowed.split(",") if name.strip()}
        registry._load_entry_points(names)
        for file in files:
            registry._load_file(Path(file))
        return registry

    # ---------------------------------------------------------------------------------------------------------- look-up

    def components(self, kind: str) -> dict[str, Component]:
        """Name -> component, sorted by name; names that two plugins claim are left out."""
        self._check_kind(kind)
        return {
            name: found[0] for (k, name), found in sorted(self._components.items()) if k == kind and len(found) == 1
        }

    def get(self, kind: str, name: str) -> Component:
        """One component.

        Raises:
            PluginError: there is none of that name, or two plugins claim it.
        """
        self._check_kind(kind)
        found = self._components.get((kind, name), [])
        if len(found) > 1:
            raise PluginError(_clash(found))
        if found:
            return found[0]
        if (kind, name) in self.known:
            raise PluginError(f"{kind} {name!r} is not installed. {self.known[kind, name]}")
        names = list(self.components(kind))
        elsewhere = sorted(k for k, n in self._components if n == name)
        hint = f" (It is of the kind {elsewhere[0]}.)" if elsewhere else did_you_mean(name, names)
        listed = f"Installed: {', '.join(names)}." if names else "No plugin offers one."
        broken = f" {len(self.problems)} plugin problem(s): see avatarkit plugins list." if self.problems else ""
        raise PluginError(f"There is no component {name!r} of the kind {kind}.{hint} {listed}{broken}")

    def create(self, choice: Choice, context: Any) -> Any:
        """Makes what a slot of a recipe asks for; see ``Component.create``.

        Raises:
            ConfigError: the slot is empty.
        """
        if choice.use is None:
            raise ConfigError(f"The slot {choice.slot!r} of the recipe is empty.")
        return self.get(choice.kind, choice.use).create(choice.options, context, choice.origins)

    def stage_finished(self, stage: str, folder: str, seconds: float) -> None:
        """Tells observing plugins; one that raises is recorded and does not disturb the build."""
        for implementation in list(self._manager.hook.stage_finished.get_hookimpls()):
            arguments = {"stage": stage, "folder": folder, "seconds": seconds}
            try:
                implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception as error:
                self._problem(implementation.plugin_name, f"Its hook stage_finished raised {_text(error)}")

    def register_commands(self, cli: Any) -> None:
        """Lets plugins add commands to the command line."""
        for implementation in list(self._manager.hook.register_commands.get_hookimpls()):
            try:
                implementation.function(*([cli] if implementation.argnames else []))
            except Exception as error:
                self._problem(implementation.plugin_name, f"Its hook register_commands raised {_text(error)}")

    def _check_kind(self, kind: str) -> None:
        if kind not in KINDS:
            raise PluginError(
                f"There is no kind of component {kind!r}.{did_you_mean(kind, KINDS)} Kinds: {', '.join(KINDS)}."
            )

    # ---------------------------------------------------------------------------------------------------------- loading

    def _load_entry_points(self, allowed: set[str] | None) -> None:
        seen: set[tuple[str, str]] = set()
        entries = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name)
        for entry in entries:
            if (entry.name, entry.value) in seen or (allowed is not None and entry.name not in allowed):
                continue
            seen.add((entry.name, entry.value))
            plugin = Plugin(entry.name, entry.dist.version if entry.dist else "", entry.dist.name if entry.dist else "")
            try:
                module = entry.load()
            except (Exception, SystemExit) as error:
                self._problem(plugin.name, f"It cannot be imported ({_where(plugin)}): {_text(error)}", error)
                continue
            self._add(plugin, module)
        for name in sorted((allowed or set()) - {entry.name for entry in entries}):
            hint = did_you_mean(name, {entry.name for entry in entries})
            self._problem(name, f"AVATARKIT_PLUGINS names it, but no such plugin is installed.{hint}")

    def _load_file(self, path: Path) -> None:
        """One-offs raise: the user asked for exactly this file."""
        name = path.stem
        if not path.is_file() or path.suffix != ".py" or not name.isidentifier():
            raise PluginError(
                f"--plugin {path} must be an existing Python file whose name is an identifier, e.g. my_loss.py."
            )
        loaded = sys.modules.get(name)
        if loaded is None:
            spec = importlib.util.spec_from_file_location(name, path.resolve())
            assert spec is not None
            assert spec.loader is not None
            loaded = importlib.util.module_from_spec(spec)
            sys.modules[name] = loaded  # so that its targets "my_loss:MyLoss" can be imported
            try:
                spec.loader.exec_module(loaded)
            except (Exception, SystemExit) as error:
                del sys.modules[name]
                raise PluginError(f"--plugin {path} cannot be loaded: {_text(error)}") from error
        elif getattr(loaded, "__file__", None) != str(path.resolve()):
            raise PluginError(
                f"--plugin {path}: a module named {name!r} is loaded already; give the file another name."
            )
        before = len(self.problems)
        self._add(Plugin(name, distribution=str(path)), loaded)
        if len(self.problems) > before:
            raise PluginError(f"--plugin {path}: {self.problems[before].message}")

    def _add(self, plugin: Plugin, module: ModuleType) -> None:
        """Registers one plugin's hooks and components, or nothing of it."""
        if plugin.name in self.plugins:
            other = self.plugins[plugin.name]
            message = f"Two plugins have this name: {_where(other)} and {_where(plugin)}; the second is left out."
            self._problem(plugin.name, message)
            return
        try:
            self._manager.register(module, name=plugin.name)
            added = self._collect(plugin)
        except (Exception, SystemExit) as error:
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            self._problem(plugin.name, f"It is left out: {_text(error)}", error)
            return
        self.plugins[plugin.name] = plugin
        for component in added:
            claims = self._components.setdefault((component.kind, component.name), [])
            claims.append(component)
            if len(claims) > 1:
                self._problem(plugin.name, _clash(claims))
        self._report_misspelt_hooks(plugin)

    def _collect(self, plugin: Plugin) -> list[Component]:
        """Calls the plugin's own ``register_...`` hooks."""
        others = {m for n, m in self._manager.list_name_plugin() if n != plugin.name}
        added: list[Component] = []
        for kind, hook in KINDS.items():
            caller = self._manager.subset_hook_caller(hook, remove_plugins=others)
            try:
                caller(register=_register(kind, plugin, added))
            except Exception as error:
                raise PluginError(f"its hook {hook} raised {_text(error)}") from error
        return added

    def _report_misspelt_hooks(self, plugin: Plugin) -> None:
        """pluggy takes any name; a hook that nobody calls is a typo, or meant for a newer version."""
        for caller in self._manager.get_hookcallers(self._manager.get_plugin(plugin.name)) or ():
            if caller.has_spec():
                continue
            for implementation in caller.get_hookimpls():
                if implementation.plugin_name == plugin.name and not implementation.optionalhook:
                    known = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction)]
                    self._problem(plugin.name, f"There is no hook {caller.name!r}.{did_you_mean(caller.name, known)}")

    def _problem(self, plugin: str, message: str, error: BaseException | None = None) -> None:
        if self._strict:
            raise PluginError(f"Plugin {plugin!r}: {message}") from error
        self.problems.append(Problem(plugin, message))


def _register(kind: str, plugin: Plugin, added: list[Component]) -> Callable[..., None]:
    """The ``register`` that a hook is handed."""

    def register(
        name: str,
        *,
        target: str,
        config: str | None = None,
        summary: str = "",
        needs: Needs = Needs(),
        extra: str | None = None,
        licence: Licence = Licence(),
        revision: int = 1,
    ) -> None:
        for path in (target, config):
            if path is not None and not all(part.isidentifier() for part in path.replace(":", ".").split(".")):
                raise ValueError(f"{path!r} of {kind} {name!r} is not of the form package.module:Class")
            if path is not None and path.count(":") != 1:
                raise ValueError(f"{path!r} of {kind} {name!r} is not of the form package.module:Class")
        if any(other.kind == kind and other.name == name for other in added):
            raise ValueError(f"{kind} {name!r} is registered twice")
        added.append(Component(kind, name, plugin, target, config, summary, needs, extra, licence, revision))

    return register


def _clash(claims: list[Component]) -> str:
    first, second = claims[0], claims[-1]
    return (
        f"{first.owner} is registered by two plugins, {_where(first.plugin)} and {_where(second.plugin)}. "
        "Uninstall one of them or leave one out with AVATARKIT_PLUGINS."
    )


def _where(plugin: Plugin) -> str:
    """A plugin with the distribution that it came in."""
    if not plugin.distribution:
        return repr(plugin.name)
    return f"{plugin.name!r} of {' '.join(filter(None, (plugin.distribution, plugin.version)))}"


def _text(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
