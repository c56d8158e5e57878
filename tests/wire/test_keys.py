"""Files of keys: what is written can be read, by pyzmq too, and a secret that others may have read is refused."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
import zmq.auth

from schedulerd.wire.keys import KeyFileError, Pair, check_name, read_public, read_secret, write_pair

PAIR = Pair("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs")
"""Of https://rfc.zeromq.org/spec/26, the client's."""


def test_a_pair_is_written_and_read_again(tmp_path: Path) -> None:
    files = write_pair(tmp_path / "keys", "anna", PAIR)
    assert (files.public.name, files.secret.name) == ("anna.public", "anna.secret")
    assert (read_public(files.public), read_secret(files.secret)) == PAIR
    assert read_public(files.secret) == PAIR.public
    assert PAIR.secret not in files.public.read_text()


def test_pyzmq_reads_our_files_and_we_read_those_of_pyzmq(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "anna", PAIR)
    assert zmq.auth.load_certificate(files.secret) == (PAIR.public.encode(), PAIR.secret.encode())
    assert zmq.auth.load_certificate(files.public) == (PAIR.public.encode(), None)
    public, secret = zmq.auth.create_certificates(tmp_path, "bob")
    Path(secret).chmod(0o600)
    assert read_public(Path(public)).encode() == zmq.auth.load_certificate(public)[0]
    assert read_secret(Path(secret)).encode() == zmq.auth.load_certificate(secret)[1]


def test_the_modes_are_right_whatever_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files = write_pair(tmp_path, "anna", PAIR)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in files] == [0o644, 0o600]


@pytest.mark.parametrize("there", ["anna.public", "anna.secret"])
def test_nothing_is_written_over_and_nothing_else_is_written_then(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(KeyFileError, match=f"{there} is there already and stays"):
        write_pair(tmp_path, "anna", PAIR)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "anna.secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="is there already"):
        write_pair(tmp_path, "anna", PAIR)
    assert not (tmp_path / "elsewhere").exists()


def test_a_disk_that_is_full_leaves_no_half_a_key(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(KeyFileError, match=rf"^{tmp_path}: File too large; no key was made"):
            write_pair(tmp_path, "anna", PAIR)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    assert read_secret(write_pair(tmp_path, "anna", PAIR).secret) == PAIR.secret


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="no key was made"):
        write_pair(tmp_path / "file" / "keys", "anna", PAIR)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o620, 0o602, 0o601, 0o644])
def test_a_secret_that_others_may_read_or_write_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    secret = write_pair(tmp_path, "anna", PAIR).secret
    secret.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"has mode {mode:04o}.*chmod 600 .*anna\.secret"):
        read_secret(secret)
    assert read_secret(secret, guarded=True) == PAIR.secret


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_of_ones_own_is_read(tmp_path: Path, mode: int) -> None:
    secret = write_pair(tmp_path, "anna", PAIR).secret
    secret.chmod(mode)
    assert read_secret(secret) == PAIR.secret


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    secret = write_pair(tmp_path, "anna", PAIR).secret
    os.chown(secret, 4242, -1)
    with pytest.raises(KeyFileError, match="belongs to user 4242"):
        read_secret(secret)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"has no line public-key = \"\.\.\.\"; take the file whose name ends in \.public"),
        ('curve\n    public-key = ""\n', "is not one key of 40 characters"),
        ("public-key = short", "is not one key of 40 characters"),
        (f"public-key = {PAIR.public}x", "is not one key of 40 characters"),
        (f"public-key = {PAIR.public[:-1]}~", "is not one key of 40 characters"),
        (f"public-key = {'#' * 40}", "is not one key of 40 characters"),
        (f"public-key = {PAIR.public}\npublic-key = {PAIR.public}", "is not one key"),
        ("x" * 5000, "larger than 4096 bytes"),
    ],
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "anna.public"
    path.write_text(text)
    with pytest.raises(KeyFileError, match=why):
        read_public(path)


def test_a_public_file_is_no_secret_one(tmp_path: Path) -> None:
    public = write_pair(tmp_path, "anna", PAIR).public
    with pytest.raises(KeyFileError, match=r"take the file whose name ends in \.secret"):
        read_secret(public, guarded=True)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.public")
    with pytest.raises(KeyFileError, match="is no file"):
        read_public(tmp_path / "pipe.public")
    with pytest.raises(KeyFileError, match="there is no key file"):
        read_public(tmp_path / "absent.public")
    with pytest.raises(KeyFileError, match="Is a directory"):
        read_public(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", ".anna", "a/b", "anna\n", "-x", "a" * 65, "änna", "a b"])
def test_a_name_that_no_file_should_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match="is no name for a key"):
        write_pair(tmp_path, name, PAIR)
    assert not list(tmp_path.iterdir())


def test_names_of_people_and_machines_are_taken() -> None:
    assert check_name("anna.k-2_x") == "anna.k-2_x"
