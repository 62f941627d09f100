"""In which precision a run computes: timed on this very run where the processor knows bfloat16, not assumed.

Whether bfloat16 pays depends on processor and network: strided depthwise convolutions are slow in it on some. Weights stay in single
precision, see `torch.autocast`.
"""

import statistics
import time
from collections.abc import Callable

import torch

from kidney_core.common.files import write_json
from kidney_core.runs import parallel
from kidney_core.runs.run_folder import Run

FP32, BF16, AUTO = "fp32", "bf16", "auto"
PRECISION = "precision"  # key of data.json: part of the network -> {"chosen", "reason"}
LEARNING, FROZEN = "layers that learn", "frozen layers"
_N_TIMED = 3
_CPU_CAPABILITIES = ("avx512_bf16", "amx_bf16")


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 by itself; elsewhere it is emulated, and slow."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and any(torch.cpu.get_capabilities().get(name) for name in _CPU_CAPABILITIES)


def settle(
    run: Run,
    part: str,
    work: Callable[[], object],
    *,
    asked: str,
    device: torch.device,
    group: parallel.Group | None = None,
) -> bool:
    """Whether a part of the network computes in bfloat16; the first call writes choice and reason to the run's data.json.

    Args:
        part: LEARNING or FROZEN.
        work: one pass of that part, which leaves the run as it is.
        asked: FP32, BF16, or AUTO: the faster one.
        group: the processes that train together, all of which have to call; the first one decides.
    """
    group = group or parallel.Group()
    earlier = run.data().get(PRECISION, {})
    if group.any(part in earlier):  # the processes time together, or none does
        chosen, reason = earlier.get(part, {}).get("chosen", FP32), ""
    elif asked != AUTO:
        chosen, reason = asked, "as asked"
    elif group.any(not has_bfloat16(device)):
        chosen, reason = FP32, "this processor does not compute in bfloat16"
    else:
        chosen, reason = faster(work, device)
    chosen = (FP32, BF16)[group.from_leader(int(chosen == BF16))]
    if group.leads and part not in earlier:
        write_json(
            run.folder / "data.json",
            {**run.data(), PRECISION: {**earlier, part: {"chosen": chosen, "reason": reason}}},
        )
    return chosen == BF16


def faster(work: Callable[[], object], device: torch.device) -> tuple[str, str]:
    """The precision in which `work` takes less time, and both times in words."""
    seconds = {name: _seconds(work, device, bfloat16=name == BF16) for name in (FP32, BF16)}
    chosen = min(seconds, key=lambda name: seconds[name])
    return chosen, f"a pass takes {1000 * seconds[FP32]:.0f} ms in fp32, {1000 * seconds[BF16]:.0f} ms in bf16"


def _seconds(work: Callable[[], object], device: torch.device, *, bfloat16: bool) -> float:
    """The median time of a pass; the first one, which prepares kernels, does not count."""
    seconds = []
    for _ in range(_N_TIMED + 1):
        begun = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])
