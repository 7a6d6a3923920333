"""Writes src/petbench/data/normative_fdg.json: mean and covariance of regional FDG uptake, from the table in fdg-neurosegmenter 1.0.1.

`python resources/aggregate_fdg.py CN_quantification.csv label_correspondence.csv`, with the two files of that package's folder `data`.
One row of the first is one person; nothing of a single person is written. `pons` is left out, as the others are relative to it and the
atlas has the brainstem in one piece.
"""

import ast
import json
import sys
from pathlib import Path

import pandas

values, labels = pandas.read_csv(sys.argv[1]), pandas.read_csv(sys.argv[2])
codes = {row["AnatomicalStruct"]: [int(code) for code in ast.literal_eval(row["FastSurferLabels"])] for _, row in labels.iterrows()}
regions = [name for name in values if name != "pons"]
assert regions == [name for name in codes if name != "pons"]
found = values[regions].astype("float64")
content = {
    "source": "fdg-neurosegmenter 1.0.1 (MIT): FDG uptake of cognitively normal people relative to the pons",
    "people": len(found),
    "regions": {name: codes[name] for name in regions},
    "mean": [round(one, 5) for one in found.mean()],
    "covariance": [[round(one, 8) for one in row[: number + 1]] for number, row in enumerate(found.cov().to_numpy().tolist())],
}
target = Path(__file__).parents[1] / "src/petbench/data/normative_fdg.json"
target.write_text(json.dumps(content, separators=(",", ":")) + "\n")
print(f"{target}: {len(regions)} regions of {len(found)} people")
