"""The store as its users see it: what is put can be read, damage is contained, one writer at a time."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from blockstore.block import MANIFEST_FORMAT, Model
from blockstore.errors import (
    BadManifest,
    CorruptBlob,
    MissingBlob,
    MissingModel,
    NotAStore,
    StoreBusy,
    StoreFull,
    StoreReadOnly,
)
from blockstore.lock import WriteLock
from blockstore.store import Store
from tests.blockstore.samples import blob_file, flip_byte, overwrite, put_sample, put_sample_with_exits, sample, tree


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """An empty store whose lock is not waited for."""
    with Store.open(folder / "store", create=True, lock_timeout_s=0) as opened:
        yield opened


def _digest(model: Model, block: int = 0, variant: int = 0) -> str:
    return model.blocks[block].variants[variant].artifacts[0].digest


def _manifest_of(store: Store, name: str) -> Path:
    files = (path for path in (store.root / "blobs").rglob("*") if path.is_file())
    return next(path for path in files if f'"name":"{name}"'.encode() in path.read_bytes())


# Putting and reading


def test_a_model_comes_back_as_it_was_put(store: Store) -> None:
    """Names, blocks, variants and bytes are all the same."""
    model = put_sample(store)
    assert store.models() == ("digits",)
    assert store.model("digits") == model
    assert store.path(_digest(model)).read_bytes() == b"onnxruntime block 0 original w"


def test_a_new_store_says_nothing_of_a_rebuild(store: Store) -> None:
    """An index that never was is not one that was lost."""
    assert store.rebuilt is None
    assert store.models() == ()


def test_equal_bytes_are_one_blob(store: Store) -> None:
    """Putting twice gives one digest and one file."""
    assert store.put_blob(b"same") == store.put_blob(b"same")
    assert store.verify().checked_blobs == 1


def test_a_blob_cannot_be_changed_by_accident(store: Store) -> None:
    """Blob files carry no write permission."""
    path = store.path(store.put_blob(b"bytes"))
    assert path.stat().st_mode & 0o777 == 0o444


def test_an_unknown_model_names_the_known_ones(store: Store) -> None:
    """The message helps with a spelling mistake."""
    put_sample(store, "alpha")
    put_sample(store, "beta")
    with pytest.raises(MissingModel, match=r"'gamma'.*alpha, beta"):
        store.model("gamma")


def test_a_folder_without_a_store_is_refused_with_the_remedy(folder: Path) -> None:
    """Nothing is made in a folder that was named by mistake."""
    with pytest.raises(NotAStore, match="schedulerd store import"):
        Store.open(folder)
    assert list(folder.iterdir()) == []


def test_a_model_with_a_missing_blob_is_refused(store: Store) -> None:
    """A model is put only after all of its blobs."""
    model = sample(lambda data: "0" * 64)
    with pytest.raises(MissingBlob, match="0" * 64):
        store.put_model(model)
    assert store.models() == ()


def test_a_model_with_a_wrong_size_is_refused(store: Store) -> None:
    """The manifest's sizes are those of the files."""
    model = sample(store.put_blob)
    block = model.blocks[0]
    artifact = replace(block.variants[0].artifacts[0], size_bytes=7)
    variant = replace(block.variants[0], artifacts=(artifact,))
    wrong = replace(model, blocks=(replace(block, variants=(variant, *block.variants[1:])), *model.blocks[1:]))
    with pytest.raises(BadManifest, match="has 30 bytes, the model says 7"):
        store.put_model(wrong)


def test_a_model_that_json_cannot_hold_is_refused(store: Store) -> None:
    """NaN would not come back from the manifest."""
    with pytest.raises(BadManifest, match="'digits'"):
        store.put_model(replace(sample(store.put_blob), accuracy=float("nan")))


def test_a_digest_that_is_a_path_leads_nowhere(store: Store) -> None:
    """A manifest cannot make the store hand out a file of its choice."""
    (store.root / "secret").write_bytes(b"s")
    for digest in ("../../secret", "../" * 10 + "etc/passwd", "A" * 64, ""):
        with pytest.raises(MissingBlob, match="names no blob"):
            store.path(digest)


