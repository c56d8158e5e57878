"""Keys of a real pseudo-terminal, and what escape sequences are called."""

from __future__ import annotations

import os
import termios

from schedulerd.top.keys import Keys, named


def test_sequences_have_names_and_what_means_nothing_is_left_out() -> None:
    assert named(b"\x1b[A\x1bOBq+") == ("up", "down", "q", "+")
    assert named(b"\x1b") == ("escape",)
    assert named(b"\r\n\x7f\x03") == ("enter", "enter", "backspace", "interrupt")
    assert named(b"\x1b[5~\x1b[1;5Cx") == ("x",)
    assert named(b"\x1b[") == ()
    assert named("é\x00".encode()) == ()


def test_keys_come_without_enter_and_the_terminal_is_as_before_afterwards() -> None:
    master, slave = os.openpty()
    try:
        before = termios.tcgetattr(slave)
        with Keys(slave) as keys:
            assert keys.read(0.0) == ()
            os.write(master, b"\x1b[Bq")
            assert keys.read(10.0) == ("down", "q")
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(slave)
        os.close(master)


def test_a_terminal_that_is_gone_leaves() -> None:
    master, slave = os.openpty()
    try:
        with Keys(slave) as keys:
            os.close(master)
            assert keys.read(10.0) == ("interrupt",)
    finally:
        os.close(slave)
