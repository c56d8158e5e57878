"""Errors of the block store.

BlockStoreError
  +-- NotAStore        the folder holds no block store
  +-- StoreReadOnly    the store was opened for reading, or this user may not write it
  +-- BadManifest      a manifest that does not parse or whose blocks do not join
  +-- MissingModel     no model of that name
  +-- MissingVariant   a block has no such variant, or the variant no artifact for the engine
  +-- MissingBlob      a blob that the index names is not on disk
  +-- CorruptBlob      a blob whose bytes do not have its hash; it was moved to quarantine
  +-- StoreBusy        another process holds the store for writing
  +-- StoreFull        the disk refused a write; nothing half-written remains
  +-- BadArchive       an archive that is not one of ours, or is damaged
  +-- IllegalTransition  an event that has no meaning in the state a variant is in
  +-- CannotCut        a network that no cut divides into blocks of one tensor in, one tensor out
  +-- BadTorchForm     a torch form that does not parse, or whose weights do not fit its graph
  +-- UnsupportedOperator  an operator that the torch form does not allow
  +-- CannotBuild      a build whose settings, network or images do not fit together
"""

from __future__ import annotations


class BlockStoreError(Exception):
    """Base of everything that the store raises on purpose; the message gives value, limit and remedy."""


class NotAStore(BlockStoreError):
    """The folder holds no block store."""


class StoreReadOnly(BlockStoreError):
    """The store was opened for reading, or this user may not write it."""


class BadManifest(BlockStoreError):
    """A manifest that does not parse or whose blocks do not join."""


class MissingModel(BlockStoreError):
    """No model of that name is in the store."""


class MissingVariant(BlockStoreError):
    """A block has no such variant, or the variant has no artifact for the engine."""


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


class IllegalTransition(BlockStoreError):
    """An event that has no meaning in the state a variant is in."""


class CannotCut(BlockStoreError):
    """A network that no cut divides; the message names the operator that prevents it."""


class BadTorchForm(BlockStoreError):
    """A torch form that does not parse, or whose weights do not fit its graph."""


class UnsupportedOperator(BlockStoreError):
    """An operator outside of the torch form's whitelist; the message names it."""


class CannotBuild(BlockStoreError):
    """A build whose settings, network, weights or images do not fit together."""


class BadPolicy(BlockStoreError):
    """An exit policy that makes no sense for a model; the message has the value, the limit and the remedy."""
