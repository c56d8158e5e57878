"""`Client` against real sockets: an app's life with a daemon that answers, refuses, stops and comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import schedulerd_client
from schedulerd.wire.messages import Code, Infer, Register, Request, Unregister
from schedulerd_client import Camera, Client
from tests.clients.fakedaemon import OLDER, PATIENCE_S, FakeDaemon, Twist, frame

LONG_S = 60.0
"""A time-out far beyond a test's patience: what ends sooner did not end by time-out."""
SHORT_S = 0.4


@pytest.fixture(params=["local", OLDER])
def runtime(request: pytest.FixtureRequest, runtime: Path) -> Path:
    """Each test is made with the local socket, and with a daemon that has only ZeroMQ."""
    if request.param == OLDER:
        (runtime / OLDER).touch()
    return runtime


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    """Calls a function on another thread; a test takes the result with `.result(PATIENCE_S)`."""
    with ThreadPoolExecutor(2) as pool:
        yield pool.submit


def once(kind: type[Request], twist: Code | Twist) -> Callable[[Request], Code | Twist | None]:
    """A script with one twist, at the first request of a kind."""
    met = threading.Event()

    def script(request: Request) -> Code | Twist | None:
        if not isinstance(request, kind) or met.is_set():
            return None
        met.set()
        return twist

    return script


def always(kind: type[Request], twist: Code | Twist) -> Callable[[Request], Code | Twist | None]:
    return lambda request: twist if isinstance(request, kind) else None


# The ordinary life.


def test_an_app_registers_and_gets_outputs_with_what_they_cost(runtime: Path) -> None:
    with FakeDaemon(runtime), Client(runtime) as client:
        registration = client.register("digits", budget_ms=25, rate_hz=30)
        reply = client.infer(frame(7))
    assert (registration.app, registration.input.shape) == ("digits-made", (2, 2))
    np.testing.assert_array_equal(reply.outputs, np.array([[7, 1, 2, 3]], np.float32))
    assert (reply.route, reply.accuracy, reply.plan) == (("original", "pruned-50"), 0.9, 1)
    assert (reply.queue_ms, reply.run_ms, reply.budget_ms, reply.deadline_met) == (0.25, 1.5, 25.0, True)
    assert reply.latency_ms > 0


def test_what_the_app_asks_for_reaches_the_daemon(runtime: Path) -> None:
    with FakeDaemon(runtime) as daemon, Client(runtime) as client:
        lens = Camera(480, 640, bgr=True)
        client.register(
            "digits", 25, 30, priority=9, accuracy_floor=0.8, late="drop", app="front", percentile=99, camera=lens
        )
        client.infer(frame(1), stream="door", frame=3)
        asked, frame_asked = daemon.requests[:2]
    assert asked == Register(1, "digits", 25.0, 30.0, 9, 0.8, "drop", "front", percentile=99.0, camera=lens)
    assert isinstance(frame_asked, Infer)
    assert (frame_asked.stream, frame_asked.frame) == ("door", 3)


def test_closing_tells_the_daemon_that_the_app_leaves(runtime: Path) -> None:
    with FakeDaemon(runtime) as daemon:
        with Client(runtime) as client:
            client.register("digits", 25, 30)
        daemon.wait_for(Unregister)


def test_an_app_can_leave_and_register_again(runtime: Path) -> None:
    with FakeDaemon(runtime), Client(runtime) as client:
        client.register("digits", 25, 30)
        client.unregister()
        assert client.registration is None
        with pytest.raises(schedulerd_client.NotRegistered):
            client.infer(frame(1))
        client.register("digits", 50, 30)
        assert client.infer(frame(1)).budget_ms == 50


def test_a_frame_of_four_megabytes_arrives(runtime: Path) -> None:
    large = np.full((2048, 2048), 9, np.uint8)
    with FakeDaemon(runtime), Client(runtime) as client:
        client.register("digits", 25, 30)
        assert client.infer(large).outputs.tolist() == [[9, 9, 9, 9]]


def test_threads_that_share_a_client_get_their_own_answers(runtime: Path) -> None:
    with FakeDaemon(runtime), Client(runtime) as client, ThreadPoolExecutor(4) as pool:
        client.register("digits", 25, 30)
        replies = list(pool.map(lambda n: client.infer(frame(n)).outputs[0, 0], range(40)))
    assert replies == list(range(40))


# Refusals.


@pytest.mark.parametrize("code", [c for c in Code if c is not Code.SHUTTING_DOWN])
def test_each_code_is_raised_as_its_class_with_the_daemons_words(runtime: Path, code: Code) -> None:
    with (
        FakeDaemon(runtime, always(Register, code)),
        Client(runtime) as client,
        pytest.raises(schedulerd_client.Refusal, match=f"scripted {code}") as caught,
    ):
        client.register("digits", 25, 30)
    assert caught.value.code is code
    assert code in type(caught.value).codes


