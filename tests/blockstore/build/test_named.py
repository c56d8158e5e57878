"""Named factories: what a command line may name, and what is said when it names nothing."""

from __future__ import annotations

import pytest

from blockstore.build import named
from blockstore.errors import CannotBuild


def sample(path: str, count: int = 3, name: str = "x") -> tuple[str, int, str]:
    return path, count, name


def broken() -> None:
    raise RuntimeError("disk on fire")


HERE = "tests.blockstore.build.test_named"


def test_arguments_follow_as_in_a_url() -> None:
    assert named.call(f"{HERE}:sample?path=../data/a%26b&count=12") == ("../data/a&b", 12, "x")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing", "package.module:factory"),
        (":sample", "package.module:factory"),
        ("absent.module:sample", "cannot import 'absent.module'"),
        (f"{HERE}:absent", "has no 'absent'"),
        (f"{HERE}:sample?count=1", "missing a required argument: 'path'"),
        (f"{HERE}:broken", "broken failed: RuntimeError: disk on fire"),
        (f"{HERE}:sample?path=a&speed=2", "unexpected keyword argument 'speed'"),
    ],
)
def test_what_cannot_be_called_is_refused_with_the_reason(spec: str, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        named.call(spec)
