"""Engines by name; importing this file imports none of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from schedulerd.errors import ConfigError
from schedulerd.serving.engines.base import Engine

ENGINES = ("onnxruntime", "torch")


def make_engine(name: str, threads: int = 1) -> Engine:
    """The engine called `name`. `ConfigError` for another name, or an engine not installed."""
    if name == "onnxruntime":
        from schedulerd.serving.engines.onnx import OnnxEngine

        return OnnxEngine(threads)
    if name == "torch":
        with _told_how_to_get_it():
            from schedulerd.serving.engines.torch import TorchEngine
        return TorchEngine(threads)
    raise ConfigError(f"engine {name!r} is unknown; choose one of {', '.join(ENGINES)}")


def make_torch_on_arrays(threads: int = 1) -> Engine:
    """Torch as an alternate to onnxruntime. `ConfigError` where it is not installed."""
    with _told_how_to_get_it():
        from schedulerd.serving.engines.torch import TorchOnArrays
    return TorchOnArrays(threads)


@contextmanager
def _told_how_to_get_it() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the torch engine needs {error.name}, which is not installed: pip install 'schedulerd[torch]' "
            "or name only onnxruntime in [engine]"
        ) from error
