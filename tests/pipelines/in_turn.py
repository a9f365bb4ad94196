"""Commands in turn in each of several processes that know of each other: ``python -m tests.pipelines.in_turn JOBS REPORTS``.

JOBS is a JSON file of (module, port, arguments); each process appends what it saw of a job to its own file in the folder
REPORTS. The processes are started once for all jobs because loading our packages takes longer than a small training.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from accelerate import PartialState
from accelerate.state import AcceleratorState, GradientState

from pipelines.common.command_line import run_command
from pipelines.storage.run import Run
from pipelines.training.reading import open_training

COMMANDS = {"pipelines.train": "Train", "pipelines.sample": "Sample", "pipelines.evaluate": "Evaluate"}


def main(jobs: Path, reports: Path) -> None:
    """Do all jobs, in the same order in all processes."""
    for module, port, arguments in json.loads(jobs.read_text()):
        os.environ["MASTER_PORT"] = str(port)  # the processes are joined anew for each job
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        found = {"masks": masks(Path(*arguments))} if module == "masks" else {"code": run(module, arguments)}
        state = PartialState()
        state.destroy_process_group()
        with (reports / f"{os.environ['RANK']}.jsonl").open("a") as file:
            file.write(json.dumps({"process": state.process_index, "of": state.num_processes} | found) + "\n")


def run(module: str, arguments: list[str]) -> int:
    """Run a command as ``python -m module arguments`` does, and return its exit code."""
    program = importlib.import_module(module)
    sys.argv = [module, *arguments]
    code = run_command(getattr(program, COMMANDS[module]), program.main, module)
    if module == "pipelines.train":  # those of the first training have been drawn, which takes as long as another training
        program._leave_curves = lambda run: None
    return code


def masks(path: Path) -> list[list[bool]]:
    """Return what this process's dropout keeps of 64 numbers in the next two steps of a run."""
    trainer = open_training(Run(path), Run(path).config)
    kept = []
    for _ in range(2):
        next(trainer.batches())
        kept.append(trainer.task.dropouts[0](trainer.task.data.images.new_ones(64).float()).bool().tolist())
        trainer.step += 1
    trainer.claim.release()
    return kept


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
