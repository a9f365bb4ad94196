"""An estimate comes from real steps in a process of its own, which leaves nothing behind, and holds for runs like that one."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import pytest

from pipelines.common.reports import RESULT
from pipelines.storage.runs import find_runs
from pipelines.training.estimate import FOLDER, Costs, Estimate, EstimateJob


def test_an_estimate_is_cancelled_or_found_and_holds_for_other_steps(tmp_path, small_config, wait_for, monkeypatch, forked):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    job, config = EstimateJob(tmp_path / "runs"), small_config()
    job.start(config)
    with pytest.raises(ValueError, match="another estimate is being made: wait for it, or cancel it first"):
        job.start(config)
    job.stop()
    wait_for(lambda: not job.running)
    assert job.found(config) is None
    assert not job.error(config)
    job.start(config)
    wait_for(lambda: not job.running)
    assert not job.error(config)
    found = job.found(config)
    assert min(found.start, found.costs.step, found.costs.evaluation, found.costs.samples, found.costs.saving) > 0
    assert 50 * 2**20 < found.memory < 20 * 2**30
    longer = replace(config, optimizer=replace(config.optimizer, steps=1200, warmup_steps=50))
    assert job.found(longer) == found
    assert found.seconds(longer) > found.seconds(config)
    assert job.found(replace(config, network=replace(config.network, channels=(8, 8)))) is None
    assert not find_runs(job.root)
    assert not list(temporary.glob("noisescope-*"))


def test_what_cannot_be_trained_is_told_of_runs_like_it_alone(tmp_path, small_config, wait_for, forked):
    job, config = EstimateJob(tmp_path), small_config(image_size=9)
    job.start(config)
    wait_for(lambda: not job.running)
    assert "multiples of 2" in job.error(config)
    assert job.found(config) is None
    assert not job.error(small_config())


def test_the_sum_is_told_with_its_parts(small_config):
    found = Estimate(2.0, Costs(0.5, 1.0, 10.0, 0.25), 300 * 2**20)
    config = small_config(steps=100, eval_every=50, sample_every=30, save_every=50)
    assert found.seconds(config) == 2 + 100 * 0.5 + 2 * 1 + 4 * 10 + 2 * 0.25
    assert found.about(config) == (
        "about 94 s for 100 steps of 0.5 s, 2 evaluations of 1 s and 4 sample grids of 10 s; 300 MiB of memory"
    ).replace("94 s", "2 min")
    busy = replace(found, others=0.9)
    assert busy.seconds(config) == found.seconds(config)
    said = "about 2 min while other programs take 90 % of the processor, and perhaps 10 s without them, for 100 steps"
    assert busy.about(config).startswith(said)


def test_a_result_of_another_kind_is_none(tmp_path, small_config):
    job = EstimateJob(tmp_path)
    job._run.write_config(small_config())
    (tmp_path / FOLDER / RESULT).write_text('{"start": "soon"}')
    assert job.found(small_config()) is None
