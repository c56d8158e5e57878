"""The life of a client as pure steps: every request has one outcome, its own, whatever happens in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.wire.codec import decode_request, encode, header_of
from schedulerd.wire.messages import (
    MAX_HEADER_BYTES,
    Code,
    Failure,
    Infer,
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
from schedulerd_client import (
    AlreadyRegistered,
    BadMessage,
    BadValue,
    Drained,
    NameTaken,
    NotRegistered,
    Overloaded,
    ProtocolError,
    Registration,
    Reply,
)
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


def of_exits(request_id: int, *exits: str, tensors: int) -> tuple[Result, list[Any]]:
    """An answer with the outputs of exits: the first tensor is 0, the second 1, ..."""
    arrays = [np.array([[number]], np.int64) for number in range(tensors)]
    answer, _ = result(request_id)
    header = answer._replace(tensors=tuple(map(header_of, arrays)), exit=exits[-1], left="asked", exits=exits)
    return header, arrays


def values(outputs: Any) -> Any:
    """The same tuples with numbers in the place of arrays."""
    return tuple(map(values, outputs)) if isinstance(outputs, tuple) else int(outputs[0, 0])


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


def test_a_reply_says_where_the_frame_left_and_why() -> None:
    session = joined()
    request_id, _ = session.infer(FRAME, NOW_S)
    answer, outputs = result(request_id)
    answer = answer._replace(exit="exit1", left="confident", confidence=0.75)
    ((_, reply),) = received(session, answer, outputs).done
    assert isinstance(reply, Reply)
    assert (reply.exit, reply.left, reply.confidence, reply.exits) == ("exit1", "confident", 0.75, ())


@pytest.mark.parametrize(
    ("exits", "tensors", "outputs"),
    [(("exit1", "final"), 2, (0, 1)), (("exit2",), 1, (0,)), (("exit1", "final"), 4, ((0, 1), (2, 3)))],
    ids=["two exits", "one exit", "two exits of two outputs"],
)
def test_outputs_of_exits_come_in_the_order_in_which_they_were_asked_for(
    exits: tuple[str, ...], tensors: int, outputs: tuple[Any, ...]
) -> None:
    session = joined()
    request_id, step = session.infer(FRAME, NOW_S, exits)
    assert [request.exits for request in requests_in(step) if isinstance(request, Infer)] == [exits]
    header, arrays = of_exits(request_id, *exits, tensors=tensors)
    ((_, reply),) = received(session, header, *arrays).done
    assert isinstance(reply, Reply)
    assert reply.exits == exits
    assert values(reply.outputs) == outputs


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


def test_on_a_new_connection_the_exit_policy_is_what_it_was_and_open_frames_ask_for_the_same_exits() -> None:
    session = Session()
    request_id, _ = session.register(WANTED._replace(late="exit", exits={"exit1": 0.5, "final": 0.0}), NOW_S)
    received(session, registered(request_id))
    session.infer(FRAME, NOW_S, ("exit1",))
    (again,) = requests_in(session.connected_anew())
    assert isinstance(again, Register)
    assert (again.late, again.exits) == ("exit", {"exit1": 0.5, "final": 0.0})
    (frame,) = requests_in(received(session, registered(again.id)))
    assert isinstance(frame, Infer)
    assert frame.exits == ("exit1",)


def test_a_registration_says_which_exits_there_are_and_which_are_used() -> None:
    session = Session()
    request_id, _ = session.register(WANTED, NOW_S)
    policy, shares = {"exit1": 0.5, "final": 0.0}, {"exit1": 0.75, "final": 0.25}
    reply = registered(request_id)._replace(policy=policy, exit_shares=shares, exits=("exit1", "exit2"))
    ((_, registration),) = received(session, reply).done
    assert isinstance(registration, Registration)
    assert (registration.policy, registration.exit_shares) == (policy, shares)
    assert registration.exits == ("exit1", "exit2")


def test_the_answer_of_a_registration_on_a_lost_connection_does_not_count() -> None:
    session = joined()
    (first,) = requests_in(session.connected_anew())
    session.forget(first.id)
    (second,) = requests_in(session.connected_anew())
    assert first.id != second.id
    assert received(session, registered(first.id)) == NOTHING
    session.infer(FRAME, NOW_S)
    assert len(received(session, registered(second.id)).send) == 1


def test_registering_while_our_own_registration_is_out_is_refused_by_the_daemon_and_nothing_is_lost() -> None:
    session = joined()
    (again,) = requests_in(session.connected_anew())
    infer_id, _ = session.infer(FRAME, NOW_S)
    second_id, step = session.register(WANTED._replace(app="second"), NOW_S)
    assert [request.id for request in requests_in(step)] == [second_id]
    assert received(session, registered(again.id)) == NOTHING
    step = received(session, Failure(second_id, Code.ALREADY_REGISTERED, "once is enough"))
    assert isinstance(step.done[0][1], AlreadyRegistered)
    assert [request.id for request in requests_in(step)] == [infer_id]


def test_a_refused_second_registration_does_not_run_open_frames_again() -> None:
    session = joined()
    session.infer(FRAME, NOW_S)
    second_id, _ = session.register(WANTED, NOW_S)
    assert received(session, Failure(second_id, Code.ALREADY_REGISTERED, "once is enough")).send == []


def test_a_frame_that_waited_and_was_sent_is_not_sent_again_on_the_same_connection() -> None:
    session = Session()
    register_id, _ = session.register(WANTED, NOW_S)
    session.infer(FRAME, NOW_S)
    assert len(received(session, registered(register_id)).send) == 1
    second_id, _ = session.register(WANTED, NOW_S)
    assert received(session, Failure(second_id, Code.ALREADY_REGISTERED, "once is enough")).send == []


def test_on_a_new_connection_our_own_registration_comes_before_a_second_one_of_the_user() -> None:
    session = joined()
    second_id, _ = session.register(WANTED._replace(app="second"), NOW_S)
    first, second = requests_in(session.connected_anew())
    assert isinstance(first, Register)
    assert (first.app, second.id) == ("made", second_id)


def test_a_registration_that_its_caller_gave_up_still_counts_when_it_is_answered() -> None:
    session = Session()
    request_id, _ = session.register(WANTED, NOW_S)
    session.forget(request_id)
    infer_id, _ = session.infer(FRAME, NOW_S)
    step = received(session, registered(request_id))
    assert [request.id for request in requests_in(step)] == [infer_id]
    assert session.registration is not None


def test_a_registration_that_its_caller_gave_up_is_not_said_again() -> None:
    session = Session()
    request_id, _ = session.register(WANTED, NOW_S)
    session.forget(request_id)
    assert session.connected_anew().send == []


def test_after_unregister_a_new_connection_registers_nothing() -> None:
    session = joined()
    request_id, _ = session.unregister(NOW_S)
    received(session, Unregistered(request_id))
    assert session.connected_anew() == NOTHING._replace(send=[])


def test_an_unregister_that_waits_behind_our_own_registration_has_the_last_word() -> None:
    session = joined()
    (again,) = requests_in(session.connected_anew())
    request_id, step = session.unregister(NOW_S)
    assert step == NOTHING
    step = received(session, registered(again.id))
    assert [request.id for request in requests_in(step)] == [request_id]
    received(session, Unregistered(request_id))
    assert session.connected_anew().send == []


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


def test_a_drained_app_keeps_its_registration_and_does_not_connect_anew() -> None:
    session = joined()
    for _ in range(3):
        request_id, _ = session.infer(FRAME, NOW_S)
        step = received(session, Failure(request_id, Code.DRAINED, "held"))
        ((_, outcome),) = step.done
        assert isinstance(outcome, Drained)
        assert (step.reconnect_in_s, list(step.send)) == (None, [])
    request_id, step = session.infer(FRAME, NOW_S)
    assert [request.id for request in requests_in(step)] == [request_id], "resumed, it goes on as before"


def test_a_drained_app_that_lost_its_connection_is_refused_once_for_every_frame() -> None:
    """The daemon holds its name: registering anew again and again would change nothing."""
    session = joined()
    request_id, _ = session.infer(FRAME, NOW_S)
    (again,) = requests_in(session.connected_anew())
    step = received(session, Failure(again.id, Code.DRAINED, "held"))
    ((done_id, outcome),) = step.done
    assert done_id == request_id
    assert isinstance(outcome, Drained)
    assert step.reconnect_in_s is None
    # Resumed, the next frame finds that the daemon does not know it, and it registers as it does after any loss.
    request_id, _ = session.infer(FRAME, NOW_S)
    assert received(session, Failure(request_id, Code.NOT_REGISTERED, "who?")).reconnect_in_s == 0.0
    (again,) = requests_in(session.connected_anew())
    (frame,) = requests_in(received(session, registered(again.id)))
    assert frame.id == request_id


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


class ForgetfulDaemon:
    """What a daemon may do to a session: answer in any order, answer twice, forget the app, lose the connection."""

    def __init__(self) -> None:
        self.session = Session()
        self.registered = False
        self.asked: list[Request] = []
        """Requests on this connection without an answer, in order."""
        self.user_ids: dict[int, str] = {}
        self.outcomes: dict[int, object] = {}
        self.register(0)

    # What the user does.

    def register(self, _: int) -> None:
        """Ask for a registration, perhaps one too many."""
        self._call("register", *self.session.register(WANTED, NOW_S))

    def infer(self, _: int) -> None:
        """Ask for a frame."""
        self._call("infer", *self.session.infer(FRAME, NOW_S))

    # What the daemon does.

    def answer(self, which: int) -> None:
        """Registrations in their order, as the daemon has it, then any frame."""
        if not self.asked:
            return
        joining = next((request for request in self.asked if isinstance(request, Register)), None)
        request = joining or self.asked[which % len(self.asked)]
        self.asked.remove(request)
        if isinstance(request, Infer):
            self._say(*result(request.id))
        elif self.registered:
            self._say(Failure(request.id, Code.ALREADY_REGISTERED, "scripted"))
        else:
            self.registered = True
            self._say(registered(request.id))

    def refuse(self, which: int) -> None:
        """A frame too many."""
        self._refuse_frame(Code.OVERLOADED, which)

    def forget(self, which: int) -> None:
        """The app is not known any more."""
        self._refuse_frame(Code.NOT_REGISTERED, which)

    def stop(self, which: int) -> None:
        """The daemon is shutting down."""
        if self.asked:
            self._say(Failure(self.asked.pop(which % len(self.asked)).id, Code.SHUTTING_DOWN, "scripted"))

    def lose(self, _: int = 0) -> None:
        """The connection ends; what was asked on it stays without an answer."""
        self.asked.clear()
        self.registered = False
        self._perform(self.session.connected_anew())

    def repeat(self, which: int) -> None:
        """An answer that was given already, or is for nobody."""
        self._say(*result(which + 1)) if which + 1 in self.outcomes else self._say(Pong(which))

    def probe(self, _: int) -> None:
        """Are you there?"""
        self._say(Ping(0))

    def _refuse_frame(self, code: Code, which: int) -> None:
        frames = [request for request in self.asked if isinstance(request, Infer)]
        if frames:
            frame = frames[which % len(frames)]
            self.asked.remove(frame)
            self._say(Failure(frame.id, code, "scripted"))

    def _call(self, kind: str, request_id: int, step: Step) -> None:
        self.user_ids[request_id] = kind
        self._perform(step)

    def _say(self, message: Message, *arrays: Any) -> None:
        self._perform(received(self.session, message, *arrays))

    def _perform(self, step: Step) -> None:
        for request_id, outcome in step.done:
            assert request_id in self.user_ids, "an outcome that nobody asked for"
            assert request_id not in self.outcomes, "a second outcome"
            self.outcomes[request_id] = outcome
        for request in requests_in(step):
            assert request.id not in [asked.id for asked in self.asked], "the same request twice on one connection"
            assert self.registered or isinstance(request, Register), "a frame before the registration"
            self.asked.append(request)
        if step.reconnect_in_s is not None:
            self.lose()


MOVES = [name for name in vars(ForgetfulDaemon) if not name.startswith("_")]


@given(st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 5)), max_size=60))
def test_whatever_happens_each_request_has_one_outcome_and_it_is_its_own(moves: list[tuple[str, int]]) -> None:
    daemon = ForgetfulDaemon()
    for move, which in moves:
        getattr(daemon, move)(which)
    while daemon.asked:
        daemon.answer(0)
    assert daemon.outcomes.keys() == daemon.user_ids.keys()
    for request_id, outcome in daemon.outcomes.items():
        if daemon.user_ids[request_id] == "register":
            assert isinstance(outcome, Registration | AlreadyRegistered)
        else:
            assert isinstance(outcome, Overloaded) or (
                isinstance(outcome, Reply) and outcome.outputs.tolist() == [[request_id]]
            )


# What a frame and a registration may say besides.


def test_a_frame_of_a_stream_says_so() -> None:
    session = Session()
    _, plain = session.infer(FRAME, NOW_S)
    _, streamed = session.infer(FRAME, NOW_S, stream="door", number=0)
    asked = [request for step in (plain, streamed) for request in requests_in(step)]
    assert [(r.stream, r.frame) for r in asked if isinstance(r, Infer)] == [(None, None), ("door", 0)]


@pytest.mark.parametrize("half", [{"stream": "door"}, {"number": 7}])
def test_half_a_streams_frame_is_refused(half: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match="give both, or neither"):
        Session().infer(FRAME, NOW_S, **half)


def test_what_no_socket_takes_is_refused_and_leaves_nothing_behind() -> None:
    session = Session()
    with pytest.raises(BadMessage, match="the limit is 65536") as caught:
        session.register(WANTED._replace(model="x" * MAX_HEADER_BYTES), NOW_S)
    assert caught.value.code is Code.TOO_LARGE
    with pytest.raises(BadMessage):
        session.infer(FRAME, NOW_S, ("x" * MAX_HEADER_BYTES,))
    assert requests_in(session.connected_anew()) == []
    assert requests_in(session.infer(FRAME, NOW_S)[1])


def test_the_registration_says_how_many_requests_may_be_open() -> None:
    session = Session()
    request_id, _ = session.register(WANTED, NOW_S)
    received(session, registered(request_id)._replace(credit=5))
    assert session.registration is not None
    assert session.registration.credit == 5


def test_a_failure_that_names_no_request_is_what_those_hear_who_wait_in_vain() -> None:
    session = joined()
    request_id, _ = session.infer(FRAME, NOW_S)
    assert received(session, Failure(0, Code.OVERLOADED, "too many connections")) == NOTHING
    assert str(session.give_up(request_id, "no daemon")) == "too many connections"
