"""The queue of trainings, with real processes: they take turns, survive, stop, go on, and are never mistaken."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipelines.common.reports import LOG, OUTCOME, PROGRESS
from pipelines.storage.config import config_to_json
from pipelines.storage.files import write_text
from pipelines.storage.layout import METRICS, PROCESS, STATE
from pipelines.storage.processes import ProcessRecord, at_work, claim, launch, read_record, stop, write_record
from pipelines.storage.run import Run
from pipelines.storage.runs import find_runs
from pipelines.storage.state import read_resume_point
from pipelines.storage.weights import read_tensors
from pipelines.training.jobs import JOB, WORKER, Job, TrainingQueue
from pipelines.training.status import modified

ENDLESS = {"steps": 1_000_000, "log_every": 20, "eval_every": 100_000, "sample_every": 100_000, "save_every": 50}


@pytest.fixture
def sleeper():
    """A process that does nothing, for as long as a test needs one."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def job_of(queue: TrainingQueue, name: str) -> Job:
    return next(job for job in queue.jobs() if job.run.name == name)


def status_of(queue, name):
    return job_of(queue, name).status


def at_step(queue, name):
    reached = job_of(queue, name).progress
    return reached.step if reached else 0


def trained(queue, run_config, name="run"):
    """A run folder as it is before its first training, without a worker."""
    run = Run(queue.root / name)
    run.write_config(run_config)
    return run


# --- processes


def test_a_process_on_record_is_known_while_it_lives(tmp_path, sleeper):
    write_record(tmp_path / "record", sleeper.pid)
    assert at_work(tmp_path / "record")
    sleeper.kill()
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:  # dead, and not yet waited for
        pass
    assert not at_work(tmp_path / "record")
    sleeper.wait()
    assert not at_work(tmp_path / "record")
    assert read_record(tmp_path / "record").pid == sleeper.pid


def test_a_recycled_number_is_not_mistaken_for_the_process_that_had_it(tmp_path, sleeper):
    write_record(tmp_path / "record", sleeper.pid)
    before = json.loads((tmp_path / "record").read_text())
    write_text(tmp_path / "record", json.dumps(before | {"started": before["started"] - 3600}))
    assert not at_work(tmp_path / "record")
    stop(tmp_path / "record")
    assert sleeper.poll() is None  # the innocent one was left alone
    claim(tmp_path / "record", "sleeping")
    assert read_record(tmp_path / "record").pid == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": 1}', '{"pid": "x", "started": 0}'])
def test_a_torn_record_is_none(tmp_path, text):
    write_text(tmp_path / "record", text)
    assert read_record(tmp_path / "record") is None
    assert read_record(tmp_path / "missing") is None
    assert not at_work(tmp_path / "record")


def test_what_another_process_does_cannot_be_claimed(tmp_path, sleeper):
    write_record(tmp_path / "record", sleeper.pid)
    with pytest.raises(ValueError, match=f"process {sleeper.pid} is already busy with sleeping"):
        claim(tmp_path / "record", "sleeping")
    stop(tmp_path / "record")
    assert sleeper.wait(30) == -signal.SIGTERM
    assert read_record(tmp_path / "record").stopping
    claim(tmp_path / "record", "sleeping")
    claim(tmp_path / "record", "sleeping")  # one's own is no obstacle
    assert read_record(tmp_path / "record") == ProcessRecord(os.getpid(), read_record(tmp_path / "record").started)


# --- asking


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc", "a/b", "/etc", "a b", ".hidden", "-x", "a\n", "a\0b", "n" * 65])
def test_a_name_that_is_no_folder_s_is_refused(queue, small_config, name):
    with pytest.raises(ValueError, match="cannot be a run's name"):
        queue.create(name, small_config())
    assert queue.jobs() == []


