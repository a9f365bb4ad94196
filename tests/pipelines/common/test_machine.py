"""How much memory there is, and the refusal of what plainly needs more."""

from __future__ import annotations

import time
from types import SimpleNamespace

import psutil
import pytest

from pipelines.common.machine import OtherWork, TooLarge, _cgroup_limits, in_words, machine_memory, refuse_beyond_memory


@pytest.mark.parametrize(
    ("own", "files", "limits"),
    [
        ("0::/job/step\n", {"job/memory.max": "1000\n", "job/step/memory.max": "max\n"}, [1000]),
        ("0::/\n", {"memory.max": "700\n"}, [700]),
        ("4:memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": "500\n"}, [500]),
        ("5:cpu:/job\n", {"cpu/job/memory.limit_in_bytes": "500\n"}, []),
    ],
    ids=["version 2, around", "version 2, a container", "version 1", "another kind"],
)
def test_the_limits_of_control_groups_are_found(tmp_path, own, files, limits):
    for name, content in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (tmp_path / "own").write_text(own)
    assert _cgroup_limits(tmp_path / "groups", tmp_path / "own") == limits


def test_elsewhere_than_on_linux_the_memory_is_the_machines(tmp_path):
    assert _cgroup_limits(tmp_path, tmp_path / "absent") == []
    assert 0 < machine_memory() <= psutil.virtual_memory().total


def test_a_limit_of_the_process_counts(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**28, resource.RLIM_INFINITY))
    assert machine_memory.__wrapped__() == 2**28


def test_what_plainly_does_not_fit_is_refused_in_one_sentence():
    refuse_beyond_memory(10, "this", "take less", memory=10)
    with pytest.raises(TooLarge, match=r"^this would take about 3\.0 GiB of memory, and cuda:0 has 2\.0 GiB: take less$"):
        refuse_beyond_memory(3 * 2**30, "this", "take less", 2 * 2**30, "cuda:0")


def test_sizes_are_readable():
    assert [in_words(size) for size in (20_000, 2**20, 1.5 * 2**30, 2**50)] == ["20 KiB", "1 MiB", "1.5 GiB", "1,024.0 TiB"]


def test_the_work_of_others_is_that_of_all_without_its_own(monkeypatch):
    """On the cores that this process may use: here two of three, over 10 seconds, in which it worked for 4 itself."""

    def core(user, idle, waiting):
        return SimpleNamespace(_asdict=lambda: {"user": user, "idle": idle, "iowait": waiting, "guest": user})

    before, after = [core(5, 5, 0), core(1, 8, 1), core(2, 2, 2)], [core(11, 9, 0), core(1, 12, 7), core(12, 2, 2)]
    answers = iter([before, after, after])
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: next(answers))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2}, raising=False)
    monkeypatch.setattr(time, "process_time", iter([1.0, 5.0, 5.0]).__next__)
    others = OtherWork()
    assert others.share == pytest.approx((6 + 10 - 4) / 20)
    assert others.cores == pytest.approx((6 + 10 - 4) / 10)
