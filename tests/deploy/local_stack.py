"""`make run` with a stand-in for the services: one that prints what it was told."""

import sys

from deploy.local import Stack, main
from deploy.supervisor import ProcessSpec

CODE = """
import os, time
print("pid", os.getpid())
print("store", os.environ["SAFEGUARDS_STORE_URL"].rpartition("@")[2])
time.sleep(600)
"""


def stand_in(stack: Stack) -> list[ProcessSpec]:
    return [ProcessSpec("gateway", (sys.executable, "-c", CODE), stack.environment)]


if __name__ == "__main__":
    sys.exit(main(stand_in))
