"""Each code of the wire has an owner on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import schedulerd.errors
import schedulerd_client
from schedulerd.errors import Refused, SchedulerdError
from schedulerd.wire.messages import Code

FOUND_BY_THE_CODEC = {Code.BAD_MESSAGE, Code.UNSUPPORTED_VERSION, Code.UNKNOWN_OP, Code.TOO_LARGE}


def family(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for child in base.__subclasses__():
        yield from family(child)


def test_every_code_is_raised_by_the_codec_or_owned_by_a_class() -> None:
    owned = {kind.code for kind in family(Refused) if issubclass(kind, SchedulerdError)}
    assert owned | FOUND_BY_THE_CODEC == set(Code)


@pytest.mark.parametrize("code", Code)
def test_every_code_becomes_one_class_of_the_sdk(code: Code) -> None:
    owners = [kind for kind in schedulerd_client.Refusal.__subclasses__() if code in kind.codes]
    assert len(owners) == 1


@pytest.mark.parametrize(
    ("module", "base"),
    [
        (schedulerd.errors, SchedulerdError),
        (schedulerd_client._errors, schedulerd_client.SchedulerdClientError),
    ],
    ids=["daemon", "sdk"],
)
def test_the_tree_atop_the_file_names_every_class(module: object, base: type[Exception]) -> None:
    drawn = module.__doc__ or ""
    ours = [kind for kind in family(base) if kind.__module__ == getattr(module, "__name__", "")]
    assert [kind.__name__ for kind in ours if kind.__name__ not in drawn] == []
