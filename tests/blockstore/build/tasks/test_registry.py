"""Tasks by name: what may be written, and what is said of anything else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.custom import Custom
from blockstore.build.tasks.detection import Detection
from blockstore.build.tasks.embedding import Embedding
from blockstore.build.tasks.registry import parse_task
from blockstore.errors import CannotBuild

HERE = "tests.blockstore.build.tasks.test_registry"
NUMBER = 3


def decode(outputs: Any) -> list[Any]:
    return list(outputs)


def metric(outputs: Any, originals: Any, labels: Any) -> float:
    return 1.0


def test_tasks_are_found_by_name() -> None:
    assert isinstance(parse_task("classification"), Classification)
    assert isinstance(parse_task("embedding"), Embedding)
    detection = parse_task(f"detection?decode={HERE}:decode")
    assert isinstance(detection, Detection)
    assert detection.decode([1, 2]) == [1, 2]
    custom = parse_task(f"{HERE}:metric")
    assert isinstance(custom, Custom)
    assert custom.metric(0, 0, 0) == 1.0


def test_tasks_of_other_keys_give_other_scores() -> None:
    tasks = [
        parse_task(t) for t in ("classification", "embedding", f"detection?decode={HERE}:decode", f"{HERE}:metric")
    ]
    assert len({task.key for task in tasks}) == 4


def test_measurements_made_with_other_code_have_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "my_metric.py"
    source.write_text("def near(outputs, originals, labels):\n    return 1.0\n")
    before = parse_task("my_metric:near").key
    assert parse_task("my_metric:near").key == before
    source.write_text("def near(outputs, originals, labels):\n    return 0.5\n")
    del sys.modules["my_metric"]
    assert parse_task("my_metric:near").key != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("segmentation", "task 'segmentation': known are classification, embedding, detection"),
        ("", "task ''"),
        ("classification?top=5", "only detection takes an argument"),
        ("detection", "detection is told its decoder, detection\\?decode=package.module:function"),
        ("detection?decoder=a:b", "is told its decoder"),
        ("detection?decode=nothing", "'nothing' is not of the form package.module:name"),
        ("detection?decode=absent.module:decode", "cannot import 'absent.module'"),
        (f"detection?decode={HERE}:metric", "metric takes .*, it is called with 1 arguments: missing a required"),
        (f"{HERE}:absent", "has no 'absent'"),
        (f"{HERE}:NUMBER", "NUMBER is a int, not a function"),
        (f"{HERE}:decode", "decode takes .*, it is called with 3 arguments"),
    ],
)
def test_what_is_no_task_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        parse_task(text)
