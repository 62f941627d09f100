"""A training process keeps freed memory, measured by the system's count of page faults."""

import subprocess
import sys

import pytest

from kidney_core.common import allocator
from tests.conftest import ROOT

# 20 times 64 MiB of memory allocated, touched and freed; prints the number of page faults.
_CHURN = """
import resource, sys
from kidney_core.common import allocator
if sys.argv[1] == "keep":
    assert allocator.keep_freed_memory()
import numpy
numpy.ones(8 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    numpy.ones(8 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode):
    process = subprocess.run(
        [sys.executable, "-c", _CHURN, mode], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return int(process.stdout)


@pytest.mark.skipif(allocator._glibc() is None, reason="glibc's setting")
def test_kept_memory_is_reused():
    default, kept = page_faults("default"), page_faults("keep")
    print(f"page faults: {default} by default, {kept} kept")
    assert kept < default / 10
