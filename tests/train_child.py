"""A training that is killed behind a given step, as a machine may fail: `train_child.py BUILD MODEL OUT STEP SETTING...`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from pipeline.report.opened import Build
from pipeline.train import base_model, train, train_config


def main(build: str, model: str, out: str, last: str, *words: str) -> None:
    def listen(step: int, of: int, loss: float) -> None:
        del of, loss
        if step >= int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    train(Build(Path(build)), base_model(model, {}), Path(out), train_config({}, words), listen)


if __name__ == "__main__":
    main(*sys.argv[1:])
