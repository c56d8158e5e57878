"""What a daemon runs on: engines, what they cost here, and lanes as configured or as that says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blockprofiles.table import Table
from blockstore.block import Model
from schedulerd.config import EngineConfig
from schedulerd.errors import ConfigError
from schedulerd.profiling.lanes import Layout, choose, threads_to_try
from schedulerd.serving.engines.alternates import engines_for
from schedulerd.serving.engines.base import Engine
from schedulerd.serving.engines.factory import CPU

Engines = tuple[Engine, ...]
"""The main one first."""


@dataclass(frozen=True, slots=True)
class Sized:
    """Engines with their profile, for so many lanes."""

    engines: Engines
    table: Table
    layout: Layout
    why: str | None
    """Why there are so many lanes; None where they were configured."""


def threads_measured(settings: EngineConfig, cores: int) -> tuple[int, ...]:
    """Threads of a lane that the store is measured with before a daemon serves.

    Raises `ConfigError` where the profile is to choose lanes and cannot.
    """
    if settings.lanes is not None:
        return (settings.threads(cores),)
    if settings.device != CPU:
        raise ConfigError(
            f'[engine] lanes = "auto" shares out cores, and blocks run on {settings.device!r}: give a number of lanes'
        )
    return threads_to_try(cores, settings.threads_per_lane)


def sized(settings: EngineConfig, cores: int, models: Sequence[Model], profiled: Callable[[Engines], Table]) -> Sized:
    """Lanes as `settings` have them on a board of `cores`.

    Where the profile chooses, the store is measured once with each number of threads: both the times of blocks and
    what other busy lanes do to them are of lanes of so many threads.

    Args: settings; cores: that may be used; models: of the store; profiled: what is known of engines, measured as far
    as it is lacking.

    Raises: `ConfigError` where an engine cannot be had or lanes cannot be chosen, `EngineError` for a device that torch
    has not, and what `profiled` raises.
    """
    tables = {threads: profiled(_engines(settings, threads)) for threads in threads_measured(settings, cores)}
    if settings.lanes is not None:
        ((threads, table),) = tables.items()
        return Sized(_engines(settings, threads), table, Layout(settings.lanes, threads), None)
    choice = choose(models, tables, cores)
    threads = choice.layout.threads
    # Made anew, and so last: torch's count of threads is of the whole process.
    return Sized(_engines(settings, threads), tables[threads], choice.layout, choice.why)


def _engines(settings: EngineConfig, threads: int) -> Engines:
    return engines_for(settings.name, threads, settings.also, settings.device)
