"""Settings: what no build can mean is refused with the value and what to give instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockstore.block import TensorSpec
from blockstore.build.settings import BuildSettings
from blockstore.errors import CannotBuild

SETTINGS = BuildSettings("tiny", TensorSpec("uint8", (12, 12, 3)), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": TensorSpec("float32", (12, 12, 3))}, r"input is float32\[12x12x3\]: models take camera frames"),
        ({"input": TensorSpec("uint8", (12, 0, 3))}, r"input is uint8\[12x0x3\]"),
        ({"mean": (0.5,)}, "mean has 1 and std 3 values; the input has 3 channels: give one of each"),
        ({"mean": (0.5, NAN, 0.5)}, r"mean is \(0.5, nan, 0.5\): give finite numbers"),
        ({"std": (0.25, 0.0, 0.25)}, r"std is \(0.25, 0.0, 0.25\).* give numbers above 0"),
        ({"std": (0.25, INFINITE, 0.25)}, "std is .*inf.* give numbers above 0"),
        ({"std": (0.25, -1.0, 0.25)}, "give numbers above 0"),
        ({"scale": 0.0}, "scale is 0.0: .* give a number above 0, such as 255"),
        ({"scale": NAN}, "scale is nan"),
        ({"variants": ()}, "no variants are asked for: name at least one"),
        ({"device": "tpu"}, "device is 'tpu': auto, cpu or cuda"),
        ({"blocks": 0}, "blocks is 0: it must be at least 1"),
        ({"epochs": -1}, "epochs is -1: it must be at least 0"),
        ({"validation_images": -1}, "validation_images is -1: it must be at least 0"),
        ({"calibration_images": 0}, "calibration_images is 0: it must be at least 1"),
        ({"min_gain": NAN}, "min_gain is nan: it must be at least 0"),
        ({"min_gain": INFINITE}, "min_gain is inf: .* give less than 1"),
        ({"min_gain": 1.0}, "min_gain is 1.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0: give a number above 0, such as 0.002"),
        ({"learning_rate": NAN}, "learning_rate is nan"),
        ({"learning_rate": INFINITE}, "learning_rate is inf"),
        ({"finetune": ("skip:1",), "epochs": 0}, "epochs is 0, with which finetune skip:1 learns nothing: give 1"),
        ({"finetune": ("skip:1", "skip:1")}, "finetune is skip:1 skip:1: name each variant once"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        replace(SETTINGS, **change)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"min_gain": 0.0},
        {"validation_images": 0},
        {"fit_routes": 0, "check_routes": 0},
        {"mean": (-1.0, 0.0, 300.0), "std": (1e-3, 1.0, 500.0), "scale": 1.0},
        {"finetune": ("skip:1", "skip:2")},
    ],
)
def test_the_ends_of_what_is_allowed_are_allowed(change: dict[str, object]) -> None:
    replace(SETTINGS, **change)  # type: ignore[arg-type]  # of any field


def test_the_key_of_work_changes_with_what_decides_a_variant_and_with_nothing_else() -> None:
    key = SETTINGS.key(b"weights")
    assert key != SETTINGS.key(b"other")
    assert key != SETTINGS.key(b"weights", b"")
    assert key == replace(SETTINGS, variants=("skip:1",), check_routes=0, processes=2, name="other").key(b"weights")
    for change in ({"seed": 1}, {"epochs": 5}, {"scale": 1.0}, {"cuts": ("4",)}, {"calibration_images": 8}):
        assert key != replace(SETTINGS, **change).key(b"weights")  # type: ignore[arg-type]  # of any field
