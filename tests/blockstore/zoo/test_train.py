"""Training: a small network learns, and the seed decides what it learns."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from blockstore.build.images import Labelled
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.train import Lessons, train

PREPROCESS = Preprocess((0.5,), (0.25,))


def stripes(epoch: int) -> Labelled:
    """Horizontal (0) and vertical (1) stripes, noisy; other ones in each epoch."""
    draw = np.random.default_rng(epoch)
    labels = draw.integers(0, 2, 48)
    wave = np.where(np.arange(8) % 4 < 2, 200, 40)
    flat = np.stack([np.tile(wave, (8, 1)).T if label == 0 else np.tile(wave, (8, 1)) for label in labels])
    noisy = np.clip(flat + draw.normal(0, 20, flat.shape), 0, 255)
    return Labelled(noisy.astype(np.uint8)[..., None], labels)


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def trained(seed: int) -> nn.Module:
    return train(small(), PREPROCESS, stripes, Lessons(6, 8, 1e-2, seed), lambda *_: None)


def accuracy(network: nn.Module) -> float:
    data = stripes(99)
    with torch.no_grad():
        return float((network(PREPROCESS(torch.from_numpy(data.images))).argmax(1).numpy() == data.labels).mean())


def test_a_network_learns() -> None:
    network = trained(0)
    assert accuracy(network) > 0.95
    assert not network.training


def test_images_may_be_augmented() -> None:
    """Stripes stay stripes when they are mirrored and shifted."""
    lessons = Lessons(6, 8, 1e-2, augment=True)
    network = train(small(), PREPROCESS, stripes, lessons, lambda *_: None)
    assert accuracy(network) > 0.9
    plain = trained(0).state_dict()
    assert not all(torch.equal(tensor, plain[name]) for name, tensor in network.state_dict().items())


def test_the_loss_is_what_training_makes_smaller() -> None:
    """Labels are not looked at by a loss that does not: outputs end where it wants them."""

    def from_three(outputs: Tensor, batch: Labelled) -> Tensor:
        assert len(outputs) == len(batch)
        return ((outputs - 3) ** 2).mean()

    def unlabelled(epoch: int) -> Labelled:
        return Labelled(stripes(epoch).images)

    network = train(small(), PREPROCESS, unlabelled, Lessons(12, 8, 1e-1), lambda *_: None, from_three)
    with torch.no_grad():
        outputs = network(PREPROCESS(torch.from_numpy(stripes(99).images)))
    assert float((outputs - 3).abs().mean()) < 1


def test_the_seed_decides_the_weights() -> None:
    one, same, other = ([p.detach().numpy() for p in trained(seed).parameters()] for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_progress_ends_with_all_images_seen() -> None:
    seen: list[tuple[int, int]] = []
    train(small(), PREPROCESS, stripes, Lessons(2), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (96, 96)