def test_replacing_a_model_shows_the_new_one_to_an_open_reader(store: Store) -> None:
    """A daemon sees what a builder puts meanwhile, without opening the store again."""
    with Store.open(store.root) as reader:
        put_sample(store, weights=b"first")
        assert reader.model("digits") == store.model("digits")
        second = put_sample(store, weights=b"second")
        assert reader.model("digits") == second


def test_the_old_blobs_of_a_replaced_model_stay_until_collected(store: Store) -> None:
    """Requests may still run on them."""
    first = put_sample(store, weights=b"first")
    put_sample(store, weights=b"second")
    assert store.missing(first) == frozenset()
    store.gc(grace_s=0)
    assert store.missing(first) == first.digests()


# Damage


def test_a_flipped_byte_is_found_when_the_blob_is_first_handed_out(store: Store) -> None:
    """The bad blob goes to quarantine, the rest keeps serving."""
    model = put_sample(store)
    bad, good = _digest(model, 0), _digest(model, 1)
    damaged = blob_file(store, bad)
    flip_byte(damaged)
    with Store.open(store.root) as reader:
        with pytest.raises(CorruptBlob, match=f"{bad}.*quarantine.*Import an archive"):
            reader.path(bad)
        assert reader.path(good).read_bytes() == b"onnxruntime block 1 original w"
        assert reader.missing(model) == {bad}
        assert [path.name for path in reader.quarantined()] == [f"{bad}.0"]
        with pytest.raises(MissingBlob, match="in quarantine"):
            reader.path(bad)


def test_a_truncated_blob_is_found(store: Store) -> None:
    """What a card that lost its last pages leaves."""
    digest = store.put_blob(b"x" * 5000)
    overwrite(blob_file(store, digest), b"x" * 4096)
    with Store.open(store.root) as reader, pytest.raises(CorruptBlob):
        reader.path(digest)


def test_putting_the_right_bytes_mends_a_damaged_blob(store: Store) -> None:
    """The damaged one is kept in quarantine, also when it happens twice."""
    for times in (1, 2):
        digest = store.put_blob(b"precious")
        flip_byte(blob_file(store, digest))
        with Store.open(store.root) as builder:
            assert builder.put_blob(b"precious") == digest
            assert builder.path(digest).read_bytes() == b"precious"
            assert len(builder.quarantined()) == times


def test_verify_names_what_each_model_has_lost(store: Store) -> None:
    """Missing and corrupt blobs are told apart and traced to block, variant and engine."""
    model = put_sample(store)
    missing, corrupt = _digest(model, 0, 1), _digest(model, 1, 0)
    blob_file(store, missing).unlink()
    flip_byte(blob_file(store, corrupt))
    found = store.verify()
    assert (found.missing, found.corrupt, found.sound) == ((missing,), (corrupt,), False)
    assert {(d.digest, d.part) for d in found.damages} == {
        (missing, "block 0 (stem) variant pruned50 for onnxruntime"),
        (corrupt, "block 1 (head) variant original for onnxruntime"),
    }
    assert [path.name for path in store.quarantined()] == [f"{corrupt}.0"]


def test_verify_traces_a_lost_blob_to_the_exit_whose_head_it_is(store: Store) -> None:
    """With the engine, as for a variant."""
    head = put_sample_with_exits(store).exits[0].artifacts[1].digest
    blob_file(store, head).unlink()
    (damage,) = store.verify().damages
    assert (damage.model, damage.digest, damage.part) == ("exiting", head, "exit exit1 after block 0 for torch")


def test_gc_and_a_rebuilt_index_keep_the_heads_of_exits(store: Store) -> None:
    """They belong to the model as variants do."""
    model = put_sample_with_exits(store)
    store.rebuild_index()
    assert store.gc(grace_s=0).removed_blobs == 0
    assert store.missing(model) == frozenset()


def test_a_head_with_a_wrong_size_is_refused_by_the_name_of_its_exit(store: Store) -> None:
    """As a variant is."""
    model = put_sample_with_exits(store)
    wrong = replace(model.exits[1], artifacts=(replace(model.exits[1].artifacts[0], size_bytes=7),))
    with pytest.raises(BadManifest, match=r"exit exit2 after block 1 for onnxruntime: .* the model says 7"):
        store.put_model(replace(model, exits=(model.exits[0], wrong)))


