"""Logs of other software: what is read of them, and what is said of broken and hostile ones."""

import csv
import io
import json
import math
import sqlite3
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest

from pipelines.common.reading import UnreadableError
from pipelines.storage.foreign_logs import stores
from pipelines.storage.foreign_logs.event_files import masked_crc
from pipelines.storage.foreign_logs.reading import MOST_FILES, read_path, read_upload, stamp

STEPS = range(0, 400, 10)
LOSS = {step: math.exp(-step / 100) for step in STEPS}
VAL_LOSS = {step: 0.1 + LOSS[step] for step in STEPS if step % 50 == 0}
STARTED = 1.7e9


def column(log, name):
    """The values of a column by step."""
    return log.table.dropna(subset=name).set_index("step")[name].to_dict()


def only(path):
    [log], problems = read_path(str(path))
    assert not problems
    return log


# --- writers, which know the formats from their specifications


def varint(value):
    parts = []
    while True:
        value, rest = value >> 7, value & 0x7F
        parts.append(rest | (0x80 if value else 0))
        if not value:
            return bytes(parts)


def block(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def event(step, tag, value, new_style=False):
    """An Event of TensorBoard with a scalar, as a number or, in the newer style, as a tensor."""
    tensor = block(8, varint(1 << 3) + varint(1) + block(5, struct.pack("<f", value)))
    number = tensor if new_style else varint(2 << 3 | 5) + struct.pack("<f", value)
    summary = block(1, block(1, tag.encode()) + number)
    time = varint(1 << 3 | 1) + struct.pack("<d", STARTED + step)
    return time + varint(2 << 3) + varint(step) + block(5, summary)


def record(content):
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc(length)) + content + struct.pack("<I", masked_crc(content))


def events(new_style=False):
    rows = [event(step, "train/loss", loss, new_style) for step, loss in LOSS.items()]
    rows += [event(step, "eval/loss", loss, new_style) for step, loss in VAL_LOSS.items()]
    picture = block(5, block(1, block(1, b"samples") + block(4, bytes(10_000))))
    return b"".join(map(record, [picture, *rows]))


def write_table(path, columns, rows, delimiter=","):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


# --- formats


@pytest.mark.parametrize("new_style", [False, True])
def test_event_files_of_tensorboard(tmp_path, new_style):
    for version, content in (("version_0", events(new_style)), ("version_1", events())):
        (tmp_path / "logs" / version).mkdir(parents=True)
        (tmp_path / "logs" / version / "events.out.tfevents.1.host").write_bytes(content)
    logs, problems = read_path(str(tmp_path / "logs"))
    assert not problems
    assert [log.name for log in logs] == ["logs/version_0", "logs/version_1"]
    assert column(logs[0], "loss") == pytest.approx(LOSS)
    assert column(logs[0], "val_loss") == pytest.approx(VAL_LOSS)
    assert column(logs[0], "seconds") == pytest.approx({step: step for step in STEPS})
    assert logs[0].names == {"loss": "train/loss", "val_loss": "eval/loss", "seconds": "time of each entry"}


def test_a_run_that_was_started_twice_has_two_event_files_and_one_log(tmp_path):
    for number, steps in enumerate((range(5), range(3, 9))):
        content = b"".join(record(event(step, "loss", step + number)) for step in steps)
        (tmp_path / f"events.out.tfevents.{number}").write_bytes(content)
    assert column(only(tmp_path), "loss") == {0: 0, 1: 1, 2: 2, **{step: step + 1 for step in range(3, 9)}}


@pytest.mark.parametrize(("cut", "told"), [(-5, "not whole"), (None, "damaged")])
def test_what_comes_before_damage_in_an_event_file_is_shown(tmp_path, cut, told):
    content = bytearray(events())
    if cut is None:
        content[-1000] ^= 1
    file = tmp_path / "events.out.tfevents.1"
    file.write_bytes(content[:cut])
    log = only(file)
    assert told in log.notes[0]
    shown = column(log, "loss")
    assert 10 < len(shown) <= len(LOSS)
    assert shown == pytest.approx({step: LOSS[step] for step in shown})


def test_tables_that_pages_of_trackers_export(tmp_path):
    header = ["Step", "a - train/loss", "a - train/loss__MIN", "a - train/loss__MAX", "b - x - train/loss"]
    rows = [[step, loss, loss - 1, loss + 1, 2 * loss if step > 50 else ""] for step, loss in LOSS.items()]
    logs, _ = read_path(str(write_table(tmp_path / "wandb_export.csv", header, rows)))
    assert [log.name for log in logs] == ["a", "b - x"]
    assert column(logs[0], "loss") == pytest.approx(LOSS)
    assert column(logs[1], "loss") == pytest.approx({step: 2 * loss for step, loss in LOSS.items() if step > 50})
    file = write_table(tmp_path / "run-v0-tag-val_loss.csv", ["Wall time", "Step", "Value"], [[9.0, 1, 0.5], [10.0, 2, 0.25]])
    log = only(file)
    assert (log.name, column(log, "val_loss"), column(log, "seconds")) == ("v0", {1: 0.5, 2: 0.25}, {1: 0.0, 2: 1.0})


