"""``python -m tests.fuzz TARGET --seconds 600``: exits with 1 and keeps the files where something is found."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.cases import FINDS, Cases, Find, described
from tests.fuzz.targets import TARGETS

AT_ONCE = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz a reader of bytes from outside.")
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=600, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    args = parser.parse_args()
    names = list(TARGETS) if args.target == "all" else [args.target]
    return max([fuzz(name, args.seconds, args.seed) for name in names])


def fuzz(name: str, seconds: float, first: int) -> int:
    """Run cases in processes of their own, a few hundred each: one that dies is a find too."""
    places: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cases, seen = Cases(TARGETS[name], root), root / "seen"
        seed, end = first, time.monotonic() + seconds
        while time.monotonic() < end:
            child = os.fork()
            if child == 0:
                _batch(cases, seed, end, seen)
            _, status = os.waitpid(child, 0)
            *told, last = seen.read_text().splitlines()
            if status:
                told.append(f"{last} the process died of signal {os.WTERMSIG(status)}")
            for line in told:
                where, _, what = line.partition(" ")
                if what not in places:
                    places[what] = int(where)
                    _keep(name, cases, int(where))
            seed = int(last) + 1
    for what, where in places.items():
        print(f"{name}, case {where}: {what}")  # noqa: T201
    print(f"{name}: {seed - first} cases, {len(places)} kinds of finds")  # noqa: T201
    return int(bool(places))


def _batch(cases: Cases, first: int, end: float, seen: Path) -> None:
    lines: list[str] = []
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for seed in range(first, first + AT_ONCE):
        seen.write_text("\n".join([*lines, str(seed)]))
        try:
            cases.run(cases.change(seed))
        except Find as error:
            lines.append(f"{seed} " + " ".join(described(error).split()))
        if time.monotonic() >= end:
            break
    seen.write_text("\n".join([*lines, str(seed)]))
    os._exit(0)


def _keep(name: str, cases: Cases, seed: int) -> None:
    for path, content in cases.change(seed).items():
        place = FINDS / name / str(seed) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
