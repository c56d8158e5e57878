"""`schedulerd build` from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import pytest

from blockstore.build.exits.settings import ExitSettings
from blockstore.build.settings import BuildSettings
from blockstore.store import Store
from schedulerd.cli import main
from schedulerd.commands import exit_options
from schedulerd.commands.build import add_parser
from schedulerd.commands.recipe import expanded, options_of

SMALL = (
    *("--blocks", "2", "--width-multiple", "1", "--epochs", "1", "--fit-routes", "4", "--check-routes", "4"),
    *("--variants", "prune:0.75", "skip:1"),
)


def command(store: Path, *more: str) -> list[str]:
    return [
        "build",
        *("--model", "tests.blockstore.build.networks:residual"),
        *("--data", "tests.blockstore.build.networks:Noise"),
        *("--input", "12x12x3", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"),
        *("--name", "tiny", "--store", str(store)),
        *SMALL,
        *more,
    ]


def test_a_network_becomes_a_model_in_the_store_with_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path / "store")) == 0
    out = capsys.readouterr().out
    assert "tiny: accuracy" in out
    assert "skip:1" in out
    with Store.open(tmp_path / "store") as store:
        assert {v.kind for b in store.model("tiny").blocks for v in b.variants} >= {"original", "skip"}
    report = tmp_path / "store-reports" / "tiny"
    assert "# tiny" in (report / "report.md").read_text()
    assert (report / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_the_manifest_and_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "store", "--json", "--variants", "skip:9", "prune:0.5")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["name"] == "tiny"
    assert len(document["blocks"]) == 2
    assert any("9 residual units" in gone["reason"] for gone in document["left_out"])
    for evidence in document["accuracy_model"]["evidence"]:
        assert evidence["figures"] == {"agreement": evidence["accuracy"], "top1": evidence["accuracy"]}
    assert {cost["stage"] for cost in document["costs"]} == {"cut", "craft", "evaluate", "time"}


def test_an_interrupted_build_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("blockstore.build.pipeline.build", interrupted)
    assert main(command(tmp_path / "store")) == 130
    assert "give the same command again to go on" in capsys.readouterr().err


def test_a_recipe_gives_options_that_the_command_line_overrides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('blocks = 1\nvariants = ["prune:0.5"]\nepochs = 0\n')
    given = [word for word in command(tmp_path / "store") if word not in ("--blocks", "2")]
    assert main([given[0], "--recipe", str(recipe), *given[1:]]) == 0
    with Store.open(tmp_path / "store") as store:
        (block,) = store.model("tiny").blocks
    assert "prune:0.5" not in [v.name for v in block.variants]
    capsys.readouterr()


def test_a_recipe_with_an_unknown_key_is_refused_by_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("batch = 8\n")
    assert main(command(tmp_path / "store", "--recipe", str(recipe))) == 1
    assert f"{recipe}: batch is no option of schedulerd build; did you mean" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_options_are_given_by_their_whole_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(command(tmp_path / "store", "--recip", "absent.toml"))
    assert "unrecognized arguments: --recip absent.toml" in capsys.readouterr().err


def test_every_setting_of_a_build_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build", "--help"])
    shown = capsys.readouterr().out.split()
    names = [field.name.replace("_", "-") for field in dataclasses.fields(BuildSettings)]
    assert [name for name in names if f"--{name}" not in shown] == []
    names = [field.name.replace("_", "-") for field in dataclasses.fields(ExitSettings) if field.name != "method"]
    assert [name for name in names if not {f"--exit-{name}", f"--exits-{name}"} & set(shown)] == []


def exits_of(words: list[str]) -> ExitSettings | None:
    """What a command line, or a recipe that it names, says of exits."""
    parser = argparse.ArgumentParser()
    build = add_parser(parser.add_subparsers())
    given = expanded(["build", "--model", "m", "--input", "8x8x3", *words], options_of(build))
    return exit_options.settings(parser.parse_args(given))


def test_exits_are_left_out_unless_they_are_asked_for_and_have_the_defaults_of_their_settings() -> None:
    assert exits_of([]) is None
    assert exits_of(["--exits", "flexdnn"]) == ExitSettings("flexdnn")


def test_every_option_of_exits_reaches_its_setting(tmp_path: Path) -> None:
    wanted = ExitSettings(
        "mxn",
        after=(0, 2),
        confidence="entropy",
        precision=0.95,
        pooling="maximum",
        epochs=5,
        batch_size=32,
        learning_rate=0.01,
        gamma=1.5,
        weights=(1.0, 0.5),
        augment=True,
        sampled=0.25,
        rounds=2,
        joint=4,
    )
    words = (
        "--exits mxn --exits-after 0 2 --exit-confidence entropy --exit-precision 0.95 --exit-pooling maximum"
        " --exit-epochs 5 --exit-batch-size 32 --exit-learning-rate 0.01 --exit-gamma 1.5 --exit-weights 1 0.5"
        " --exit-augment --exit-sampled 0.25 --exit-rounds 2 --exits-joint 4"
    )
    assert exits_of(words.split()) == wanted
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'exits = "mxn"\nexits-after = [0, 2]\nexit_confidence = "entropy"\nexit_precision = 0.95\n'
        'exit_pooling = "maximum"\nexit_epochs = 5\nexit_batch_size = 32\nexit_learning_rate = 0.01\n'
        "exit_gamma = 1.5\nexit_weights = [1, 0.5]\nexit_augment = true\nexit_sampled = 0.25\nexit_rounds = 2\n"
        "exits_joint = 4\n"
    )
    assert exits_of(["--recipe", str(recipe)]) == wanted
    assert exits_of(["--recipe", str(recipe), "--exits-after", "1"]) == dataclasses.replace(wanted, after=(1,))


EXITING = (
    *("--model", "tests.blockstore.build.exits.coloured:network"),
    *("--data", "tests.blockstore.build.exits.coloured:Coloured", "--cuts", "3", "4", "5"),
    *("--exits", "branchynet", "--exit-epochs", "1", "--exits-after", "0", "2"),
)


def test_exits_are_in_the_store_in_the_table_and_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path / "store", *EXITING)) == 0
    out = capsys.readouterr().out
    with Store.open(tmp_path / "store") as store:
        model = store.model("tiny")
    assert model.depths() == {"exit1": 0, "exit2": 2}
    rows = [line.split() for line in out.splitlines()]
    assert ["exit", "after", "block", "takes", "filters"] in [row[:5] for row in rows]
    for e in model.exits:
        assert [e.name, str(e.block), str(e.block), e.settings["filters"]] in [row[:4] for row in rows]
    for offered in model.policies:
        assert any(row[:1] == [offered.policy.name] and str(offered.policy) in " ".join(row) for row in rows)
    report = tmp_path / "store-reports" / "tiny"
    assert "## Exits" in (report / "report.md").read_text()
    assert (report / "policies.png").read_bytes().startswith(b"\x89PNG")


def test_json_has_the_exits_the_policies_and_what_they_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "store", *EXITING, "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    assert [e["block"] for e in document["exits"]] == [0, 2]
    assert document["removed_exits"] == []
    assert document["policies_multiply_adds"].keys() == {o["policy"]["name"] for o in document["policies"]}
    assert all(cost > 0 for cost in document["policies_multiply_adds"].values())


def test_a_model_of_one_block_has_no_combination_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "store", "--blocks", "1", "--epochs", "0")) == 0
    assert "off by" not in capsys.readouterr().out
    with Store.open(tmp_path / "store") as store:
        model = store.model("tiny")
    assert model.accuracy_model is not None
    assert model.accuracy_model.error is None
    assert "accuracy_model_mae" not in model.provenance
    assert "Those are all that there are." in (tmp_path / "store-reports" / "tiny" / "report.md").read_text()


def test_explain_says_where_the_network_can_be_cut_and_needs_no_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = ("--model", "tests.blockstore.build.networks:residual", "--input", "12x12x3")
    assert main(["build", *network, "--blocks", "2", "--explain"]) == 0
    out = capsys.readouterr().out
    assert "legal cuts" in out
    assert "exits can stand after blocks 0 to 0 (--exits-after)" in out
    assert "float32[16x6x6]" in out
    assert "Conv2d" in out
    assert main(["build", *network, "--cuts", "4", "--explain", "--json"]) == 0
    assert [b["name"] for b in json.loads(capsys.readouterr().out)["blocks"]] == ["0..4.conv2", "5.conv1..8"]


def test_more_blocks_than_there_can_be_are_as_many_as_possible_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "build",
                "--model",
                "tests.blockstore.build.networks:residual",
                "--input",
                "12x12x3",
                "--explain",
                "--blocks",
                "99",
            ]
        )
        == 0
    )
    assert "no more blocks: operator" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--cuts", "absent"), "nothing called 'absent'"),
        (("--variants", "prune:1.5"), "'prune:1.5'"),
        (("--task", "guess"), "task 'guess'"),
        (("--model", "tests.blockstore.build.networks:absent"), "has no 'absent'"),
        (("--mean", "0.5"), "the input has 3 channels"),
        (("--std", "0.5,0,0.5"), "give numbers above 0"),
        (("--min-gain", "2"), "min_gain is 2.0"),
        (("--validation-images", "-1"), "validation_images is -1"),
        (("--calibration-images", "0"), "calibration_images is 0"),
        (("--weights", "absent.safetensors"), "cannot read weights"),
        (("--model", "tests.blockstore.build.networks:Noise"), "the network is a Noise, not a torch.nn.Module"),
        (("--model", "tests.blockstore.build.networks:residual?outputs=7"), "gives float32[7], the data has 4 classes"),
        (("--data", "tests.blockstore.build.networks:residual"), "without classes, held_out"),
        (("--input", "16x16x3"), "held-out images are uint8[12x12x3]"),
        (
            ("--exit-epochs", "2"),
            "--exit-epochs without exits: say which with --exits branchynet|flexdnn|mxn, or leave",
        ),
        (("--exits-after", "0", "--exit-augment"), "--exits-after, --exit-augment without exits: "),
        (("--exits", "mxn", "--exits-after", "1"), "no exit can stand after block 1: the network has blocks 0 to 1"),
        (
            ("--exits", "mxn", "--exit-weights", "1", "2", "--exits-joint", "1"),
            "2 weights for 1 exits: give one for each, or none",
        ),
        (("--exits", "mxn", "--exit-weights", "1"), "exit weights are of the losses in joint training"),
        (("--exits", "mxn", "--exit-precision", "99"), "exit precision is 99.0: above 0 and at most 1"),
        (("--exits", "mxn", "--exit-confidence", "mood"), "confidence 'mood' is unknown"),
        (("--exits", "mxn", "--task", "embedding"), "exits of a network for 'embedding' have no confidence"),
        (("--exits", "mxn", "--blocks", "1"), "the network is one block: an exit stands between two"),
    ],
)
def test_what_cannot_be_built_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert main(command(tmp_path / "store", *more)) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--input", "12x12"),
        ("--input", "0x1x1"),
        ("--epochs", "a"),
        ("--name", "../x"),
        ("--exits", "twigs"),
        ("--exits-after", "1,a"),
        ("--exit-weights", "1,"),
    ],
)
def test_wrong_usage_is_shown(tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(SystemExit):
        main(command(tmp_path / "store", option, value))
