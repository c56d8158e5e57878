"""The report: what it says of a build, section by section."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blockstore.accuracy_model import LINEAR, AccuracyModel, Evidence
from blockstore.blobs import digest_of
from blockstore.block import Exit
from blockstore.build import report
from blockstore.build.built import Built
from blockstore.build.costs import StageCost
from blockstore.build.variants import Dropped
from blockstore.exits import FINAL, Curve, CurvePoint, CurveSet, ExitPolicy, Forecast, OfferedPolicy
from tests.blockstore.samples import sample


def evidence(route: tuple[int, int], accuracy: float, agreement: float, checked: bool = False) -> Evidence:
    return Evidence(route, accuracy, checked, {"top1": accuracy, "agreement": agreement})


KNOWN = AccuracyModel(
    kind=LINEAR,
    original=0.9,
    floor=0.0,
    shape=0.0,
    damages=((0.0, 0.1), (0.0, 0.3)),
    cosines=(),
    error=0.0125,
    evidence=(
        evidence((0, 0), 0.9, 1.0),
        evidence((1, 0), 0.8, 0.85),
        evidence((0, 1), 0.6, 0.65),
        evidence((1, 1), 0.55, 0.5625, checked=True),
    ),
)
MODEL = replace(
    sample(digest_of), accuracy_model=KNOWN, provenance={"task": "classification", "routes_checked": 1, "seed": 3}
)
BUILT = Built(
    model=MODEL,
    accuracy=KNOWN,
    latencies_ms=((3.0, 1.0), (2.0, 1.5)),
    left_out=(Dropped(1, "skip:9", "there are 2 residual units"),),
    costs=(StageCost("craft", 12.34, 23.45),),
    obstacle=None,
)


HEAD = Exit(
    name="exit1",
    block=0,
    inputs=(0,),
    method="mxn",
    measure="max_probability",
    temperature=1.25,
    artifacts=(),
    parameters=50,
    multiply_adds=200,
    curves=CurveSet(
        tuple(Curve(u, (CurvePoint(0.0, 1.0, 0.8, 1.0), CurvePoint(1.0, 0.0, 1.0, 0.9))) for u in ("", "pruned50"))
    ),
    settings={"filters": "16-8", "accuracy": 0.825},
)
POLICIES = (
    OfferedPolicy(ExitPolicy("drop-1", (("exit1", 0.75), (FINAL, 0.0))), Forecast((0.4, 0.6), 0.0125)),
    OfferedPolicy(ExitPolicy("cap-1", (("exit1", 0.0),)), Forecast((1.0,), 0.075)),
)
EXITING = replace(BUILT, model=replace(MODEL, exits=(HEAD,), policies=POLICIES))


def text(built: Built) -> str:
    return "\n".join(report.lines(built))


def section(built: Built, title: str) -> str:
    """What stands under the heading that begins with `title`."""
    (found,) = [part for part in text(built).split("\n## ") if part.startswith(title)]
    return found


def test_it_begins_with_what_was_made_and_how_good_the_original_is() -> None:
    assert text(BUILT).startswith(
        "# digits\n\n2 blocks, 4 variants, 4 combinations. Accuracy of the original: 90.00% on 100 held-out images"
        " (classification).\n"
    )


def test_each_share_of_the_latency_has_its_best_combination_or_says_what_the_quickest_takes() -> None:
    rows = section(BUILT, "Accuracy against latency").splitlines()
    assert "| 100% | 5.000 | 90.00% | original, original |" in rows
    assert "| 80% | 3.000 | 80.00% | pruned50, original |" in rows
    assert "| 50% | 2.500 | 50.00% | pruned50, pruned50 |" in rows
    assert "| 40% | - | - | the quickest takes 50% |" in rows


def test_the_figures_beside_accuracy_are_shown_of_the_original_and_of_the_best_measured_combinations() -> None:
    assert section(BUILT, "Measured").splitlines()[2:] == [
        "| ms | accuracy (top1) | agreement | predicted | variants, block by block |",
        "| --- | --- | --- | --- | --- |",
        "| 5.000 | 90.00% | 1.0000 | 90.00% | original, original |",
        "| 3.000 | 80.00% | 0.8500 | 80.00% | pruned50, original |",
        "| 2.500 | 55.00% | 0.5625 | 50.00% | pruned50, pruned50 |",
    ]


def test_a_metric_without_further_figures_has_its_accuracy_alone() -> None:
    plain = replace(KNOWN, evidence=tuple(replace(e, figures={}) for e in KNOWN.evidence))
    rows = section(replace(BUILT, accuracy=plain), "Measured").splitlines()
    assert rows[2] == "| ms | accuracy | predicted | variants, block by block |"
    assert "| 2.500 | 55.00% | 50.00% | pruned50, pruned50 |" in rows


def test_every_block_has_a_table_of_its_variants() -> None:
    rows = section(BUILT, "Block 1: head").splitlines()
    assert rows[2] == "float32[4x8x8] to float32[10]"
    assert "| original | 100 | 1,000 | 0.0 | 2.000 | 0.00% |  |" in rows
    assert "| pruned50 | 100 | 1,000 | 0.0 | 1.500 | 1.00% |  |" in rows


def test_what_was_left_out_is_listed_with_the_reason() -> None:
    assert "- block 1, skip:9: there are 2 residual units" in section(BUILT, "Left out")
    assert "## Left out" not in text(replace(BUILT, left_out=()))


def test_how_far_predictions_are_off_is_said_where_it_was_measured() -> None:
    said = section(BUILT, "How far to believe")
    assert "predicted from 3 measured ones (curve: linear)" in said
    assert "On 1 combinations that the fit has not seen it is off by 1.25 points on average." in said
    assert "![predicted against measured](predictions.png)" in said


def test_without_routes_to_check_no_error_is_claimed() -> None:
    fitted = tuple(replace(e, checked=False) for e in KNOWN.evidence)
    said = section(replace(BUILT, accuracy=replace(KNOWN, error=None, evidence=fitted)), "How far to believe")
    assert "Those are all that there are." in said
    said = section(replace(BUILT, accuracy=replace(KNOWN, error=None, evidence=fitted[:3])), "How far to believe")
    assert "how far they are off is not known" in said
    assert "points on average" not in said
    assert "predictions.png" not in said


def test_what_it_took_and_how_it_was_made_stand_at_the_end() -> None:
    said = section(BUILT, "What it took")
    assert "| craft | 12.3 | 23.4 |" in said
    assert said.endswith("task classification, routes_checked 1, seed 3")


def test_an_obstacle_and_remarks_are_told_at_the_top() -> None:
    told = replace(BUILT, obstacle="operator 'add' joins two branches", remarks=("other programs were at work",))
    top = text(told).split("\n## ")[0]
    assert "No more blocks could be cut: operator 'add' joins two branches." in top
    assert "Note: other programs were at work." in top


def test_without_latencies_there_is_no_picture_of_them(tmp_path: Path) -> None:
    untimed = replace(BUILT, latencies_ms=())
    assert "`schedulerd profile` does that on the board" in section(untimed, "Accuracy against latency")
    assert "| - | 90.00% | 1.0000 | 90.00% | original, original |" in section(untimed, "Measured")
    assert "| original | 100 | 1,000 | 0.0 | - | 0.00% |  |" in section(untimed, "Block 0")
    report.write(untimed, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["predictions.png", report.NAME]


@pytest.mark.parametrize("again", [False, True])
def test_it_is_written_with_its_pictures_also_over_an_earlier_one(tmp_path: Path, again: bool) -> None:
    folder = tmp_path / "reports" / "digits"
    if again:
        report.write(replace(BUILT, obstacle="an earlier one"), folder)
    report.write(BUILT, folder)
    assert (folder / report.NAME).read_text(encoding="utf-8") == text(BUILT) + "\n"
    assert (folder / "latency.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "predictions.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_build_makes_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        report.write(BUILT, tmp_path / name)
    assert {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "other").iterdir()
    }


def test_exits_are_shown_with_what_they_are_and_where_they_have_curves_of_their_own() -> None:
    rows = section(EXITING, "Exits").splitlines()
    assert "| exit1 (mxn) | 0 | 0 | 16-8 | 200 | 82.50% | max_probability | 1.25 | pruned50 |" in rows
    assert "removed" not in section(EXITING, "Exits")


def test_policies_are_shown_with_what_they_cost_and_lose() -> None:
    # Of 2000: 40% leave after 1000 and a head of 200, 60% run all of it; at the cap all leave.
    rows = section(EXITING, "Exits").splitlines()
    assert "| drop-1 | 90.0% | 1.25% | exit1 40%, final 60% | exit1>=0.75 final |" in rows
    assert "| cap-1 | 60.0% | 7.50% | exit1 100% | exit1 |" in rows


def test_exits_that_do_not_pay_are_said_to_be_removed() -> None:
    assert "Tried after blocks 1, 2 and removed" in section(replace(EXITING, removed_exits=(1, 2)), "Exits")
    none = section(replace(BUILT, removed_exits=(0,)), "Exits")
    assert "Tried after block 0 and removed" in none
    assert none.rstrip().endswith("No exit pays: the model has none.")
    assert "## Exits" not in text(BUILT)


def test_policies_have_a_picture_of_cost_against_accuracy(tmp_path: Path) -> None:
    report.write(EXITING, tmp_path)
    assert (tmp_path / "policies.png").read_bytes().startswith(b"\x89PNG")
    assert "(policies.png)" in text(EXITING)
    report.write(BUILT, tmp_path / "without")
    assert not (tmp_path / "without" / "policies.png").exists()
