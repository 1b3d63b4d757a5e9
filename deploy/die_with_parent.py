"""Run a command that the kernel kills when the process that started it ends (Linux).

Run as a script, with the parent's process id and the command; it becomes that command. This is a
script, not a `preexec_fn`: code between fork and exec may deadlock in a process with threads.
The signal is bound to the *thread* that forked, so start children from one that lives as long as
the process.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command given on the command line."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the line above
        sys.exit("the parent has ended")
    try:
        os.execvp(command[0], command)  # noqa: S606 - a shell is what must not stand between
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
