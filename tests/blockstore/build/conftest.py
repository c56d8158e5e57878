"""One thread for torch: with more, small batches spend their time waiting where other tests run beside them."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
