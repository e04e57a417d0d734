"""Mines the corpora of a small build into a store, as a build does; a test kills it. Argument: inputs, pickled.

A line names a store. A fork does the work, so that the imports are paid for once; its process id is the answer. Upon an
empty line it is waited for, and its exit status the answer: until then nobody else can have its id.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from pipeline.code import code_hash
from pipeline.encode import gpus
from pipeline.manifest.settings import MineConfig, RuleConfig
from pipeline.mine import Known, MineInput, mine
from pipeline.store import Receipt, Store, stage_key

CONFIG, RULE = MineConfig(keep=40, yardstick_texts=200), RuleConfig(negatives=5)


def work(given: list[MineInput], known: list[Known], store: Store) -> None:
    for one in given:

        def make(out: Path, one: MineInput = one) -> Receipt:
            return mine([one], known, out, CONFIG, RULE)

        store.run("mine", stage_key("mine", "pipeline.mine", CONFIG.model_dump(), [one.corpus]), make)


def say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    given, known = pickle.loads(Path(sys.argv[1]).read_bytes())
    # What every run would pay for anew: torch is imported, and all modules behind the stage are read.
    gpus()
    code_hash("pipeline.mine")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(given, known, Store(Path(line.strip())))
            os._exit(0)
        say(child)
        sys.stdin.readline()
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
