"""Engines beside the main one: a block may run quicker with fewer threads, or in torch.

Alternates take and give the main engine's tensors, so that blocks of one route may run on different ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from schedulerd.errors import ConfigError, EngineError
from schedulerd.serving.engines.base import Engine
from schedulerd.serving.engines.factory import CPU, make_engine, make_torch_on_arrays


def engines_for(name: str, threads: int, also: Collection[str] = (), device: str = CPU) -> tuple[Engine, ...]:
    """The engine called `name` with `threads`, which is the main one, and its alternates.

    Args: name; threads: of a lane; also: other engines that are to be tried, of which there is `torch`; device: of the
    main one, where that is torch.

    Raises:
        ConfigError: an engine is unknown or not installed, or cannot stand beside the main one.
        EngineError: torch has no such device.
    """
    if "torch" in also and name == "torch":
        raise ConfigError("torch is the main engine, so it cannot also be an alternate: leave it out of [engine] also")
    main = make_engine(name, threads, device)
    beside = (make_torch_on_arrays(threads),) if "torch" in also else ()
    return (main, *_with_fewer_threads(name, threads), *beside)


def engine_of(engines: Sequence[Engine], name: str, threads: int) -> Engine:
    """The one of `engines` that a row of the profile was measured on; `EngineError` where there is none.

    Rows of other boards have other thread counts: for those it is the first engine of that name.
    """
    named = [engine for engine in engines if engine.name == name]
    if not named:
        known = ", ".join(dict.fromkeys(engine.name for engine in engines))
        raise EngineError(f"the profile asks for the engine {name}, and {known} is running: see [engine] also")
    return next((engine for engine in named if engine.threads == threads), named[0])


def _with_fewer_threads(name: str, threads: int) -> Iterator[Engine]:
    """Small blocks lose more by handing work to other threads than they gain.

    None for torch: its thread count is of the whole process, and lanes that set it would do so for each other.
    """
    if name == "onnxruntime":
        for fewer in sorted({1, threads // 2} - {0, threads}, reverse=True):
            yield make_engine(name, fewer)