def test_verify_of_a_sound_store_checks_every_blob(store: Store) -> None:
    """Four artifacts and a manifest."""
    put_sample(store)
    found = store.verify()
    assert found.sound
    assert found.checked_blobs == 5


def test_a_damaged_manifest_costs_its_model_alone(store: Store) -> None:
    """The model is still listed, reading it says what is wrong, and its blobs are not collected."""
    model = put_sample(store, "broken")
    other = put_sample(store, "other", weights=b"o")
    manifest = _manifest_of(store, "broken")
    flip_byte(manifest)
    with Store.open(store.root) as reader:
        assert reader.models() == ("broken", "other")
        with pytest.raises(CorruptBlob, match=manifest.name):
            reader.model("broken")
        assert reader.model("other") == other
        assert [(d.model, d.part) for d in reader.verify().damages] == [("broken", "manifest")]
        reader.gc(grace_s=0)
        assert reader.missing(model) == frozenset()


# The index


def test_an_index_that_is_gone_is_made_again_on_opening(store: Store) -> None:
    """And the store says so."""
    model = put_sample(store)
    (store.root / "index.sqlite").unlink()
    with Store.open(store.root) as reader:
        assert reader.rebuilt is not None
        assert (reader.rebuilt.reason, reader.rebuilt.models) == ("it was absent", ("digits",))
        assert reader.model("digits") == model


@pytest.mark.parametrize("garbage", [b"", b"garbage" * 1000, b"SQLite format 3\x00" + bytes(200)])
def test_an_index_of_garbage_is_made_again_on_opening(store: Store, garbage: bytes) -> None:
    """Empty, foreign or half-zeroed: the blobs know better."""
    model = put_sample(store)
    (store.root / "index.sqlite").write_bytes(garbage)
    with Store.open(store.root) as reader:
        assert reader.rebuilt is not None
        assert reader.model("digits") == model
    with Store.open(store.root) as again:
        assert again.rebuilt is None


def test_an_index_that_goes_while_the_store_is_open_is_made_again(store: Store) -> None:
    """A daemon need not be started anew."""
    model = put_sample(store)
    (store.root / "index.sqlite").unlink()
    assert store.model("digits") == model
    (store.root / "index.sqlite").write_bytes(b"garbage" * 1000)
    other = put_sample(store, "other")
    assert (store.model("digits"), store.model("other")) == (model, other)


def test_of_two_manifests_the_rebuild_takes_the_one_built_last(store: Store) -> None:
    """As `built_at` says, whatever the order of the files; times with different offsets are compared as times."""
    newer = sample(store.put_blob, weights=b"2", provenance={"built_at": "2026-03-01T10:00:00+00:00"})
    older = sample(store.put_blob, weights=b"1", provenance={"built_at": "2026-03-01T11:30:00+02:00"})
    manifests = {name: store.put_blob(model.to_json()) for name, model in (("newer", newer), ("older", older))}
    os.utime(blob_file(store, manifests["older"]))
    rebuild = store.rebuild_index()
    assert store.model("digits") == newer
    assert rebuild.superseded == (manifests["older"],)


def test_manifests_without_a_date_are_told_apart_by_the_age_of_their_files(store: Store) -> None:
    """The youngest file wins."""
    models = [sample(store.put_blob, weights=w, provenance={"built_at": "unknown"}) for w in (b"a", b"b", b"c")]
    for age, model in zip((300, 100, 200), models, strict=True):
        path = blob_file(store, store.put_blob(model.to_json()))
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    store.rebuild_index()
    assert store.model("digits") == models[1]


def test_a_downgraded_model_stays_so_when_the_index_is_made_again(store: Store) -> None:
    """The replaced manifest is gone, though it says that it is the newer one."""
    put_sample(store, weights=b"new", provenance={"built_at": "2026-02-01T00:00:00+00:00"})
    old = put_sample(store, weights=b"old", provenance={"built_at": "2025-02-01T00:00:00+00:00"})
    store.rebuild_index()
    assert store.model("digits") == old


