"""Errors of the profiles.

ProfileError
  +-- BadTable       a file that is not a profile table of this version, or is damaged
  +-- ForeignTable   a table that was measured on another device, engine or thread count
  +-- MissingRow     a blob that was never measured
"""

from __future__ import annotations


class ProfileError(Exception):
    """Base of everything that profiles raise on purpose; the message gives value, limit and remedy."""


class BadTable(ProfileError):
    """A file that is not a profile table of this version, or is damaged."""


class ForeignTable(ProfileError):
    """The table was measured on another device, engine or thread count."""


class MissingRow(ProfileError):
    """The table has no row for a blob."""
