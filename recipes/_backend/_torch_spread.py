"""Processes that torchrun has started, by DistributedDataParallel, with BatchNorms that see the whole batch."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import torch
from torch import distributed

from keras_resnets import UsageError
from recipes._backend._spread import Spread


def spread() -> Spread:
    """See `recipes._backend`."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes < 2:
        raise UsageError(
            "distribute: PyTorch has one process for each device; start them by "
            "`torchrun --nproc-per-node 2 -m recipes train --distribute ...`"
        )
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext
    if torch.cuda.is_available():
        device = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(device)
        scope = lambda: keras.device(f"cuda:{device}")  # noqa: E731
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Spread(
        rank=distributed.get_rank(),
        processes=processes,
        apart=True,
        scope=scope,
        forward=_parallel,
        barrier=distributed.barrier,
        agree=_agree,
        mean=_mean,
    )


def _agree(numbers: Sequence[int]) -> bool:
    everywhere: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everywhere, list(numbers))
    return all(one == list(numbers) for one in everywhere)


def _mean(numbers: Sequence[float]) -> list[float]:
    total = torch.tensor(numbers, dtype=torch.float64, device="cuda" if torch.cuda.is_available() else "cpu")
    distributed.all_reduce(total)
    return (total / distributed.get_world_size()).tolist()


def _parallel(network: keras.Model) -> Callable[..., Any]:
    # Buffers are of BatchNorms, which are alike everywhere
    parallel = torch.nn.parallel.DistributedDataParallel(network, forward_sync_buffers=False)
    return lambda *inputs, **options: parallel(*inputs, **options)  # no layer: nothing of it is tracked twice
