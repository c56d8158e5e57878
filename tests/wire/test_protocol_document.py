"""clients/PROTOCOL.md says what the code does."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from blockstore import exits
from schedulerd.serving.counters import Dropped
from schedulerd.serving.local import MAX_CONNECTIONS, MOST_OF_USER
from schedulerd.serving.outgoing import UNREAD_BYTES
from schedulerd.wire import local, messages
from schedulerd.wire.codec import decode_reply, decode_request
from schedulerd.wire.messages import DTYPES, EVENT_KINDS, PROTOCOL_VERSION, Code, Failure, Infer, Result, TensorHeader
from schedulerd.wire.schema import REPLIES, REQUESTS, Schema

MESSAGES = [*REQUESTS.items(), *REPLIES.items()]
ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "clients" / "PROTOCOL.md").read_text()
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))

LOCAL = TEXT.split("\n## The local socket\n")[1].split("\n## ")[0]
HEX = r"^    ((?:[0-9a-f]{2} ?)+)$"


def rows(text: str) -> list[str]:
    """The first cell of each table row that names something in code type."""
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize(("op", "schema"), [pytest.param(*entry, id=entry[0]) for entry in MESSAGES])
def test_every_message_has_a_section_with_exactly_its_keys(op: str, schema: Schema) -> None:
    assert rows(SECTIONS[op]) == [*schema.required, *schema.optional]


@pytest.mark.parametrize(("op", "names"), [("infer", Infer._fields), ("result", Result._fields)])
def test_the_two_messages_of_every_frame_have_sections_too(op: str, names: Sequence[str]) -> None:
    assert rows(SECTIONS[op]) == [name for name in names if name != "id"]


def test_no_section_describes_a_message_that_there_is_not() -> None:
    assert set(SECTIONS) == {*REQUESTS, *REPLIES, "infer", "result"}


def test_every_key_of_a_camera_is_named() -> None:
    assert [f"`{key}`" for key in messages.Camera._fields if f"`{key}`" not in SECTIONS["register"]] == []


def test_every_key_of_an_answer_or_an_event_is_named() -> None:
    named = set(re.findall(r"`(\w+)`", TEXT))
    control = ROOT / "schedulerd" / "control"
    files = ("report.py", "plan_report.py", "advice.py", "edits.py", "announcer.py", "reloads.py", "answers.py")
    files += ("edit_report.py", "app_edits.py", "drains.py", "drain_desk.py")
    written = [ast.parse((control / name).read_text()) for name in files]
    maps = [node for tree in written for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    keys = {key.value for keys in maps for key in keys.keys if isinstance(key, ast.Constant)}
    assert len(keys) > 40
    assert keys - named == set()


def test_every_code_has_a_row_with_whether_to_try_again() -> None:
    table = TEXT.split("## Codes")[1].split("\n## ")[0]
    assert rows(table) == [code.value for code in Code]


def test_every_kind_of_event_has_a_row() -> None:
    table = TEXT.split("| kind | when | body |")[1].split("\n## ")[0]
    assert rows(table) == list(EVENT_KINDS)


def test_every_reason_to_leave_is_explained() -> None:
    reasons = TEXT.split("\n## Exits\n")[1].split("\n## ")[0]
    assert re.findall(r"^- `(\w+)`: ", reasons, re.MULTILINE) == list(messages.LEFT)


def test_a_policy_has_room_for_every_exit_that_a_model_may_have() -> None:
    assert messages.MAX_EXITS == exits.MAX_EXITS + 1


def test_the_store_and_the_wire_have_one_word_for_the_end() -> None:
    assert messages.FINAL == exits.FINAL


def test_the_limits_are_the_codes() -> None:
    table = TEXT.split("### Limits")[1].split("\n### ")[0]
    said = [int(n) for n in re.findall(r"\| (\d+)(?: bytes)? \|$", table, re.MULTILINE)]
    assert said == [
        messages.MAX_HEADER_BYTES,
        messages.MAX_REPLY_HEADER_BYTES,
        messages.MAX_TENSORS,
        messages.MAX_REPLY_TENSORS,
        messages.MAX_TENSOR_BYTES,
        messages.MAX_MAP_LENGTH,
        messages.MAX_EXITS,
        messages.MAX_STRING_BYTES,
        messages.MAX_REPLY_LENGTH,
    ]
    assert messages.MAX_ARRAY_LENGTH == messages.MAX_MAP_LENGTH
    assert f"1 to {messages.MAX_NAME_CHARACTERS} printable" in table
    assert f"at most {messages.MAX_RANK} sizes" in TEXT


def test_the_dtypes_are_the_codes() -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith("| `dtype` |"))
    assert re.findall(r"`(\w+)`", row)[1:] == list(DTYPES)


def test_the_version_is_the_codes() -> None:
    assert TEXT.startswith(f"# schedulerd wire protocol, version {PROTOCOL_VERSION}\n")


def test_the_bytes_of_the_example_are_what_it_says() -> None:
    header, tensor, failure = (
        bytes.fromhex(line) for line in re.findall(HEX, TEXT.split("\n### An example\n")[1], re.MULTILINE)
    )
    request, buffers = decode_request([header, tensor])
    assert request == Infer(1, (TensorHeader("uint8", (2, 2)),))
    assert [bytes(b) for b in buffers] == [b"\x00\x01\x02\x03"]
    assert decode_reply([failure])[0] == Failure(1, Code.NOT_REGISTERED, "register first")


def test_the_limits_of_the_local_socket_are_the_codes() -> None:
    said = [int(n) for n in re.findall(r"\| (\d+)(?: bytes)? \|$", LOCAL.split("| limit | value |")[1], re.MULTILINE)]
    assert said == [
        local.MAX_PACKET_BYTES,
        local.MAX_FRAMES,
        1,
        local.MAX_RINGS,
        local.MAX_RING_BYTES,
        MAX_CONNECTIONS,
        MOST_OF_USER,
    ]
    assert re.findall(r"^\| ([\w ]+) \| (?:in|the frame)", LOCAL, re.MULTILINE) == [
        "0",
        f"1 to {local.MAX_RINGS}",
        str(local.ATTACHED),
    ]
    assert f"more than {local.MAX_INLINE_BYTES} bytes" in LOCAL
    assert f"a multiple of {local.ALIGNMENT} bytes" in LOCAL
    assert f"up to {UNREAD_BYTES // 2**20} MiB" in LOCAL


def test_every_count_of_what_was_dropped_is_named() -> None:
    counts = TEXT.split("`dropped` (a map of counts: ")[1].split(")")[0]
    assert re.findall(r"`(\w+)`", counts) == list(Dropped._fields)


def test_the_packets_of_the_example_are_what_it_says() -> None:
    """The second one holds the header of the example of messages, and the place of its tensor."""
    ring, message = (bytes.fromhex(line) for line in re.findall(HEX, LOCAL, re.MULTILINE))
    assert local.unpack(ring) == (local.Kind.RING, (local.Place(0, 1),), (None,))
    kind, places, (header, tensor) = local.unpack(message)
    assert header is not None
    assert tensor is None
    assert (kind, places) == (local.Kind.MESSAGE, (local.Place(len(header)), local.Place(4, 1, 64)))
    assert bytes(header) in bytes.fromhex("".join(re.findall(HEX, TEXT.split("\n### An example\n")[1], re.MULTILINE)))
