"""Functions of the user's own: found by name, carried to other processes by name, faults told."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from blockstore.build.tasks.functions import find
from blockstore.errors import CannotBuild

HERE = "tests.blockstore.build.tasks.test_functions"
NUMBER = 3


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments)


halved = lambda outputs: outputs / 2  # noqa: E731  # users write such


@logged
def decorated(outputs: Any) -> Any:
    return outputs / 2


def broken(outputs: Any) -> Any:
    raise RuntimeError("disk on fire")


@pytest.mark.parametrize("name", ["halved", "decorated"])
def test_a_function_that_cannot_be_pickled_itself_goes_by_its_name(name: str) -> None:
    found = find(f"{HERE}:{name}", arguments=1)
    again = pickle.loads(pickle.dumps(found))  # noqa: S301  # our own, from the line itself
    assert (again.name, again(4)) == (found.name, 2)


def test_the_key_holds_name_and_source() -> None:
    assert find(f"{HERE}:broken", arguments=1).key.startswith(f"{HERE}:broken#")
    assert find("math:sqrt", arguments=1).key == "math:sqrt"


def test_what_it_raises_is_told_with_its_name() -> None:
    with pytest.raises(CannotBuild, match=f"{HERE}:broken failed: RuntimeError: disk on fire"):
        find(f"{HERE}:broken", arguments=1)(0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("nothing", 1, "not of the form package.module:name"),
        ("absent.module:metric", 1, "cannot import 'absent.module' for 'absent.module:metric': ModuleNotFoundError"),
        (f"{HERE}:absent", 1, "has no 'absent'"),
        (f"{HERE}:NUMBER", 1, "is a int, not a function"),
        (f"{HERE}:broken", 3, r"takes \(outputs: 'Any'\) -> 'Any', it is called with 3 arguments"),
    ],
)
def test_what_is_no_such_function_is_refused_with_the_reason(name: str, arguments: int, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        find(name, arguments)
