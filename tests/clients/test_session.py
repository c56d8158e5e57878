"""The life of a client as pure steps: every request has one outcome, its own, whatever happens in between."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.wire.codec import decode_request, encode, header_of
from schedulerd.wire.messages import (
    Code,
    Failure,
    Message,
    Ping,
    Pong,
    Register,
    Registered,
    Request,
    Result,
    TensorHeader,
    Unregistered,
)
from schedulerd_client import NameTaken, NotRegistered, Overloaded, ProtocolError, Registration, Reply
from schedulerd_client._session import NOTHING, Session, Step

WANTED = Register(0, "digits", 25.0, 30.0)
FRAME = np.zeros((2, 2), np.uint8)
NOW_S = 10.0


def requests_in(step: Step) -> list[Request]:
    return [decode_request([bytes(part) for part in frames])[0] for frames in step.send]


def received(session: Session, message: Message, *arrays: Any) -> Step:
    return session.received([bytes(frame) for frame in encode(message, arrays)], NOW_S)


def registered(request_id: int, app: str = "made") -> Registered:
    tensor = TensorHeader("uint8", (2, 2))
    return Registered(request_id, app, "digits", tensor, tensor, (), ("original",), 0.9, 1.0, 2.0, 0.0, 1)


def result(request_id: int) -> tuple[Result, Any]:
    """An answer whose outputs say which request it answers."""
    outputs = np.array([[request_id]], np.int64)
    return Result(request_id, (header_of(outputs),), 1, ("original",), 0.9, 0.1, 1.0, 25.0, True), outputs


def joined() -> Session:
    session = Session()
    request_id, _ = session.register(WANTED, NOW_S)
    received(session, registered(request_id))
    return session


def test_latency_is_from_the_call_to_its_answer() -> None:
    session = joined()
    request_id, _ = session.infer(FRAME, NOW_S - 0.25)
    ((done_id, reply),) = received(session, *result(request_id)).done
    assert done_id == request_id
    assert isinstance(reply, Reply)
    assert reply.latency_ms == 250


def test_a_frame_waits_while_a_registration_has_no_answer() -> None:
    session = Session()
    register_id, step = session.register(WANTED, NOW_S)
    assert requests_in(step) == [Register(register_id, "digits", 25.0, 30.0)]
    infer_id, step = session.infer(FRAME, NOW_S)
    assert step == NOTHING
    step = received(session, registered(register_id))
    assert [request.id for request in requests_in(step)] == [infer_id]
    assert isinstance(step.done[0][1], Registration)


def test_on_a_new_connection_it_registers_first_and_then_asks_everything_again() -> None:
    session = joined()
    open_ids = [session.infer(FRAME, NOW_S)[0] for _ in range(3)]
    (again,) = requests_in(session.connected_anew())
    assert isinstance(again, Register)
    assert (again.app, again.model) == ("made", "digits")
    step = received(session, registered(again.id))
    assert [request.id for request in requests_in(step)] == open_ids
    # Nobody called register() this time.
    assert step.done == ()


def test_the_answer_of_a_registration_on_a_lost_connection_does_not_count() -> None:
    session = joined()
    (first,) = requests_in(session.connected_anew())
    session.forget(first.id)
    (second,) = requests_in(session.connected_anew())
    assert first.id != second.id
    assert received(session, registered(first.id)) == NOTHING
    session.infer(FRAME, NOW_S)
    assert len(received(session, registered(second.id)).send) == 1


def test_after_unregister_a_new_connection_registers_nothing() -> None:
    session = joined()
    request_id, _ = session.unregister(NOW_S)
    received(session, Unregistered(request_id))
    assert session.connected_anew() == NOTHING._replace(send=[])


def test_a_name_that_somebody_else_has_is_final_when_the_user_asked_for_it() -> None:
    session = Session()
    request_id, _ = session.register(WANTED, NOW_S)
    ((_, outcome),) = received(session, Failure(request_id, Code.NAME_TAKEN, "taken")).done
    assert isinstance(outcome, NameTaken)


def test_a_name_that_our_lost_connection_may_hold_is_tried_again() -> None:
    session = joined()
    (again,) = requests_in(session.connected_anew())
    step = received(session, Failure(again.id, Code.NAME_TAKEN, "taken"))
    assert step.reconnect_in_s is not None
    request_id, _ = session.infer(FRAME, NOW_S)
    assert isinstance(requests_in(session.connected_anew())[0], Register)
    assert session.give_up(request_id, None).args[0].startswith("the daemon gave no answer")


def test_time_that_runs_out_in_a_retry_ends_with_the_last_refusal() -> None:
    session = joined()
    request_id, _ = session.infer(FRAME, NOW_S)
    (again,) = requests_in(session.connected_anew())
    received(session, Failure(again.id, Code.NAME_TAKEN, "held by somebody"))
    assert isinstance(session.give_up(request_id, "no daemon"), NameTaken)


def test_not_registered_is_final_for_a_client_that_never_registered() -> None:
    session = Session()
    request_id, _ = session.infer(FRAME, NOW_S)
    ((_, outcome),) = received(session, Failure(request_id, Code.NOT_REGISTERED, "no")).done
    assert isinstance(outcome, NotRegistered)


def test_an_unreadable_answer_ends_the_call_it_names() -> None:
    session = joined()
    request_id, _ = session.infer(FRAME, NOW_S)
    spoilt = [bytes(frame) for frame in encode(result(request_id)[0])]
    ((done_id, outcome),) = session.received(spoilt, NOW_S).done
    assert done_id == request_id
    assert isinstance(outcome, ProtocolError)


moves = st.lists(
    st.tuples(
        st.sampled_from(["infer", "answer", "refuse", "gone", "lost", "late", "probe", "stopping"]), st.integers(0, 5)
    ),
    max_size=60,
)


@given(moves)
def test_whatever_happens_each_request_has_one_outcome_and_it_is_its_own(moves: list[tuple[str, int]]) -> None:
    """A daemon that loses connections, forgets apps and answers twice, and a session that never mixes frames up."""
    session = joined()
    at_daemon: list[int] = []
    ever: list[int] = []
    outcomes: dict[int, object] = {}

    def perform(step: Step) -> None:
        for request_id, outcome in step.done:
            assert request_id not in outcomes, "a second outcome"
            outcomes[request_id] = outcome
        for request in requests_in(step):
            if isinstance(request, Register):
                perform(received(session, registered(request.id)))
            else:
                at_daemon.append(request.id)
        if step.reconnect_in_s is not None:
            lose()

    def lose() -> None:
        at_daemon.clear()
        perform(session.connected_anew())

    def infer(_: int) -> None:
        request_id, step = session.infer(FRAME, NOW_S)
        ever.append(request_id)
        perform(step)

    def answer(which: int) -> None:
        if at_daemon:
            perform(received(session, *result(at_daemon.pop(which % len(at_daemon)))))

    def fail(code: Code, which: int) -> None:
        if at_daemon:
            perform(received(session, Failure(at_daemon.pop(which % len(at_daemon)), code, "scripted")))

    actions: dict[str, Any] = {
        "infer": infer,
        "answer": answer,
        "refuse": lambda which: fail(Code.OVERLOADED, which),
        "gone": lambda which: fail(Code.NOT_REGISTERED, which),
        "stopping": lambda which: fail(Code.SHUTTING_DOWN, which),
        "lost": lambda _: lose(),
        "late": lambda which: perform(received(session, *result(ever[which % len(ever)]))) if ever else None,
        "probe": lambda which: perform(received(session, Ping(0) if which % 2 else Pong(which))),
    }
    for move, which in moves:
        actions[move](which)
    while at_daemon:
        answer(0)
    assert sorted(outcomes) == ever, "a request without an outcome"
    for request_id, outcome in outcomes.items():
        assert isinstance(outcome, Overloaded) or (
            isinstance(outcome, Reply) and outcome.outputs.tolist() == [[request_id]]
        )