def test_a_frame_before_registration_is_refused(runtime: Path) -> None:
    with FakeDaemon(runtime), Client(runtime) as client, pytest.raises(schedulerd_client.NotRegistered):
        client.infer(frame(1))


def test_registering_twice_is_refused_and_the_first_registration_stands(runtime: Path) -> None:
    with FakeDaemon(runtime), Client(runtime) as client:
        client.register("digits", 25, 30, app="first")
        with pytest.raises(schedulerd_client.AlreadyRegistered):
            client.register("digits", 50, 30, app="second")
        assert client.registration is not None
        assert client.registration.app == "first"
        assert client.infer(frame(1)).budget_ms == 25


def test_an_array_that_cannot_travel_is_refused_without_a_daemon(runtime: Path) -> None:
    with Client(runtime) as client, pytest.raises(schedulerd_client.BadTensor, match="may not travel"):
        client.infer(np.zeros(3, np.complex64))


def test_after_a_refusal_the_next_frame_is_served(runtime: Path) -> None:
    with FakeDaemon(runtime, once(Infer, Code.OVERLOADED)), Client(runtime) as client:
        client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.Overloaded):
            client.infer(frame(1))
        assert client.infer(frame(2)).outputs[0, 0] == 2


# No answer.


def test_without_a_daemon_the_error_names_the_endpoint_and_the_remedy(runtime: Path) -> None:
    with (
        Client(runtime, timeout_s=SHORT_S) as client,
        pytest.raises(schedulerd_client.Unreachable, match=rf"{runtime}/local\.sock.*schedulerd run"),
    ):
        client.register("digits", 25, 30)


def test_a_daemon_may_start_after_its_client(runtime: Path, background: Callable[..., Future[Any]]) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        registration = background(client.register, "digits", 25, 30)
        with FakeDaemon(runtime):
            assert registration.result(PATIENCE_S).model == "digits"


def test_what_was_given_up_is_not_carried_out_by_a_daemon_that_comes_later(runtime: Path) -> None:
    with Client(runtime, timeout_s=SHORT_S) as client:
        with pytest.raises(schedulerd_client.Unreachable):
            client.register("digits", 25, 30, app="given-up")
        with FakeDaemon(runtime) as daemon:
            client.register("digits", 25, 30, app="wanted")
            assert [r.app for r in daemon.requests if isinstance(r, Register)] == ["wanted"]


def test_a_daemon_that_does_not_answer_is_a_time_out(runtime: Path) -> None:
    with FakeDaemon(runtime, always(Infer, Twist.SILENT)), Client(runtime, timeout_s=SHORT_S) as client:
        client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.TimedOut) as caught:
            client.infer(frame(1))
    assert isinstance(caught.value, TimeoutError)


def test_a_late_answer_is_never_taken_for_another_frames(runtime: Path) -> None:
    with FakeDaemon(runtime, once(Infer, Twist.HOLD)) as daemon, Client(runtime, timeout_s=SHORT_S) as client:
        client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.TimedOut):
            client.infer(frame(1))
        answers = [client.infer(frame(number)).outputs[0, 0] for number in (2, 3, 4)]
        assert daemon.count(Infer) == 4
    assert answers == [2, 3, 4]


def test_an_answer_that_is_no_message_does_not_disturb_the_next(runtime: Path) -> None:
    with FakeDaemon(runtime, once(Infer, Twist.GARBAGE)), Client(runtime, timeout_s=SHORT_S) as client:
        client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.TimedOut):
            client.infer(frame(1))
        assert client.infer(frame(2)).outputs[0, 0] == 2


def test_a_call_that_was_interrupted_is_not_asked_again_of_the_next_daemon(
    runtime: Path, background: Callable[..., Future[Any]]
) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        with FakeDaemon(runtime, always(Infer, Twist.SILENT)) as first:
            client.register("digits", 25, 30)
            background(interrupt_after, first, threading.main_thread().ident)
            with interruptible(), pytest.raises(Interrupted):
                client.infer(frame(1))
        with FakeDaemon(runtime) as second:
            assert client.infer(frame(2)).outputs[0, 0] == 2
            assert second.count(Infer) == 1


