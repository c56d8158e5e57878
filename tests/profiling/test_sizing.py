"""Engines and lanes as configured, or as the profile of each number of threads says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from blockprofiles.contention import Contention, Point, Slowdown
from blockprofiles.device import Device
from blockprofiles.record import Row
from blockprofiles.table import Table
from schedulerd.config import EngineConfig
from schedulerd.errors import ConfigError, EngineError
from schedulerd.profiling.lanes import Layout
from schedulerd.profiling.sizing import sized, threads_measured
from schedulerd.serving.engines.base import Engine
from tests.profiles.scripted import model_of

MODELS = (model_of(("a",)),)
COMPANY = Contention(lanes=(Point(1, Slowdown()), Point(2, Slowdown(1.1, 1.2))))
AUTO = EngineConfig(lanes=None)


class Profiles:
    """Knows what a frame takes with each number of threads, and notes which engines it was asked about."""

    def __init__(self, times_ms: Mapping[int, float]) -> None:
        self._times_ms = times_ms
        self.asked: list[list[tuple[str, int]]] = []

    def __call__(self, engines: Sequence[Engine]) -> Table:
        """What is known of the first of `engines`."""
        self.asked.append(kinds(engines))
        threads = engines[0].threads
        row = Row("a", "scripted", threads, self._times_ms[threads], 9.0, 1)
        device = Device("A76", "aarch64", 2, None, 2**32, "scripted", "1.0", threads)
        return Table(device, (row,), "then", contention=COMPANY)


def kinds(engines: Sequence[Engine]) -> list[tuple[str, int]]:
    """Name and threads of each."""
    return [(engine.name, engine.threads) for engine in engines]


def test_configured_lanes_are_measured_once() -> None:
    """With their threads, and with the alternates that they have."""
    profiles = Profiles({3: 2.0})
    found = sized(EngineConfig(lanes=2), 8, MODELS, profiles)
    assert (found.layout, found.why) == (Layout(2, 3), None)
    assert profiles.asked == [[("onnxruntime", 3), ("onnxruntime", 1)]]
    assert kinds(found.engines) == [("onnxruntime", 3), ("onnxruntime", 1)]
    assert found.table.device.threads == 3


@pytest.mark.parametrize(
    ("two_threads_ms", "layout", "engines"),
    [
        (9.0, Layout(2, 1), [("onnxruntime", 1)]),
        (5.0, Layout(1, 2), [("onnxruntime", 2), ("onnxruntime", 1)]),
    ],
)
def test_the_profile_chooses_lanes_and_their_engines(
    two_threads_ms: float, layout: Layout, engines: list[tuple[str, int]]
) -> None:
    """Of a board of two cores, each number of threads of which is measured once."""
    profiles = Profiles({2: two_threads_ms, 1: 10.0})
    found = sized(AUTO, 2, MODELS, profiles)
    assert [asked[0] for asked in profiles.asked] == [("onnxruntime", 2), ("onnxruntime", 1)]
    assert (found.layout, kinds(found.engines)) == (layout, engines)
    assert found.table.device.threads == layout.threads, "what was measured with other threads says nothing of these"
    assert found.why is not None
    assert str(layout) in found.why


def test_threads_of_the_operator_are_respected() -> None:
    """Only how many lanes there are is chosen."""
    profiles = Profiles({1: 10.0})
    found = sized(EngineConfig(lanes=None, threads_per_lane=1), 2, MODELS, profiles)
    assert found.layout == Layout(2, 1)
    assert profiles.asked == [[("onnxruntime", 1)]]


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """The count of the process is put back."""
    torch = pytest.importorskip("torch", reason="the second engine: pip install 'schedulerd[torch]'")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("torch_threads")
@pytest.mark.parametrize(("two_threads_ms", "threads"), [(9.0, 1), (5.0, 2)])
def test_torch_ends_with_the_threads_that_were_chosen(two_threads_ms: float, threads: int) -> None:
    """Its count is of the whole process, and every engine that is made sets it."""
    import torch

    found = sized(EngineConfig(name="torch", lanes=None), 2, MODELS, Profiles({2: two_threads_ms, 1: 10.0}))
    assert kinds(found.engines) == [("torch", threads)]
    assert torch.get_num_threads() == threads


def test_cores_are_not_shared_out_to_a_gpu() -> None:
    """Whose lanes are for the operator to say."""
    with pytest.raises(ConfigError, match=r"blocks run on 'cuda': give a number of lanes"):
        threads_measured(EngineConfig(name="torch", device="cuda", lanes=None), 2)


def test_onnxruntime_has_no_gpu() -> None:
    """The message names both remedies."""
    with pytest.raises(ConfigError, match=r"not on 'cuda:1': set \[engine\] device to \"cpu\", or name to \"torch\""):
        sized(EngineConfig(device="cuda:1"), 2, MODELS, Profiles({1: 1.0}))


@pytest.mark.usefixtures("torch_threads")
def test_a_gpu_that_is_not_there_is_refused_with_the_remedy() -> None:
    """Before anything is measured."""
    with pytest.raises(EngineError, match=r"torch has no device 'cuda:99' here: .*; set \[engine\] device to \"cpu\""):
        sized(EngineConfig(name="torch", device="cuda:99"), 2, MODELS, Profiles({1: 1.0}))
