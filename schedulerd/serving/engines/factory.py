"""Engines by name; importing this file imports none of them."""

from __future__ import annotations

from schedulerd.errors import ConfigError
from schedulerd.serving.engines.base import Engine

ENGINES = ("onnxruntime", "torch")


def make_engine(name: str, threads: int = 1) -> Engine:
    """The engine called `name`. `ConfigError` for another name, or an engine not installed."""
    if name == "onnxruntime":
        from schedulerd.serving.engines.onnx import OnnxEngine

        return OnnxEngine(threads)
    if name == "torch":
        try:
            from schedulerd.serving.engines.torch import TorchEngine
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the torch engine needs {error.name}, which is not installed: pip install 'schedulerd[torch]' "
                "or choose the engine onnxruntime"
            ) from error
        return TorchEngine(threads)
    raise ConfigError(f"engine {name!r} is unknown; choose one of {', '.join(ENGINES)}")