def test_a_queued_run_means_the_same_in_every_working_folder(queue, small_config, tiny_run, tmp_path, monkeypatch):
    """The worker, which has another one, is told of the folders in the environment as well."""
    started = []
    monkeypatch.setattr(TrainingQueue, "_start_worker", lambda self: started.append(self.root))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "mine").symlink_to(tiny_run.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for number, data in enumerate(("pictures", "./pictures/.", "~/pictures")):
        config = queue.create(f"run{number}", small_config(data=data, init_from="mine")).config
        assert (config.data.data, config.init.init_from) == (str(tmp_path / "pictures"), str(tmp_path / "mine"))
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    named = queue.create("named", small_config(data="zh-plus/tiny-imagenet", init_from="./mine")).config
    assert (named.data.data, named.init.init_from) == ("zh-plus/tiny-imagenet", "mine"), "names stay as they are"
    assert len(started) == 4
    monkeypatch.setenv("NOISESCOPE_DATA", "~/data")
    monkeypatch.setenv("NOISESCOPE_RUNS", "runs")
    told = []
    monkeypatch.setattr("subprocess.Popen", lambda *_, env, **__: told.append(env) or _raise(OSError("no process")))
    with pytest.raises(OSError, match="no process"):
        launch("pipelines.jobs", [], tmp_path / "worker" / "process.json")
    assert (told[0]["NOISESCOPE_DATA"], told[0]["NOISESCOPE_RUNS"]) == (str(tmp_path / "data"), str(tmp_path / "runs"))


def _raise(error):
    raise error


def test_a_run_is_not_called_as_a_file_of_weights_is(queue, small_config, tmp_path, command):
    with pytest.raises(ValueError, match=r"mine\.safetensors"):
        queue.create("mine.safetensors", small_config())
    out = tmp_path / "mine.safetensors"
    assert "would be taken for a weights file" in command("pipelines.train", "--out", out).refused_in_one_sentence()


def test_what_cannot_be_trained_is_refused_before_anything_is_written(queue, small_config):
    for limit in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="number of minutes above 0"):
            queue.create("run", small_config(), limit)
    with pytest.raises(ValueError, match="unknown dataset 'nothing'"):
        queue.create("run", small_config(data="nothing"))
    assert not (queue.root / "run").exists()
    trained(queue, small_config())
    with pytest.raises(ValueError, match="'run' exists already"):
        queue.create("run", small_config())


@pytest.mark.parametrize("name", ["../../etc", "..", ".", "", "/etc", "../checkpoints", "missing"])
def test_only_runs_of_the_folder_can_be_touched(queue, small_config, name):
    outside = trained(TrainingQueue(queue.root.parent), small_config(), "checkpoints")
    run = trained(queue, small_config())
    for action in (queue.delete, queue.stop, queue.resume):
        with pytest.raises(ValueError, match="no run called"):
            action(name)
    assert outside.path.is_dir()
    assert run.path.is_dir()


def test_a_link_out_of_the_folder_is_not_followed_when_deleting(queue, tiny_run, tmp_path):
    precious = Path(shutil.copytree(tiny_run.path, tmp_path / "precious"))
    queue.root.mkdir()
    (queue.root / "link").symlink_to(precious)
    queue.delete("link")
    assert not (queue.root / "link").is_symlink()
    assert (precious / "model.safetensors").is_file()


HOSTILE_RECORDS = [
    "null", "[]", "42", '"text"', "[" * 100_000, "\x00", "{", '{"pid": 1}', '{"pid": -1, "started": 0}',
    '{"pid": 99999999999999999999, "started": 0}', '{"pid": 1, "started": NaN}', '{"pid": [1], "started": {}}',
    '{"queued": "soon"}', '{"queued": -1}', '{"queued": 1e400}', '{"time_limit": NaN}', '{"time_limit": -3}',
]  # fmt: skip


