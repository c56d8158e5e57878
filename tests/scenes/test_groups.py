"""A memory cgroup of the kernel, where this user can make one."""

from __future__ import annotations

import subprocess

import pytest

from schedulerd.scenes.groups import memory_group


def test_a_process_in_the_group_is_counted_and_the_group_goes_with_the_block() -> None:
    with memory_group() as group:
        if group is None:
            pytest.skip("this user cannot make a memory cgroup here")
        command = ["sh", "-c", 'echo $$ > "$0" && echo in && read line', str(group.members)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as member:
            assert member.stdout is not None
            assert member.stdout.readline() == "in\n"
            assert group.members.read_text().split() == [str(member.pid)]
            group.limit(64e6)
            assert 0 <= group.used_bytes() < 64e6
            assert group.kills() == 0
            group.limit(None)
            member.communicate("\n", timeout=10)
    assert not group.members.parent.exists()
