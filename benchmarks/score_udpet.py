"""Score restored images of the Ultra-Low Dose PET Imaging Challenge, a row a case, dose, region and metric.

python benchmarks/score_udpet.py LOW FULL RESTORED TABLE OUT [--regions FOLDER] [--column KEY=NAME ...]

LOW holds `<case>_DRF-<factor>.nii.gz`, RESTORED images of the same names (LOW itself scores the low dose), FULL `<case>.nii.gz`, FOLDER
`<case>_<region>.nii.gz`. Scores are written as they come; OUT appears when all are there.
"""

import argparse
import sys
from pathlib import Path

from petbench.errors import InputError
from petbench.evaluation.udpet import COLUMNS, read_cases, score
from petbench.files import atomic


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("low", "full", "restored", "table", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--regions", type=Path)
    parser.add_argument("--column", action="append", default=[], metavar="KEY=NAME", help=f"a column's name; keys: {', '.join(COLUMNS)}")
    asked = parser.parse_args(arguments)
    columns = dict(pair.partition("=")[::2] for pair in asked.column)
    try:
        if unknown := columns.keys() - COLUMNS.keys():
            raise InputError(f"--column: {sorted(unknown)[0]!r} is unknown; keys are {', '.join(COLUMNS)}.")
        cases = read_cases(asked.low, asked.table, COLUMNS | columns)
        with atomic(asked.out) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write("case\tdrf\tregion\tmetric\tvalue\n")
            for case in cases:
                masks = sorted(asked.regions.glob(f"{case.case}_*.nii.gz")) if asked.regions else []
                regions = {path.name.removeprefix(f"{case.case}_").removesuffix(".nii.gz"): path for path in masks}
                for row in score(case, asked.restored / case.file.name, asked.full / f"{case.case}.nii.gz", regions):
                    file.write(f"{case.case}\t{case.drf}\t{row['region']}\t{row['metric']}\t{row['value']:.6g}\n")
    except InputError as error:
        print(f"petbench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