def test_one_run_with_damaged_records_leaves_the_others(queue, small_config, tiny_run):
    """Its process, its job and its log may contain anything: it is listed, says what is damaged, and can be deleted."""
    shutil.copytree(tiny_run.path, queue.root / "whole")
    bad = Run(queue.root / "bad")
    bad.write_config(small_config())
    for text in HOSTILE_RECORDS:
        for file in (JOB, PROCESS):
            write_text(bad.path / file, text)
        write_text(bad.path / METRICS, text + '\n{"step": null}\n{"step": 0, "images_seen": 8, "seconds": 1}\n')
        assert {job.run.name: job.status for job in queue.jobs()} == {"whole": "finished", "bad": "stopped"}
        told = job_of(queue, "bad").error
        assert "state/job.json" in told or "state/process.json" in told
        assert queue.waiting() == []
    (bad.path / JOB).unlink()
    os.mkfifo(bad.path / JOB)  # nobody will ever write to it
    assert "state/job.json" in job_of(queue, "bad").error
    queue.delete("bad")
    assert [job.run.name for job in queue.jobs()] == ["whole"]


def test_a_finished_run_and_a_copy_without_its_state_cannot_be_resumed(queue, tiny_run, small_config):
    run = Run(shutil.copytree(tiny_run.path, queue.root / "done"))
    assert status_of(queue, "done") == "finished"
    with pytest.raises(ValueError, match="is finished: there is nothing to resume"):
        queue.resume("done")
    run.write_config(small_config(steps=10_000))
    assert job_of(queue, "done").resumable
    (run.path / STATE).unlink()
    assert status_of(queue, "done") == "stopped"
    assert not job_of(queue, "done").resumable
    with pytest.raises(ValueError, match=r"no state/state\.safetensors to continue from"):
        queue.resume("done")
    assert not (queue.root / WORKER).exists()


def test_a_broken_configuration_is_said_and_does_not_hide_the_others(queue, small_config):
    trained(queue, small_config(), "good")
    write_text(queue.root / "bad" / "config.json", "{")
    assert status_of(queue, "good") == "stopped"
    bad = job_of(queue, "bad")
    assert bad.status == "failed"
    assert "config.json" in bad.error
    queue.delete("bad")
    assert [job.run.name for job in queue.jobs()] == ["good"]


def test_a_failure_stands_until_somebody_goes_on(queue, small_config, train):
    run = trained(queue, small_config())
    write_text(run.path / PROCESS, '{"pid": 1, "started": -1e9}')  # it is dead
    write_text(run.path / "state" / OUTCOME, '{"status": "failed", "error": "the disk is full"}')
    assert (status_of(queue, "run"), job_of(queue, "run").error) == ("failed", "the disk is full")
    train(run.path)
    assert status_of(queue, "run") == "finished"


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"status": "melted"}', '{"what": 7, "share": "x"}', '{"what": "a", "share": 9}']
)
def test_reports_that_cannot_be_read_break_nothing(queue, small_config, sleeper, text):
    run = trained(queue, small_config())
    write_text(run.path / "state" / OUTCOME, text)
    assert status_of(queue, "run") == "stopped"
    write_record(run.path / PROCESS, sleeper.pid)
    write_text(run.path / "state" / PROGRESS, text)
    assert (status_of(queue, "run"), job_of(queue, "run").doing) == ("starting", None)


def test_a_process_in_training_says_how_far_it_is_between_the_lines_of_its_log(queue, small_config, sleeper):
    run = trained(queue, small_config(steps=1000))
    write_record(run.path / PROCESS, sleeper.pid)
    write_text(run.path / "state" / PROGRESS, '{"what": "encoding training images", "share": 0.5, "seconds_left": 9}')
    starting = job_of(queue, "run")
    assert (starting.status, starting.doing.what, starting.progress.step) == ("starting", "encoding training images", 0)
    run.append_metrics({"step": 100, "images_seen": 800, "seconds": 1.0, "loss": 0.5})
    write_text(run.path / "state" / PROGRESS, '{"what": "training run", "share": 0.123, "seconds_left": 9, "newer": 1}')
    reached = job_of(queue, "run").progress
    assert (reached.step, reached.seconds_left, reached.loss) == (123, 9, 0.5)


