"""Programs that are started as a terminal starts them."""

import signal
import subprocess
from functools import partial


def start(command, **settings):
    """A program in a process group of its own that hears Ctrl-C; its two outputs are one text.

    A shell's background jobs ignore Ctrl-C, and these tests may run as one.
    """
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(
        command,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        **usual | settings,
    )