def test_tables_and_lines_with_a_column_of_steps(tmp_path):
    rows = [[step, loss, VAL_LOSS.get(step, ""), 8 * step, "warm-up"] for step, loss in LOSS.items()]
    header = ["step", "train_loss", "val_loss", "samples_seen", "phase"]
    for delimiter in ",;\t":
        log = only(write_table(tmp_path / "metrics.csv", header, rows, delimiter))
        assert (log.name, column(log, "val_loss")) == (tmp_path.name, pytest.approx(VAL_LOSS))
        assert column(log, "images_seen") == {step: 8 * step for step in STEPS}
    file = tmp_path / "stats.jsonl"  # of EDM, whose numbers are within objects, and thousands of images in place of steps
    lines = [{"Loss/loss": {"num": 8, "mean": loss}, "Progress/kimg": {"mean": step / 2}} for step, loss in LOSS.items()]
    file.write_text("\n".join(map(json.dumps, lines)) + '\n{"Loss/loss": {"nu')
    log = only(file)
    assert list(column(log, "loss").values()) == pytest.approx(list(LOSS.values()))
    assert list(column(log, "images_seen").values()) == [500 * step for step in STEPS]
    assert any("1 damaged line" in note for note in log.notes)
    assert any("rows are counted" in note for note in log.notes)


def test_the_state_of_a_trainer_is_that_of_its_longest_checkpoint(tmp_path):
    history = [{"step": step, "loss": loss, "learning_rate": 1e-3, "epoch": 0.1} for step, loss in LOSS.items()]
    history += [{"step": step, "eval_loss": loss} for step, loss in VAL_LOSS.items()]
    for count in (5, len(history)):
        (tmp_path / "out" / f"checkpoint-{count}").mkdir(parents=True)
        state = {"global_step": count, "log_history": history[:count], "best_metric": math.nan}
        (tmp_path / "out" / f"checkpoint-{count}" / "trainer_state.json").write_text(json.dumps(state))
    log = only(tmp_path / "out")
    assert (log.name, column(log, "loss"), column(log, "val_loss")) == ("out", LOSS, VAL_LOSS)
    assert only(tmp_path / "out" / "checkpoint-5" / "trainer_state.json").name == "out"


def test_a_log_without_a_name_has_that_of_its_file_or_of_the_folder_of_files_called_alike(tmp_path):
    table = write_table(tmp_path / "my.table.csv", ["step", "loss"], [[1, 0.5]])
    same = write_table(tmp_path / "metrics.csv", ["step", "loss"], [[1, 0.5]])
    assert [only(file).name for file in (table, same)] == ["my.table.csv", tmp_path.name]
    for name, content in (("my.table.csv", table.read_bytes()), ("events.out.tfevents.1.host", events())):
        assert [log.name for log in read_upload(name, io.BytesIO(content))] == [name]


def test_the_folders_of_mlflow(tmp_path):
    run = tmp_path / "mlruns" / "7" / "0123abc"
    (run / "metrics" / "train").mkdir(parents=True)
    (run / "meta.yaml").write_text("run_id: 0123abc\nrun_name: 'brave-fox'\n")
    (run / "metrics" / "train" / "loss").write_text("".join(f"{1000 * step} {loss} {step}\n" for step, loss in LOSS.items()))
    log = only(tmp_path / "mlruns")
    assert (log.name, column(log, "loss"), log.names["loss"]) == ("brave-fox", pytest.approx(LOSS), "train/loss")


