"""Errors of the profiles.

BlockProfilesError
  +-- BadTable       a file that is not a profile table of this version, or is damaged
  +-- ForeignTable   a table that was measured on another device, engine or thread count
  +-- MissingRow     a blob that was never measured
  +-- CannotRun      a variant or exit that loads but does not do what it should
"""

from __future__ import annotations


class BlockProfilesError(Exception):
    """Base of everything that profiles raise on purpose; the message gives value, limit and remedy."""


class BadTable(BlockProfilesError):
    """A file that is not a profile table of this version, or is damaged."""


class ForeignTable(BlockProfilesError):
    """The table was measured on another device, engine or thread count."""


class MissingRow(BlockProfilesError):
    """The table has no row for a blob."""


class CannotRun(BlockProfilesError):
    """A variant or exit loads but does not do what it should."""
