"""The official BIDS validator, run offline, and what it may warn of."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

EXPLAINED = {
    "SIDECAR_KEY_RECOMMENDED": "of a hospital, a coil or an infusion, which no simulation has",
    "JSON_KEY_RECOMMENDED": "of HED tags and source data sets, of which there are none",
    "TOO_FEW_AUTHORS": "a program is no author",
}


def issues(folder):
    """Errors, and warnings that nothing here explains, a line each."""
    command = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    done = subprocess.run([command, str(folder), "--json"], capture_output=True, text=True)
    found = json.loads(done.stdout)["issues"]["issues"]
    return [
        f"{issue['severity']}: {issue['code']} {issue.get('subCode', '')} {issue.get('location', '')}"
        for issue in found
        if issue["severity"] == "error" or issue["code"] not in EXPLAINED
    ]
