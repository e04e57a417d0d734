"""Named moments at which a process can be made to die, so that tests reach the narrowest gaps between two writes.

`M3E_FAILPOINT=assemble:made` kills the process (SIGKILL, no clean-up) the first time it comes to that point. Points lie
where a stage starts and ends and around every rename of the store and of a build folder.
"""

from __future__ import annotations

import os
import signal


def reach(name: str) -> None:
    """Die here if this point is the one that was named; else do nothing.

    >>> reach("convert:start")
    """
    if os.environ.get("M3E_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
