"""Point 14, dependencies: every package that is installed is pinned, and the bill of materials names each of them."""

import json
import re
import subprocess
import sys

from tests.conftest import ROOT
from tests.hardness.table import Figures, Options

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;]+)( ; .+)?$")


def measure(options: Options) -> Figures:
    """Write the bill of materials as `make sbom` does (the library checks it against CycloneDX's schema) and compare."""
    # Below each package are its hashes, indented.
    lines = [
        line.removesuffix(" \\")
        for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", " "))
    ]
    pins = [_PIN.match(line) for line in lines]
    locked = {(found[1], found[2]) for found in pins if found}
    target = options.workplace / "sbom.cdx.json"
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(ROOT / "requirements.lock")]
    settings = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--validate", "-o", str(target)]
    subprocess.run([*command, *settings], check=True, cwd=ROOT)
    bill = json.loads(target.read_text(encoding="utf-8"))
    listed = {(part["name"], part["version"]) for part in bill["components"]}
    return {
        "locked": len(locked),
        "unpinned": sum(found is None for found in pins),
        "missing_from_bill": len(locked - listed),
        "only_in_bill": len(listed - locked),
        "is_of_this_version": int(
            bill["metadata"]["component"]["version"] in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        ),
    }
