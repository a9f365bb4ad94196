"""Reading a log while it grows, is torn, and is cut back, and one whose lines are hostile."""

import json
import os
import random
import tracemalloc

import pandas as pd
import pytest

from pipelines.common.reading import UnreadableError
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
    real = metrics_log.parse_json
    monkeypatch.setattr(metrics_log, "parse_json", lambda text, source: parsed.append(text) or real(text, source))
    file.write_text(lines(1, 2))
    log = MetricsLog(file)
    assert steps_of(log) == [1, 2]
    append(file, lines(3))
    assert steps_of(log) == [1, 2, 3]
    assert steps_of(log) == [1, 2, 3]
    assert [text.count(b"step") for text in parsed] == [2, 1], "all new lines at once, each once"


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


HOSTILE = {
    "brackets": "[" * 100_000,
    "brackets in a value": '{"step": 2, "loss": ' + "[" * 20_000 + "]" * 20_000 + "}",
    "an endless line": '{"step": 2, "loss": 0.' + "1" * 3_000_000 + "}",
    "a number of 4000 digits": '{"step": 2, "loss": ' + "9" * 4000 + "}",
    "no step": '{"loss": 0.5}',
    "a step of null": '{"step": null, "loss": 0.5}',
    "a step of text": '{"step": "2"}',
    "a step beyond all": '{"step": 9007199254740993}',
    "a negative step": '{"step": -2}',
    "a truth": '{"step": 2, "loss": true}',
    "text": '{"step": 2, "loss": "<b>0.5</b>"}',
    "an object": '{"step": 2, "loss": {"a": 1}}',
    "a time that is no number": '{"step": 2, "seconds": NaN}',
    "an endless time": '{"step": 2, "seconds": 1e999}',
    "a table by timestep": '{"step": 2, "loss_by_timestep": [[1], [2]]}',
    "a million timesteps": '{"step": 2, "loss_by_timestep": [' + "0," * 20_000 + "0]}",
    "a thousand quantities": json.dumps({"step": 2} | {f"q{i}": 1 for i in range(1000)}),
    "a long name": json.dumps({"step": 2, "q" * 1000: 1}),
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_line_is_skipped_and_counted(file, line):
    file.write_text(lines(1) + line + "\n\n" + lines(3) + line + "\n" + line)  # the last one is still being written
    log = MetricsLog(file)
    for _ in range(2):
        table = log.read()
        assert table.to_dict("list") == {"step": [1, 3], "loss": [1, 1 / 3]}
        assert log.problem == "2 damaged lines skipped"
    append(file, "\n" + lines(4))
    assert steps_of(log) == [1, 3, 4]
    assert log.problem == "3 damaged lines skipped"


def test_any_damage_leaves_numbers(file):
    """Whatever happens to a log's bytes, its table has a bounded number of columns, all of numbers."""
    draw = random.Random(0)
    row = {"images_seen": 8, "seconds": 0.5, "loss": 0.1, "loss_by_timestep": [0.5, 0.25]}
    whole = b"".join(json.dumps({"step": step} | row).encode() + b"\n" for step in range(20))
    pieces = [b"", b"[", b"]", b"{", b"}", b'"', b"null", b"-", b"1e999", b"9" * 30, b"\n", b"\xff", b",", b'"a": {"b": 1}']
    for _ in range(150):
        text = bytearray(whole)
        for _ in range(draw.randint(1, 20)):
            place = draw.randrange(len(text))
            text[place : place + draw.randint(0, 9)] = draw.choice(pieces)
        file.write_bytes(text)
        table = MetricsLog(file).read()
        assert all(kind.kind in "if" for name, kind in table.dtypes.items() if name != "loss_by_timestep")
        assert (table["step"] >= 0).all()


def test_a_long_log_is_read_from_its_end_within_little_memory(file, monkeypatch):
    monkeypatch.setattr(metrics_log, "MOST", 2**20)
    monkeypatch.setattr(metrics_log, "PIECE", 2**16)
    monkeypatch.setattr(metrics_log, "MOST_ROWS", 5000)
    append(file, "x" * 2**22 + lines(*range(1, 100_001)))
    log = MetricsLog(file)
    tracemalloc.start()
    steps = steps_of(log)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert steps == list(range(95_001, 100_001))
    assert "only the newest 1 MiB" in log.problem
    assert peak < 2**24


def test_a_long_line_is_not_held_in_memory(file):
    append(file, lines(1) + "x" * 2**24 + "\n" + lines(2))
    log = MetricsLog(file)
    tracemalloc.start()
    steps = steps_of(log)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert steps == [1, 2]
    assert peak < 2**23


def test_columns_are_bounded(file):
    """A log whose every line has other quantities would fill the memory with empty cells."""
    append(file, "".join(json.dumps({"step": i} | {f"q{i}-{j}": 1 for j in range(10)}) + "\n" for i in range(50)))
    log = MetricsLog(file)
    assert len(log.read().columns) <= metrics_log.MOST_COLUMNS
    assert log.problem


def test_a_pipe_in_the_place_of_a_log_is_not_waited_for(file):
    os.mkfifo(file)
    with pytest.raises(UnreadableError, match="named pipe"):
        MetricsLog(file).read()
    assert metrics_log.newest_lines(file) == []
