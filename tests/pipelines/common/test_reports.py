"""What a watched process reports: how far it is, cheaply, and how it ended, whatever happens to it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import pytest

from pipelines.common import reports
from pipelines.common.command_line import run_command
from pipelines.common.reports import FOLDER, LOG, Outcome, Progress, read_outcome, read_progress, report_in, tracked


@dataclass(frozen=True)
class _Nothing:
    """A command without arguments."""


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Runs a function as a command that a page has launched."""
    monkeypatch.setattr(sys, "argv", ["program"])

    def run(work, *, launched=True):
        if launched:
            monkeypatch.setenv(FOLDER, str(tmp_path))
        return run_command(_Nothing, lambda _: work(), "program")

    return run


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("work", "outcome"),
    [
        (lambda: 0, Outcome("finished")),
        (lambda: 130, Outcome("stopped")),
        (lambda: _raise(KeyboardInterrupt()), Outcome("stopped")),
        (lambda: _raise(ValueError("steps=0: choose 1 or more")), Outcome("failed", "steps=0: choose 1 or more")),
    ],
)
def test_the_outcome_of_a_command_is_reported(watched, tmp_path, work, outcome):
    watched(work)
    assert read_outcome(tmp_path) == outcome


def test_a_mistake_of_ours_is_reported_too_and_says_where_its_traceback_is(watched, tmp_path):
    with pytest.raises(ZeroDivisionError):
        watched(lambda: 1 // 0)
    outcome = read_outcome(tmp_path)
    assert outcome.status == "failed"
    assert "ZeroDivisionError: integer division or modulo by zero" in outcome.error
    assert str(tmp_path / LOG) in outcome.error


def test_the_same_work_is_reported_twice_a_second_and_other_work_at_once(watched, tmp_path, monkeypatch):
    now, seen = 0.0, []
    monkeypatch.setattr(reports.time, "monotonic", lambda: now)

    def work():
        nonlocal now
        for _ in tracked(range(100), "counting", "number"):
            now += 0.1
            if (told := read_progress(tmp_path)) and told not in seen:
                seen.append(told)
        reports.report_progress("resting")
        assert read_progress(tmp_path) == Progress("resting", 0.0, None)
        return 0

    watched(work)
    assert 18 <= len(seen) <= 21  # in ten seconds
    assert all(told.seconds_left == pytest.approx(10 * (1 - told.share)) for told in seen)
    assert not list(tmp_path.glob("*.tmp-*"))


def test_a_command_that_nobody_watches_writes_nothing_until_it_has_a_folder(watched, tmp_path):
    reports.report_progress("alone")  # outside of any command
    (tmp_path / reports.OUTCOME).write_text(json.dumps({"status": "failed", "error": "of an earlier process"}))

    def work():
        reports.report_progress("alone")
        assert read_progress(tmp_path) is None
        report_in(tmp_path)
        assert read_outcome(tmp_path) is None
        reports.report_progress("seen")
        return 0

    watched(work, launched=False)
    assert read_progress(tmp_path) == Progress("seen")
    assert read_outcome(tmp_path) == Outcome("finished")


def test_a_folder_that_cannot_be_written_ends_no_work(watched, monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path / "missing"))
    assert watched(lambda: list(tracked(range(3), "counting", "number")) and 0, launched=False) == 0
