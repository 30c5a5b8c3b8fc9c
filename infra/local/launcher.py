"""Runs functions-framework in this process, and ends its whole group when the suite is gone.

The suite holds the other end of standard input and never writes to it. However the suite ends, also by
SIGKILL, its end closes, and this process kills its group: gunicorn's workers are in it. That works on every
Unix; PR_SET_PDEATHSIG is Linux's own, follows the thread that forked, and does not reach the workers.
"""

import os
import runpy
import signal
import threading


def _follow_the_suite() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_follow_the_suite, name="follow-the-suite", daemon=True).start()
    runpy.run_module("functions_framework", run_name="__main__", alter_sys=True)
