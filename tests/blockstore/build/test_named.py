"""Named factories: what a command line may name, and what is said when it names nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockstore.build import named
from blockstore.errors import CannotBuild


def sample(path: str, count: int = 3, name: str = "x") -> tuple[str, int, str]:
    return path, count, name


def broken() -> None:
    raise RuntimeError("disk on fire")


HERE = "tests.blockstore.build.test_named"


def test_arguments_follow_as_in_a_url() -> None:
    assert named.call(f"{HERE}:sample?path=../data/a%26b&count=12") == ("../data/a&b", 12, "x")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing", "package.module:name"),
        (":sample", "package.module:name"),
        ("absent.module:sample", "cannot import 'absent.module'"),
        (f"{HERE}:absent", "has no 'absent'"),
        (f"{HERE}:sample?count=1", "missing a required argument: 'path'"),
        (f"{HERE}:broken", "broken failed: RuntimeError: disk on fire"),
        (f"{HERE}:sample?path=a&speed=2", "unexpected keyword argument 'speed'"),
    ],
)
def test_what_cannot_be_called_is_refused_with_the_reason(spec: str, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        named.call(spec)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import math\n\nhalf = math.half(4)\n",
            r"AttributeError: module 'math' has no attribute 'half' \(.*, line 3\)",
        ),
        ("def half(x)\n    return x / 2\n", r"SyntaxError: expected ':' \(.*, line 1\)"),
        ("import absent\n", r"ModuleNotFoundError: No module named 'absent' \(.*, line 1\)"),
        ("def fail():\n    return 1 / 0\n\n\nhalf = fail()\n", r"ZeroDivisionError: division by zero \(.*, line 5\)"),
    ],
)
def test_a_fault_in_the_module_itself_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    name = f"faulty_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CannotBuild, match=rf"cannot import '{name}' for '{name}:half': {message}"):
        named.resolve(f"{name}:half")
