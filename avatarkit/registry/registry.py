"""Finds plugins, collects their components and creates components.

A broken plugin does not affect the others: the failure is kept as a ``Problem`` and everything that the plugin registered
is removed. Fast to import: no torch, and no plugin before ``Registry.load``.

Environment: ``AVATARKIT_PLUGINS=a,b`` loads only these; ``AVATARKIT_STRICT=1`` raises where a Problem would be kept;
``AVATARKIT_TRACE=1`` writes hook calls to stderr; a plugin whose import takes longer than ``AVATARKIT_IMPORT_SECONDS`` (30) is
left out.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from avatarkit import hookspecs
from avatarkit.config import Choice
from avatarkit.config.options import did_you_mean
from avatarkit.errors import ConfigError, PluginError
from avatarkit.registry.loading import (
    LoadFailure,
    check_version,
    import_entry_point,
    import_file,
    import_seconds,
    leave_out,
    mend,
    requires_namesake,
    user_plugins,
)
from avatarkit.registry.specs import DISTRIBUTION, ComponentSpec, Plugin, Problem, error_place, error_text, make_register, where
from avatarkit.utils.files import finishing, write_bytes
from avatarkit.utils.moved import current_name

__all__ = ["ENTRY_POINT_GROUP", "KINDS", "ComponentSpec", "Plugin", "Problem", "Registry"]

ENTRY_POINT_GROUP = "avatarkit"

KINDS: dict[str, str] = {
    "matting": "register_matting_models",
    "keypoints": "register_keypoint_detectors",
    "body": "register_body_models",
    "tracker": "register_trackers",
    "motions": "register_motion_sources",
    "speech": "register_speech_drivers",
    "synthesizer": "register_speech_synthesizers",
    "labels": "register_pseudo_labelers",
    "avatar": "register_avatars",
    "loss": "register_losses",
    "renderer": "register_renderers",
    "exporter": "register_exporters",
}
"""Kind of component -> the hook that registers it."""

_MARK = "decorate a function with @hookimpl (from avatarkit import hookimpl)."

_FORMER_HOOKS = {"register_matters": "matting"}
"""Former hook -> kind of component; it still works, with a deprecation warning from pluggy."""


@dataclass(repr=False)
class Registry:
    """All components of the installed plugins; create one with ``load``.

    Attributes:
        plugins: loaded plugins, by name.
        problems: problems with plugins.
        known: (kind, name) -> how to get a component that is known but not installed.
        left_out: names of the plugins that ``no:NAME`` left out.
        policy: what the user asked of plugins that watch over avatars: ``sign`` (``no``, or ``KEY,CERT``), and ``anyway``
            (``yes`` to go beyond the person's consent).
    """

    plugins: dict[str, Plugin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    known: Mapping[tuple[str, str], str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    policy: dict[str, str] = field(default_factory=dict)
    _components: dict[tuple[str, str], list[ComponentSpec]] = field(default_factory=dict)
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
        """Load the installed plugins, those in the user's folder of plugins, then ``files``.

        Args:
            files: single Python files with hook implementations; ``no:NAME`` leaves out a plugin.
            known: see the attribute.
            environ: where the ``AVATARKIT_...`` variables are read.

        Raises:
            PluginError: a file cannot be loaded, or ``AVATARKIT_STRICT`` is set and a plugin is broken.
        """
        given, seconds = list(dict.fromkeys(str(file) for file in files)), import_seconds(environ)
        left_out = frozenset(text.removeprefix("no:") for text in given if text.startswith("no:"))
        registry = cls(known=known or {}, left_out=left_out, _strict=environ.get("AVATARKIT_STRICT", "0") not in ("", "0"))
        registry._manager.add_hookspecs(hookspecs)
        if environ.get("AVATARKIT_TRACE", "0") not in ("", "0"):
            registry._manager.trace.root.setwriter(sys.stderr.write)
            registry._manager.enable_tracing()
        allowed = environ.get("AVATARKIT_PLUGINS")
        names = None if allowed is None else {name.strip() for name in allowed.split(",") if name.strip()}
        own = user_plugins(environ)
        registry._load_entry_points(names, left_out, {path.stem for path in own}, seconds)
        for path in own:
            if path.stem not in left_out:
                registry._add_own(path, seconds)
        for text in given:
            if not text.startswith("no:"):
                path = Path(text)
                module = import_file(path, seconds)
                registry.add(module, path.stem, str(path))
                if not registry._manager.get_hookcallers(module):
                    raise PluginError(f"--plugin {path} registers nothing: {_MARK}")
        return registry

    def _add_own(self, path: Path, seconds: float) -> None:
        """Add a file of the user's folder of plugins, or record what is wrong with it."""
        plugin = Plugin(path.stem, distribution=str(path))
        try:
            module = import_file(path, seconds)
        except PluginError as error:
            message = str(error).removeprefix("--plugin ")
            self._problem(plugin, message, f"Fix it, or move it out of {path.parent}.", error)
        else:
            before = len(self.problems)
            self._add(plugin, module)
            if len(self.problems) == before and not self._manager.get_hookcallers(module):
                self._problem(plugin, "It registers nothing.", f"{_MARK[0].upper()}{_MARK[1:]}")

    # ---------------------------------------------------------------------------------------------------------- look-up

    def components(self, kind: str) -> dict[str, ComponentSpec]:
        """Return name -> component of one kind, sorted by name.

        Names that two plugins register are left out.
        """
        kind = self._kind(kind)
        return {name: found[0] for (k, name), found in sorted(self._components.items()) if k == kind and len(found) == 1}

    def all_components(self) -> list[ComponentSpec]:
        """Return the components of all kinds, sorted by kind and name."""
        return [component for kind in KINDS for component in self.components(kind).values()]

    def get(self, kind: str, name: str) -> ComponentSpec:
        """Return one component.

        Raises:
            PluginError: no component has that name, or two plugins register it.
        """
        kind = self._kind(kind)
        found = self._components.get((kind, name), [])
        if len(found) > 1:
            raise PluginError(_clash(found))
        if found:
            return found[0]
        if name in self.left_out:
            raise PluginError(f"{kind} {name!r} was left out with -p no:{name}.")
        out = f" Left out: -p no:{' -p no:'.join(sorted(self.left_out))}." if self.left_out else ""
        if (kind, name) in self.known:
            raise PluginError(f"{kind} {name!r} is not installed. {self.known[kind, name]}{out}")
        names = list(self.components(kind))
        elsewhere = sorted(k for k, n in self._components if n == name)
        hint = f" (It is of the kind {elsewhere[0]}.)" if elsewhere else did_you_mean(name, names)
        listed = f"Installed: {', '.join(names)}." if names else "No installed plugin has one."
        broken = f" {len(self.problems)} plugin problem(s): see avatarkit plugins list." if self.problems else ""
        raise PluginError(f"There is no component {name!r} of the kind {kind}.{hint} {listed}{out}{broken}")

    def undrawn(self, features: Iterable[str], renderer: ComponentSpec) -> str:
        """Say which features of an avatar's Gaussians a renderer does not draw, and what to choose; "" if it draws all."""
        features = tuple(features)
        if not (lacking := renderer.lacks(features)):
            return ""
        able = [component.name for component in self.components("renderer").values() if not component.lacks(features)]
        remedy = f"choose --renderer {' or '.join(able)}" if able else "choose another avatar"
        return f"it makes {lacking}, which {renderer.owner} does not draw: {remedy}"

    def create(self, choice: Choice, context: Any) -> Any:
        """Create the component that a slot of a recipe chooses; see ``ComponentSpec.create``.

        Raises:
            ConfigError: the slot is empty.
        """
        if choice.use is None:
            raise ConfigError(f"The slot {choice.slot!r} of the recipe is empty.")
        return self.get(choice.kind, choice.use).create(choice.options, context, choice.origins)

    def stage_finished(self, stage: str, folder: str, seconds: float) -> None:
        """Notify the plugins that observe stages.

        If a plugin raises, the error is recorded and the build continues.
        """
        for implementation in list(self._manager.hook.stage_finished.get_hookimpls()):
            arguments = {"stage": stage, "folder": folder, "seconds": seconds}
            try:
                implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception as error:
                self._hook_raised(implementation.plugin_name, "stage_finished", error)

    def use_avatar(self, manifest: Mapping[str, Any], purpose: str) -> None:
        """Let plugins check an avatar before it is used, see ``hookspecs.use_avatar``.

        Raises:
            AvatarkitError: a plugin refuses.
        """
        self._manager.hook.use_avatar(manifest=dict(manifest), purpose=purpose, policy=self.policy)

    def cached_files(self, folder: Path) -> dict[str, str]:
        """Return path -> what it is of all that plugins keep in ``folder`` and can make again, see ``hookspecs.cached_files``.

        A plugin that raises is recorded as a problem.
        """
        found: dict[str, str] = {}
        for implementation in self._manager.hook.cached_files.get_hookimpls():
            try:
                kept: Any = implementation.function(*([str(folder)] if implementation.argnames else []))
                found.update(kept or {})
            except Exception as error:
                self._hook_raised(implementation.plugin_name, "cached_files", error)
        return found

    @contextmanager
    def output(self, path: Path, manifest: Mapping[str, Any]) -> Iterator[None]:
        """Let plugins finish the file or folder ``path``, which is written meanwhile, see ``hookspecs.finish_output``.

        Raises:
            AvatarkitError: a plugin cannot; then nothing is written.
        """
        beside: dict[Path, bytes] = {}

        def change(temporary: Path, target: Path) -> None:
            hook = self._manager.hook.finish_output
            for files in hook(path=str(temporary), target=str(target), manifest=dict(manifest), policy=self.policy):
                beside.update({target.with_name(name): content for name, content in files.items()})

        with finishing(path, change):
            yield
        for path, content in beside.items():
            write_bytes(path, content)

    def register_commands(self, cli: Any, added: Callable[[Plugin], str | None] = lambda plugin: None) -> None:
        """Let plugins add commands to the command line.

        Args:
            cli: the command line.
            added: called after each plugin; returns what is wrong with the commands that it added.
        """
        for implementation in list(self._manager.hook.register_commands.get_hookimpls()):
            plugin = self.plugins[implementation.plugin_name]
            try:
                implementation.function(*([cli] if implementation.argnames else []))
            except Exception as error:
                self._hook_raised(implementation.plugin_name, "register_commands", error)
            if wrong := added(plugin):
                self._problem(plugin, wrong, mend(plugin, "give it another name", "Ask its authors for another name"))

    def blame(self, error: BaseException) -> tuple[Plugin, str] | None:
        """Return the plugin, not part of avatarkit, whose code raised an error or its cause, and the place in it.

        A stage that failed in no code of a plugin names the plugin of its component; the place is "" then.
        """
        packages = {component.target: component.plugin for claims in self._components.values() for component in claims}
        packages |= {getattr(self._manager.get_plugin(name), "__name__", "-"): plugin for name, plugin in self.plugins.items()}
        chain: BaseException | None = error
        while chain is not None:
            for package, plugin in packages.items():
                if not plugin.bundled and package.partition(".")[0] != "avatarkit" and (place := error_place(chain, package)):
                    return plugin, place.strip(" ()")
            chain = chain.__cause__
        named = getattr(error, "plugin", None)
        return next(((plugin, "") for plugin in self.plugins.values() if named == where(plugin)), None)

    def _hook_raised(self, name: str, hook: str, error: Exception) -> None:
        plugin = self.plugins[name]
        place = error_place(error, getattr(self._manager.get_plugin(name), "__name__", "-"))
        self._problem(plugin, f"Its hook {hook} raised {error_text(error)}{place}.", mend(plugin, ask="Ask its authors"))

    def __repr__(self) -> str:
        """Return one line; ``avatarkit plugins list`` shows everything."""
        count = sum(len(claims) for claims in self._components.values())
        return f"<Registry: {count} components of {len(self.plugins)} plugins, {len(self.problems)} problems>"

    def _kind(self, name: str) -> str:
        kind = current_name(name)
        if kind not in KINDS:
            raise PluginError(f"There is no kind of component {kind!r}.{did_you_mean(kind, KINDS)} Kinds: {', '.join(KINDS)}.")
        return kind

    # ---------------------------------------------------------------------------------------------------------- loading

    def _load_entry_points(self, allowed: set[str] | None, left_out: frozenset[str], own: set[str], seconds: float) -> None:
        seen: set[tuple[str, str]] = set()
        entries = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name)
        names = {entry.name for entry in entries} | own
        for name in sorted(left_out - names):
            brought = sorted({entry.name for entry in entries if entry.dist and _same_package(entry.dist.name, name)})
            hint = f" It is a package; leave out its plugins: -p no:{' -p no:'.join(brought)}" if brought else ""
            raise PluginError(f"-p no:{name}: no such plugin is installed.{hint or did_you_mean(name, names)}")
        for entry in entries:
            if (entry.name, entry.value) in seen or (allowed is not None and entry.name not in allowed) or entry.name in left_out:
                continue
            seen.add((entry.name, entry.value))
            plugin = Plugin(entry.name, entry.dist.version if entry.dist else "", entry.dist.name if entry.dist else "")
            try:
                check_version(entry.dist, plugin)
                module = import_entry_point(entry, plugin, seconds)
            except LoadFailure as failure:
                self._problem(plugin, failure.message, failure.remedy, failure.__cause__)
                continue
            self._add(plugin, module)
            if requires_namesake(entry.dist, plugin):
                self._problem(
                    plugin,
                    "Its project requires 'avatarkit', which is another project on the package index.",
                    f"It works for now; {'require' if plugin.local else 'its authors should require'} {DISTRIBUTION}.",
                )
        for name in sorted((allowed or set()) - names):
            hint = did_you_mean(name, names)
            self._problem(Plugin(name), f"AVATARKIT_PLUGINS names it, but no such plugin is installed.{hint}")

    def add(self, module: Any, name: str, distribution: str = "") -> None:
        """Add an imported module, or another object, with hook implementations.

        Raises:
            PluginError: it is invalid.
        """
        before = len(self.problems)
        self._add(Plugin(name, distribution=distribution), module)
        if len(self.problems) > before:
            raise PluginError(f"Plugin {name!r}: {self.problems[before]}")

    def _add(self, plugin: Plugin, module: ModuleType) -> None:
        """Register all hooks and components of one plugin, or none of them."""
        if plugin.name in self.plugins:
            other = self.plugins[plugin.name]
            message = f"Two plugins have this name: {where(other)} and {where(plugin)}; the second is left out."
            file = plugin.distribution.endswith(".py")
            self._problem(plugin, message, f"{'Rename the file, or' if file else 'Uninstall one:'} {leave_out(plugin)}.")
            return
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self._manager.register(module, name=plugin.name)
            added = self._collect(plugin)
        except (Exception, SystemExit) as error:
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            text = str(error) if isinstance(error, PluginError) else error_text(error)
            self._problem(plugin, f"It is left out: {' '.join(text.split())}.", self._hook_remedy(error, plugin), error)
            return
        self.plugins[plugin.name] = plugin
        for component in added:
            claims = self._components.setdefault((component.kind, component.name), [])
            claims.append(component)
            if len(claims) > 1:
                self._problem(plugin, _clash(claims))
        for warning in caught:
            if issubclass(warning.category, DeprecationWarning):
                whose = "change it" if plugin.local else "its authors should change it"
                self._problem(plugin, str(warning.message), f"It works for now; {whose}.")
        self._report_misspelt_hooks(plugin)
        self._report_unmarked_hooks(plugin, module)

    def _report_unmarked_hooks(self, plugin: Plugin, module: Any) -> None:
        """Report functions that have the name of a hook and are not marked as one."""
        for name, _ in inspect.getmembers(hookspecs, inspect.isfunction):
            found = vars(module).get(name) if hasattr(module, "__dict__") else None
            own = inspect.isfunction(found) and found.__module__ == getattr(module, "__name__", "")
            if own and hasattr(getattr(hookspecs, name), "avatarkit_spec") and not hasattr(found, "avatarkit_impl"):
                message = f"Its function {name} is not marked as a hook, so that it is never called."
                self._problem(plugin, message, "Write @hookimpl above it (from avatarkit import hookimpl).")

    def _hook_remedy(self, error: BaseException, plugin: Plugin) -> str:
        if isinstance(error, pluggy.PluginValidationError):
            return mend(plugin, ask="It was made for another version of avatarkit: update it, update avatarkit")
        return mend(plugin)

    def _collect(self, plugin: Plugin) -> list[ComponentSpec]:
        """Call the plugin's own ``register_...`` hooks."""
        others = {m for n, m in self._manager.list_name_plugin() if n != plugin.name}
        added: list[ComponentSpec] = []
        for kind, hook in [*KINDS.items(), *((kind, hook) for hook, kind in _FORMER_HOOKS.items())]:
            caller = self._manager.subset_hook_caller(hook, remove_plugins=others)
            try:
                caller(register=make_register(kind, plugin, added))
            except (Exception, SystemExit) as error:
                place = error_place(error, getattr(self._manager.get_plugin(plugin.name), "__name__", "-"))
                raise PluginError(f"its hook {hook} raised {error_text(error)}{place}") from error
        return added

    def _report_misspelt_hooks(self, plugin: Plugin) -> None:
        """Report hook implementations with unknown names, which pluggy accepts silently.

        They are typos or made for a newer version.
        """
        for caller in self._manager.get_hookcallers(self._manager.get_plugin(plugin.name)) or ():
            if caller.has_spec():
                continue
            for implementation in caller.get_hookimpls():
                if implementation.plugin_name == plugin.name and not implementation.optionalhook:
                    known = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction)]
                    hint = did_you_mean(caller.name, known)
                    remedy = "The rest of the plugin works." if hint else "The rest works; a newer avatarkit may know it."
                    self._problem(plugin, f"There is no hook {caller.name!r}.{hint}", remedy)

    def _problem(self, plugin: Plugin, message: str, remedy: str = "", error: BaseException | None = None) -> None:
        distribution = " ".join(filter(None, (plugin.distribution, plugin.version)))
        problem = Problem(plugin.name, message, remedy, distribution)
        if self._strict:
            raise PluginError(f"Plugin {plugin.name!r}: {problem}") from error
        self.problems.append(problem)


def _same_package(one: str, other: str) -> bool:
    """Return whether two texts name one distribution, as pip reads them."""
    return re.sub("[-_.]+", "-", one).lower() == re.sub("[-_.]+", "-", other).lower()


def _clash(claims: list[ComponentSpec]) -> str:
    first, second = claims[0], claims[-1]
    return (
        f"{first.owner} is registered by two plugins, {where(first.plugin)} and {where(second.plugin)}. "
        f"Uninstall one of them, or leave one out: -p no:{second.plugin.name}, or AVATARKIT_PLUGINS."
    )
