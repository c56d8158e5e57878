"""The stores of benchmarks in which only costs matter."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cost_stores import SUBJECTS, available, cost_store
from blockstore.store import Store


def test_a_store_has_the_variants_that_were_asked_for_and_keeps_what_it_has(tmp_path: Path) -> None:
    folder = cost_store(tmp_path / "store", ["resnet20"], ("prune:0.5",))
    with Store.open(folder) as store:
        model = store.model("resnet20")
    assert len(model.blocks) == SUBJECTS["resnet20"].blocks
    assert {v.name for block in model.blocks for v in block.variants} == {"original", "prune:0.5"}
    with Store.open(cost_store(folder, ["resnet20"], ("fp16",))) as store:
        assert store.model("resnet20") == model


def test_networks_without_files_are_always_available() -> None:
    assert {name for name, subject in SUBJECTS.items() if subject.needs is None} <= set(available())
