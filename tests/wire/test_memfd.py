"""Sealed memory: what may be mapped, and what its owner can no longer do to it."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedulerd.wire import memfd
from schedulerd.wire.memfd import UnfitDescriptor
from tests.alone import alone


@pytest.fixture
def sealed() -> Iterator[int]:
    descriptor = memfd.create(5000)
    yield descriptor
    os.close(descriptor)


def test_what_the_owner_writes_the_other_side_reads(sealed: int) -> None:
    ours, theirs = memfd.map_writable(sealed), memfd.map_sealed(sealed, 5000)
    ours[4990:5000] = b"0123456789"
    assert theirs[4990:5000] == b"0123456789"
    assert len(ours) == len(theirs) == 5000


def test_the_other_side_cannot_write(sealed: int) -> None:
    with pytest.raises(TypeError):
        memfd.map_sealed(sealed, 5000)[0] = 1


@pytest.mark.parametrize("size_bytes", [0, 4999, 5001])
def test_the_owner_cannot_change_its_size(sealed: int, size_bytes: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(sealed, size_bytes)


def test_the_owner_cannot_add_or_drop_seals(sealed: int) -> None:
    with pytest.raises(PermissionError):
        fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_a_mapping_outlives_its_descriptor() -> None:
    descriptor = memfd.create(mmap.PAGESIZE)
    memfd.map_writable(descriptor)[0] = 7
    theirs = memfd.map_sealed(descriptor, mmap.PAGESIZE)
    os.close(descriptor)
    assert theirs[0] == 7


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE])
def test_memory_that_could_shrink_is_refused_with_the_remedy(seals: int) -> None:
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 100)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    with pytest.raises(UnfitDescriptor, match="F_SEAL_SHRINK: seal it before it is sent"):
        memfd.map_sealed(descriptor, 100)
    os.close(descriptor)


def test_what_is_no_memfd_is_refused(tmp_path: Path) -> None:
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, 100)
    reader, writer = os.pipe()
    event = os.eventfd(0)
    for descriptor in (file, reader, writer, event):
        with pytest.raises(UnfitDescriptor, match="no memfd"):
            memfd.map_sealed(descriptor, 100)
        os.close(descriptor)


@pytest.mark.parametrize(("size_bytes", "most_bytes"), [(0, 100), (101, 100)])
def test_a_size_out_of_range_is_refused_with_the_range(size_bytes: int, most_bytes: int) -> None:
    descriptor = memfd.create(size_bytes)
    with pytest.raises(UnfitDescriptor, match=f"has {size_bytes} bytes; it may have 1 to {most_bytes}"):
        memfd.map_sealed(descriptor, most_bytes)
    os.close(descriptor)


def test_huge_pages_are_refused() -> None:
    """They are only promised: reading one that the system does not have would end the daemon."""
    descriptor = huge_memory()
    with pytest.raises(UnfitDescriptor, match="create it without MFD_HUGETLB"):
        memfd.map_sealed(descriptor, 2**40)
    os.close(descriptor)


def huge_memory() -> int:
    try:
        descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
    except OSError as error:
        pytest.skip(f"this kernel has no huge pages: {error}")
    os.ftruncate(descriptor, os.fstat(descriptor).st_blksize)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, memfd.SEALS)
    return descriptor


def _descriptors_left_by_a_failure() -> int:
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError, match="Invalid argument"):
        memfd.create(-1)
    return len(set(Path("/proc/self/fd").iterdir()) - before)


def test_a_file_that_cannot_be_made_leaves_no_descriptor() -> None:
    assert alone(_descriptors_left_by_a_failure) == 0
