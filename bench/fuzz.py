"""Hostile files and calls, logits, models, seeded and bounded: `python bench/fuzz.py [NAME ...] --seconds 20 --seed 0`.

Each fuzzer runs in a process of its own, which may use so much memory and has to answer in time. Exits with 1 if a case
came out in another way than it may; `--case NUMBER` runs that one alone, with its traceback.
"""

from __future__ import annotations

import argparse
import sys

from fuzzers import calls, files, logits, solves
from fuzzers.runner import Fuzzer, Result, case_of, run

FUZZERS: dict[str, Fuzzer] = {
    "files": files.FUZZER,
    "calls": calls.FUZZER,
    "logits": logits.FUZZER,
    "solves": solves.FUZZER,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(FUZZERS)}; by default all")
    parser.add_argument("--seconds", type=float, default=20.0, help="time of each fuzzer")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cases")
    parser.add_argument("--case", type=int, help="run the case of this number alone")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in FUZZERS]
    if unknown:
        parser.error(f"NAME: expected one of {', '.join(FUZZERS)}, got {unknown[0]}")
    names = options.names or list(FUZZERS)
    if options.case is not None:
        for name in names:
            case = case_of(FUZZERS[name], options.seed, options.case)
            print(f"{name}, case {options.case}: {case.text}")
            print(f"returned {case.call()!r}")
        return 0
    results = {}
    for name in names:
        results[name] = run(FUZZERS[name], options.seed, options.seconds, progress=show(name))
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
    report(results, options.seed)
    return 1 if any(result.faulty for result in results.values()) else 0


def show(name: str):
    """A line on a terminal that is written over; nothing elsewhere."""

    def update(result: Result) -> None:
        if sys.stderr.isatty() and result.cases % 50 == 0:
            print(f"\r{name}: {result.cases} cases, {result.faulty} faults", end="", file=sys.stderr, flush=True)

    return update


def report(results: dict[str, Result], seed: int) -> None:
    """Print what came of the cases, and of each sort of fault a case that shows it."""
    print(f"{'fuzzer':<8}{'outcome':<28}{'cases':>8}")
    for name, result in results.items():
        for kind, count in result.kinds.most_common():
            print(f"{name:<8}{kind:<28}{count:>8}")
        print(f"{name:<8}{'all':<28}{result.cases:>8}   faults: {result.faulty}")
    for name, result in results.items():
        for fault in result.faults.values():
            print(f"\n{name}: {fault.kind} at {fault.place}\n  {fault.text[:600]}")
            print(f"  python bench/fuzz.py {name} --seed {seed} --case {fault.number}")


if __name__ == "__main__":
    sys.exit(main())
