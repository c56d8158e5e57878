"""Recipes as the command line sees them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from schedulerd.commands.recipe import arguments, expanded, options_of
from schedulerd.errors import ConfigError

KNOWN = frozenset(
    f"--{name}"
    for name in ("model", "mean", "variants", "width-multiple", "learning-rate", "explain", "json", "blocks", "recipe")
)
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
    assert arguments(written(tmp_path, RECIPE), KNOWN) == [
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
        ("[variants]\nepochs = 4", "variants is {'epochs': 4}"),
        ("blokcs = 4", r"recipe\.toml: blokcs is no option of schedulerd build; did you mean blocks\?"),
        ("learning_rat = 4", r"learning_rat is no option of schedulerd build; did you mean learning-rate\?"),
        ("colour = 'red'", r"recipe\.toml: colour is no option of schedulerd build \(--help lists them\)"),
        ("[retrain]\nepochs = 4", "retrain is no option"),
        ("variants = []", r"variants is \[\]"),
        ('variants = ["skip:1", 2]', "variants is"),
        ('recipe = "other.toml"', "another recipe"),
    ],
)
def test_what_is_no_option_is_refused_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arguments(written(tmp_path, text), KNOWN)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        arguments(tmp_path / "absent.toml", KNOWN)


@pytest.mark.parametrize("form", ["--recipe {}", "--recipe={}"])
def test_options_of_the_command_line_come_after_those_of_the_recipe(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, "blocks = 5")
    given = ["build", "--blocks", "2", *form.format(path).split(), "--json"]
    assert expanded(given, KNOWN) == ["build", "--blocks=5", "--blocks", "2", "--json"]


def test_other_commands_and_a_recipe_without_a_file_are_left_to_the_parser() -> None:
    assert expanded(["run", "--recipe", "x"], KNOWN) == ["run", "--recipe", "x"]
    assert expanded(["build", "--recipe"], KNOWN) == ["build", "--recipe"]
    assert expanded([], KNOWN) == []


def test_the_options_of_a_parser_are_its_long_ones() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-b", "--blocks")
    parser.add_argument("store")
    parser.add_argument_group("more").add_argument("--fit-routes")
    assert options_of(parser) == {"--help", "--blocks", "--fit-routes"}
