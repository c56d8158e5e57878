"""`schedulerd build` from the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from blockstore.build.settings import BuildSettings
from blockstore.store import Store
from schedulerd.cli import main

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
    ],
)
def test_what_cannot_be_built_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, str], message: str
) -> None:
    assert main(command(tmp_path / "store", *more)) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"), [("--input", "12x12"), ("--input", "0x1x1"), ("--epochs", "a"), ("--name", "../x")]
)
def test_wrong_usage_is_shown(tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(SystemExit):
        main(command(tmp_path / "store", option, value))
