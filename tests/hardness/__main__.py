"""Print the table."""

import argparse
import sys
from pathlib import Path

from tests.hardness.lines import LINES
from tests.hardness.table import Options, print_table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="files to read besides those made here")
    parser.add_argument("--quick", action="store_true", help="as pytest does it")
    parser.add_argument("--point", type=int, action="append", help="only this point; may be repeated")
    options = parser.parse_args()
    wanted = [
        line
        for line in LINES
        if (not options.point or line.point in options.point) and not (options.quick and line.slow)
    ]
    return 0 if print_table(wanted, Options(not options.quick, tuple(options.folders))) else 1


if __name__ == "__main__":
    sys.exit(main())
