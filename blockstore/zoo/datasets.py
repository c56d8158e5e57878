"""The data sets that `schedulerd build --data` knows: `blockstore.zoo.datasets:NAME?option=value`."""

from __future__ import annotations

from blockstore.zoo.providers.cifar10 import cifar10
from blockstore.zoo.providers.digit_boxes import digit_boxes
from blockstore.zoo.providers.digits import Digits, digits
from blockstore.zoo.providers.faces import faces
from blockstore.zoo.providers.imagenet_sample import imagenet_sample
from blockstore.zoo.providers.video import video

__all__ = ["Digits", "cifar10", "digit_boxes", "digits", "faces", "imagenet_sample", "video"]
