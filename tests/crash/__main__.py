"""``python -m tests.crash --kills 500``: a table of what the kills left."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.crash.kills import kill

parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill writers of an index.")
parser.add_argument("--kills", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
with tempfile.TemporaryDirectory() as folder:
    told = kill(Path(folder), args.kills, args.seed)
for name, counted in told.items():
    print(f"{name}: {', '.join(f'{count} {state}' for state, count in sorted(counted.items()))}")  # noqa: T201
print(f"{sum(map(sum, (counted.values() for counted in told.values())))} kills, none of which lost anything")  # noqa: T201
