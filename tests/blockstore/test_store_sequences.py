"""Any sequence of writing, collecting, rebuilding and damage to the index keeps every model readable."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from blockstore.block import Model
from blockstore.store import Store
from tests.blockstore.samples import put_sample, quick_folder

NAMES = st.sampled_from(["alpha", "beta", "gamma"])
WEIGHTS = st.sampled_from([b"1", b"2"])
DATES = st.sampled_from(["2025-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00", "unknown"])
GARBAGE = st.sampled_from([None, b"", b"garbage" * 2000])


class StoreSequences(RuleBasedStateMachine):
    """A store beside a plain dictionary of what it should hold."""

    def __init__(self) -> None:
        super().__init__()
        self._resources = ExitStack()
        self._folder: Path = self._resources.enter_context(quick_folder())
        self._expected: dict[str, Model] = {}
        self._open()

    def _open(self) -> None:
        self._store = self._resources.enter_context(Store.open(self._folder / "store", create=True))

    @rule(name=NAMES, weights=WEIGHTS, built_at=DATES)
    def put(self, name: str, weights: bytes, built_at: str) -> None:
        """Put or replace a model; models of equal weights share blobs."""
        self._expected[name] = put_sample(self._store, name, weights, provenance={"built_at": built_at})

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        """Remove a model if it is there."""
        if self._expected.pop(name, None):
            self._store.remove_model(name)

    @rule(data=st.binary(max_size=3))
    def put_unused(self, data: bytes) -> None:
        """Put a blob that no model uses."""
        assert self._store.path(self._store.put_blob(data)).read_bytes() == data

    @rule(grace_s=st.sampled_from([0.0, 3600.0]))
    def collect(self, grace_s: float) -> None:
        """Collect garbage."""
        self._store.gc(grace_s)

    @rule()
    def rebuild(self) -> None:
        """Make the index again."""
        assert set(self._store.rebuild_index().models) == set(self._expected)

    @rule(garbage=GARBAGE, reopened=st.booleans())
    def damage_index(self, garbage: bytes | None, reopened: bool) -> None:
        """Lose or damage the index, with the store open or between two openings."""
        index = self._folder / "store" / "index.sqlite"
        index.unlink()
        if garbage is not None:
            index.write_bytes(garbage)
        if reopened:
            self._open()

    @rule()
    def travel(self) -> None:
        """Go on with another store, filled from an archive of this one."""
        archive = self._folder / "models.tar"
        self._store.export_archive(self._expected, archive)
        (self._folder / "store").rename(self._folder / f"left{len(list(self._folder.iterdir()))}")
        self._open()
        assert self._store.import_archive(archive).added == tuple(sorted(self._expected))

    @invariant()
    def every_model_is_whole(self) -> None:
        """The models are the expected ones, and each of their blobs can be read."""
        assert self._store.models() == tuple(sorted(self._expected))
        for name, model in self._expected.items():
            assert self._store.model(name) == model
            assert all(self._store.path(digest).is_file() for digest in model.digests())

    def teardown(self) -> None:
        """Everything on disk is sound at the end."""
        assert self._store.verify().sound
        self._resources.close()


TestStoreSequences = StoreSequences.TestCase
TestStoreSequences.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
