"""The routes of a round, and when measuring ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from blockprofiles.bench import Bench, Candidate, HeadCandidate
from blockprofiles.rounds import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    STEADY_ROUNDS,
    covering_routes,
    median_uncertainty,
    steady,
    time_rounds,
)
from tests.profiles.scripted import Clock, ScriptedBlock, ScriptedHead


def bench_of(clock: Clock, *widths: int, seconds: float = 0.001, wobble: float = 0.0) -> Bench:
    """Blocks of so many variants; variant `v` of block `b` is `b.v` and takes `v + 1` times `seconds`."""
    return Bench(
        frame=np.zeros((1, 2), np.uint8),
        blocks=tuple(
            tuple(
                Candidate(f"{b}.{v}", ScriptedBlock(clock, (v + 1) * seconds, wobble=wobble), memory_bytes=1)
                for v in range(width)
            )
            for b, width in enumerate(widths)
        ),
    )


def test_the_routes_of_a_round_hold_every_variant() -> None:
    """As many routes as the widest block has variants; narrower blocks repeat theirs evenly."""
    bench = bench_of(Clock(), 4, 1, 2, 3)
    for seed in range(20):
        routes = list(covering_routes(bench, np.random.default_rng(seed)))
        assert len(routes) == 4
        used = [sorted(candidate.digest for candidate in block) for block in zip(*routes, strict=True)]
        assert used[0] == ["0.0", "0.1", "0.2", "0.3"]
        assert used[1] == ["1.0"] * 4
        assert used[2] == ["2.0", "2.0", "2.1", "2.1"]
        assert set(used[3]) == {"3.0", "3.1", "3.2"}


def test_rounds_combine_variants_anew() -> None:
    """Otherwise a variant would only ever be timed beside the same neighbours."""
    bench = bench_of(Clock(), 3, 3)
    generator = np.random.default_rng(0)
    pairs = {(r[0].digest, r[1].digest) for _ in range(30) for r in covering_routes(bench, generator)}
    assert len(pairs) == 9


def test_each_block_is_charged_its_own_time() -> None:
    """Not that of the route, nor that of its neighbour."""
    clock = Clock()
    samples = time_rounds(bench_of(clock, 2, 3), clock() + 60, clock, lambda share: None)
    for digest, times_ms in samples.items():
        assert times_ms == pytest.approx([int(digest[2]) + 1.0] * len(times_ms))
    assert set(samples) == {"0.0", "0.1", "1.0", "1.1", "1.2"}


def test_heads_run_once_in_a_round() -> None:
    """As often as each variant of the widest block; the other routes of the round are timed without them."""
    clock = Clock()
    bench = bench_of(clock, 3, 1)
    head = HeadCandidate("head", ScriptedHead(ScriptedBlock(clock, 0.002)), (0,), memory_bytes=1)
    samples = time_rounds(replace(bench, heads=(head,)), clock(), clock, lambda share: None)
    assert samples["head"] == pytest.approx([2.0] * MIN_ROUNDS)
    assert {digest: len(times_ms) for digest, times_ms in samples.items()} == {
        **{f"0.{variant}": MIN_ROUNDS for variant in range(3)},
        "1.0": 3 * MIN_ROUNDS,
        "head": MIN_ROUNDS,
    }


def test_ends_at_the_time_limit() -> None:
    """Within one round of it, while times still differ."""
    clock = Clock()
    end_s = clock() + 1.0
    samples = time_rounds(bench_of(clock, 1, seconds=0.01, wobble=0.5), end_s, clock, lambda share: None)
    assert end_s <= clock() <= end_s + 0.015
    assert MIN_ROUNDS < len(samples["0.0"]) < STEADY_ROUNDS + 30


def test_measures_a_few_rounds_even_when_the_time_is_up() -> None:
    """A slow board gets a profile all the same."""
    clock = Clock()
    samples = time_rounds(bench_of(clock, 2, seconds=5.0), clock(), clock, lambda share: None)
    assert {len(times_ms) for times_ms in samples.values()} == {MIN_ROUNDS}


def test_ends_early_when_the_medians_are_steady() -> None:
    """A quiet board is not kept waiting."""
    clock = Clock()
    samples = time_rounds(bench_of(clock, 2), clock() + 3600, clock, lambda share: None)
    assert {len(times_ms) for times_ms in samples.values()} == {STEADY_ROUNDS}


def test_keeps_a_bounded_number_of_samples() -> None:
    """However much time there is."""
    clock = Clock()
    samples = time_rounds(bench_of(clock, 1, wobble=0.5), clock() + 3600, clock, lambda share: None)
    assert len(samples["0.0"]) == MAX_ROUNDS


def test_progress_only_grows_and_stays_within_one() -> None:
    """A bar that jumps back is no use."""
    clock = Clock()
    told: list[float] = []
    time_rounds(bench_of(clock, 2, wobble=0.5), clock() + 0.3, clock, told.append)
    assert told == sorted(told)
    assert len(set(told)) > 10
    assert 0 <= told[0] <= told[-1] <= 1


def test_uncertainty_falls_with_more_samples_and_grows_with_their_spread() -> None:
    """1.57 IQR / sqrt(n), over the median."""
    assert median_uncertainty([1, 2, 3, 4, 5]) == pytest.approx(1.57 * 2 / np.sqrt(5) / 3)
    assert median_uncertainty([3.0] * 5) == 0


def test_one_unsteady_variant_keeps_all_going() -> None:
    """Each median must be known well enough."""
    calm, wild = [1.0] * STEADY_ROUNDS, [1.0, 2.0] * (STEADY_ROUNDS // 2)
    assert steady({"a": calm})
    assert not steady({"a": calm, "b": wild})
    assert not steady({"a": calm[:-1]})
