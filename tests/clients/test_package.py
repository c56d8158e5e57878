"""What the SDK is from outside."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import schedulerd_client

NAMES = " ".join(schedulerd_client.__all__)
HEAVY = {"torch", "onnxruntime", "pulp", "structlog", "psutil", "schedulerd.errors", "blockstore", "blockprofiles"}


def test_importing_it_loads_nothing_of_the_daemon() -> None:
    code = f"import sys; from schedulerd_client import {NAMES.replace(' ', ', ')}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not HEAVY & set(found.stdout.split())


def test_every_public_name_is_there_and_sorted() -> None:
    public = schedulerd_client.__all__
    assert [name for name in public if not hasattr(schedulerd_client, name)] == []
    assert len(set(public)) == len(public)


def test_it_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        schedulerd_client.Clint  # noqa: B018


def test_type_checkers_see_the_names_where_they_are_imported_from() -> None:
    """The names stand twice in the file: for checkers, and for the interpreter."""
    (checked,) = [
        node for node in ast.parse(Path(schedulerd_client.__file__).read_text()).body if type(node) is ast.If
    ][:1]
    seen = {
        alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen.keys() == set(schedulerd_client.__all__)
    for name, module in seen.items():
        assert getattr(import_module(str(module)), name) is getattr(schedulerd_client, name)


def test_the_names_are_listed_before_they_are_used() -> None:
    assert set(schedulerd_client.__all__) <= set(dir(schedulerd_client))
