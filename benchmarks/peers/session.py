"""The inference that every peer serves: the whole network in one onnxruntime session, on one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime


class Session:
    """Frames in, logits out."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._outputs = [self._session.get_outputs()[0].name]

    def run(self, frame: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """`[1, classes]` float32 for a frame `[1, h, w, c]` uint8."""
        output: np.ndarray[Any, Any] = self._session.run(self._outputs, {self._input: frame})[0]
        return output
