"""Variants in the work folder: finished, dropped, or still to be made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blockstore.build.checkpoint import Work
from blockstore.build.export import Forms
from blockstore.build.variants import Dropped, drop, find, keep, without_twins
from blockstore.errors import CannotBuild

FORMS = Forms(b"onnx", b"torch", parameters=3, multiply_adds=4)
NAME = "skip:1+prune:0.5,l2"


@pytest.mark.parametrize("forms", [FORMS, replace(FORMS, torch=None)])
def test_a_variant_that_was_kept_is_found_with_its_forms(tmp_path: Path, forms: Forms) -> None:
    work = Work(tmp_path)
    kept = keep(work, 2, NAME, "skip+prune", forms, {"filters_after": 8, "share": 0.5, "widths": "exact"})
    assert find(work, 2, NAME) == kept
    assert kept.forms() == forms
    assert kept.facts == {"filters_after": 8, "share": 0.5, "widths": "exact"}
    assert find(work, 1, NAME) is None
    assert find(work, 2, "skip:1") is None


def test_a_reason_that_was_kept_is_found(tmp_path: Path) -> None:
    work = Work(tmp_path)
    assert drop(work, 0, NAME, "no units") == Dropped(0, NAME, "no units")
    assert find(work, 0, NAME) == Dropped(0, NAME, "no units")


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".json"])
def test_a_variant_with_a_damaged_file_is_still_to_be_made(tmp_path: Path, suffix: str) -> None:
    work = Work(tmp_path)
    kept = keep(work, 0, NAME, "skip+prune", FORMS, {})
    (damaged,) = tmp_path.rglob(f"*{suffix}")
    damaged.write_bytes(b"?")
    assert find(work, 0, NAME) is None
    if suffix != ".json":
        with pytest.raises(CannotBuild, match=r"damaged.*again"):
            kept.forms()


def test_of_variants_with_equal_forms_the_first_stays(tmp_path: Path) -> None:
    work = Work(tmp_path)
    forms = {"a": FORMS, "b": replace(FORMS, torch=None), "c": FORMS, "d": replace(FORMS, onnx=b"other")}
    made = [keep(work, 1, name, "prune", form, {"name": name}) for name, form in forms.items()]
    gone = drop(work, 1, "e", "no units")
    first, onnx_only, twin, other, reason = without_twins([*made, gone])
    assert (first, onnx_only, other, reason) == (made[0], made[1], made[3], gone)
    assert twin == Dropped(1, "c", "it is the same as a")
