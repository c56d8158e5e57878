"""The reference page and the example file say what the code says."""

from __future__ import annotations

from pathlib import Path

from schedulerd import reference

ROOT = Path(__file__).resolve().parent.parent


def test_the_reference_page_lists_every_setting_as_it_is() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert reference.markdown() in page, "run: python -m schedulerd.reference markdown"


def test_the_example_file_lists_every_setting_as_it_is() -> None:
    example = (ROOT / "systemd" / "schedulerd.toml").read_text()
    assert reference.toml() == example, "run: python -m schedulerd.reference toml"
