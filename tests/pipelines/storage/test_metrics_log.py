"""Reading a log while it grows, is torn, and is cut back."""

import json

import pandas as pd
import pytest

from pipelines.storage import metrics_log
from pipelines.storage.metrics_log import MetricsLog


def lines(*steps):
    return "".join(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in steps)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "metrics.jsonl"


def steps_of(log):
    table = log.read()
    return table["step"].tolist() if len(table) else []


def append(file, text):
    with file.open("a") as opened:
        opened.write(text)


def test_only_what_was_appended_is_parsed(file, monkeypatch):
    parsed = []
    real = metrics_log.parse_lines
    monkeypatch.setattr(metrics_log, "parse_lines", lambda text: parsed.append(text) or real(text))
    file.write_text(lines(1, 2))
    log = MetricsLog(file)
    assert steps_of(log) == [1, 2]
    append(file, lines(3))
    assert steps_of(log) == [1, 2, 3]
    assert steps_of(log) == [1, 2, 3]
    assert parsed == [lines(1, 2).encode(), lines(3).encode()]


def test_a_line_being_written_is_read_when_it_is_whole(file):
    whole = lines(2)
    file.write_text(lines(1) + whole[:7])
    log = MetricsLog(file)
    assert steps_of(log) == [1]
    append(file, whole[7:])
    assert steps_of(log) == [1, 2]


@pytest.mark.parametrize("after", [lines(1), lines(1, 2), lines(1, 9, 3), lines(1, 2, 4), lines(1, 2, 4, 5, 6), "", lines(7)])
def test_a_log_that_was_cut_back_is_read_anew(file, after):
    file.write_text(lines(1, 2, 3))
    log = MetricsLog(file)
    assert steps_of(log) == [1, 2, 3]
    file.write_text(after)
    assert steps_of(log) == [json.loads(line)["step"] for line in after.splitlines()]


def test_a_reader_cannot_change_what_the_next_one_gets(file):
    file.write_text(lines(1, 2))
    log = MetricsLog(file)
    table = log.read()
    table["step"] = 0
    assert steps_of(log) == [1, 2]


@pytest.mark.parametrize("piece", [40, 100, 1 << 20])
def test_the_pieces_do_not_matter(file, monkeypatch, piece):
    monkeypatch.setattr(metrics_log, "PIECE", piece)
    file.write_text(lines(*range(1, 40)) + "torn\n[1]\n" + lines(*range(40, 60)))
    assert steps_of(MetricsLog(file)) == list(range(1, 60))


def test_new_columns_join_the_old_rows(file):
    file.write_text(lines(1))
    log = MetricsLog(file)
    log.read()
    append(file, json.dumps({"step": 2, "val_loss": 0.5, "loss_by_timestep": [0.25, 0.75]}) + "\n")
    table = log.read()
    assert list(table["loss_by_timestep"].iloc[1]) == [0.25, 0.75]
    assert pd.isna(table["val_loss"].iloc[0])
