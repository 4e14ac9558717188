"""What becomes of memory that is freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys, threading
from upscaler.memory import reuse_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 80_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if "reuse" in sys.argv:
    reuse_freed_memory()
found = []
for _ in range(2):  # networks run in a thread of their own
    thread = threading.Thread(target=lambda: found.append(faults()))
    thread.start()
    thread.join()
print(found[1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such options")
def test_freed_memory_is_not_cleared_again_by_the_system() -> None:
    def second(*arguments: str) -> int:
        command = [sys.executable, "-c", _FAULTS, *arguments]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    pages = 80_000_000 // 4096
    assert second() > pages / 2
    assert second("reuse") < pages / 20
