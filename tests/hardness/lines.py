"""The table: every line, in the order of the points."""

import functools

from tests.hardness import bombs, content, damage, disks, faults, greys, kills, syntaxes
from tests.hardness.table import Line

_ALL_WELL = dict.fromkeys(("unclear", "corrupt", "others_failed", "not_resumed"), ("=", 0.0))
LINES = (
    Line(
        1,
        "damaged files, each decoded in a child process",
        damage.measure,
        {"uncaught": ("=", 0), "parent_deaths": ("=", 0), "hangs": ("=", 0)},
    ),
    Line(1, "a slice of 512 × 512 through a warm child", damage.measure_speed, {"extra_ms": ("<=", 20)}),
    *(
        Line(2, f"bomb: {name}", functools.partial(bombs.measure, make), bombs.TARGETS)
        for name, make in bombs.BOMBS.items()
    ),
    Line(3, "no single image, under the name of one", content.measure_kinds, {"false_accepts": ("=", 0)}),
    Line(3, "cut short", content.measure_truncations, {"false_accepts": ("=", 0)}),
    Line(3, "PNG with one changed bit", content.measure_changed_png, {"false_accepts": ("=", 0)}),
    Line(3, "sound, under a wrong extension", content.measure_extensions, {"false_refusals": ("=", 0)}),
    Line(
        4,
        "greys of every kind of file",
        greys.measure_clipping,
        {"clipped_frac": ("<=", 0.01), "out_of_order": ("=", 0)},
    ),
    Line(4, "EXIF orientations", greys.measure_orientations, {"identical": ("=", 8)}),
    Line(4, "Hounsfield units against pydicom", greys.measure_hounsfield, {"max_abs_err": ("=", 0)}),
    Line(
        5,
        "DICOM transfer syntaxes, without GPL parts",
        syntaxes.measure_decoding,
        {"not_exact": ("=", 0), "lossy_error": ("<=", 0.01), "gpl_packages": ("=", 0)},
    ),
    Line(5, "what is no CT slice is told so", syntaxes.measure_sentences, {"unnamed": ("=", 0)}),
    Line(12, "a full disk", disks.measure_full, _ALL_WELL),
    Line(12, "a read-only disk", disks.measure_read_only, _ALL_WELL),
    Line(12, "too little memory", faults.measure_memory, _ALL_WELL),
    Line(12, "a dataset that vanishes", faults.measure_vanished, _ALL_WELL),
    Line(
        12,
        "a clock that jumps by days",
        faults.measure_clock,
        dict.fromkeys(("insane", "out_of_order", "not_stopped", "corrupt", "not_resumed"), ("=", 0)),
    ),
    Line(12, "two apps on one folder of runs", faults.measure_two_apps, {"not_once": ("=", 0), **_ALL_WELL}),
    Line(
        12,
        "kill -9 of app, jobs and decoders",
        kills.measure,
        dict.fromkeys(("corrupt", "orphans", "not_resumed", "others_failed"), ("=", 0)),
        slow=True,
    ),
)
