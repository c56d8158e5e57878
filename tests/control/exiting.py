"""A model of three blocks, an exit after the first and one after the second, whose head takes both outputs."""

from __future__ import annotations

from blockstore.block import ORIGINAL, Artifact, Block, Exit, Model, TensorSpec, Variant
from blockstore.exits import ANY_UPSTREAM, Curve, CurvePoint, CurveSet

SPEC = TensorSpec("float32", (4,))


def curve(upstream: str, *points: tuple[float, float, float]) -> Curve:
    """A curve of `(threshold, share, precision)`."""
    return Curve(upstream, tuple(CurvePoint(*point, 1.0) for point in points))


GENERAL = curve(ANY_UPSTREAM, (0.0, 1.0, 0.6), (0.5, 0.5, 0.9), (0.9, 0.2, 1.0))
PRUNED = curve("pruned", (0.0, 1.0, 0.4), (0.5, 0.5, 0.7), (0.9, 0.2, 0.9))
"""Behind the variant `pruned` the precision of 0.5 takes 0.9."""


def _variant(name: str, digest: str) -> Variant:
    return Variant(name, name, (Artifact("onnxruntime", digest, 1),), 0.0, 1, 1)


def _exit(block: int, digest: str, inputs: tuple[int, ...]) -> Exit:
    return Exit(
        name=f"exit{block + 1}",
        block=block,
        inputs=inputs,
        method="mxn",
        measure="entropy",
        temperature=1.0,
        artifacts=(Artifact("onnxruntime", digest, 1),),
        parameters=1,
        multiply_adds=1,
        curves=CurveSet((GENERAL, PRUNED)),
    )


EXITING = Model(
    name="m",
    input=SPEC,
    output=SPEC,
    accuracy=0.9,
    evaluated_images=100,
    blocks=tuple(Block(n, f"block{n}", SPEC, SPEC, (_variant(ORIGINAL, d),)) for n, d in enumerate("abc")),
    exits=(_exit(0, "d", (0,)), _exit(1, "e", (0, 1))),
)
