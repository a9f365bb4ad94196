"""An evaluation that a page started, with real processes: one at a time, it survives and stops.

That it says why it failed: tests/pages/test_evaluate_page.py, with a real process as well.
"""

import psutil
import pytest

from pipelines.evaluation.job import EvaluationJob
from pipelines.evaluation.results import Evaluation
from pipelines.storage.processes import read_record

QUICK = ["--num-images", "300", "--reference-images", "30", "--held-out-images", "10", "--likelihood-images", "0"]
QUICK += ["--batch-size", "16"]


@pytest.fixture
def job(tmp_path):
    job = EvaluationJob(tmp_path / "jobs")
    yield job
    record = read_record(job.record)
    if record is not None and record.alive:
        psutil.Process(record.pid).kill()


def test_it_measures_in_a_process_of_its_own_one_at_a_time_and_keeps_what_it_has_when_stopped(
    job, copied_run, judge, wait_for, monkeypatch, forked
):
    monkeypatch.setenv("TQDM_DISABLE", "1")  # whoever likes terminals quiet sees progress on the page all the same
    job.start([copied_run], ["--features", str(judge), "--steps", "4", "200", *QUICK])  # quick, and long enough to be stopped
    assert job.running
    with pytest.raises(ValueError, match="another evaluation is running"):
        EvaluationJob(job.root).start([copied_run])
    wait_for(lambda: "200 steps of UniPC-3" in job.progress.what and job.progress.share > 0)
    assert job.progress.seconds_left > 0
    job.stop()
    wait_for(lambda: not job.running)
    assert job.error == ""
    assert [result.kind for result in Evaluation(copied_run).results] == ["loss", "floor", "samples"]


def test_nothing_to_measure_is_refused(job):
    with pytest.raises(ValueError, match="no run chosen"):
        job.start([])
    assert not job.running
    assert job.error == ""


def test_one_that_was_killed_is_told_from_one_that_was_stopped(job, copied_run, judge, wait_for, forked):
    job.start([copied_run], ["--features", str(judge), "--steps", "200", "--num-images", "20000"])
    assert job.progress.what == "Loading the model and the images"
    psutil.Process(read_record(job.record).pid).kill()
    wait_for(lambda: not job.running)
    assert "ended unexpectedly" in job.error
