"""How much memory there is, and the refusal of what plainly needs more."""

from __future__ import annotations

import psutil
import pytest

from pipelines.common.machine import TooLarge, _cgroup_limits, in_words, machine_memory, refuse_beyond_memory


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
