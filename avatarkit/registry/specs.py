"""Descriptors of plugins, components and problems. Fast to import."""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

from avatarkit.config.options import Option, make_config, options_of
from avatarkit.errors import AvatarkitError, ConfigError, MissingDependency, PluginError
from avatarkit.hookspecs import FEATURES, Cost, License, Needs, Weights
from avatarkit.utils.moved import former_fields, former_names
from avatarkit.utils.paths import is_weights_name
from avatarkit.utils.text import shortened

__all__ = [
    "DISTRIBUTION",
    "ComponentSpec",
    "Plugin",
    "Problem",
    "error_place",
    "error_text",
    "is_editable",
    "make_register",
    "where",
]

T = TypeVar("T")

UNDECLARED = License("not declared", "not declared", None)
"""License of a component whose plugin declares none."""

DISTRIBUTION = "avatarkit-oneshot"
"""Name of avatarkit on the package index, where ``avatarkit`` is another project."""


@dataclass(frozen=True)
class Plugin:
    """Source of components.

    Attributes:
        name: name of the entry point, or of the file given with ``--plugin``.
        version: version of its distribution.
        distribution: name of its distribution, or path of the file.
    """

    name: str
    version: str = ""
    distribution: str = ""

    @property
    def bundled(self) -> bool:
        """Whether it is part of avatarkit itself."""
        # An editable installation keeps the project's name from the time of installation.
        return self.distribution in (DISTRIBUTION, "avatarkit")

    @property
    def local(self) -> bool:
        """Whether its user may be its author: a single file, or an editable installation."""
        return self.distribution.endswith(".py") or is_editable(self.distribution)

    @property
    def contact(self) -> str:
        """Address for reports that its project states; "" if there is none."""
        try:
            facts = metadata.metadata(self.distribution)
        except (metadata.PackageNotFoundError, ValueError):
            return ""
        links = [text.partition(",") for text in facts.get_all("Project-URL") or ()]
        named = {name.strip().lower(): url.strip() for name, _, url in links}
        chosen = [named.get(name) for name in ("issues", "bug tracker", "tracker", "repository", "source", "homepage")]
        fields = [value for name in ("Home-page", "Author-email", "Author") for value in facts.get_all(name) or ()]
        found = next(filter(None, [*chosen, *fields]), "")
        return " ".join(str(found).split())[:200]


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a plugin.

    Attributes:
        plugin: name of the plugin.
        message: what is wrong, in a sentence or two.
        remedy: what to do about it.
        distribution: distribution of the plugin with its version, or path of the file; "" if unknown.
    """

    plugin: str
    message: str
    remedy: str = ""
    distribution: str = ""

    @property
    def owner(self) -> str:
        """``'x' of avatarkit-x 1.2``."""
        return f"{self.plugin!r} of {self.distribution}" if self.distribution else repr(self.plugin)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


@former_fields(licence="license")
@dataclass(frozen=True)
class ComponentSpec:
    """A registered component; see ``hookspecs.Register`` for the fields."""

    kind: str
    name: str
    plugin: Plugin
    target: str
    config: str | None = None
    summary: str = ""
    needs: Needs = Needs()
    extra: str | None = None
    license: License = License()
    revision: int = 1
    features: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """Name for messages: ``tracker 'exavatar'``."""
        return f"{self.kind} {self.name!r}"

    @property
    def terms(self) -> License:
        """Its license; if it declares none for weights, those of their sources."""
        sources = self.needs.sources
        if not sources or self.license.weights not in ("none", UNDECLARED.weights):
            return self.license
        allowed = {self.license.commercial, *(source.commercial for source in sources)}
        commercial = False if False in allowed else None if None in allowed else True
        return replace(self.license, weights="; ".join(f"{s.name}: {s.license}" for s in sources), commercial=commercial)

    @property
    def maker(self) -> str:
        """Plugin for messages: ``plugin 'x' of avatarkit-x 1.2``."""
        return f"plugin {where(self.plugin)}"

    @property
    def bundled(self) -> bool:
        """Whether it is part of avatarkit itself."""
        return self.plugin.bundled

    @property
    def remedy(self) -> str:
        """What to do if the component is faulty."""
        if self.bundled:
            whose = "report it to avatarkit"
        else:
            whose = "fix the plugin" if self.plugin.local else f"report it to the authors of {where(self.plugin)}"
        return f"Choose another {self.kind} component, or {whose}."

    def config_type(self) -> type | None:
        """Import and return the config class; None if the component has no options."""
        return None if self.config is None else self._import(self.config)

    def lacks(self, features: Iterable[str]) -> str:
        """Say which features of Gaussians a renderer does not draw: ``ellipsoids``; "" if it draws all."""
        what = {"anisotropic": "ellipsoids", "sh": "colors that depend on the direction of view"}
        return " and ".join(what[feature] for feature in features if feature not in self.features)

    def features_with(self, config: Any) -> tuple[str, ...]:
        """Return its features; those of its config, where options decide."""

        def features() -> tuple[str, ...]:
            found = tuple(getattr(config, "features", self.features))
            if not set(found) <= set(FEATURES):
                raise ValueError(f"features must be of {FEATURES}, not {shortened(ascii(found))}")
            return found

        return self.of_config(features)

    def options(self) -> tuple[Option, ...]:
        """Return the options with their help."""
        cls = self.config_type()
        return () if cls is None else self.of_config(lambda: options_of(cls))

    def of_config(self, work: Callable[[], T]) -> T:
        """Do something with the config's own code; what it raises is a PluginError that names the plugin."""
        try:
            return work()
        except AvatarkitError:
            raise
        except Exception as error:
            text = f"{error_text(error).rstrip('.')}{error_place(error, self.config or self.target)}"
            raise PluginError(f"{self.owner} of {self.maker}: its options ({self.config}) raise {text}. {self.remedy}") from error

    def make_config(self, options: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> Any:
        """Return the checked config for ``options``; None if the component has no options.

        Raises:
            ConfigError: an option is unknown or wrong.
            PluginError: the config itself is broken.
        """
        cls = self.config_type()
        if cls is None:
            if options:
                source = (origins or {}).get(next(iter(options)))
                raise ConfigError(
                    f"{self.owner} has no options, but {next(iter(options))[:60]!r} was given"
                    + (f" (from {source})." if source else ".")
                )
            return None
        if not is_dataclass(cls):
            raise PluginError(f"{self.owner} of {self.maker}: its options ({self.config}) are no dataclass. {self.remedy}")
        return self.of_config(lambda: make_config(cls, options, owner=self.owner, origins=origins))

    def implementation(self) -> type:
        """Import and return the class.

        Raises:
            MissingDependency: a module that it needs is not installed.
            PluginError: it cannot be imported.
        """
        return self._import(self.target)

    def create(self, options: Mapping[str, Any], context: Any, origins: Mapping[str, str] | None = None) -> Any:
        """Import the component and create one.

        Raises:
            ConfigError: an option is unknown or wrong.
            MissingDependency: a module that it needs is not installed.
            PluginError: it cannot be imported or created.
        """
        config = self.make_config(options, origins)
        cls = self.implementation()
        try:
            return cls(config, context)
        except AvatarkitError:
            raise
        except Exception as error:
            text = f"{error_text(error)}{error_place(error, self.target)}"
            raise PluginError(f"{self.owner} of {self.maker} could not be created: {text}. {self.remedy}") from error

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
            if missing and missing != module.partition(".")[0]:
                whose = "declare" if self.plugin.local else "the plugin's authors should declare"
                hint = f"pip install {missing} ({whose} it in Needs(modules=...) and in the project)."
                raise MissingDependency(f"{self.owner} of {self.maker}: there is no module {missing!r}. {hint}") from error
            raise PluginError(self._cannot_import(path, error)) from error
        except Exception as error:
            raise PluginError(self._cannot_import(path, error)) from error
        if not isinstance(found, type):
            raise PluginError(f"{self.owner} of {self.maker}: {path} is not a class. {self.remedy}")
        return found

    def _cannot_import(self, path: str, error: Exception) -> str:
        what = f"{error_text(error)}{error_place(error, path)}"
        return f"{self.owner} of {self.maker}: {path} cannot be imported: {what}. {self.remedy}"

    def install_hint(self, module: str) -> str:
        """Return the command that installs a missing module."""
        if not self.extra or self.plugin.distribution.endswith(".py"):  # a single file has no extras
            return f"pip install {module}"
        ours = self.bundled or not self.plugin.distribution
        return f'pip install "{DISTRIBUTION if ours else self.plugin.distribution}[{self.extra}]"'


def make_register(kind: str, plugin: Plugin, added: list[ComponentSpec]) -> Callable[..., None]:
    """Return the ``register`` function that a hook receives."""

    def register(name: str, **fields: Any) -> None:
        if fields.get("license", fields.get("licence")) is None:
            fields.pop("licence", None)
            fields["license"] = License() if plugin.bundled else UNDECLARED
        spec = ComponentSpec(kind, name, plugin, **fields)
        _check_fields(spec)
        for path in (spec.target, spec.config):
            if path is not None and not all(part.isidentifier() for part in path.replace(":", ".").split(".")):
                raise ValueError(f"{path!r} of {spec.owner} is not of the form package.module:Class")
            if path is not None and path.count(":") != 1:
                raise ValueError(f"{path!r} of {spec.owner} is not of the form package.module:Class")
        _check_needs(spec.needs, spec.owner)
        if any(other.kind == kind and other.name == name for other in added):
            raise ValueError(f"{spec.owner} is registered twice")
        added.append(spec)

    return register


def _check_fields(spec: ComponentSpec) -> None:
    """Check the fields that a plugin registers: they become names of folders, keys of stages and terminal output.

    Raises:
        ValueError: a field is wrong.
    """
    fits = {
        "name": isinstance(spec.name, str) and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", spec.name)),
        "target": isinstance(spec.target, str),
        "config": spec.config is None or isinstance(spec.config, str),
        "summary": isinstance(spec.summary, str),
        "extra": spec.extra is None or isinstance(spec.extra, str),
        "license": isinstance(spec.license, License),
        "revision": type(spec.revision) is int,
        "features": isinstance(spec.features, tuple) and set(spec.features) <= set(FEATURES),
    }
    wanted = {
        "name": "letters, digits, '.', '_' and '-'",
        "license": "a License",
        "revision": "a whole number",
        "features": f"a tuple of {', '.join(map(repr, FEATURES))}",
    }
    for field, fine in fits.items():
        if not fine:
            value = shortened(ascii(getattr(spec, field)))
            owner = f"{spec.kind} {shortened(ascii(spec.name))}"
            raise ValueError(f"{field} of {owner} must be {wanted.get(field, 'text')}, not {value}")


def _check_needs(needs: Needs, owner: str) -> None:
    """Check a plugin's ``Needs``: its texts become paths, addresses and terminal output.

    Raises:
        ValueError: a field is wrong.
    """
    if not isinstance(needs, Needs):
        raise ValueError(f"needs of {owner} is a {type(needs).__name__}, not Needs")
    for field, kind in (("modules", str), ("weights", str), ("sources", Weights), ("costs", Cost)):
        found = getattr(needs, field)
        if not isinstance(found, (tuple, list)) or not all(isinstance(item, kind) for item in found):
            value = shortened(ascii(found))
            raise ValueError(f"{field} in Needs(...) of {owner} must be a tuple of {_PARTS.get(kind, 'texts')}, not {value}")
    if needs.device not in (None, "cpu", "cuda"):
        raise ValueError(f"device in Needs(...) of {owner} must be 'cuda', 'cpu' or None, not {shortened(ascii(needs.device))}")
    for source in needs.sources:
        if not isinstance(source, Weights):
            raise ValueError(f"sources of {owner} holds a {type(source).__name__}, not Weights")
        for field, fine in _weights_checks(source).items():
            if not fine:
                value = shortened(ascii(getattr(source, field)))
                raise ValueError(f"the field {field!r} of weights {shortened(ascii(source.name))} of {owner} may not be {value}")
    for name in needs.weights:
        if not is_weights_name(name):
            raise ValueError(
                f"{owner} needs weights {shortened(ascii(name))}, which is not a name of letters, digits, '.', '_', '+' and '-'"
            )


_PARTS = {Weights: "Weights", Cost: "Cost"}


def _weights_checks(source: Weights) -> dict[str, bool]:
    """Return field -> whether its value is valid."""
    names = source.files if isinstance(source.files, (tuple, list)) else [None]
    try:
        digests: dict[Any, Any] = dict(source.sha256)
    except (TypeError, ValueError):
        digests = {None: None}
    sums = all(_is_text(n) and isinstance(s, str) and re.fullmatch("[0-9a-fA-F]{64}", s) for n, s in digests.items())
    repository = source.repository
    return {
        "name": is_weights_name(source.name),
        "source": _is_text(source.source),
        "license": _is_text(source.license),
        "commercial": source.commercial in (None, True, False),
        "gated": isinstance(source.gated, bool),
        "repository": repository == "" or (_is_text(repository) and bool(_REPOSITORY.fullmatch(repository))),
        "revision": _is_text(source.revision) and bool(source.revision),
        "files": all(_is_text(name) and name for name in names) and bool(names or not repository),
        "strip": _is_text(source.strip),
        "size": source.size is None or (type(source.size) is int and 0 <= source.size <= 10**15),
        "sha256": sums,
        "single": isinstance(source.single, bool),
    }


_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 500 and value.isprintable()


def where(plugin: Plugin) -> str:
    """Return the name of a plugin with its distribution."""
    if not plugin.distribution:
        return repr(plugin.name)
    return f"{plugin.name!r} of {' '.join(filter(None, (plugin.distribution, plugin.version)))}"


def error_place(error: BaseException, target: str) -> str:
    """Return `` (file.py, line 12)``: where the code of a package raised an error; "" if it did not.

    Args:
        error: the error.
        target: module of the package, or ``module:Class``.
    """
    package, place = target.partition(":")[0].partition(".")[0], ""
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            place = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


@functools.cache
def is_editable(distribution: str) -> bool:
    """Return whether a distribution is installed with ``pip install -e``."""
    try:
        text = metadata.distribution(distribution).read_text("direct_url.json")
        return bool(json.loads(text or "{}").get("dir_info", {}).get("editable"))
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return False


def error_text(error: BaseException) -> str:
    """Return the type and text of an error on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"Component": "ComponentSpec"})