def test_a_removed_model_does_not_come_back(store: Store) -> None:
    """Neither in the index that forgot it nor in one made again."""
    put_sample(store)
    store.remove_model("digits")
    assert store.models() == ()
    store.rebuild_index()
    assert store.models() == ()
    with pytest.raises(MissingModel):
        store.remove_model("digits")


def test_weights_that_look_like_a_manifest_are_not_one(store: Store) -> None:
    """Blobs that mention the format without being manifests are passed over."""
    for data in (b"{", b"[]", b'{"format":"other"}', f'{{"format":"{MANIFEST_FORMAT}"}}'.encode()):
        store.put_blob(data)
    assert store.rebuild_index().models == ()


def test_a_damaged_manifest_that_still_parses_is_not_taken(store: Store) -> None:
    """One bit makes accuracy 0.9 into 0.1; a rebuild checks the hash and says what it left out."""
    put_sample(store)
    manifest = _manifest_of(store, "digits")
    overwrite(manifest, manifest.read_bytes().replace(b'"accuracy":0.9', b'"accuracy":0.1'))
    (store.root / "index.sqlite").unlink()
    with Store.open(store.root) as reader:
        assert reader.rebuilt is not None
        assert (reader.rebuilt.models, reader.rebuilt.quarantined) == ((), (manifest.name,))
        assert [path.name for path in reader.quarantined()] == [f"{manifest.name}.0"]


# Garbage


def test_gc_spares_blobs_whose_model_may_be_about_to_come(store: Store) -> None:
    """A builder at work loses nothing to another process's gc."""
    digest = store.put_blob(b"fresh")
    assert store.gc().spared_blobs == 1
    assert store.path(digest).exists()


def test_putting_an_old_unused_blob_again_makes_it_young(store: Store) -> None:
    """Else gc could take it between put_blob and put_model."""
    path = blob_file(store, store.put_blob(b"old"))
    os.utime(path, (0, 0))
    store.put_blob(b"old")
    assert store.gc().removed_blobs == 0


def test_gc_removes_what_no_model_uses_and_counts_it(store: Store) -> None:
    """Blobs that some model uses stay."""
    model = put_sample(store)
    store.put_blob(b"unused")
    (store.root / "tmp" / "left.partial").write_bytes(b"half")
    found = store.gc(grace_s=0)
    assert (found.removed_blobs, found.removed_bytes, found.removed_partials) == (1, 6, 1)
    assert store.verify().sound
    assert store.model("digits") == model


def test_gc_leaves_the_bytes_to_whoever_has_them_mapped(store: Store) -> None:
    """Deleting is unlink, never truncate."""
    digest = store.put_blob(b"still in use")
    with store.path(digest).open("rb") as file:
        assert store.gc(grace_s=0).removed_blobs == 1
        assert file.read() == b"still in use"


# Writers, full disks, read-only folders


def test_a_second_writer_is_told_who_writes(store: Store) -> None:
    """Readers are not kept out."""
    model = put_sample(store)
    with WriteLock(store.root / "lock", timeout_s=0).hold():
        with pytest.raises(StoreBusy, match=f"process {os.getpid()}.*wait"):
            store.put_blob(b"no")
        assert store.model("digits") == model
        assert store.path(_digest(model)).exists()


def test_writers_that_wait_their_turn_lose_nothing(store: Store) -> None:
    """Four threads with a store each, and each with its own models."""

    def build(number: int) -> None:
        with Store.open(store.root) as builder:
            for weights in (b"1", b"2", b"3"):
                put_sample(builder, f"model{number}", weights)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(build, range(4)))
    assert store.models() == ("model0", "model1", "model2", "model3")
    assert store.verify().sound


def test_a_model_can_be_read_at_any_moment_of_its_replacement(store: Store) -> None:
    """A reader gets one of the builds, never an error."""
    builds = {weights: put_sample(store, weights=weights) for weights in (b"1", b"2")}

    def replace_often() -> None:
        for _ in range(10):
            for weights in builds:
                put_sample(store, weights=weights)

    with Store.open(store.root) as reader, ThreadPoolExecutor(1) as threads:
        replacing = threads.submit(replace_often)
        while not replacing.done():
            assert reader.model("digits") in builds.values()
        replacing.result()


