"""Memory of one block as it is really resident: what it adds to a process, and what it needs while it runs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from blockprofiles.allocator import allocated_bytes_reader
from blockprofiles.listener import Listener, begun
from blockprofiles.touched import touched_bytes

if TYPE_CHECKING:
    from blockprofiles.bench import Bench, Key

BYTES_PER_BLOCK = 110_000
"""What a block takes beyond the size of its file, from 48 ONNX blocks of 9 to 70 KB and 16 of 2 to 9 MB."""


def grown_bytes(run_copy: Callable[[], object], size_bytes: int) -> int:
    """What a second copy adds: the first also pays for what all blocks share (kernels, scratch memory).

    Asked of the allocator, because resident pages come in steps of 4 KB and freed ones are used again: equal runs agree
    within 3% so, and within 30% by resident pages. The sum over a store is that of its resident pages within 3%. Where
    the allocator cannot be asked, an estimate from the size of the file, `size_bytes`. `run_copy` loads a copy, runs it
    and returns it.
    """
    allocated_bytes = allocated_bytes_reader()
    estimate = BYTES_PER_BLOCK + size_bytes
    if allocated_bytes is None:
        return estimate
    before = allocated_bytes()
    _held = run_copy()
    grown = allocated_bytes() - before
    return grown if grown > 0 else estimate


def arena_bytes(bench: Bench, listener: Listener) -> dict[Key, int]:
    """What each block and head of `bench` needs while it runs on the frame, beyond what it keeps.

    It is what a run touches, less its weights and what every run touches, whatever the block (the interpreter, the
    engine): the least that is left over among all blocks but their tensors. Where the kernel does not tell, the
    tensors alone, which is the least that it can be. The listener is told each blob that it begins: nothing has run on
    a frame of this batch before.
    """
    touched_bytes(gc.collect)  # the first count of a process has pages in it that no later one has
    tensors_bytes, beyond_bytes = {}, {}
    for key, memory_bytes, run, moved_bytes in _runs(bench, listener):
        tensors_bytes[key] = moved_bytes
        touched = touched_bytes(run)
        if touched is not None:
            beyond_bytes[key] = touched - memory_bytes
    common = min((beyond_bytes[key] - tensors_bytes[key] for key in beyond_bytes), default=0)
    return {key: max(moved, beyond_bytes.get(key, 0) - common) for key, moved in tensors_bytes.items()}


def _runs(bench: Bench, listener: Listener) -> Iterator[tuple[Key, int, Callable[[], object], int]]:
    """Of each block and head: its memory, something that runs it, and the bytes that it takes and gives."""
    tensor, outputs = bench.frame, []
    for candidates in bench.blocks:
        given = tensor
        for candidate in candidates:
            with begun(candidate.key.digest, listener):
                tensor = candidate.block.run(given)
            moved = nbytes([given, tensor])
            yield candidate.key, candidate.memory_bytes, partial(candidate.block.run, given), moved
        outputs.append(tensor)
    for head in bench.heads:
        taken = [outputs[block] for block in head.inputs]
        with begun(head.key.digest, listener):
            result, _ = head.head.run(taken)
        yield head.key, head.memory_bytes, partial(head.head.run, taken), nbytes([*taken, result])


def nbytes(tensors: Sequence[Any]) -> int:
    """Of arrays or torch tensors together."""
    return sum(int(tensor.nbytes) for tensor in tensors)
