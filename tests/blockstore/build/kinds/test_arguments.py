"""Arguments of kinds: numbers that mean something, refused with value, limit and form."""

from __future__ import annotations

import pytest

from blockstore.build.kinds import arguments
from blockstore.errors import CannotBuild


def test_a_share_is_between_none_and_all() -> None:
    assert arguments.share("0.25", "the share") == 0.25


@pytest.mark.parametrize("text", ["0", "1", "-0.5", "1.5", "nan", "half", ""])
def test_another_share_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(CannotBuild, match=f"the share is '{text}': give a number between 0 and 1"):
        arguments.share(text, "the share")


def test_a_count_is_whole_and_positive() -> None:
    assert arguments.count("3", "the number") == 3


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", "", "²"])
def test_another_count_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(CannotBuild, match=f"the number is '{text}': give a whole number"):
        arguments.count(text, "the number")


@pytest.mark.parametrize("given", [[], ["1", "2", "3"]])
def test_too_few_or_too_many_arguments_are_refused_with_the_form(given: list[str]) -> None:
    with pytest.raises(CannotBuild, match=f"{len(given)} arguments are given, it is written kind:A"):
        arguments.check_count(given, 1, 2, "kind:A or kind:A,B")
