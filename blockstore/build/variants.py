"""Finished variants in the work folder, and those that came to nothing with the reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from blockstore.build.checkpoint import Work
from blockstore.build.export import Forms
from blockstore.build.kinds.base import Facts
from blockstore.build.shapes import file_name
from blockstore.errors import CannotBuild


@dataclass(frozen=True, slots=True)
class Finished:
    """A variant that is retrained and written for the engines; its forms are on disk."""

    block: int
    name: str
    """The text of its recipe, or `original`."""
    kind: str
    facts: Facts
    """How it was made. All errors are mean squared differences to the original block, over the variance of what that
    gives; each has a name of its own:

    `output_error`: at the output, after retraining, on validation images.
    `neck_error`: in its place where it learnt at the neck (`neck`): there, after retraining, on validation images.
    `error_before_retraining`: the same as the one of these two that there is, before the first epoch.
    `removal_error`: at the output, without the units that `skip` took, not yet retrained, on calibration images.
    `encoding_error`: at the output, of the encoded form (`fp16`, `int8`), on calibration images.

    `epochs` are those that it was trained for."""
    parameters: int
    multiply_adds: int
    has_torch: bool
    digest: str
    """Of its forms: equal ones are one variant."""
    folder: Path

    def forms(self) -> Forms:
        """Read the forms; `CannotBuild` where they are damaged."""
        work, place = Work(self.folder), _place(self.block, self.name)
        onnx, torch = work.get(f"{place}.onnx"), work.get(f"{place}.safetensors")
        if onnx is None or (torch is None and self.has_torch):
            raise CannotBuild(
                f"variant {self.name!r} of block {self.block} is damaged in {self.folder}; give the same command "
                "again to make it anew"
            )
        return Forms(onnx, torch if self.has_torch else None, self.parameters, self.multiply_adds)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A variant that is not in the store, and why."""

    block: int
    name: str
    reason: str
    beaten_by: str = ""
    """The variant that is quicker and not larger or worse, where that is the reason."""


def keep(work: Work, block: int, name: str, kind: str, forms: Forms, facts: Facts) -> Finished:
    """Keep a variant; it counts once its last file is there."""
    place = _place(block, name)
    finished = Finished(
        block,
        name,
        kind,
        dict(facts),
        forms.parameters,
        forms.multiply_adds,
        forms.torch is not None,
        _digest(forms),
        work.folder,
    )
    work.put(f"{place}.onnx", forms.onnx)
    if forms.torch is not None:
        work.put(f"{place}.safetensors", forms.torch)
    work.put_json(f"{place}.json", _document(finished))
    return finished


def drop(work: Work, block: int, name: str, reason: str) -> Dropped:
    """Keep the reason why there is no such variant."""
    work.put_json(f"{_place(block, name)}.json", {"reason": reason})
    return Dropped(block, name, reason)


def find(work: Work, block: int, name: str) -> Finished | Dropped | None:
    """What became of a variant; None where it is still to be made."""
    document = work.get_json(f"{_place(block, name)}.json")
    if document is None:
        return None
    if "reason" in document:
        return Dropped(block, name, document["reason"])
    finished = Finished(**document, folder=work.folder)
    try:
        finished.forms()
    except CannotBuild:
        return None
    return finished


def without_twins(made: Iterable[Finished | Dropped]) -> Iterator[Finished | Dropped]:
    """What was `made` of one block, in order, with those dropped whose forms are byte for byte an earlier one's.

    Not when they are made: which is the earlier depends on the recipes that are wanted this time, and what is in the
    work folder does not.
    """
    first: dict[str, str] = {}
    for one in made:
        name = first.setdefault(one.digest, one.name) if isinstance(one, Finished) else one.name
        yield one if name == one.name else Dropped(one.block, one.name, f"it is the same as {name}")


def _digest(forms: Forms) -> str:
    parts = [hashlib.sha256(data).hexdigest() for data in (forms.onnx, forms.torch) if data is not None]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _document(finished: Finished) -> Mapping[str, object]:
    return {name: value for name, value in asdict(finished).items() if name != "folder"}


def _place(block: int, name: str) -> str:
    return f"variants/{block:03}/{file_name(name)}"