def test_files_that_weights_and_biases_writes_offline(tmp_path):
    def item(name, value):
        return block(1, block(2, name.encode()) + block(16, json.dumps(value).encode()))

    content = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)

    def append(record):  # in blocks of 32 KiB, over whose ends a record is divided
        nonlocal content
        first = True
        while True:
            room = 2**15 - len(content) % 2**15
            if room < 7:
                content, room = content + bytes(room), 2**15
            part, record = record[: room - 7], record[room - 7 :]
            kind = bytes([{(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not record]])
            content += struct.pack("<IH", zlib.crc32(kind + part), len(part)) + kind + part
            first = False
            if not record:
                return

    append(block(17, block(8, b"gentle-sea-1")))
    for step, loss in LOSS.items():
        append(block(2, item("loss", loss) + item("_step", step) + item("note", "x" * 1500)))
    assert len(content) > 2**15
    (tmp_path / "run-1.wandb").write_bytes(content)
    log = only(tmp_path)
    assert (log.name, column(log, "loss"), log.notes) == ("gentle-sea-1", LOSS, [])
    (tmp_path / "run-1.wandb").write_bytes(content[:-3])
    assert "not whole" in only(tmp_path).notes[0]


# --- bad input

HOSTILE = {
    "nothing": (b"", "is empty"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no log that is read here"),
    "prose": (b"This is a letter, not a log.\n", "is no log"),
    "one number": (b"12", "is no log"),
    "a list of numbers": (b"[1, 2, 3]", "neither a list of objects"),
    "deep JSON": (b"[" * 100_000, "not valid JSON"),
    "torn JSON": (b'{"log_history": [{"step": 1', "not valid JSON"),
    "other quantities": (b"step,fid\n1,30\n2,20\n", "under a name that is known; it has fid"),
    "text in place of numbers": (b"step,loss\none,two\nthree,four\n", "no numbers that were logged"),
    "a cell without end": (b'step,loss\n1,"' + b"x" * 200_000, "not a table"),
    "Latin-1": ("step,loss\n1,2\n# été\n".encode("latin-1"), "save it as UTF-8"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_log_is_refused_with_one_sentence(name, tmp_path):
    content, told = HOSTILE[name]
    (tmp_path / "log.bin").write_bytes(content)
    for read in (lambda: read_path(str(tmp_path / "log.bin")), lambda: read_upload("log.bin", io.BytesIO(content))):
        with pytest.raises(UnreadableError, match=told) as refused:
            read()
        assert "\n" not in str(refused.value)


def test_steps_and_numbers_that_cannot_be_are_left_out(tmp_path):
    rows = [["nan", 1], ["-1", 2], ["1e300", 3], ["inf", 4], ["7", "nan"], ["8", "1e999"], ["9", 0.5]]
    table = only(write_table(tmp_path / "log.csv", ["step", "loss"], rows)).table
    assert set(table["step"]) <= {0, 3, 7, 8, 9}  # rows without a step are counted
    assert table.set_index("step")["loss"][9] == 0.5


def test_random_damage_never_raises_anything_else(tmp_path):
    """Every file is read, or refused with a sentence, whatever bytes of it are changed."""
    random = np.random.default_rng(0)
    seeds = {"events.out.tfevents.1": events()[10_000:14_000], "log.jsonl": b'{"step": 1, "loss": {"a": [1, "NaN"]}}\n' * 20}
    seeds["run.wandb"] = struct.pack("<4sHB", b":W&B", 0xBEE1, 0) + bytes(2000)
    seeds["log.csv"] = b"Step,a - loss,b - loss\n" + b"1,0.5,0.25\n" * 50
    for name, seed in seeds.items():
        for _ in range(100):
            content = np.frombuffer(seed, np.uint8).copy()
            content[random.integers(0, len(content), random.integers(1, 20))] = random.integers(0, 256)
            with suppress(UnreadableError):
                read_upload(name, io.BytesIO(content.tobytes()[: random.integers(1, len(content))]))


def test_a_database_can_neither_run_for_long_nor_be_something_else(tmp_path, monkeypatch):
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
    endless += "SELECT 'a' AS run_name, x AS step, '{}' AS metrics, x AS id FROM n"
    for name, statement, told in (
        ("endless.db", f"CREATE VIEW metrics AS {endless}", "interrupted"),
        ("other.db", "CREATE TABLE people (name TEXT)", "neither of trackio nor of MLflow"),
    ):
        database = sqlite3.connect(tmp_path / name)
        database.execute(statement)
        database.close()
        monkeypatch.setattr(stores, "LONGEST_QUERY", 0.05)
        with pytest.raises(UnreadableError, match=told):
            read_path(str(tmp_path / name))
    (tmp_path / "torn.db").write_bytes((tmp_path / "other.db").read_bytes()[:100] + b"\xff" * 4000)
    with pytest.raises(UnreadableError, match="cannot be read as a database"):
        read_path(str(tmp_path / "torn.db"))


def test_a_folder_without_logs_and_a_path_to_nothing(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("step,loss\n1,2\n")  # of what, nobody knows
    with pytest.raises(UnreadableError, match="has no log that is read here"):
        read_path(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        read_path(str(tmp_path / "missing"))
    with pytest.raises(UnreadableError, match="a device"):
        read_path("/dev/zero")


def test_the_stamp_changes_with_the_files(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("step,loss\n1,2\n")
    before = stamp(str(tmp_path))
    assert stamp(str(tmp_path)) == before
    with file.open("a") as log:
        log.write("2,1\n")
    assert stamp(str(tmp_path)) != before
    assert len(before) <= MOST_FILES
