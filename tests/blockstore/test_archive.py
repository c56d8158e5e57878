"""Archives: equal content gives equal bytes, and a hostile or damaged one changes nothing."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockstore.accuracy_model import LINEAR, AccuracyModel
from blockstore.archive import Imported
from blockstore.blobs import digest_of
from blockstore.errors import BadArchive, BlockStoreError, MissingModel, MissingVariant
from blockstore.store import Store
from tests.blockstore.samples import blob_file, flip_byte, put_sample, put_sample_with_exits, tree

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """A store with two models that share blobs."""
    with Store.open(folder / "store", create=True) as opened:
        put_sample(opened, "alpha", engines=("onnxruntime", "torch"))
        put_sample(opened, "beta", engines=("onnxruntime",))
        yield opened


@pytest.fixture
def other(folder: Path) -> Iterator[Store]:
    """An empty store on another machine."""
    with Store.open(folder / "other", create=True) as opened:
        yield opened


@pytest.fixture
def archive(store: Store, folder: Path) -> Path:
    """Both models in one file."""
    path = folder / "models.tar"
    store.export_archive(store.models(), path)
    return path


def _members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(member, file.read()) for member in tar if (file := tar.extractfile(member)) is not None]


def _write(path: Path, members: Members) -> None:
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data))


def test_models_travel_whole(store: Store, other: Store, archive: Path) -> None:
    """The other store has the same models and the same bytes."""
    done = other.import_archive(archive)
    assert done == Imported(("alpha", "beta"), (), (), new_blobs=8, new_bytes=sum(b for b in _sizes(store).values()))
    for name in store.models():
        assert other.model(name) == store.model(name)
        for digest in store.model(name).digests():
            assert other.path(digest).read_bytes() == store.path(digest).read_bytes()


def _sizes(store: Store) -> dict[str, int]:
    models = [store.model(name) for name in store.models()]
    return {a.digest: a.size_bytes for m in models for b in m.blocks for v in b.variants for a in v.artifacts}


def test_importing_twice_changes_nothing(other: Store, archive: Path) -> None:
    """And says so."""
    other.import_archive(archive)
    before = tree(other.root / "blobs")
    assert other.import_archive(archive) == Imported((), (), ("alpha", "beta"), 0, 0)
    assert tree(other.root / "blobs") == before


def test_importing_mends_what_is_damaged_and_missing(other: Store, archive: Path) -> None:
    """The remedy that the errors name works."""
    other.import_archive(archive)
    lost, damaged = sorted(other.model("alpha").digests())[:2]
    blob_file(other, lost).unlink()
    flip_byte(blob_file(other, damaged))
    with Store.open(other.root) as again:
        assert again.import_archive(archive).new_blobs == 2
        assert again.verify().sound


def test_an_import_replaces_an_older_model_of_the_same_name(other: Store, archive: Path) -> None:
    """The rest of the store stays."""
    put_sample(other, "alpha", weights=b"old")
    put_sample(other, "gamma")
    done = other.import_archive(archive)
    assert (done.added, done.replaced) == (("beta",), ("alpha",))
    assert other.models() == ("alpha", "beta", "gamma")


def test_equal_content_gives_equal_bytes(store: Store, other: Store, archive: Path, folder: Path) -> None:
    """Whatever the order of the names, the age of the files or the machine."""
    other.import_archive(archive)
    again = folder / "again.tar"
    other.export_archive(["beta", "alpha", "beta"], again)
    assert again.read_bytes() == archive.read_bytes()


def test_an_export_for_one_engine_leaves_the_other_out(store: Store, other: Store, folder: Path) -> None:
    """The models say what they have lost; the store that they came from keeps it."""
    path = folder / "small.tar"
    store.export_archive(["alpha"], path, engines=["onnxruntime"])
    other.import_archive(path)
    engines = {a.engine for b in other.model("alpha").blocks for v in b.variants for a in v.artifacts}
    assert engines == {"onnxruntime"}
    assert len(_sizes(other)) == 4
    assert len(store.model("alpha").digests()) == 8


def test_exits_travel_with_their_model(store: Store, other: Store, folder: Path) -> None:
    """Heads, curves and policies."""
    model = put_sample_with_exits(store)
    store.export_archive(["exiting"], folder / "exiting.tar")
    other.import_archive(folder / "exiting.tar")
    assert other.model("exiting") == model
    assert other.missing(model) == frozenset()


def test_an_archive_without_the_head_of_an_exit_is_refused(store: Store, other: Store, folder: Path) -> None:
    """The model would have exits that nothing can evaluate."""
    head = put_sample_with_exits(store).exits[1].artifacts[0].digest
    path = folder / "exiting.tar"
    store.export_archive(["exiting"], path)
    (_, header), *rest = _members(path)
    document = json.loads(header)
    del document["blobs"][head]
    kept = [(member, data) for member, data in rest if not member.name.endswith(head)]
    _write(path, [(tarfile.TarInfo("archive.json"), json.dumps(document).encode()), *kept])
    with pytest.raises(BadArchive, match=f"needs blob {head}"):
        other.import_archive(path)


def test_an_export_for_one_engine_leaves_out_exits_of_the_other_and_their_policies(
    store: Store, other: Store, folder: Path
) -> None:
    """Only the first exit has a head for torch."""
    put_sample_with_exits(store, torch_too=("exit1",))
    store.export_archive(["exiting"], folder / "small.tar", engines=["torch"])
    other.import_archive(folder / "small.tar")
    slim = other.model("exiting")
    assert [e.name for e in slim.exits] == ["exit1"]
    assert [o.policy.name for o in slim.policies] == ["only-exit1"]
    assert {a.engine for a in slim.artifacts()} == {"torch"}


def test_an_export_that_leaves_variants_out_keeps_what_predicts_the_accuracy_of_the_others(
    store: Store, other: Store, folder: Path
) -> None:
    """The variant of the first block has no form for torch."""
    model = put_sample(store, "gamma", engines=("onnxruntime", "torch"))
    original, pruned = model.blocks[0].variants
    slim = replace(model.blocks[0], variants=(original, replace(pruned, artifacts=pruned.artifacts[:1])))
    predictor = AccuracyModel(LINEAR, 0.9, 0.1, 1.0, ((0.0, 0.25), (0.0, 0.5)), (), None, ())
    store.put_model(replace(model, blocks=(slim, model.blocks[1]), accuracy_model=predictor))
    store.export_archive(["gamma"], folder / "slim.tar", engines=["torch"])
    other.import_archive(folder / "slim.tar")
    kept = other.model("gamma").accuracy_model
    assert kept is not None
    assert kept.damages == ((0.0,), (0.0, 0.5))


def test_an_export_without_any_original_is_refused(store: Store, folder: Path) -> None:
    """A model must be able to run as it was trained."""
    with pytest.raises(MissingVariant, match=r"'beta'.*block 0.*torch"):
        store.export_archive(["beta"], folder / "none.tar", engines=["torch"])
    assert not (folder / "none.tar").exists()


def test_an_unknown_model_or_folder_is_refused(store: Store, folder: Path) -> None:
    """With what is wrong in the message."""
    with pytest.raises(MissingModel, match="gamma"):
        store.export_archive(["gamma"], folder / "a.tar")
    with pytest.raises(BlockStoreError, match=r"no/folder/a\.tar"):
        store.export_archive(["alpha"], folder / "no" / "folder" / "a.tar")


# Attacks. Each rewrites the members of a good archive; none may change the store that imports it.


def _extra(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Members], Members]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return lambda members: [*members, (member, b"evil" if kind == tarfile.REGTYPE else b"")]


def _header(change: Callable[[dict[str, object]], object]) -> Callable[[Members], Members]:
    def attack(members: Members) -> Members:
        header = json.loads(members[0][1])
        change(header)
        return [(members[0][0], json.dumps(header).encode()), *members[1:]]

    return attack


def _last_becomes_a_link(members: Members) -> Members:
    member, _ = members[-1]
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return [*members[:-1], (member, b"")]


def _manifest_rewritten(old: bytes, new: bytes) -> Callable[[Members], Members]:
    """A manifest changed with care: its hash, its name and the header fit."""

    def attack(members: Members) -> Members:
        header = json.loads(members[0][1])
        digest = header["models"][0]
        place = next(i for i, (member, _) in enumerate(members) if member.name.endswith(digest))
        data = members[place][1].replace(old, new)
        assert data != members[place][1]
        fresh = digest_of(data)
        members[place] = (tarfile.TarInfo(f"blobs/sha256/{fresh[:2]}/{fresh}"), data)
        header["models"][0] = fresh
        del header["blobs"][digest]
        header["blobs"][fresh] = len(data)
        return [(members[0][0], json.dumps(header).encode()), *members[1:]]

    return attack


ATTACKS: dict[str, tuple[Callable[[Members], Members], str]] = {
    "traversal": (_extra("../../evil"), "not in its header"),
    "absolute path": (_extra("/tmp/evil"), "not in its header"),  # noqa: S108 - the attack's name, never opened
    "symbolic link": (_extra("link", tarfile.SYMTYPE, "/etc/passwd"), "not in its header"),
    "device": (_extra("null", tarfile.CHRTYPE), "not in its header"),
    "blob as link": (_last_becomes_a_link, "link"),
    "twice": (lambda members: [*members, members[-1]], "there twice"),
    "wrong hash": (lambda m: [*m[:-1], (m[-1][0], bytes(len(m[-1][1])))], "does not have its hash"),
    "wrong size": (lambda m: [*m[:-1], (m[-1][0], m[-1][1] + b"x")], "bytes, the header says"),
    "blob missing": (lambda members: members[:-1], "ends early"),
    "no header": (lambda members: members[1:], "does not begin with archive.json"),
    "empty": (lambda members: [], "does not begin with archive.json"),
    "header no json": (lambda m: [(m[0][0], b"{" * 100_000), *m[1:]], "damaged"),
    "header deep": (lambda m: [(m[0][0], b"[" * 100_000), *m[1:]], "damaged"),
    "header no object": (lambda m: [(m[0][0], b"[1]"), *m[1:]], "format"),
    "other format": (_header(lambda h: h.update(format="schedulerd-archive/9")), "format"),
    "no models": (_header(lambda h: h.pop("models")), "lacks models"),
    "digest is a path": (_header(lambda h: h.update(blobs={"../../evil": 4})), "no digest"),
    "size is text": (_header(lambda h: h.update(blobs={"0" * 64: "4"})), "gives no size"),
    "model not a digest": (_header(lambda h: h.update(models=[["x"]])), "not among the blobs"),
    "model named twice": (_header(lambda h: h.update(models=h["models"] * 2)), "one name"),  # type: ignore[operator]  # JSON
    "foreign manifest": (_manifest_rewritten(b"schedulerd-model/1", b"schedulerd-model/2"), "format is"),
    "accuracy NaN": (_manifest_rewritten(b'"accuracy":0.9', b'"accuracy":NaN'), "JSON compliant"),
    "manifest not canonical": (_manifest_rewritten(b'{"accuracy"', b'{ "accuracy"'), "canonical"),
    "artifact of another size": (_manifest_rewritten(b'"size_bytes":30', b'"size_bytes":31'), "of 31 bytes"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_changes_nothing(attack: str, other: Store, archive: Path) -> None:
    """The message gives the path, what is wrong and the remedy."""
    change, message = ATTACKS[attack]
    _write(archive, change(_members(archive)))
    put_sample(other, "alpha", weights=b"mine")
    before = tree(other.root)
    with pytest.raises(BadArchive, match=f"(?s){message}.*export it again") as caught:
        other.import_archive(archive)
    assert str(archive) in str(caught.value)
    assert tree(other.root) == before


def test_an_archive_that_is_not_there_is_named(other: Store, folder: Path) -> None:
    """As is a folder in its place."""
    with pytest.raises(BadArchive, match=r"gone\.tar: No such file"):
        other.import_archive(folder / "gone.tar")
    with pytest.raises(BadArchive, match="directory"):
        other.import_archive(folder)


def test_a_truncated_archive_is_refused_wherever_it_ends(other: Store, archive: Path) -> None:
    """All the way from nothing to the last byte of the last blob."""
    data = archive.read_bytes()
    end = len(data.rstrip(b"\0"))
    for length in (*range(0, end, 509), end - 1):
        archive.write_bytes(data[:length])
        with pytest.raises(BadArchive):
            other.import_archive(archive)
    assert tree(other.root / "blobs") == {}
    assert other.models() == ()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_noise_in_an_archive_never_gets_in(data: st.DataObject, store: Store, folder: Path) -> None:
    """Either it is refused, or it touched nothing that counts and the models are the true ones."""
    path, root = folder / "noisy.tar", folder / "noisy"
    store.export_archive(["beta"], path)
    noisy = bytearray(path.read_bytes())
    for position, value in data.draw(
        st.dictionaries(st.integers(0, len(noisy) - 1), st.integers(0, 255), min_size=1, max_size=4)
    ).items():
        noisy[position] = value
    path.write_bytes(noisy)
    with Store.open(root, create=True) as target:
        try:
            target.import_archive(path)
        except BadArchive:
            assert "beta" not in target.models() or target.model("beta") == store.model("beta")
        else:
            assert target.model("beta") == store.model("beta")
            assert target.verify().sound
