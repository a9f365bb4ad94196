"""What is asked of the hardware."""

from __future__ import annotations

import platform
import sys

import pytest

BLOCKS = """
import resource
import numpy as np
from pipelines.common.devices import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def fill(blocks):
    for _ in range(blocks):
        np.ones(2**25, np.uint8)  # 32 MiB, freed at once

def faults_of_filling():
    fill(1)
    before = faults()
    fill(10)
    return faults() - before

usual = faults_of_filling()
keep_freed_memory()
print(usual, faults_of_filling())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's allocator")
@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted there")
def test_freed_memory_is_used_again_without_page_faults(shell, forked):
    usual, kept = map(int, shell("-c", BLOCKS).output.split())
    assert kept < usual / 100, (kept, usual)
