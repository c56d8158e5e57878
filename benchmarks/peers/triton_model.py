"""The network as a model of Triton's Python backend, which looks for this class; `path` is its ONNX file."""

from __future__ import annotations

import json
from typing import Any

import triton_python_backend_utils as backend

from benchmarks.peers.session import Session


class TritonPythonModel:
    """One instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network."""
        self._session = Session(json.loads(args["model_config"])["parameters"]["path"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request."""
        return [backend.InferenceResponse([backend.Tensor("output", self._run(request))]) for request in requests]

    def _run(self, request: Any) -> Any:
        return self._session.run(backend.get_input_tensor_by_name(request, "input").as_numpy())