def test_speed_and_time_left_come_from_the_last_lines(queue, small_config):
    run = trained(queue, small_config(steps=1000))
    for step in range(10, 510, 10):  # 10 steps of 8 images: 4 seconds each at first, then 2
        seconds = 4.0 * min(step, 250) / 10 + 2.0 * max(0, step - 250) / 10
        run.append_metrics({"step": step, "images_seen": step * 8, "seconds": seconds, "loss": 1 / step})
    with (run.path / METRICS).open("a") as file:
        file.write('{"step": 510, "images')  # being written just now
    reached = job_of(queue, "run").progress
    assert (reached.step, reached.steps, reached.loss) == (500, 1000, 1 / 500)
    assert reached.images_per_second == pytest.approx(40)
    assert reached.seconds_left == pytest.approx(500 * 8 / 40, abs=5)
    os.utime(run.path / METRICS, ((run.path / METRICS).stat().st_mtime - 60,) * 2)  # a minute passes
    assert job_of(queue, "run").progress.seconds_left == pytest.approx(40, abs=5)


def test_a_run_queued_on_a_full_disk_leaves_its_name_free(full_disk, small_config):
    """A regression: its empty folder took the name, and was in no list from which it could be deleted."""
    queue = TrainingQueue(full_disk.folder / "runs")
    queue.root.mkdir()
    (queue.root / "killed").mkdir()  # by a kill before anything was written
    full_disk.fill()
    for name in ("run", "killed"):
        with pytest.raises(OSError, match=r"No space left|File too large"):
            queue.create(name, small_config())
    assert not list(queue.root.glob("*/"))
    full_disk.free()
    (queue.root / ".worker").mkdir()
    write_record(queue.root / WORKER)  # this process, so that none is started
    for name in ("run", "killed"):
        queue.create(name, small_config())
        assert status_of(queue, name) == "queued"


# --- training

ASK = """
import json, sys
from pathlib import Path
from pipelines.storage.config import config_from_json
from pipelines.training.jobs import TrainingQueue
TrainingQueue(Path(sys.argv[1])).create(sys.argv[2], config_from_json(sys.argv[3]), json.loads(sys.argv[4]))
"""


def test_runs_of_several_servers_train_in_turn_are_stopped_and_go_on(
    queue, small_config, shell_environment, train, logged, tmp_path, wait_for, forked
):
    """One is stopped and resumed as if it had never stopped, one stops by its time limit, and two never begin."""
    config = small_config(steps=120, save_every=1000, eval_every=60, sample_every=60)
    asked = {"whole": (config, None), "limited": (small_config(**ENDLESS), 0.02)}
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", ASK, str(queue.root), name, config_to_json(wanted), json.dumps(limit)],
            env=os.environ | shell_environment,
        )
        for name, (wanted, limit) in asked.items()
    ]
    assert [server.wait(120) for server in servers] == [0, 0]  # and with them, nobody who asked is left
    for name in ("unwanted", "deleted"):
        queue.create(name, small_config())
    assert [job.run.name for job in queue.jobs() if job.position][-2:] == ["unwanted", "deleted"]
    queue.stop("unwanted")
    queue.delete("deleted")
    seen = set()

    def wait_until(name, reached):
        def looked():
            jobs = {job.run.name: job for job in queue.jobs()}
            seen.add(frozenset(job.status for job in jobs.values()))
            assert len([job for job in jobs.values() if job.status in ("starting", "training")]) <= 1
            return reached(jobs[name])

        wait_for(looked)

    wait_until("whole", lambda job: job.status == "training" and job.progress.step > 5)
    with pytest.raises(ValueError, match="is being trained: stop it"):
        queue.delete("whole")
    with pytest.raises(ValueError, match="is training: there is nothing to resume"):
        queue.resume("whole")
    queue.stop("whole")
    queue.stop("whole")  # impatience does not cost the last save
    wait_until("whole", lambda job: job.status not in ("training", "stopping"))
    assert status_of(queue, "whole") == "stopped"
    assert 5 < at_step(queue, "whole") < 120
    run = Run(queue.root / "whole")
    assert (run.path / STATE).is_file()
    assert not (run.path / PROCESS).exists()
    queue.resume("whole")
    assert status_of(queue, "whole") in ("queued", "starting")
    wait_until("whole", lambda job: job.status == "finished")
    assert logged(run.path) == logged(train(tmp_path / "whole", config).path)
    assert any("queued" in states and states & {"starting", "training"} for states in seen), seen
    wait_for(lambda: not (queue.root / WORKER).exists())
    assert (status_of(queue, "limited"), job_of(queue, "limited").request.time_limit) == ("stopped", 0.02)
    assert (queue.root / "limited" / STATE).is_file()
    assert json.loads((run.path / JOB).read_text()) == {"queued": None, "time_limit": None}
    assert {run.path.name for run in find_runs(queue.root)} == {*asked, "unwanted"}
    assert status_of(queue, "unwanted") == "stopped"
    assert not (queue.root / "unwanted" / METRICS).exists()
    assert (queue.root / WORKER).with_name(LOG).read_text() == ""
    assert queue.error == ""
    queue.delete("whole")
    assert not run.path.exists()


