"""Keep freed memory in a training process instead of returning it to the system at every layer."""

import ctypes
import sys

# glibc's mallopt(3), <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Make glibc reuse freed blocks of any size; False where the C library has no such setting.

    By default glibc maps every block over 32 MiB afresh from the system, which zeroes its pages at first touch, and
    unmaps it when it is freed. The activations of a network are such blocks, at every step. Measured on 2 cores
    (batch 32, forward, backward and update): MobileNetV2 at 160 px 1.6 times, EfficientNet-B0 at 128 px 1.8 times,
    ResNet18 at 128 px 1.2 times as many images a second. The process holds its peak memory until it ends, so use this
    only in processes that do nothing but train.
    """
    library = _glibc()
    if library is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(library.mallopt(ctypes.c_int(name), ctypes.c_int(value)) == 1 for name, value in settings)


def return_freed_memory() -> None:
    """Return unused memory to the system: a second training in the same process measures what is free again."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(ctypes.c_size_t(0))


def _glibc() -> ctypes.CDLL | None:
    """The C library, or None where it is not glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") else None  # musl has none