class Interrupted(BaseException):
    """As KeyboardInterrupt, but ours."""


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGUSR1 raises `Interrupted` in the main thread."""

    def interrupt(number: int, at: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


def interrupt_after(daemon: FakeDaemon, thread: int) -> None:
    """Interrupt a thread once the daemon has its frame."""
    daemon.wait_for(Infer)
    signal.pthread_kill(thread, signal.SIGUSR1)


def test_a_closed_client_says_so(runtime: Path) -> None:
    client = Client(runtime)
    client.close()
    client.close()
    with pytest.raises(schedulerd_client.Closed):
        client.infer(frame(1))


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("inf"), float("nan")])
def test_a_client_that_could_wait_for_ever_is_refused(runtime: Path, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="above 0 and finite"):
        Client(runtime, timeout_s=timeout_s)


def test_only_ipc_endpoints_are_taken() -> None:
    with pytest.raises(ValueError, match="only ipc"):
        Client("tcp://127.0.0.1:5555")


def test_an_ipc_address_finds_the_same_daemon_as_its_directory(runtime: Path) -> None:
    with FakeDaemon(runtime), Client(f"ipc://{runtime}/infer.sock") as client:
        assert client.register("digits", 25, 30).model == "digits"


# Restarts.


def test_after_a_restart_between_two_frames_the_app_registers_again_under_its_name(runtime: Path) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        with FakeDaemon(runtime):
            client.register("digits", 25, 30, priority=7)
            client.infer(frame(1))
        with FakeDaemon(runtime) as second:
            assert client.infer(frame(2)).outputs[0, 0] == 2
            registered, inferred = second.requests
    assert isinstance(inferred, Infer)
    assert isinstance(registered, Register)
    assert (registered.model, registered.budget_ms, registered.priority) == ("digits", 25.0, 7)
    # The name that the first daemon made.
    assert registered.app == "digits-made"


def test_a_frame_in_flight_is_asked_again_of_the_next_daemon(
    runtime: Path, background: Callable[..., Future[Any]]
) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        with FakeDaemon(runtime, always(Infer, Twist.SILENT)) as first:
            client.register("digits", 25, 30)
            reply = background(client.infer, frame(5))
            first.wait_for(Infer)
        with FakeDaemon(runtime):
            assert reply.result(PATIENCE_S).outputs[0, 0] == 5


def test_a_registration_in_flight_is_asked_again_of_the_next_daemon(
    runtime: Path, background: Callable[..., Future[Any]]
) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        with FakeDaemon(runtime, always(Register, Twist.SILENT)) as first:
            registration = background(client.register, "digits", 25, 30)
            first.wait_for(Register)
        with FakeDaemon(runtime):
            assert registration.result(PATIENCE_S).model == "digits"


def test_a_daemon_that_is_stopping_is_waited_out(runtime: Path, background: Callable[..., Future[Any]]) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        stopping = threading.Event()
        with FakeDaemon(runtime, lambda _: Code.SHUTTING_DOWN if stopping.is_set() else None) as first:
            client.register("digits", 25, 30)
            stopping.set()
            reply = background(client.infer, frame(6))
            # It tries again with the old daemon for as long as that one is there.
            first.wait_for(Register, 3)
        with FakeDaemon(runtime):
            assert reply.result(PATIENCE_S).outputs[0, 0] == 6


def test_when_no_new_daemon_comes_the_error_says_that_the_old_one_was_stopping(runtime: Path) -> None:
    with FakeDaemon(runtime, always(Infer, Code.SHUTTING_DOWN)), Client(runtime, timeout_s=SHORT_S) as client:
        client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.ShuttingDown):
            client.infer(frame(1))


def test_a_daemon_that_gave_the_app_up_gets_it_again(runtime: Path) -> None:
    with FakeDaemon(runtime, once(Infer, Code.NOT_REGISTERED)) as daemon, Client(runtime, timeout_s=LONG_S) as client:
        client.register("digits", 25, 30)
        assert client.infer(frame(3)).outputs[0, 0] == 3
        assert [type(r).__name__ for r in daemon.requests] == ["Register", "Infer", "Register", "Infer"]


def test_its_own_name_held_by_the_lost_connection_is_waited_for(runtime: Path) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        with FakeDaemon(runtime):
            client.register("digits", 25, 30)
        with FakeDaemon(runtime, once(Register, Code.NAME_TAKEN)) as second:
            assert client.infer(frame(4)).outputs[0, 0] == 4
            assert second.count(Register) == 2


def test_a_refused_registration_after_a_restart_ends_the_frame_that_needed_it(runtime: Path) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        with FakeDaemon(runtime):
            client.register("digits", 25, 30)
        with FakeDaemon(runtime, once(Register, Code.UNKNOWN_MODEL)):
            with pytest.raises(schedulerd_client.UnknownModel):
                client.infer(frame(1))
            # The store may have it by now.
            assert client.infer(frame(2)).outputs[0, 0] == 2


def test_a_client_that_was_unreachable_registers_again_when_the_daemon_is_back(runtime: Path) -> None:
    with Client(runtime, timeout_s=SHORT_S) as client:
        with FakeDaemon(runtime):
            client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.Unreachable):
            client.infer(frame(1))
        with FakeDaemon(runtime) as second:
            second.wait_for(Register)
            assert client.infer(frame(2)).outputs[0, 0] == 2
            assert second.count(Infer) == 1


def test_a_daemon_killed_outright_is_noticed_and_its_successor_found(runtime: Path) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        first = start(runtime)
        client.register("digits", 25, 30)
        client.infer(frame(1))
        first.kill()
        first.communicate()
        second = start(runtime)
        assert client.infer(frame(2)).outputs[0, 0] == 2
        second.kill()
        second.communicate()


def start(runtime: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.clients.fakedaemon", str(runtime)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
