"""`schedulerd build` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blockstore.store import Store
from schedulerd.cli import main

SMALL = ("--blocks", "2", "--width-multiple", "2", "--epochs", "1", "--check-routes", "4", "--threads", "1")


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


def test_a_network_becomes_a_model_in_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "store")) == 0
    out = capsys.readouterr().out
    assert "tiny: accuracy" in out
    assert "pruned-75" in out
    with Store.open(tmp_path / "store") as store:
        assert [len(b.variants) for b in store.model("tiny").blocks] == [4, 4]


def test_json_is_the_manifest_and_what_was_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "store", "--json", "--width-multiple", "8")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["name"] == "tiny"
    assert len(document["blocks"]) == 2
    assert any("width multiple" in s["reason"] for s in document["skipped"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--blocks", "99"), "99 blocks are asked for"),
        (("--model", "tests.blockstore.build.networks:absent"), "has no 'absent'"),
        (("--mean", "0.5"), "the input has 3 channels"),
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
    ("option", "value"), [("--input", "12x12"), ("--input", "0x1x1"), ("--ratios", "a,b"), ("--name", "../x")]
)
def test_wrong_usage_is_shown(tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(SystemExit):
        main(command(tmp_path / "store", option, value))
