"""Configuration files: which are read, in which order, and that every mistake in them is found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schedulerd.config import load, read
from schedulerd.config_files import MAX_FILE_BYTES, toml_text
from schedulerd.errors import ConfigError


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A configuration with an empty folder beside it."""
    (tmp_path / "conf.d").mkdir()
    path = tmp_path / "schedulerd.toml"
    path.write_text('[limits]\nmemory = "80MB"\nutilisation = 0.7\n')
    return path


def drop_in(main: Path, name: str, text: str) -> Path:
    path = main.parent / "conf.d" / name
    path.write_text(text)
    return path


def test_files_beside_the_configuration_are_read_in_the_order_of_their_names(main: Path) -> None:
    drop_in(main, "20-later.toml", "[limits]\nutilisation = 0.5\n[engine]\nlanes = 3")
    drop_in(main, "10-sooner.toml", "[limits]\nutilisation = 0.6\n[engine]\nlanes = 2\nmerge = false")
    config = load(main)
    assert (config.limits.utilisation, config.engine.lanes) == (0.5, 3), "the later one wins"
    assert not config.engine.merge, "what the later one leaves alone stays"
    assert config.limits.memory_bytes == 80_000_000, "and what neither of them gives"


def test_the_order_is_that_of_the_names_whatever_the_folder_says(main: Path) -> None:
    names = [f"{number:02}.toml" for number in (30, 10, 50, 20, 40, 60, 15, 45)]
    for name in names:
        drop_in(main, name, "")
    assert [Path(file).name for file in read(main).files[1:]] == sorted(names)


def test_what_is_found_names_the_file_and_those_it_stands_before(main: Path) -> None:
    later = drop_in(main, "10.toml", "[limits]\nutilisation = 0.5")
    given = read(main).given[("limits", "utilisation")]
    assert (given.text, given.file, given.before) == ("0.5", str(later), (str(main),))


def test_other_files_of_the_folder_are_left_alone(main: Path) -> None:
    for name in ("README", "10.toml.dpkg-old", ".10.toml", "10.toml~"):
        drop_in(main, name, "not TOML at all")
    assert read(main).files == (str(main),)


def test_the_folder_is_read_though_nobody_wrote_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    drop_in(tmp_path / "schedulerd.toml", "10.toml", "[engine]\nlanes = 4")
    assert load(None, tmp_path / "schedulerd.toml").engine.lanes == 4


def test_a_state_directory_of_one_file_takes_the_store_of_another_along(main: Path) -> None:
    drop_in(main, "10.toml", '[paths]\nstate = "/srv/state"')
    assert load(main).paths.store == Path("/srv/state/store")
    drop_in(main, "20.toml", '[paths]\nstore = "/ssd"')
    assert load(main).paths.store == Path("/ssd")


def test_every_mistake_of_every_file_is_found(main: Path) -> None:
    main.write_text("[limits]\nutilization = 0.5\nqueue_length = 0\n[engines]\nlanes = 1\nlevel = 3")
    half = drop_in(main, "10-half.toml", "[engine]\nlanes = ")
    drop_in(main, "20.toml", "[solver]\ntick_s = 1")
    found = [(m.file, m.section, m.key) for m in read(main).mistakes]
    assert found == [
        (str(main), "limits", "utilization"),
        (str(main), "limits", "queue_length"),
        (str(main), "engines", ""),
        (str(half), "", ""),
        (str(main.parent / "conf.d" / "20.toml"), "solver", "tick_s"),
    ]


def test_a_value_that_another_file_overrides_is_checked_all_the_same(main: Path) -> None:
    main.write_text("[limits]\nutilisation = 7")
    drop_in(main, "10.toml", "[limits]\nutilisation = 0.5")
    with pytest.raises(ConfigError, match=r"schedulerd\.toml: \[limits\] utilisation: 7 is out of range"):
        load(main)


def test_a_refusal_says_the_first_mistake_and_how_many_there_are(main: Path) -> None:
    main.write_text("[limits]\nutilisation = 7\nqueue_length = 0\npower_w = 0")
    with pytest.raises(ConfigError, match=r"7 is out of range.*\(and 2 more: see `schedulerd check-config`\)$"):
        load(main)


def test_a_key_in_the_wrong_section_is_sent_home(main: Path) -> None:
    main.write_text('[engine]\nobjective = "min-latency"')
    (mistake,) = read(main).mistakes
    assert mistake.reason == "[engine] has no key 'objective'; write it below [solver]"


def test_tables_of_several_files_are_joined_name_by_name(main: Path) -> None:
    main.write_text('[models.aliases]\ngate = "a"\nshelf = "b"')
    drop_in(main, "10.toml", '[models.aliases]\ngate = "c"\nplates = "d"')
    assert load(main).models.aliases == {"gate": "c", "shelf": "b", "plates": "d"}


def test_a_link_to_nowhere_is_a_mistake(main: Path) -> None:
    (main.parent / "conf.d" / "10.toml").symlink_to("/nowhere/at/all")
    (mistake,) = read(main).mistakes
    assert mistake.reason == "there is no such file"


def test_a_file_in_place_of_the_folder_is_a_mistake(main: Path) -> None:
    folder = main.parent / "conf.d"
    folder.rmdir()
    folder.write_text("")
    (mistake,) = read(main).mistakes
    assert (mistake.file, mistake.reason) == (str(folder), "cannot be read: Not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_mistake(main: Path) -> None:
    drop_in(main, "10.toml", "").chmod(0)
    (mistake,) = read(main).mistakes
    assert mistake.reason == "cannot be read: Permission denied"


def test_a_file_without_end_is_not_read_to_its_end(main: Path) -> None:
    drop_in(main, "10.toml", "#" * (MAX_FILE_BYTES + 1))
    (mistake,) = read(main).mistakes
    assert "larger than 1048576 bytes" in mistake.reason


def test_values_are_shown_on_one_short_printable_line() -> None:
    assert toml_text(["camera", 1000, True]) == '["camera", 1000, true]'
    assert toml_text("a\nb\x1b[2J") == '"a\\nb\\u001b[2J"'
    assert len(toml_text("x" * 1000)) == 80
    assert toml_text({"gate": "25ms", "a b": 3}) == '{ "gate" = "25ms", "a b" = 3 }'
    assert toml_text({}) == "{}"
