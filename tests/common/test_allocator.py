"""A training process keeps what it freed: seen in the system's own count of page faults."""

import subprocess
import sys

import pytest

from kidney_core import allocator
from tests.conftest import ROOT

# 20 times 64 MiB, each touched on every page and freed; prints the page faults it took.
_CHURN = """
import resource, sys
from kidney_core import allocator
if sys.argv[1] == "keep":
    assert allocator.keep_freed_memory()
import numpy
numpy.ones(8 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    numpy.ones(8 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how):
    done = subprocess.run(
        [sys.executable, "-c", _CHURN, how], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


@pytest.mark.skipif(allocator._glibc() is None, reason="glibc's setting")
def test_kept_memory_is_not_asked_for_again():
    default, kept = page_faults("default"), page_faults("keep")
    print(f"page faults: {default} by default, {kept} kept")
    assert kept < default / 10
