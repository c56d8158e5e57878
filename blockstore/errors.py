"""Errors of the block store.

BlockStoreError
  +-- BadManifest      a manifest that does not parse or whose blocks do not join
  +-- MissingModel     no model of that name
  +-- MissingBlob      a blob that the index names is not on disk
  +-- CorruptBlob      a blob whose bytes do not have its hash; it was moved to quarantine
  +-- StoreBusy        another process holds the store for writing
  +-- StoreFull        the disk refused a write; nothing half-written remains
  +-- BadArchive       an archive that is not one of ours, or is damaged
  +-- CannotCut        a network that no cut divides into blocks of one tensor in, one tensor out
"""

from __future__ import annotations


class BlockStoreError(Exception):
    """Base of everything that the store raises on purpose; the message gives value, limit and remedy."""


class BadManifest(BlockStoreError):
    """A manifest that does not parse or whose blocks do not join."""


class MissingModel(BlockStoreError):
    """No model of that name is in the store."""


class MissingBlob(BlockStoreError):
    """A blob that the index names is not on disk."""


class CorruptBlob(BlockStoreError):
    """The bytes of a blob do not have its hash; the blob was moved to quarantine."""


class StoreBusy(BlockStoreError):
    """Another process holds the store for writing."""


class StoreFull(BlockStoreError):
    """The disk refused a write; nothing half-written remains."""


class BadArchive(BlockStoreError):
    """An archive that is not one of ours, or is damaged."""


class CannotCut(BlockStoreError):
    """A network that no cut divides; the message names the operator that prevents it."""
