"""What is asked of the hardware."""

from __future__ import annotations

import platform
import sys

import pytest

BLOCKS = """
import resource, sys
import numpy as np
from pipelines.common.devices import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def fill():
    for _ in range(10):
        np.ones(2**25, np.uint8)  # 32 MiB, freed at once

if sys.argv[1] == "keep":
    keep_freed_memory()
fill()
before = faults()
fill()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's allocator")
@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted there")
def test_freed_memory_is_used_again_without_page_faults(shell):
    usual, kept = (int(shell("-c", BLOCKS, how).output) for how in ("usual", "keep"))
    assert kept < usual / 100, (kept, usual)
