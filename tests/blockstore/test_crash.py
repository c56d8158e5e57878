"""kill -9 at any time: the store opens, is sound, and holds each model as it was before or as it was to be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockstore.blobs import digest_of
from blockstore.block import Model
from blockstore.store import Store
from tests.blockstore.crashing import SCENARIOS
from tests.blockstore.samples import put_sample, sample

ROOT = Path(__file__).resolve().parents[2]
LEAST_KILLS = {"replace and remove": 80, "downgrade": 40, "open garbage": 8, "rebuild": 8, "import": 40}


def _built(weights: bytes, built_at: str) -> Model:
    return sample(digest_of, "digits", weights, provenance={"built_at": f"{built_at}T00:00:00+00:00"})


BEFORE = _built(b"first", "2026-01-01")
OTHER = sample(digest_of, "other", b"other")
AFTER = {
    "replace and remove": {"digits": _built(b"second", "2026-02-01")},
    "downgrade": {"digits": _built(b"zeroth", "2025-02-01"), "other": OTHER},
    "open garbage": {"digits": BEFORE, "other": OTHER},
    "rebuild": {"digits": BEFORE, "other": OTHER},
    "import": {"digits": _built(b"third", "2026-03-01"), "other": OTHER, "third": sample(digest_of, "third", b"3")},
}


@pytest.fixture
def base(folder: Path) -> Path:
    """A store of two models, and beside it an archive with a newer one and a new one."""
    with Store.open(folder / "source", create=True) as source:
        put_sample(source, "digits", b"third", provenance={"built_at": "2026-03-01T00:00:00+00:00"})
        put_sample(source, "third", b"3")
        source.export_archive(source.models(), folder / "models.tar")
    with Store.open(folder / "base", create=True) as store:
        put_sample(store, "digits", b"first", provenance={"built_at": "2026-01-01T00:00:00+00:00"})
        put_sample(store, "other", b"other")
    return folder / "base"


def _models(store: Store) -> dict[str, Model]:
    for digest in {d for name in store.models() for d in store.model(name).digests()}:
        store.path(digest)
    return {name: store.model(name) for name in store.models()}


def _killed(scenario: str, base: Path) -> Iterator[Path]:
    folder = base.parent / "killed"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.blockstore.crashing", scenario, str(base), str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=100, stdout=subprocess.DEVNULL)
    yield from sorted(folder.iterdir(), key=lambda path: int(path.name))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_store_survives_being_killed_anywhere(scenario: str, base: Path) -> None:
    """Each model is the old one or the new one, and stays so when the index is lost as well."""
    roots = list(_killed(scenario, base))
    assert len(roots) > LEAST_KILLS[scenario]
    for root in roots:
        with Store.open(root) as store:
            found = _models(store)
            for name in BEFORE.name, "other", "third":
                choices = {"digits": BEFORE, "other": OTHER}.get(name), AFTER[scenario].get(name)
                assert found.get(name) in choices, f"killed before operation {root.name}"
            assert store.verify().sound
            store.gc(grace_s=0)
            assert list((root / "tmp").iterdir()) == []
        (root / "index.sqlite").unlink()
        with Store.open(root) as store:
            assert _models(store) == found
    assert found == AFTER[scenario], "the last run was not killed"
