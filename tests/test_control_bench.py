"""The parts of the control benchmark that its comparisons hang on: stores that leave no choice, and what is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.control import FIGURES
from benchmarks.control_stores import FULL, SMALLEST, only_choice
from blockstore.store import Store
from schedulerd.demo.stock import demo_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_store(tmp_path_factory.mktemp("demo"))


@pytest.mark.parametrize("which", [FULL, SMALLEST])
def test_a_store_without_a_choice_has_one_route_a_model(store: Path, tmp_path: Path, which: str) -> None:
    with Store.open(store) as whole, Store.open(only_choice(store, tmp_path / which, which)) as single:
        assert single.models() == whole.models()
        for name in whole.models():
            model, one = whole.model(name), single.model(name)
            assert not one.exits
            assert not one.policies
            for block, kept in zip(model.blocks, one.blocks, strict=True):
                (variant,) = kept.variants
                sizes = [v.artifacts[0].size_bytes for v in block.variants]
                wanted = sizes[0] if which == FULL else min(sizes)
                assert variant.artifacts[0].size_bytes == wanted
            assert one.accuracy == pytest.approx(model.accuracy) if which == FULL else one.accuracy < model.accuracy


def test_the_store_that_it_is_made_of_stays_as_it_is(store: Path, tmp_path: Path) -> None:
    with Store.open(store) as opened:
        before = [opened.model(name) for name in opened.models()]
    only_choice(store, tmp_path / "small", SMALLEST)
    with Store.open(store) as opened:
        assert [opened.model(name) for name in opened.models()] == before


def test_every_promised_figure_is_there() -> None:
    scenes = ("calm", "cpu_hogs", "memory_squeeze", "heat_ramp", "app_churn", "budget_storm")
    promised = {f"{scene}_{name}" for scene in scenes for name in ("in_budget", "react_p95_ms", "swaps_per_min")}
    assert promised <= set(FIGURES)
    assert {"squeeze_oom", "squeeze_lost", "idle_core_percent", "ten_apps_core_percent"} <= set(FIGURES)
    assert len(set(FIGURES)) == len(FIGURES)
