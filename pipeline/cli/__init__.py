"""The command line: `m3e VERB`. Thin: verbs read arguments, call one function, show the result; errors become exit codes.

Everything heavy is imported inside the verb that needs it, so that help, check and corpora answer at once.
"""

from __future__ import annotations

# In the order of the help.
from pipeline.cli import manifests  # noqa: F401

# isort: split
from pipeline.cli import builds  # noqa: F401

# isort: split
from pipeline.cli import look  # noqa: F401

# isort: split
from pipeline.cli import audit  # noqa: F401

# isort: split
from pipeline.cli import hand_on  # noqa: F401

# isort: split
from pipeline.cli import train  # noqa: F401

# isort: split
from pipeline.cli import (
    evaluate,  # noqa: F401
    operate,  # noqa: F401
)

# isort: split
from pipeline.cli.console import app, err, say
from pipeline.errors import CurationError

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: exit 0 done, 1 the work failed (the message says what to do), 2 wrong usage."""
    try:
        app(standalone_mode=True)
    except CurationError as error:
        say(str(error), err, "red")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        say("Interrupted; finished steps are kept, run the same command again.", err, "red")
        raise SystemExit(1) from None
