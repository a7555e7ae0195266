"""Conformance checks: test a component against the contract in ``avatarkit.interfaces``."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from avatarkit.config.options import options_of
from avatarkit.errors import AvatarkitError, ConfigError
from avatarkit.interfaces import PROTOCOLS, optional_members
from avatarkit.registry.requirements import requirements
from avatarkit.registry.specs import ComponentSpec
from avatarkit.testing.cases import Case, Check, CheckFailed, Finding, Skipped, expect, on_cpu, same
from avatarkit.testing.material import Material
from avatarkit.testing.method import memory_registry
from avatarkit.testing.people import PEOPLE_CHECKS
from avatarkit.testing.pictures import PICTURE_CHECKS
from avatarkit.testing.speech import SPEECH_CHECKS
from avatarkit.validation import Violation

__all__ = [
    "PROTOCOLS",
    "Case",
    "Check",
    "CheckFailed",
    "Finding",
    "Skipped",
    "check_component",
    "checks_of",
    "conformance",
    "expect",
    "on_cpu",
    "same",
]


# ----------------------------------------------------------------------------------------------------- for every kind


def _descriptor_is_complete(case: Case) -> None:
    """The name is lower case with hyphens and the summary is one line, for lists."""
    component = case.component
    expect(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", component.name), f"the name {component.name!r} is not lower case with hyphens")
    expect(component.summary and "\n" not in component.summary, "register(...) got no summary of one line")


def _options_are_documented(case: Case) -> None:
    """The config is a frozen dataclass, complete without arguments, with a type and a docstring for each field."""
    cls = case.component.config_type()
    if cls is None:
        return
    expect(dataclasses.is_dataclass(cls), f"{cls.__name__} is no dataclass")
    expect(cls.__dataclass_params__.frozen, f"{cls.__name__} is not frozen: @dataclass(frozen=True)")  # type: ignore[attr-defined]
    for name in _without_type(cls):
        raise CheckFailed(f"the option {name!r} has no type annotation")
    case.component.make_config({})
    for option in options_of(cls):
        expect(option.help, f"the option {option.name!r} has no docstring under its field, which is its help")


def _without_type(cls: type) -> list[str]:
    """Return the values of a config that look like options and are none, because a dataclass ignores what has no type.

    Methods, properties, constants in capitals and private names are not meant as options; ``features`` is read as it is.
    """
    bases = [base for base in cls.__mro__ if "__dataclass_fields__" in vars(base)]
    typed = {name for base in bases for name in vars(base).get("__annotations__", {})} | {"features"}
    values = {name: value for base in bases for name, value in vars(base).items() if name not in typed}
    plain = {name for name, value in values.items() if not callable(value) and not hasattr(value, "__get__")}
    return sorted(name for name in plain if not name.startswith("_") and not name.isupper())


def _options_can_be_set_in_a_recipe(case: Case) -> None:
    """Options are numbers, texts, paths, ``Literal``, tuples, ``dict[str, ...]``, dataclasses, or one of these ``| None``.

    Their defaults are of these types, and in their ranges.
    """
    cls = case.component.config_type()
    if cls is None:
        return
    made = case.component.make_config({})
    hints, fields = typing.get_type_hints(cls), [field for field in dataclasses.fields(cls) if field.init]
    for field in fields:
        expect(_settable(hints[field.name]), f"no recipe can set the option {field.name!r}: its type is {hints[field.name]}")
    for field in fields:
        case.component.make_config({field.name: getattr(made, field.name)}, {field.name: "its own default"})


def _settable(hint: Any) -> bool:
    """Return whether ``config.options`` can convert a TOML value to a type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_settable(a) for a in inner if a is not type(None))
    if origin is tuple:
        return all(_settable(a) for a in inner if a is not Ellipsis)
    if origin in (dict, Mapping):
        return inner[0] is str and _settable(inner[1])
    plain = hint in (int, float, bool, str, Path, tuple, dict, Any)
    return plain or origin is typing.Literal or (isinstance(hint, type) and dataclasses.is_dataclass(hint))


def _unknown_options_are_refused(case: Case) -> None:
    """An unknown option raises ConfigError."""
    try:
        case.component.make_config({"no_such_option": 1})
    except ConfigError:
        return
    raise CheckFailed("the unknown option 'no_such_option' was accepted; use a dataclass as config")


def _implements_the_interface(case: Case) -> None:
    """All members exist, and methods accept the arguments of the interface."""
    made = case.make()
    protocol = PROTOCOLS[case.component.kind]
    for name in _members(protocol):
        if name in optional_members(protocol):
            continue
        expect(hasattr(made, name), f"{protocol.__name__}.{name} is missing")
        promised = getattr(protocol, name, None)
        if inspect.isfunction(promised):
            _takes_the_same(promised, getattr(made, name), f"{protocol.__name__}.{name}")


def _members(protocol: type) -> list[str]:
    names = [n for n in vars(protocol) if not n.startswith("_") or n == "__call__"]
    return sorted({*names, *protocol.__annotations__})