def test_damage_found_while_another_writes_is_reported_all_the_same(store: Store) -> None:
    """The blob stays where it is until the lock is free."""
    digest = store.put_blob(b"bytes")
    flip_byte(blob_file(store, digest))
    with Store.open(store.root, lock_timeout_s=0) as reader:
        with (
            WriteLock(store.root / "lock", timeout_s=0).hold(),
            pytest.raises(CorruptBlob, match="stays where it is"),
        ):
            reader.path(digest)
        with pytest.raises(CorruptBlob, match="was moved to"):
            reader.path(digest)


def test_a_blob_mended_while_the_lock_was_awaited_is_handed_out(store: Store) -> None:
    """What one process found damaged, another has put anew: the good bytes do not go to quarantine."""
    digest = store.put_blob(b"bytes")
    path = blob_file(store, digest)
    flip_byte(path)
    lock = store.root / "lock"
    with Store.open(store.root) as reader, ThreadPoolExecutor(1) as threads:
        with WriteLock(lock, timeout_s=0).hold():
            handed_out = threads.submit(reader.path, digest)
            while not handed_out.done() and _times_open(lock) < 2:
                pass
            overwrite(path, b"bytes")
        assert handed_out.result(timeout=20) == path
        assert reader.quarantined() == ()


def _times_open(path: Path) -> int:
    """How many descriptors of this process are open on `path` (proc(5), /proc/self/fd)."""
    return sum(os.path.realpath(entry) == str(path.resolve()) for entry in Path("/proc/self/fd").iterdir())


@contextmanager
def _files_limited_to(limit_bytes: int) -> Iterator[None]:
    """The kernel refuses larger files (setrlimit(2)), as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_refused_write_leaves_nothing_behind(store: Store) -> None:
    """No blob, no temporary file, and what was there can be read."""
    model = put_sample(store)
    before = tree(store.root)
    with _files_limited_to(64 * 1024), pytest.raises(StoreFull, match="gc"):
        store.put_blob(bytes(1 << 20))
    assert tree(store.root) == before
    assert store.model("digits") == model


def test_a_refused_archive_leaves_the_old_one(store: Store, folder: Path) -> None:
    """An export that does not fit does not cost the export before it."""
    put_sample(store, weights=bytes(100_000))
    target = folder / "models.tar"
    target.write_bytes(b"the one before")
    with _files_limited_to(64 * 1024), pytest.raises(StoreFull):
        store.export_archive(["digits"], target)
    assert target.read_bytes() == b"the one before"
    assert sorted(p.name for p in folder.iterdir()) == ["models.tar", "store"]


def test_a_refused_index_write_keeps_the_old_model(store: Store) -> None:
    """The commit fails as a whole."""
    model = put_sample(store)
    other = sample(store.put_blob, weights=b"other")
    with _files_limited_to(4096), pytest.raises(StoreFull):
        store.put_model(other)
    assert store.model("digits") == model
    assert store.rebuilt is None
    store.put_model(other)
    assert store.model("digits") == other


def test_a_read_only_store_writes_nothing_and_follows_the_builder(store: Store) -> None:
    """Also without an index; every attempt to write is refused."""
    model = put_sample(store)
    (store.root / "index.sqlite").unlink()
    before = tree(store.root)
    with Store.open(store.root, read_only=True) as reader:
        assert reader.model("digits") == model
        assert reader.path(_digest(model)).exists()
        assert reader.verify().sound
        with pytest.raises(StoreReadOnly, match="reading only"):
            reader.put_blob(b"no")
        assert tree(store.root) == before
        put_sample(store, "later")
        assert reader.models() == ("digits", "later")


def test_a_damaged_blob_of_a_read_only_store_stays_in_place(store: Store) -> None:
    """It is refused each time."""
    digest = store.put_blob(b"bytes")
    with Store.open(store.root, read_only=True) as reader:
        assert reader.path(digest).exists()
        flip_byte(blob_file(store, digest))
        assert reader.verify().corrupt == (digest,)
        with pytest.raises(CorruptBlob, match="stays where it is"):
            reader.path(digest)
    assert blob_file(store, digest).exists()
