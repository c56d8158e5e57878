"""The service's files are put where systemd looks for them and taken away again; the operator's stay."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from schedulerd.errors import SchedulerdError
from schedulerd.units import CONFIGURATION, PROFILES, SHIPPED_PROGRAM, Step, files_folder, files_of, install, uninstall

UNIT = "usr/lib/systemd/system/schedulerd.service"
DROP_INS = f"{UNIT}.d"
DEFAULTS = "# a commented configuration\n"


def installed(root: Path, *profiles: str, program: PurePosixPath = SHIPPED_PROGRAM) -> dict[str, str]:
    """What was done, by path below the root."""
    return by_path(root, list(install(root, files_of(files_folder(), profiles, program), DEFAULTS)))


def by_path(root: Path, steps: list[Step]) -> dict[str, str]:
    return {str(step.path.relative_to(root)): step.done for step in steps}


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_service_is_a_unit_a_user_its_directories_and_a_configuration(tmp_path: Path) -> None:
    done = installed(tmp_path, "default")
    assert set(done) == {
        UNIT,
        "usr/lib/sysusers.d/schedulerd.conf",
        "usr/lib/tmpfiles.d/schedulerd.conf",
        "etc/schedulerd/schedulerd.toml",
    }
    assert set(done.values()) == {"written"}
    assert set(done) == files_below(tmp_path), "nothing else is left behind"
    assert {(tmp_path / path).stat().st_mode & 0o777 for path in done} == {0o644}


def test_doing_it_twice_changes_nothing(tmp_path: Path) -> None:
    installed(tmp_path, "pi")
    assert set(installed(tmp_path, "pi").values()) == {"unchanged"}


@pytest.mark.parametrize("profile", [profile for profile in PROFILES if profile != "default"])
def test_a_profile_is_a_drop_in_beside_the_unit(tmp_path: Path, profile: str) -> None:
    assert installed(tmp_path, profile)[f"{DROP_INS}/50-{profile}.conf"] == "written"


def test_drop_ins_that_are_not_asked_for_any_more_go_and_those_of_others_stay(tmp_path: Path) -> None:
    installed(tmp_path, "jetson", "network")
    theirs = tmp_path / DROP_INS / "90-ours.conf"
    theirs.write_text("[Service]\nNice=5\n")
    done = installed(tmp_path, "jetson")
    assert done[f"{DROP_INS}/50-network.conf"] == "removed"
    assert done[f"{DROP_INS}/50-jetson.conf"] == "unchanged"
    assert theirs.exists()


def test_the_unit_starts_the_program_that_is_given(tmp_path: Path) -> None:
    installed(tmp_path, "default", program=PurePosixPath("/srv/vision/bin/schedulerd"))
    assert "\nExecStart=/srv/vision/bin/schedulerd run\n" in (tmp_path / UNIT).read_text()
    assert installed(tmp_path, "default")[UNIT] == "replaced"


def test_a_configuration_that_was_changed_stays(tmp_path: Path) -> None:
    place = tmp_path / CONFIGURATION
    place.parent.mkdir(parents=True)
    place.write_text("[log]\nlevel = 'debug'\n")
    assert installed(tmp_path, "default")[str(CONFIGURATION)] == "kept"
    assert by_path(tmp_path, list(uninstall(tmp_path, DEFAULTS)))[str(CONFIGURATION)] == "kept"
    assert place.read_text() == "[log]\nlevel = 'debug'\n"


def test_keys_stay(tmp_path: Path) -> None:
    installed(tmp_path, "remote")
    key = tmp_path / "etc/schedulerd/operators/anna.public"
    key.parent.mkdir()
    key.write_text("a key")
    list(uninstall(tmp_path, DEFAULTS))
    assert key.read_text() == "a key"


def test_what_was_installed_is_taken_away_again(tmp_path: Path) -> None:
    installed(tmp_path, "pi", "loopback")
    for folder in ("conf.d", "operators"):  # which systemd-tmpfiles makes
        (tmp_path / "etc/schedulerd" / folder).mkdir()
    done = by_path(tmp_path, list(uninstall(tmp_path, DEFAULTS)))
    assert set(done.values()) == {"removed"}
    assert files_below(tmp_path) == set()
    assert not (tmp_path / DROP_INS).exists()
    assert not (tmp_path / CONFIGURATION).parent.exists()
    assert list(uninstall(tmp_path, DEFAULTS)) == [], "there is nothing left to remove"


@pytest.mark.parametrize(
    "program", ["/home/pi/venv/bin/schedulerd", "/root/.venv/bin/schedulerd", "/run/user/1000/v/bin/schedulerd"]
)
def test_a_program_that_the_unit_hides_from_itself_is_refused(program: str) -> None:
    with pytest.raises(
        SchedulerdError, match=r"the service cannot see .*: its unit hides .*; install schedulerd in /opt"
    ):
        files_of(files_folder(), ["default"], PurePosixPath(program))


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("bin/schedulerd", "no absolute path"),
        ("/opt/two words/schedulerd", "a unit cannot start"),
        ("/opt/100%/schedulerd", "a unit cannot start"),
        ("/opt/a\nExecStartPre=b", "a unit cannot start"),
    ],
)
def test_a_path_that_means_something_else_to_systemd_is_refused(program: str, problem: str) -> None:
    with pytest.raises(SchedulerdError, match=problem):
        files_of(files_folder(), ["default"], PurePosixPath(program))


def test_a_root_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SchedulerdError, match="there is no such directory"):
        installed(tmp_path / "typo", "default")
    assert not (tmp_path / "typo").exists()


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "usr").write_text("")
    with pytest.raises(
        SchedulerdError, match=r"cannot read .*/usr/lib/systemd/system/schedulerd\.service: Not a directory"
    ):
        installed(tmp_path, "default")


def test_a_folder_in_the_place_of_a_file_is_named_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / UNIT).mkdir(parents=True)
    with pytest.raises(SchedulerdError, match=r"cannot read .*schedulerd\.service: Is a directory"):
        installed(tmp_path, "default")
    assert files_below(tmp_path) == set()
