"""The network as a runtime of MLServer; `uri` is its ONNX file."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.session import Session


class Network(MLModel):
    """One instance."""

    async def load(self) -> bool:
        """Load the network."""
        self._session = Session(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        output = self._session.run(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("output", output)])
