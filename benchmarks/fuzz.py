"""Feed mutants of everything that Noisescope reads to it: ``python -m benchmarks.fuzz --seed 0 --count 1000``.

Each mutant must succeed or be refused with one sentence, without taking 1 GiB, starting a program, asking an address or
changing a file elsewhere. Mutant number N of a kind and seed is always the same, and ``--kind KIND --seed SEED --first N
--count 1`` makes it again. Failing mutants are kept in a folder each, with what went wrong. Ctrl-C ends early with the table so
far. Run it as an ordinary user: root may read files that nobody may.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from benchmarks.fuzzing.child import FAILED, REFUSED, SUCCEEDED, Child, Verdict
from benchmarks.fuzzing.kinds import KINDS
from benchmarks.fuzzing.seeds import Seeds, make_seeds


def make_mutant(kind: str, seed: int, number: int | None, seeds: Seeds, folder: Path) -> None:
    """Lay out mutant ``number`` of a kind and seed in ``folder``, or the valid input if there is no number."""
    remove(folder)
    folder.mkdir(parents=True)
    KINDS[kind].prepare(seeds, folder)
    if number is not None:
        KINDS[kind].mutate(Random(f"{kind} {seed} {number}"), folder)


def remove(folder: Path) -> None:
    """Remove a folder, including parts of it that may not be read."""
    for part in [folder, *folder.rglob("*")] if folder.exists() else ():
        if part.is_dir() and not part.is_symlink():
            part.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def examine(child: Child, kind: str, seed: int, number: int, seeds: Seeds) -> Verdict:
    """Make one mutant and let the child read it."""
    folder = child.work / "mutant"
    if not child.is_warm(kind):
        make_mutant(kind, seed, None, seeds, folder)
        verdict = child.warm(kind, folder)
        if verdict.outcome != SUCCEEDED:
            raise RuntimeError(f"a valid input of the kind {kind} is not read: {verdict.told}")
    make_mutant(kind, seed, number, seeds, folder)
    return child.examine(kind, folder)


def main() -> None:
    """Examine mutants of every kind and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="other seeds are other mutants")
    parser.add_argument("--count", type=int, default=100, help="mutants of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant of each kind")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of input; all by default")
    parser.add_argument("--work", type=Path, help="folder for valid inputs and mutants; a temporary one by default")
    parser.add_argument("--keep", type=Path, default=Path("artifacts/fuzz"), help="folder for failing mutants")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="noisescope-fuzz-") as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        (work / "seeds").mkdir(parents=True, exist_ok=True)
        counts: dict[str, Counter[str]] = {}
        try:
            for kind in arguments.kind:
                counts[kind] = Counter()
                fuzz(kind, arguments, make_seeds(work / "seeds"), work, counts[kind])
        except (KeyboardInterrupt, RuntimeError) as stopped:
            print(stopped or "interrupted")
    print(f"\nSeed {arguments.seed}:\n\n| kind | mutants | succeeded | refused in a sentence | failed | memory above rest |")
    print("| --- | --: | --: | --: | --: | --: |")
    for kind, found in counts.items():
        numbers = (found["mutants"], found[SUCCEEDED], found[REFUSED], found[FAILED], f"{found['memory'] / 2**20:,.0f} MiB")
        print(f"| {KINDS[kind].about} (`{kind}`) | {' | '.join(map(str, numbers))} |")


def fuzz(kind: str, arguments: argparse.Namespace, seeds: Seeds, work: Path, counts: Counter[str]) -> None:
    """Examine the mutants of one kind in one child process, count the outcomes, and keep those that failed."""
    with Child(work) as child:
        for number in range(arguments.first, arguments.first + arguments.count):
            verdict = examine(child, kind, arguments.seed, number, seeds)
            counts["mutants"] += 1
            counts[verdict.outcome] += 1
            counts["memory"] = max(counts["memory"], verdict.memory)
            if verdict.outcome == FAILED:
                print(f"{kind} {arguments.seed} {number}: {verdict.told.splitlines()[0][:300]}", flush=True)
                kept = arguments.keep / f"{kind}-{arguments.seed}-{number}"
                kept.mkdir(parents=True, exist_ok=True)
                (kept / "failure.txt").write_text(verdict.told + "\n")
                keep(work / "mutant", kept / "mutant")


def keep(mutant: Path, folder: Path) -> None:
    """Copy a mutant's small ordinary files; its number makes the others again."""
    for file in mutant.rglob("*"):
        if file.is_file() and not file.is_symlink() and os.access(file, os.R_OK) and file.stat().st_size < 2**24:
            copy = folder / file.relative_to(mutant)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


if __name__ == "__main__":
    main()
