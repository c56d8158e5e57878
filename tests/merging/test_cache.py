"""Verdicts on disk: found again by the same, by nobody else, and never trusted blindly."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from blockstore.errors import CorruptBlob
from schedulerd.merging.cache import VerdictCache
from schedulerd.merging.verdict import Verdict

GRAPH = b"graph"
FASTER = Verdict(1.0, 0.9, 0.01, 1000, hashlib.sha256(GRAPH).hexdigest())
SLOWER = Verdict(1.0, 1.1, 0.01, 1000)


def kept(folder: Path, blobs: tuple[str, ...] = ("a", "b"), graph: bytes = GRAPH, max_bytes: int = 10**6) -> str:
    """Put a verdict with its graph in the cache; its key."""
    cache = VerdictCache(folder, "board", max_bytes)
    key = cache.key(blobs, 1)
    folder.mkdir(exist_ok=True)
    cache.file(key).write_bytes(graph)
    cache.put(key, FASTER)
    return key


@pytest.mark.parametrize("verdict", [SLOWER, Verdict(fault="it hangs")])
def test_a_refusal_is_remembered_over_a_restart(tmp_path: Path, verdict: Verdict) -> None:
    """It is not measured again."""
    VerdictCache(tmp_path / "merged", "board").put("key", verdict)
    assert VerdictCache(tmp_path / "merged", "board").get("key") == verdict


def test_a_gain_is_remembered_with_its_graph(tmp_path: Path) -> None:
    key = kept(tmp_path)
    again = VerdictCache(tmp_path, "board")
    assert again.get(key) == FASTER
    assert again.checked(key, FASTER).read_bytes() == GRAPH


def test_other_blobs_orders_threads_and_boards_have_other_keys(tmp_path: Path) -> None:
    cache = VerdictCache(tmp_path, "board")
    other = VerdictCache(tmp_path, "other engine version")
    keys = {cache.key(("a", "b"), 1), cache.key(("b", "a"), 1), cache.key(("a", "b"), 2), other.key(("a", "b"), 1)}
    assert len(keys) == 4


def test_a_gain_whose_graph_is_gone_is_unknown(tmp_path: Path) -> None:
    """Somebody cleaned up."""
    key = kept(tmp_path)
    VerdictCache(tmp_path, "board").file(key).unlink()
    assert VerdictCache(tmp_path, "board").get(key) is None


def test_a_damaged_graph_is_not_run(tmp_path: Path) -> None:
    cache = VerdictCache(tmp_path, "board")
    key = kept(tmp_path)
    cache.file(key).write_bytes(b"grapf")
    with pytest.raises(CorruptBlob, match="it is made again"):
        cache.checked(key, FASTER)
    cache.forget(key)
    assert cache.get(key) is None
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_verdict_is_unknown(tmp_path: Path) -> None:
    key = kept(tmp_path)
    (tmp_path / f"{key}.json").write_bytes(b"{")
    assert VerdictCache(tmp_path, "board").get(key) is None


def test_what_does_not_last_is_known_to_this_process_only(tmp_path: Path) -> None:
    cache = VerdictCache(tmp_path, "board")
    cache.put("key", SLOWER, lasting=False)
    assert cache.get("key") == SLOWER
    assert VerdictCache(tmp_path, "board").get("key") is None


def test_graphs_that_were_not_loaded_for_long_make_way(tmp_path: Path) -> None:
    """The newest is kept in any case, and one that was used lately."""
    first = kept(tmp_path, ("a", "b"), GRAPH)
    second = kept(tmp_path, ("c", "d"), GRAPH)
    os.utime(tmp_path / f"{first}.onnx", (1000, 1000))
    os.utime(tmp_path / f"{second}.onnx", (2000, 2000))
    VerdictCache(tmp_path, "board").checked(first, FASTER)
    third = kept(tmp_path, ("e", "f"), GRAPH, max_bytes=2 * len(GRAPH))
    cache = VerdictCache(tmp_path, "board")
    assert [cache.get(key) is not None for key in (first, second, third)] == [True, False, True]


def test_a_disk_that_refuses_is_told_once_and_the_verdict_holds(tmp_path: Path) -> None:
    """A file is where the folder should be: as root, permissions would not do."""
    (tmp_path / "merged").write_bytes(b"")
    cache = VerdictCache(tmp_path / "merged", "board")
    with capture_logs() as logs:
        cache.put("one", SLOWER)
        cache.put("two", SLOWER)
    assert [entry["event"] for entry in logs] == ["merge_not_kept"]
    assert cache.get("two") == SLOWER
