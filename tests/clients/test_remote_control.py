"""`ControlClient` with keys: it works over tcp, and says which of the many things is wrong where it does not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from schedulerd.errors import ConfigError
from schedulerd.serving.operators import Operators
from schedulerd.wire.keys import KeyFileError, Pair
from schedulerd.wire.remote import Place
from schedulerd_client import ControlClient, HandshakeFailed, NotPermitted, OperatorKeys, Unreachable
from schedulerd_client._remote import is_of_ipv6_alone
from schedulerd_client._transport import Silence, ZmqTransport
from tests.serving.remotes import ANNA, BOB, EVE, SERVER, RemoteBoard, key_files

PATIENCE_S = 10.0
SHORT_S = 0.4


@pytest.fixture
def board(runtime: Path) -> Iterator[RemoteBoard]:
    with RemoteBoard(runtime) as made:
        yield made


def client(address: str, own: Pair, server: str = SERVER.public, timeout_s: float = PATIENCE_S) -> ControlClient:
    return ControlClient(address, keys=OperatorKeys(server, own), timeout_s=timeout_s)


def test_questions_and_edits_are_answered(board: RemoteBoard) -> None:
    with client(board.control, ANNA) as control:
        assert control.status() == {"asked": "Status"}
        assert control.set_limit("memory", 10**9) == {"asked": "SetLimit"}
        control.ping()
    with client(board.control, BOB) as control:
        assert control.apps() == {"asked": "Apps"}
        with pytest.raises(NotPermitted, match="'bob' may look"):
            control.reload()
        assert control.plan() == {"asked": "ShowPlan"}


def test_keys_come_from_files(board: RemoteBoard, tmp_path: Path) -> None:
    files = key_files(tmp_path, {"anna": ANNA, "server": SERVER})
    keys = OperatorKeys.from_files(files["server"].public, files["anna"].secret)
    assert keys.own == ANNA
    assert ANNA.secret not in repr(keys)
    with ControlClient(board.control, keys=keys, timeout_s=PATIENCE_S) as control:
        assert control.status() == {"asked": "Status"}


def test_a_secret_file_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    files = key_files(tmp_path, {"anna": ANNA, "server": SERVER})
    files["anna"].secret.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        OperatorKeys.from_files(files["server"].public, files["anna"].secret)


def test_events_come(board: RemoteBoard) -> None:
    with client(board.control, BOB) as control, control.events(["plan"], SHORT_S) as events:
        assert list(events) == []


def test_a_key_that_is_not_allowed_is_told_as_that_and_can_be_tried_again(board: RemoteBoard) -> None:
    with client(board.control, EVE) as control:
        for _ in range(2):
            with pytest.raises(NotPermitted, match=r"does not let this key in; have its public file copied"):
                control.status()
        with pytest.raises(NotPermitted, match="does not let this key in"):
            control.events()
        board.port.admit(Operators({EVE.public: "eve"}))
        assert control.status() == {"asked": "Status"}


def test_another_server_key_is_told_as_that(board: RemoteBoard) -> None:
    with client(board.control, ANNA, server=EVE.public) as control:
        with pytest.raises(HandshakeFailed, match="most likely the server key is not that daemon's"):
            control.status()
        with pytest.raises(HandshakeFailed, match="most likely the server key"):
            control.events()


class Keyless:
    """It greets as a socket of ZeroMQ without keys does (https://rfc.zeromq.org/spec/37, "Greeting"), and listens."""

    GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.left = threading.Event()
        """Whoever came has ended the connection."""
        self._thread = threading.Thread(target=self._greet)
        self._thread.start()

    def _greet(self) -> None:
        with self._listener, self._listener.accept()[0] as connection, contextlib.suppress(ConnectionError):
            connection.sendall(self.GREETING)
            while connection.recv(1024):
                pass
        self.left.set()

    def close(self) -> None:
        self._thread.join(PATIENCE_S)


@pytest.fixture
def keyless() -> Iterator[Keyless]:
    made = Keyless()
    yield made
    made.close()


def test_something_that_takes_no_keys_is_told_as_that(keyless: Keyless) -> None:
    with (
        client(keyless.address, ANNA) as control,
        pytest.raises(HandshakeFailed, match="no daemon that takes CURVE keys"),
    ):
        control.status()


def test_a_handshake_that_failed_before_anything_was_sent_is_told_too(keyless: Keyless) -> None:
    transport = ZmqTransport(keyless.address, keys=OperatorKeys(SERVER.public, ANNA))
    transport.open()
    assert keyless.left.wait(PATIENCE_S)
    transport.send([b"to nobody"])
    assert transport.receive(PATIENCE_S) is Silence.DENIED
    assert isinstance(transport.denial(), HandshakeFailed)
    transport.close()


def test_zeromq_without_keys_is_not_taken_for_the_daemon() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger = 0
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with client(f"tcp://127.0.0.1:{port}", ANNA) as control, pytest.raises(HandshakeFailed):
            control.status()
        assert not router.poll(0)


def test_nobody_at_that_port_is_told_as_that() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with client(address, ANNA, timeout_s=60.0) as control:
            with pytest.raises(Unreachable, match=r"no daemon at tcp://.*\[remote\] listen"):
                control.status()
            with pytest.raises(Unreachable, match="no daemon at tcp://"):
                control.events()


def test_silence_at_that_port_is_no_daemon_either() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with (
            client(address, ANNA, timeout_s=SHORT_S) as control,
            pytest.raises(Unreachable, match=r"no connection within 0\.4 s: no daemon at tcp://"),
        ):
            control.status()


def test_a_daemon_that_goes_away_is_unreachable_and_its_successor_is_found(runtime: Path) -> None:
    with RemoteBoard(runtime) as board:
        control = client(board.control, ANNA)
        control.status()
    with pytest.raises(Unreachable):
        control.status()
    control.close()


def test_whose_key_is_taken_away_hears_of_it_with_the_next_question(board: RemoteBoard) -> None:
    with client(board.control, ANNA) as anna, client(board.control, BOB) as bob:
        for control in (anna, bob):
            control.status()
        board.port.admit(Operators({ANNA.public: "anna"}))
        with pytest.raises(NotPermitted, match="not any more"):
            bob.status()
        assert anna.status() == {"asked": "Status"}
    with client(board.control, BOB) as bob, pytest.raises(NotPermitted, match="does not let this key in"):
        bob.status()


@pytest.mark.parametrize(
    ("address", "control", "events"),
    [
        ("tcp://board:9000", "tcp://board:9000", "tcp://board:9001"),
        ("board", "tcp://board:9478", "tcp://board:9479"),
        ("10.0.0.2", "tcp://10.0.0.2:9478", "tcp://10.0.0.2:9479"),
        ("[fe80::2]", "tcp://[fe80::2]:9478", "tcp://[fe80::2]:9479"),
        ("tcp://[::1]:9000", "tcp://[::1]:9000", "tcp://[::1]:9001"),
    ],
)
def test_an_address_may_be_a_host_alone(address: str, control: str, events: str) -> None:
    assert Place.of(address)[:2] == (control, events)


@pytest.mark.parametrize(
    "address", ["", "ipc:///run/x", "http://board", "board:", "board:0", "board:65535", "::1", "a:b:c"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        Place.of(address)


@pytest.mark.parametrize(
    ("host", "alone"), [("127.0.0.1", False), ("localhost", False), ("::1", True), ("fe80::1", True)]
)
def test_a_machine_with_addresses_of_both_kinds_is_reached_by_the_older_one(host: str, alone: bool) -> None:
    """A daemon at 0.0.0.0 has no other, and libzmq would take the newer one of a name, and no other."""
    assert is_of_ipv6_alone(host) is alone


def test_a_name_is_as_good_as_an_address(board: RemoteBoard) -> None:
    with client(f"tcp://localhost:{board.door.port}", ANNA) as control:
        assert control.status() == {"asked": "Status"}


def test_newer_addresses_are_as_good(runtime: Path) -> None:
    try:
        board = RemoteBoard(runtime, address="[::1]:0")
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    with board, client(board.control, ANNA) as control, control.events(["plan"], SHORT_S) as events:
        assert control.status() == {"asked": "Status"}
        assert list(events) == []


def test_tcp_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="takes keys"):
        ControlClient("tcp://127.0.0.1:9478")
