"""The files of a run: records, logs and grids, or something else in their place."""

from __future__ import annotations

import shutil
from filecmp import cmpfiles
from pathlib import Path
from random import Random

from .kind import OTHER, RUN, Attempts, Kind, expect_vanishing, files_of, make_special, prepare_runs, vanish_later
from .mutations import mutate_bytes, mutate_json, mutate_lines
from .pictures import mutate_chunks

REPORTED = ["config.json", "evaluation.json", "evaluation-neighbours.png", "model.safetensors"]  # what a report is made of
_reports: list[str] = []  # the last one that has been drawn


def mutate_record(random: Random, run: Path) -> None:
    """Damage one of a run's JSON files, its log, or one of its pictures."""
    names = ("config.json", "evaluation.json", "metrics.jsonl", "state/*.json", "data.json", "samples/*.png", "*.png")
    file = random.choice(files_of(run, random.choice(names)))
    data = file.read_bytes()
    if file.suffix == ".png":
        file.write_bytes(random.choice((mutate_chunks, mutate_bytes))(random, data))
    elif file.suffix == ".jsonl":
        file.write_bytes(mutate_lines(random, data))
    elif file.suffix == ".json":
        file.write_bytes(mutate_json(random, data))
    else:
        file.write_bytes(mutate_bytes(random, data))


def _mutate_records(random: Random, folder: Path) -> None:
    mutate_record(random, folder / RUN)


def _read_records(folder: Path) -> Attempts:
    from pages.components.runs import describe_run, newest_samples
    from pipelines.datasets.report import read_report
    from pipelines.datasets.report_text import as_text
    from pipelines.evaluation.judging import paired_losses, verdict
    from pipelines.evaluation.results import Evaluation
    from pipelines.evaluation.tables import readable_table, samples_table
    from pipelines.figures.report import report
    from pipelines.figures.training import training_curves
    from pipelines.models.loading import load_model
    from pipelines.storage.catalogue import Listed, read_catalogue
    from pipelines.storage.run import Run
    from pipelines.storage.runs import find_runs
    from pipelines.training.jobs import TrainingQueue

    run, queue = Run(folder / RUN), TrainingQueue(folder)
    expect_vanishing(folder)

    def list_all() -> None:
        assert OTHER in {found.name for found in find_runs(folder)}, "one bad run hides another"
        assert OTHER in read_catalogue(folder).runs, "one bad run hides another"
        jobs = {job.run.name: job for job in queue.jobs()}
        assert jobs[OTHER].progress is not None, "one bad run hides another"

    def evaluation() -> None:
        measured = [Evaluation(run), Evaluation(Run(folder / OTHER))]
        readable_table(samples_table(measured))
        paired_losses(measured)
        _ = verdict(measured[:1], measured[1:]).summary
        intact = cmpfiles(run.path, folder / OTHER, REPORTED, shallow=False)[0] == REPORTED
        if not (intact and _reports):  # drawing its figures takes a hundred times as long as all else
            _reports[:] = [report(measured)]

    yield list_all
    yield queue.waiting
    yield lambda: run.config
    yield run.metrics
    yield run.newest_metrics
    yield run.samples
    yield run.about_data
    yield lambda: as_text(read_report(run.path / "data.json"))
    yield lambda: describe_run(Listed(run, run.config))
    yield lambda: newest_samples(run)
    yield lambda: training_curves({RUN: run.metrics(), OTHER: Run(folder / OTHER).metrics()}, ["loss", "val_loss"], "step")
    yield evaluation
    yield lambda: load_model(run, device="cpu")


def make_special_folder(random: Random, run: Path) -> None:
    """Put something else in the place of a run's folder."""
    shutil.rmtree(run)
    make_special(random, run)


def mutate_special(random: Random, folder: Path) -> None:
    """Put something else in the place of one of a run's files or folders, or forbid to read it."""
    run = folder / RUN
    if random.random() < 0.15:
        place = random.choice((run, run / "state", run / "samples"))
        if random.random() < 0.3:
            place.chmod(0)
        else:
            make_special_folder(random, place)
    else:
        make_special(random, random.choice(files_of(run, "*.*", "state/*", "samples/*")))


KINDS = {
    "records": Kind("JSON, logs and grids of a run, read", prepare_runs, _mutate_records, _read_records),
    "special": Kind("pipes, links and folders in a run", prepare_runs, mutate_special, _read_records),
    "vanishing": Kind("a run that is removed while it is read", prepare_runs, vanish_later, _read_records),
}
