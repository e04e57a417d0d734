"""A Prefect plugin that lets `prefect deployment run build-m3e-hq` mean `build-m3e-hq/build-m3e-hq`.

Prefect asks for FLOW/DEPLOYMENT and offers no setting for less. Our flows and deployments carry the same name, so a bare
one can only mean both. The hook runs while Prefect starts, before its command line is read, and touches nothing but
`prefect deployment run|inspect` with a name of ours. `PREFECT_PLUGINS_ENABLED=0` switches it off.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.plugins import register_hook

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"

#: Deployments of `prefect.yaml`; a test holds the two together.
OURS = (
    "build-m3e-hq",
    "build-m3e-commercial",
    "build-m3e-hq-with-score",
    "build-demo",
    "build-demo-with-score",
    "train-m3e",
    "publish",
)
#: Options of `prefect deployment run` that take the next word as their value.
TAKES_VALUE = {
    "--id", "--param", "-p", "--params", "--start-in", "--start-at", "--flow-run-name", "--job-variable", "-jv",
    "--tag", "--watch-interval", "--watch-timeout",
}  # fmt: skip


def expand(words: Sequence[str]) -> list[str]:
    """The command line with a bare deployment of ours written out.

    >>> expand(["prefect", "deployment", "run", "build-demo", "--watch"])
    ['prefect', 'deployment', 'run', 'build-demo/build-demo', '--watch']
    >>> expand(["prefect", "deployment", "run", "--tag", "build-demo", "x/y"])[4]
    'build-demo'
    """
    told = list(words)
    if len(told) < 4 or Path(told[0]).stem not in ("prefect", "__main__", "-m") or told[1] != "deployment":
        return told
    if told[2] not in ("run", "inspect"):
        return told
    for i in range(3, len(told)):
        if told[i] in OURS and told[i - 1] not in TAKES_VALUE:
            told[i] = f"{told[i]}/{told[i]}"
    return told


@register_hook
def setup_environment(*, ctx: Any) -> None:
    """Prefect's start-up hook."""
    sys.argv[:] = expand(sys.argv)
