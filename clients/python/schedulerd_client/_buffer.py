"""Arrays for an app's own frames, in memory that the daemon reads where it lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from schedulerd.wire.codec import Array
from schedulerd.wire.local import MAX_INLINE_BYTES
from schedulerd.wire.messages import MAX_TENSOR_BYTES, Code
from schedulerd_client._errors import BadMessage, NotRegistered
from schedulerd_client._transport import Transport
from schedulerd_client._values import Registration


@runtime_checkable
class LendsMemory(Protocol):
    """A transport whose own memory travels without a copy."""

    def frame_memory(self, size_bytes: int) -> memoryview:
        """Memory of that size, the caller's for as long as anything uses it."""
        ...


def frame_buffer(
    transport: Transport,
    registration: Registration | None,
    shape: Sequence[int] | None,
    dtype: npt.DTypeLike | None,
) -> Array:
    """An array for frames; what is not given is as the registered input has it. Errors: see `Client.frame_buffer`."""
    if registration is None and (shape is None or dtype is None):
        raise NotRegistered("there is no registered input whose shape and dtype a frame has; register, or give both")
    if registration is not None:
        shape = registration.input.shape if shape is None else shape
        dtype = registration.input.dtype if dtype is None else dtype
    elements = np.dtype(dtype)
    size_bytes = math.prod(shape or ()) * elements.itemsize
    if size_bytes > MAX_TENSOR_BYTES:
        raise BadMessage(f"{size_bytes} bytes in one frame; the limit is {MAX_TENSOR_BYTES}", Code.TOO_LARGE)
    if size_bytes > MAX_INLINE_BYTES and isinstance(transport, LendsMemory):
        return np.frombuffer(transport.frame_memory(size_bytes), elements).reshape(shape or ())
    # A small frame travels in the message itself, which is quicker.
    return np.empty(shape or (), elements)
