"""Engines by name; importing this file imports none of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from schedulerd.errors import ConfigError
from schedulerd.serving.engines.base import Engine

ENGINES = ("onnxruntime", "torch")
CPU = "cpu"


def make_engine(name: str, threads: int = 1, device: str = CPU) -> Engine:
    """The engine called `name`, on `device` where that is torch's.

    Raises `ConfigError` for another name, an engine that is not installed or a device that it has not.
    """
    if name != "torch" and device != CPU:
        raise ConfigError(
            f'{name} runs on the CPU, not on {device!r}: set [engine] device to "cpu", or name to "torch"'
        )
    if name == "onnxruntime":
        from schedulerd.serving.engines.onnx import OnnxEngine

        return OnnxEngine(threads)
    if name == "torch":
        with _told_how_to_get_it():
            from schedulerd.serving.engines.torch import TorchEngine
        return TorchEngine(threads, device)
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
