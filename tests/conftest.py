"""Fixtures that every test may use: the shipped store, unpacked and profiled once for the whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from schedulerd.demo.stock import demo_store
from tests.integration.daemons import Daemon

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Commands set the least severity for the whole process; no test finds what the one before has set."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of data and models beside the checkout; skips where there is none."""
    if not (SHARED / "models").is_dir():
        pytest.skip(f"needs the data and models of {SHARED.name}/ beside the checkout, which is absent")
    return SHARED


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State directory of all daemons of the run, so that the store is profiled once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def store(state: Path) -> Path:
    """The store that ships in the package. Tests that damage a store make a copy."""
    return demo_store(state)


@pytest.fixture
def own_state(state: Path, tmp_path: Path) -> Path:
    """A state directory of the test's own, which has nothing but the profiles of the run."""
    made = tmp_path / "own"
    made.mkdir()
    (state / "profiles").mkdir(exist_ok=True)
    (made / "profiles").symlink_to(state / "profiles")
    return made


@pytest.fixture
def make_daemon(state: Path, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Daemons on any store; they are stopped when the test ends."""
    made: list[Daemon] = []

    def make(store: Path, **options: str) -> Daemon:
        runtime = tmp_path / f"run{len(made)}"
        runtime.mkdir()
        made.append(Daemon(store, state, runtime, **options))
        return made[-1]

    yield make
    for daemon in made:
        daemon.stop()


@pytest.fixture
def daemon(store: Path, make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon that serves the shipped store, ready."""
    ready = make_daemon(store)
    ready.start()
    return ready