def test_a_training_is_recovered_from_what_kills_it_and_is_never_started_twice(
    queue, small_config, command, start, tmp_path, wait_for, forked
):
    """The worker is killed, then the training; it goes on by hand, of which the queue was not told. The next one fails."""
    (tmp_path / "pictures").mkdir()
    run = queue.create("run", small_config(**ENDLESS))
    queue.create("next", small_config(data=str(tmp_path / "pictures")))
    wait_for(lambda: (run.path / STATE).is_file())
    psutil.Process(read_record(queue.root / WORKER).pid).kill()
    wait_for(lambda: not at_work(queue.root / WORKER))
    step = at_step(queue, "run")
    wait_for(lambda: at_step(queue, "run") > step)  # the training itself goes on
    assert (status_of(queue, "run"), status_of(queue, "next")) == ("training", "queued")
    sentence = command("pipelines.train", "--resume", run.path).refused_in_one_sentence()
    training = psutil.Process(read_record(run.path / PROCESS).pid)
    assert f"process {training.pid} is already busy" in sentence
    with pytest.raises(ValueError, match="is being trained"):
        queue.delete("run")
    queue.wake()
    assert at_work(queue.root / WORKER)
    woken, step = modified(queue.root / WORKER), at_step(queue, "run")
    wait_for(lambda: modified(queue.root / WORKER) > woken or at_step(queue, "run") > step + 300)  # the new worker has begun
    step = at_step(queue, "run")
    wait_for(lambda: at_step(queue, "run") > step)
    assert status_of(queue, "next") == "queued"  # still one at a time
    training.kill()
    wait_for(lambda: status_of(queue, "run") == "interrupted")
    assert job_of(queue, "run").resumable
    wait_for(lambda: status_of(queue, "next") == "failed")
    assert "pictures" in job_of(queue, "next").error
    assert "Traceback" not in job_of(queue, "next").error
    wait_for(lambda: not (queue.root / WORKER).exists())
    step = at_step(queue, "run")
    by_hand = start("-m", "pipelines.train", "--resume", run.path)
    wait_for(lambda: status_of(queue, "run") == "training" and at_step(queue, "run") > step)
    queue.resume("next")  # which waits
    assert job_of(queue, "next").status == "queued"
    queue.stop("next")
    assert job_of(queue, "next").resumable
    queue.stop("run")
    output, error = by_hand.communicate(timeout=120)
    assert by_hand.returncode == 130, error
    assert "Traceback" not in error
    saved = int(output.split("stopped at step ")[1].split(";")[0])
    assert read_resume_point(run.path / STATE).step == saved > step
    assert all(bool(tensor.isfinite().all()) for tensor in read_tensors(run.model_path)[0].values())
    assert status_of(queue, "run") == "stopped"
