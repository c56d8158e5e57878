"""What is kept of camera streams: only what another app can use, bounded, and gone when nobody needs it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from schedulerd.serving.apps import LiveApp
from schedulerd.serving.prefix import FRAMES, SEEN_S, STALE_S, STREAMS, Prefixes, Shared, StreamFrame
from schedulerd.serving.route import ExpectedBlock, LoadedRoute
from schedulerd.wire.messages import Camera
from tests.serving.parts import AddBlock, live_app, route_of

TENSOR = np.zeros(25, np.float32)
SIZE = TENSOR.nbytes


def route(*blobs: str, engine: str = "onnxruntime") -> LoadedRoute:
    """One block for each word; one of several letters is blocks that run merged."""
    expected = tuple(ExpectedBlock(n, tuple(blob), engine, 1.0, 1.0, 1.0) for n, blob in enumerate(blobs))
    return route_of(*(AddBlock() for _ in blobs), expected=expected)


def app(name: str, loaded: LoadedRoute, uid: int | None = 7) -> LiveApp:
    made = live_app(name, route=loaded)
    made.uid = uid
    return made


def begin(prefixes: Prefixes, of: LiveApp, number: int = 0, stream: str = "door", at_s: float = 0.0) -> Shared | None:
    assert of.route is not None
    return prefixes.begin(of, StreamFrame(stream, number), of.route, at_s)


def shared(prefixes: Prefixes, of: LiveApp, number: int = 0, stream: str = "door", at_s: float = 0.0) -> Shared:
    found = begin(prefixes, of, number, stream, at_s)
    assert found is not None
    return found


def pair(*routes: LoadedRoute) -> tuple[Prefixes, LiveApp, LiveApp]:
    """Two apps that are known to send one stream."""
    prefixes = Prefixes()
    first, second = (app(f"cam{n}", loaded) for n, loaded in enumerate(routes))
    begin(prefixes, first)
    begin(prefixes, second)
    return prefixes, first, second


def test_an_app_alone_on_its_stream_shares_nothing() -> None:
    prefixes, alone = Prefixes(), app("cam", route("a"))
    assert [begin(prefixes, alone, number) for number in range(3)] == [None] * 3


def test_an_app_knows_whether_it_shares_its_stream() -> None:
    prefixes, first, second = pair(route("a"), route("b"))
    assert (first.shares_stream, second.shares_stream) == (False, True)
    begin(prefixes, first, 1)
    assert first.shares_stream
    prefixes.forget(second)
    begin(prefixes, first, 2)
    assert not first.shares_stream


def test_what_one_app_has_run_is_there_for_the_other() -> None:
    prefixes, first, second = pair(route("a", "b", "c"), route("a", "b", "x"))
    ours, theirs = shared(prefixes, first, 1), shared(prefixes, second, 1)
    ours.keep(1, TENSOR)
    ours.keep(2, TENSOR)
    assert [theirs.output(blocks) is TENSOR for blocks in range(4)] == [False, True, True, False]


def test_what_no_other_app_runs_is_not_kept() -> None:
    prefixes, first, _ = pair(route("a", "b", "c"), route("a", "x", "c"))
    ours = shared(prefixes, first, 1)
    for blocks in (1, 2, 3):
        ours.keep(blocks, TENSOR)
    assert prefixes.size_bytes == SIZE


@pytest.mark.parametrize(
    "other",
    [route("x", "b"), route("ab"), route("a", engine="torch"), route()],
    ids=["another variant", "merged", "another engine", "no blocks"],
)
def test_routes_that_differ_from_the_first_block_on_share_nothing(other: LoadedRoute) -> None:
    """Merged blocks may round in another way, and so may another engine."""
    prefixes, first, second = pair(route("a", "b"), other)
    assert begin(prefixes, first, 1) is None
    assert begin(prefixes, second, 1) is None


def test_routes_that_run_merged_alike_share() -> None:
    prefixes, first, second = pair(route("ab", "c"), route("ab", "x"))
    shared(prefixes, first, 1).keep(1, TENSOR)
    assert shared(prefixes, second, 1).output(1) is TENSOR


@pytest.mark.parametrize("others", [("ab", "onnxruntime"), ("a", "torch")], ids=["merged otherwise", "another engine"])
def test_pairs_that_run_the_same_blobs_in_another_way_are_kept_apart(others: tuple[str, str]) -> None:
    prefixes = Prefixes(wait_s=0)
    ours = [app(f"cam{n}", route("a", "b")) for n in range(2)]
    theirs = [app(f"other{n}", route(others[0], engine=others[1])) for n in range(2)]
    for known in (*ours, *theirs):
        begin(prefixes, known)
    shared(prefixes, theirs[0], 1).keep(1, TENSOR)
    assert shared(prefixes, theirs[1], 1).output(1) is TENSOR
    assert [shared(prefixes, ours[0], 1).output(blocks) for blocks in (1, 2)] == [None, None]


def test_what_is_being_computed_for_too_long_is_not_waited_for() -> None:
    prefixes, first, second = pair(route("a"), route("a"))
    prefixes = Prefixes(wait_s=0.01)
    for known in (first, second):
        begin(prefixes, known)
    assert shared(prefixes, first, 1).output(1) is None
    assert shared(prefixes, second, 1).output(1) is None


@pytest.mark.parametrize("uid", [8, None], ids=["another user", "unknown user"])
def test_only_one_users_apps_are_believed_to_mean_the_same_picture(uid: int | None) -> None:
    prefixes = Prefixes()
    ours, theirs = app("cam", route("a")), app("forger", route("a"), uid)
    assert [begin(prefixes, of, number) for number in range(2) for of in (ours, theirs)] == [None] * 4


def test_streams_models_and_cameras_are_kept_apart() -> None:
    prefixes, first, second = pair(route("a"), route("a"))
    assert begin(prefixes, first, 1, "window") is None
    third, fourth = app("third", route("a")), app("fourth", route("a"))
    third.camera = Camera(480, 640)
    fourth.spec = replace(fourth.spec, model="another")
    assert begin(prefixes, third, 1) is None
    assert begin(prefixes, fourth, 1) is None
    shared(prefixes, first, 1).keep(1, TENSOR)
    assert shared(prefixes, second, 1).output(1) is TENSOR


def test_only_the_newest_frames_are_kept() -> None:
    prefixes, first, second = pair(route("a"), route("a"))
    for number in range(1, 5):
        shared(prefixes, first, number).keep(1, TENSOR)
    assert prefixes.size_bytes == FRAMES * SIZE
    assert shared(prefixes, second, 4).output(1) is TENSOR
    assert shared(prefixes, second, 3).output(1) is TENSOR
    assert begin(prefixes, second, 2) is None


def test_a_request_whose_frame_has_gone_goes_on_by_itself() -> None:
    prefixes, first, _ = pair(route("a", "b"), route("a", "b"))
    late = shared(prefixes, first, 1)
    late.keep(1, TENSOR)
    for number in (2, 3):
        shared(prefixes, first, number)
    assert late.output(1) is None
    late.keep(2, TENSOR)
    assert prefixes.size_bytes == 0


def test_a_stream_that_counts_anew_is_shared_anew() -> None:
    """A picture that happens to have an old number is not taken for the old one either."""
    prefixes, first, second = pair(route("a"), route("a"))
    for number in (8, 9):
        shared(prefixes, first, number).keep(1, TENSOR)
    assert begin(prefixes, first, 0, at_s=STALE_S) is None
    assert shared(prefixes, first, 0, at_s=STALE_S + 1).output(1) is None
    assert shared(prefixes, second, 9, at_s=STALE_S + 1).output(1) is None
    assert prefixes.size_bytes == 0


def test_a_frame_that_every_app_has_had_is_gone() -> None:
    prefixes, first, second = pair(route("a"), route("a"))
    ours, theirs = shared(prefixes, first, 1), shared(prefixes, second, 1)
    ours.keep(1, TENSOR)
    ours.end(first)
    assert theirs.output(1) is TENSOR
    theirs.end(second)
    assert prefixes.size_bytes == 0


def test_all_outputs_together_are_bounded() -> None:
    prefixes, first, second = pair(route("a", "b", "c"), route("a", "b", "c"))
    prefixes = Prefixes(most_bytes=3 * SIZE)
    for known in (first, second):
        begin(prefixes, known)
    old, new = shared(prefixes, first, 1, at_s=0.1), shared(prefixes, first, 2, at_s=0.2)
    old.keep(1, TENSOR)
    old.keep(2, TENSOR)
    new.keep(1, TENSOR)
    assert old.output(1) is TENSOR
    new.keep(2, TENSOR)
    assert (old.output(1), prefixes.size_bytes) == (None, 2 * SIZE)
    assert new.output(2) is TENSOR


def test_nothing_is_kept_behind_a_gap() -> None:
    """A request goes from output to output, as the exits between them want."""
    _, first, second = pair(route("a", "b", "c"), route("a", "b", "c"))
    prefixes = Prefixes(most_bytes=3 * SIZE)
    for known in (first, second):
        begin(prefixes, known)
    ours = shared(prefixes, first, 1)
    ours.keep(1, TENSOR)
    ours.keep(2, np.zeros(3 * SIZE, np.uint8))
    ours.keep(3, TENSOR)
    assert prefixes.size_bytes == SIZE


def test_a_newer_frame_does_not_go_for_an_older_one() -> None:
    _, first, second = pair(route("a", "b"), route("a", "b"))
    prefixes = Prefixes(most_bytes=SIZE)
    for known in (first, second):
        begin(prefixes, known)
    old, new = shared(prefixes, first, 1, at_s=0.1), shared(prefixes, first, 2, at_s=0.2)
    new.keep(1, TENSOR)
    old.keep(1, TENSOR)
    assert (new.output(1) is TENSOR, old.output(1)) == (True, None)


def test_an_app_that_no_longer_sends_the_stream_is_not_reckoned_with() -> None:
    prefixes, first, second = pair(route("a"), route("a"))
    assert begin(prefixes, first, 1, at_s=SEEN_S) is not None
    assert begin(prefixes, first, 2, at_s=SEEN_S + 0.1) is None
    assert begin(prefixes, second, 2, at_s=SEEN_S + 0.2) is not None


def test_there_are_so_many_streams_at_a_time() -> None:
    prefixes, first, second = pair(route("a"), route("a"))
    shared(prefixes, first, 1).keep(1, TENSOR)
    for number in range(STREAMS):
        begin(prefixes, first, 1, f"stream {number}")
    assert prefixes.size_bytes == 0
    assert begin(prefixes, second, 1) is None


def test_who_names_ever_new_streams_displaces_nobody_else() -> None:
    prefixes, first, second = pair(route("a"), route("a"))
    shared(prefixes, first, 1).keep(1, TENSOR)
    stranger = app("stranger", route("a"), uid=8)
    for number in range(2 * STREAMS):
        begin(prefixes, stranger, 1, f"stream {number}")
    assert shared(prefixes, second, 1).output(1) is TENSOR


def test_an_app_that_leaves_takes_its_streams_along() -> None:
    prefixes, first, second = pair(route("a"), route("a"))
    ours = shared(prefixes, first, 1)
    ours.keep(1, TENSOR)
    second.gone = True
    prefixes.forget(second)
    assert prefixes.size_bytes == 0
    assert begin(prefixes, first, 2) is None
    assert begin(prefixes, second, 2) is None, "a request of it that was taken from the queue before"
    assert begin(prefixes, first, 3) is None


def test_three_apps_of_which_one_leaves_go_on_sharing() -> None:
    prefixes, first, _ = pair(route("a"), route("a"))
    third = app("third", route("a"))
    shared(prefixes, third, 1).keep(1, TENSOR)
    third.gone = True
    prefixes.forget(third)
    assert shared(prefixes, first, 1).output(1) is TENSOR