def _takes_the_same(promised: Callable[..., Any], given: Callable[..., Any], what: str) -> None:
    """Check that a method accepts the interface's arguments by position and by name.

    Further arguments are allowed if they have defaults.
    """
    wanted = [p for p in inspect.signature(promised).parameters.values() if p.name != "self"]
    got = inspect.signature(given)
    positional = [inspect.Parameter.empty for p in wanted if p.kind == p.POSITIONAL_OR_KEYWORD]
    named = {p.name: None for p in wanted if p.kind == p.POSITIONAL_OR_KEYWORD and p.default is not p.empty}
    required = positional[: len(positional) - len(named)]
    for kind, text in ((inspect.Parameter.VAR_KEYWORD, "**options"), (inspect.Parameter.VAR_POSITIONAL, "*arguments")):
        if any(p.kind == kind for p in wanted) and not any(p.kind == kind for p in got.parameters.values()):
            raise CheckFailed(f"{what} takes {text}, this one does not: later versions pass more than today's")
    try:
        got.bind(*positional)
        got.bind(*required, **named)
    except TypeError as error:
        text = ", ".join(p.name if p.default is p.empty else f"{p.name}=..." for p in wanted)
        raise CheckFailed(f"{what} takes ({text}), this one does not: {error}") from None


COMMON: tuple[Check, ...] = (
    _descriptor_is_complete,
    _options_are_documented,
    _options_can_be_set_in_a_recipe,
    _unknown_options_are_refused,
    _implements_the_interface,
)


# ----------------------------------------------------------------------------------------------------------- running


def checks_of(kind: str) -> tuple[Check, ...]:
    """Return the checks for a kind of component, in order."""
    return (*COMMON, *(PEOPLE_CHECKS | PICTURE_CHECKS | SPEECH_CHECKS)[kind])


def name_of(check: Check) -> str:
    """Return the name of a check for tables."""
    return check.__name__.strip("_").replace("_", " ")


def check_component(
    component: ComponentSpec, material: Material | None = None, options: Mapping[str, Any] | None = None
) -> list[Finding]:
    """Run all checks for the component's kind.

    Args:
        component: from a registry.
        material: what to test it on; None = the tiny person.
        options: options of the component.

    Returns:
        One finding for each check; if a requirement of the component is missing, all are skipped. A component that cannot be
        created fails once, and the checks after that are skipped.
    """
    case = Case(component, material or Material(), dict(options or {}))
    return [run_check(check, case) for check in checks_of(component.kind)]


def run_check(check: Check, case: Case) -> Finding:
    """Run one check; any exception of the component is a failure that names it."""
    name = name_of(check)
    missing = [r for r in requirements(case.component) if not r.met]
    if check not in COMMON[:4]:
        if missing:
            return Finding(name, "skipped", f"needs the {missing[0].kind} {missing[0].name!r}: {missing[0].remedy}")
        if not _has_config(case):
            return Finding(name, "skipped", "needs options that work: see the checks of options")
        if case.refused:
            return Finding(name, "skipped", "needs a component that can be created: see the first check that failed")
    random, given = torch.get_rng_state(), copy.deepcopy(case.material.handed)
    try:
        check(case)
        for what, before in given.items():
            expect(same(before, case.material.handed[what]), f"the {what} that was handed over was changed")
        expect(
            torch.equal(random, torch.get_rng_state()), "torch's global random generator was used; create a generator of your own"
        )
    except Skipped as reason:
        return Finding(name, "skipped", str(reason))
    except (CheckFailed, Violation) as failure:
        return Finding(name, "failed", str(failure))
    except AvatarkitError as error:
        return Finding(name, "failed", f"{type(error).__name__}: {error}")
    except Exception as error:
        where = _place(error, case.component)
        return Finding(name, "failed", f"it raised {type(error).__name__}: {error}{where}")
    return Finding(name, "passed")


def _has_config(case: Case) -> bool:
    """Return whether the component's config can be made; if not, the checks of options say why."""
    try:
        case.component.make_config(case.options)
    except AvatarkitError:
        return False
    return True


def _place(error: BaseException, component: ComponentSpec) -> str:
    """Return file and line of the innermost frame in the component's own package."""
    package, found, trace = component.target.partition(":")[0].partition(".")[0], "", error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            found = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def conformance(
    *plugins: Any, material: Material | None = None, options: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[..., None]:
    """Return pytest tests for all components of ``plugins``.

    Assign the result to a name that starts with ``test_``.

    Args:
        plugins: modules with hooks.
        material: what to test components on; None = the tiny person.
        options: name of a component -> its options.

    Raises:
        PluginError: a plugin is broken.
    """
    import pytest

    registry = memory_registry(*plugins)
    names = {plugin.__name__ for plugin in plugins}
    cases = list(_cases(registry.all_components(), names, material or Material(), options or {}))
    ids = [f"{case.component.kind}-{case.component.name}-{name_of(check).replace(' ', '_')}" for case, check in cases]

    @pytest.mark.parametrize(("case", "check"), cases, ids=ids)
    def test_conformance(case: Case, check: Check) -> None:
        finding = run_check(check, case)
        if finding.state == "skipped":
            pytest.skip(finding.detail)
        if finding.state == "failed":
            pytest.fail(f"{case.component.owner}: {finding.detail}\nThe promise: {inspect.getdoc(check)}", pytrace=False)

    return test_conformance


def _cases(
    components: list[ComponentSpec], names: set[str], material: Material, options: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[Case, Check]]:
    for component in components:
        if component.plugin.name in names:
            case = Case(component, material, options.get(component.name, {}))
            for check in checks_of(component.kind):
                yield case, check
