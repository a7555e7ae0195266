"""The hooks that a plugin may implement, and the descriptor that it registers.

Light to import: the standard library and pluggy. A plugin's ``__init__`` holds hook implementations only::

    from avatarkit.hookspecs import Licence, hookimpl

    @hookimpl
    def register_losses(register):
        register("my-loss", target="my_package.loss:MyLoss", config="my_package.config:Config", summary="...")

and its project names it in the entry-point group ``avatarkit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import pluggy

__all__ = ["Cost", "Licence", "Needs", "Register", "Weights", "hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("avatarkit")
hookimpl = pluggy.HookimplMarker("avatarkit")


@dataclass(frozen=True)
class Weights:
    """Checkpoint files of others, that nobody may or wants to hand on.

    Attributes:
        name: that ``avatarkit weights`` knows them by; letters, digits, ``.``, ``_``, ``+`` and ``-``.
        source: the page where people find them.
        licence: in a few words. commercial: whether it allows commercial use; None = ask the source.
        gated: whether its makers want to know who takes them.
        repository: ``owner/name`` on Hugging Face to fetch from; empty = they can only be had by hand.
        revision: branch, tag or commit there. files: paths or patterns there; the folder ``strip`` in front of them is dropped.
        size: bytes of all files, as far as known.
        sha256: (path, hexadecimal) of files whose digest is known beforehand; others are checked by what the server says.
        single: one file, kept as ``NAME.suffix``; otherwise a folder ``NAME``.
    """

    name: str
    source: str
    licence: str
    commercial: bool | None = None
    gated: bool = False
    repository: str = ""
    revision: str = "main"
    files: tuple[str, ...] = ()
    strip: str = ""
    size: int | None = None
    sha256: tuple[tuple[str, str], ...] = ()
    single: bool = False


@dataclass(frozen=True)
class Cost:
    """What a component takes, for estimates before a build.

    Attributes:
        device: ``cpu`` or ``cuda``, where the figures hold. source: who measured them, and on what.
        memory_gb: peak, of that device. seconds_per_frame: of a clip. seconds_per_step: of training, for a view of 640 x 640.
    """

    device: str
    source: str
    memory_gb: float | None = None
    seconds_per_frame: float | None = None
    seconds_per_step: float | None = None


@dataclass(frozen=True)
class Needs:
    """What has to be there before a component can run.

    Attributes:
        modules: importable Python modules.
        weights: names known to ``avatarkit weights``.
        device: ``cuda`` where nothing else will do.
        sources: where ``weights`` come from, and under which terms.
        costs: what it takes, on each device that somebody has measured.
    """

    modules: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    device: str | None = None
    sources: tuple[Weights, ...] = ()
    costs: tuple[Cost, ...] = ()


@dataclass(frozen=True)
class Licence:
    """Under which terms a component may be used.

    Attributes:
        code: SPDX name of the code's licence.
        weights: licence of model files or data, with their source, or "none".
        commercial: whether commercial use of code and weights together is allowed; None = ask the source.
    """

    code: str = "Apache-2.0"
    weights: str = "none"
    commercial: bool | None = True


class Register(Protocol):
    """What a ``register_...`` hook is handed; call it once per component."""

    def __call__(
        self,
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
        """Registers a descriptor, importing nothing.

        Args:
            name: what a recipe or flag says, lower case with hyphens.
            target: ``package.module:Class``, an implementation of the interface.
            config: ``package.module:Class``, a frozen dataclass of its options; None = no options.
            summary: one line for lists.
            needs: checked before any stage runs.
            extra: name of the pip extra that installs its heavy needs.
            licence: for the ledger.
            revision: raise it when results change, so that cached stages are made again.
        """
        ...


@hookspec
def register_matting_models(register: Register) -> None:
    """Registers implementations of ``MattingModel``."""


@pluggy.HookspecMarker("avatarkit")(
    warn_on_impl=DeprecationWarning("The hook register_matters is called register_matting_models now.")
)
def register_matters(register: Register) -> None:
    """Former name of ``register_matting_models``; it goes in version 0.3."""


@hookspec
def register_keypoint_detectors(register: Register) -> None:
    """Registers implementations of ``KeypointDetector``."""


@hookspec
def register_body_models(register: Register) -> None:
    """Registers implementations of ``BodyModel``."""


@hookspec
def register_trackers(register: Register) -> None:
    """Registers implementations of ``Tracker``."""


@hookspec
def register_motion_sources(register: Register) -> None:
    """Registers implementations of ``MotionSource``."""


@hookspec
def register_pseudo_labelers(register: Register) -> None:
    """Registers implementations of ``PseudoLabeler``; the summary says whether body, head or both."""


@hookspec
def register_avatars(register: Register) -> None:
    """Registers implementations of ``AvatarModel``."""


@hookspec
def register_losses(register: Register) -> None:
    """Registers implementations of ``Loss``."""


@hookspec
def register_renderers(register: Register) -> None:
    """Registers renderers: classes with ``gaussians: GaussianRasterizer`` and ``meshes: MeshRasterizer`` attributes."""


@hookspec
def register_exporters(register: Register) -> None:
    """Registers implementations of ``Exporter``."""


@hookspec
def register_commands(cli: Any) -> None:
    """Adds commands to the command line; ``cli`` is the Typer application."""


@hookspec
def stage_finished(stage: str, folder: str, seconds: float) -> None:
    """Observes the end of each stage of a build."""
