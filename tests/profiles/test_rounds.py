"""The routes of a round, which passes count, which rounds are thrown away, and when measuring ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from blockprofiles.bench import Bench, Candidate, HeadCandidate, Key
from blockprofiles.effort import Effort
from blockprofiles.rounds import (
    PASSES,
    WARM_FROM,
    WARM_PASSES,
    Rounds,
    Samples,
    covering_routes,
    median_uncertainty,
    steady,
)
from tests.profiles.scripted import Clock, ScriptedBlock, ScriptedHead, ScriptedOthers

EFFORT = Effort("test", min_rounds=3, steady_rounds=10, max_rounds=20, uncertainty=0.02, designed=False)


def key_of(digest: str) -> Key:
    return Key(digest, "scripted", 1)


def bench_of(clock: Clock, *widths: int, seconds: float = 0.001, wobble: float = 0.0) -> Bench:
    """Blocks of so many variants; variant `v` of block `b` is `b.v` and takes `v + 1` times `seconds`."""
    return Bench(
        frame=np.zeros((1, 2), np.uint8),
        blocks=tuple(
            tuple(
                Candidate(key_of(f"{b}.{v}"), ScriptedBlock(clock, (v + 1) * seconds, wobble=wobble), memory_bytes=1)
                for v in range(width)
            )
            for b, width in enumerate(widths)
        ),
    )


def bench_with(clock: Clock, run: Callable[[int], float]) -> Bench:
    """One block, whose n-th run lets `run(n)` seconds pass."""

    class Block:
        runs = 0

        def run(self, tensor: Any) -> Any:
            clock.now_s += run(self.runs)
            self.runs += 1
            return tensor

    return Bench(np.zeros((1, 2), np.uint8), ((Candidate(key_of("a"), Block(), memory_bytes=1),),))


def timed(
    bench: Bench,
    clock: Clock,
    for_s: float | None = None,
    shares: Sequence[float | None] = (0.0,),
    known: Samples | None = None,
) -> tuple[dict[str, list[float]], dict[str, list[float]], Rounds]:
    """Warm and cold times in ms by digest."""
    end_s = None if for_s is None else clock() + for_s
    rounds = Rounds(bench, EFFORT, clock, ScriptedOthers(shares), known or Samples(), end_s)
    for _ in rounds.run():
        pass
    by_digest = [{k.digest: v for k, v in t.items()} for t in (rounds.samples.warm_ms, rounds.samples.cold_ms)]
    return by_digest[0], by_digest[1], rounds


def test_the_routes_of_a_round_hold_every_variant() -> None:
    """As many routes as the widest block has variants; narrower blocks repeat theirs evenly."""
    bench = bench_of(Clock(), 4, 1, 2, 3)
    for seed in range(20):
        routes = list(covering_routes(bench, np.random.default_rng(seed)))
        assert len(routes) == 4
        used = [sorted(candidate.key.digest for candidate in block) for block in zip(*routes, strict=True)]
        assert used[0] == ["0.0", "0.1", "0.2", "0.3"]
        assert used[1] == ["1.0"] * 4
        assert used[2] == ["2.0", "2.0", "2.1", "2.1"]
        assert set(used[3]) == {"3.0", "3.1", "3.2"}


def test_rounds_combine_variants_anew() -> None:
    """Otherwise a variant would only ever be timed beside the same neighbours."""
    bench = bench_of(Clock(), 3, 3)
    generator = np.random.default_rng(0)
    pairs = {(r[0].key.digest, r[1].key.digest) for _ in range(30) for r in covering_routes(bench, generator)}
    assert len(pairs) == 9


def test_each_block_is_charged_its_own_time() -> None:
    """Not that of the route, nor that of its neighbour."""
    clock = Clock()
    warm_ms, cold_ms, _ = timed(bench_of(clock, 2, 3), clock)
    for times_ms in (warm_ms, cold_ms):
        assert set(times_ms) == {"0.0", "0.1", "1.0", "1.1", "1.2"}
        for digest, found_ms in times_ms.items():
            assert found_ms == pytest.approx([int(digest[2]) + 1.0] * len(found_ms))


def test_the_first_pass_of_a_route_is_cold_and_the_last_ones_are_warm() -> None:
    """Those between are neither: the caches still hold some of the route before."""
    clock = Clock()
    bench = bench_with(clock, lambda run: 0.001 * (PASSES - run % PASSES))
    warm_ms, cold_ms, _ = timed(bench, clock)
    assert set(np.round(cold_ms["a"], 6)) == {PASSES}
    assert set(np.round(warm_ms["a"], 6)) == {PASSES - n for n in range(WARM_FROM, PASSES)}


def test_heads_run_with_one_route_of_a_round() -> None:
    """As often as each variant of the widest block; the other routes of the round are timed without them."""
    clock = Clock()
    head = HeadCandidate(key_of("head"), ScriptedHead(ScriptedBlock(clock, 0.002)), (0,), memory_bytes=1)
    _, cold_ms, _ = timed(replace(bench_of(clock, 3, 1), heads=(head,)), clock, for_s=0)
    assert cold_ms["head"] == pytest.approx([2.0] * EFFORT.min_rounds)
    assert {digest: len(times_ms) for digest, times_ms in cold_ms.items()} == {
        **{f"0.{variant}": EFFORT.min_rounds for variant in range(3)},
        "1.0": 3 * EFFORT.min_rounds,
        "head": EFFORT.min_rounds,
    }


def test_ends_at_the_time_limit() -> None:
    """Within one round of it, while times still differ; and it is not done."""
    clock = Clock()
    began_s = clock()
    _, cold_ms, rounds = timed(bench_of(clock, 1, seconds=0.01, wobble=0.5), clock, for_s=0.7)
    assert 0.7 <= clock() - began_s <= 0.7 + 0.015 * PASSES
    assert EFFORT.min_rounds < len(cold_ms["0.0"]) < EFFORT.max_rounds
    assert not rounds.done


def test_measures_a_few_rounds_even_when_the_time_is_up() -> None:
    """A slow board gets a profile all the same."""
    clock = Clock()
    _, cold_ms, _ = timed(bench_of(clock, 2, seconds=5.0), clock, for_s=0)
    assert {len(times_ms) for times_ms in cold_ms.values()} == {EFFORT.min_rounds}


def test_ends_early_when_the_medians_are_steady() -> None:
    """A quiet board is not kept waiting."""
    clock = Clock()
    _, cold_ms, rounds = timed(bench_of(clock, 2, seconds=0.05), clock)
    assert {len(times_ms) for times_ms in cold_ms.values()} == {EFFORT.steady_rounds}
    assert rounds.done


def test_keeps_a_bounded_number_of_samples() -> None:
    """However much time there is."""
    clock = Clock()
    warm_ms, cold_ms, rounds = timed(bench_of(clock, 1, wobble=0.5), clock)
    assert len(cold_ms["0.0"]) == EFFORT.max_rounds
    assert len(warm_ms["0.0"]) == EFFORT.max_rounds * WARM_PASSES
    assert rounds.done


def test_goes_on_with_the_samples_that_there_are() -> None:
    """What was timed before counts, and stays in front."""
    clock, known = Clock(), Samples()
    before_ms = [5.0, 9.0] * WARM_PASSES * 4
    known.warm_ms[key_of("0.0")] += before_ms
    known.cold_ms[key_of("0.0")] += [9.0] * 8
    warm_ms, cold_ms, _ = timed(bench_of(clock, 1, seconds=0.007, wobble=0.5), clock, known=known)
    assert len(cold_ms["0.0"]) == EFFORT.max_rounds
    assert cold_ms["0.0"][:8] == [9.0] * 8
    assert warm_ms["0.0"][: len(before_ms)] == before_ms


def test_rounds_of_a_busy_machine_are_done_again() -> None:
    """The board was busy at the first two looks: what was timed until then is not kept."""
    clock = Clock()
    # One round a look. The warm-up round is run too, and never kept.
    bench = bench_with(clock, lambda run: 0.9 if run < 3 * PASSES else 0.1)
    warm_ms, cold_ms, rounds = timed(bench, clock, shares=(0.5, 0.5, 0.01))
    assert set(np.round(warm_ms["a"] + cold_ms["a"], 6)) == {100.0}
    assert set(rounds.samples.others) == {0.01}


def test_a_machine_that_never_gets_quiet_is_measured_as_it_is() -> None:
    """At most half of the rounds are thrown away, beside the first few; and what others took is told."""
    clock = Clock()
    bench = bench_with(clock, lambda run: 0.1)
    _, cold_ms, rounds = timed(bench, clock, shares=(0.6,))
    assert len(cold_ms["a"]) == EFFORT.steady_rounds
    assert set(rounds.samples.others) == {0.6}
    all_rounds = (clock() - 50.0) / 0.1 / PASSES - 1
    assert all_rounds <= 2 * EFFORT.steady_rounds + EFFORT.min_rounds


def test_nothing_is_thrown_away_when_the_time_is_up() -> None:
    """Rows of a busy board are worth more than none."""
    clock = Clock()
    _, cold_ms, _ = timed(bench_of(clock, 1, seconds=1.0), clock, for_s=0, shares=(0.9,))
    assert len(cold_ms["0.0"]) == EFFORT.min_rounds


def test_what_takes_far_too_long_is_measured_once() -> None:
    """Where the effort has such a limit."""
    clock = Clock()
    effort = replace(EFFORT, overrun_s=10.0)
    for seconds, count in ((0.1, EFFORT.min_rounds), (5.0, 1)):
        rounds = Rounds(bench_of(clock, 1, seconds=seconds), effort, clock, ScriptedOthers(), Samples(), clock())
        for _ in rounds.run():
            pass
        assert len(rounds.samples.cold_ms[key_of("0.0")]) == count


def test_where_nobody_can_tell_what_others_take_rounds_are_kept() -> None:
    """And nothing is said about it."""
    clock = Clock()
    _, cold_ms, rounds = timed(bench_of(clock, 1, seconds=0.1), clock, shares=(None,))
    assert len(cold_ms["0.0"]) == EFFORT.steady_rounds
    assert rounds.samples.others == []


@pytest.mark.parametrize("jump_s", [-5.0, -0.001, 3600.0])
def test_a_clock_that_jumps_spoils_only_the_pass_it_jumps_in(jump_s: float) -> None:
    """Backwards, to a standstill, or by an hour."""
    clock = Clock()
    bench = bench_with(clock, lambda run: 0.001 + (jump_s if run % 17 == 16 else 0.0))
    warm_ms, cold_ms, _ = timed(bench, clock)
    assert warm_ms["a"] == pytest.approx([1.0] * len(warm_ms["a"]))
    assert cold_ms["a"] == pytest.approx([1.0] * len(cold_ms["a"]))
    assert len(cold_ms["a"]) >= EFFORT.steady_rounds


def test_a_clock_that_stands_still_ends_all_the_same() -> None:
    """Without a sample."""
    clock = Clock()
    warm_ms, _, rounds = timed(bench_with(clock, lambda run: 0.0), clock)
    assert warm_ms.get("a", []) == []
    assert not rounds.done


def test_the_share_that_is_done_only_grows_and_ends_at_one() -> None:
    """A bar that jumps back is no use."""
    clock = Clock()
    rounds = Rounds(bench_of(clock, 2, seconds=0.05), EFFORT, clock, ScriptedOthers(), Samples())
    told = [rounds.share() for _ in rounds.run()] + [rounds.share()]
    assert told == sorted(told)
    assert len(set(told)) >= EFFORT.steady_rounds
    assert told[0] == 0
    assert told[-1] == 1


def test_uncertainty_falls_with_more_samples_and_grows_with_their_spread() -> None:
    """1.57 IQR / sqrt(n), over the median; the warm passes of one visit count once."""
    times = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert median_uncertainty(times * WARM_PASSES) == pytest.approx(1.57 * 2 / np.sqrt(5) / 3)
    assert median_uncertainty([3.0] * 5) == 0


def test_one_unsteady_variant_keeps_all_going() -> None:
    """Each median must be known well enough."""
    count = EFFORT.steady_rounds * WARM_PASSES
    calm, wild = [1.0] * count, [1.0, 2.0] * (count // 2)
    assert steady({key_of("a"): calm}, EFFORT)
    assert not steady({key_of("a"): calm, key_of("b"): wild}, EFFORT)
    assert not steady({key_of("a"): calm[:-1]}, EFFORT)
