"""The table: every line, in the order of the points."""

import functools

from tests.hardness import (
    audit,
    bombs,
    checkpoints,
    content,
    crowd,
    damage,
    egress,
    greys,
    paths,
    supply,
    syntaxes,
    users,
)
from tests.hardness.table import Line

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
    Line(
        6,
        "checkpoints, harmed and forged",
        checkpoints.measure,
        {"loads": ("=", 1000), "executed": ("=", 0), "silent_loads": ("=", 0), "harmless": ("<=", 20)},
    ),
    Line(
        7,
        "starts that would be open to everybody",
        users.measure_starts,
        {"starts": ("=", 5), "started": ("=", 0), "without_remedy": ("=", 0)},
    ),
    Line(
        7,
        "every page by deep link, with a real provider",
        users.measure_log_in,
        {
            "deep_links": ("=", 30),
            "open_without_log_in": ("=", 0),
            "wrong_roles": ("=", 0),
            "forged_admitted": ("=", 0),
        },
        needs_browser=True,
    ),
    Line(
        7,
        "a log-in that ends while the page is open",
        users.measure_ended_token,
        {"admitted": ("=", 1), "expired_admitted": ("=", 0)},
        needs_browser=True,
    ),
    Line(
        7,
        "started past the gate, by streamlit run",
        users.measure_streamlit_run,
        {"deep_links": ("=", 6), "open_pages": ("=", 0)},
        needs_browser=True,
    ),
    Line(
        8,
        "typed paths",
        paths.measure_paths,
        {"typed": (">=", 50), "escapes": ("=", 0), "let_in": ("<=", 8), "false_refusals": ("=", 0)},
    ),
    Line(
        8,
        "job fields, on three engines",
        paths.measure_jobs,
        {
            "jobs": ("=", 9),
            "processes": (">=", 2),
            "shell_spawns": ("=", 0),
            "executed": ("=", 0),
            "wrong_arguments": ("=", 0),
        },
    ),
    Line(
        10,
        "all pages and flows without a way outside",
        egress.measure,
        {"outbound_attempts": ("=", 0), "control_seen": ("=", 3)},
        needs_browser=True,
    ),
    Line(
        11,
        "audit log of several processes, tampered with",
        audit.measure,
        {"lines": ("=", 120), "tampered": ("=", 201), "undetected": ("=", 0), "appended_after_cut": ("=", 0)},
    ),
    Line(
        13,
        "many users at once: diagnosis, evaluation, live curves",
        crowd.measure,
        {"errors": ("=", 0), "wrong": ("=", 0), "growing_mib": ("<=", 50), "grown_mib": ("<=", 50)},
        slow=True,
    ),
    Line(
        14,
        "dependencies, and the bill of materials",
        supply.measure,
        {
            "locked": (">=", 81),
            "unpinned": ("=", 0),
            "missing_from_bill": ("=", 0),
            "only_in_bill": ("=", 0),
            "is_of_this_version": ("=", 1),
        },
    ),
)
