"""Recipes as the command line sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.commands.recipe import arguments, expanded
from schedulerd.errors import ConfigError

RECIPE = """
model = "zoo.resnet:cifar_resnet?depth=20"
mean = [0.485, 0.456]
variants = ["prune:0.5,l2", "skip:1+int8"]
width-multiple = 8
learning_rate = 0.002
explain = true
json = false
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_every_key_is_a_long_option(tmp_path: Path) -> None:
    assert arguments(written(tmp_path, RECIPE)) == [
        "--model=zoo.resnet:cifar_resnet?depth=20",
        "--mean=0.485,0.456",
        *("--variants", "prune:0.5,l2", "skip:1+int8"),
        "--width-multiple=8",
        "--learning-rate=0.002",
        "--explain",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blocks = ", "cannot read the recipe"),
        ("[retrain]\nepochs = 4", "retrain is {'epochs': 4}"),
        ("variants = []", r"variants is \[\]"),
        ('variants = ["skip:1", 2]', "variants is"),
        ('recipe = "other.toml"', "another recipe"),
    ],
)
def test_what_is_no_option_is_refused_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arguments(written(tmp_path, text))


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        arguments(tmp_path / "absent.toml")


@pytest.mark.parametrize("form", ["--recipe {}", "--recipe={}"])
def test_options_of_the_command_line_come_after_those_of_the_recipe(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, "blocks = 5")
    given = ["build", "--blocks", "2", *form.format(path).split(), "--json"]
    assert expanded(given) == ["build", "--blocks=5", "--blocks", "2", "--json"]


def test_other_commands_and_a_recipe_without_a_file_are_left_to_the_parser() -> None:
    assert expanded(["run", "--recipe", "x"]) == ["run", "--recipe", "x"]
    assert expanded(["build", "--recipe"]) == ["build", "--recipe"]
    assert expanded([]) == []
