"""Film strips whose rows are noise levels, in columns of different numbers of steps."""

import math
from itertools import pairwise

import pytest
from torch import Tensor

from diffusion_core.schedules import NoiseSchedule, make_schedule, sampling_timesteps
from pipelines.sampling.alignment import SAME_LEVEL, aligned_rows

ROWS = 11


def levels(steps, schedule="flow", spacing="trailing"):
    """The log-SNRs of the frames of a sampler."""
    made: NoiseSchedule = make_schedule(schedule)
    alpha, sigma = made.at(sampling_timesteps(made, steps, spacing))
    log_snr: Tensor = 2 * (alpha / sigma).log()
    return (*log_snr.tolist(), math.inf)


@pytest.mark.parametrize(
    "columns",
    [
        (levels(20), levels(4)),
        (levels(4), levels(20)),
        (levels(4), levels(7), levels(100), levels(1)),
        (levels(20), levels(20, "cosine")),
        (levels(20, "linear"), levels(20, spacing="karras")),
    ],
    ids=["teacher and student", "the other way round", "four", "two schedules", "two spacings"],
)
def test_every_column_goes_from_noise_to_sample_and_stands_still_in_no_row(columns):
    found = aligned_rows(columns, ROWS)
    assert len({len(rows) for rows in found}) == 1
    assert len(found[0]) <= ROWS
    assert all(any(rows[row] >= 0 for rows in found) for row in range(len(found[0]))), "no row is empty"
    for rows, own in zip(found, columns, strict=True):
        shown = [frame for frame in rows if frame >= 0]
        assert (shown[0], shown[-1]) == (0, len(own) - 1)
        assert all(before < after for before, after in pairwise(shown))
        assert len(shown) == min(len(own), ROWS) or len(own) > 5, "a student's frames are all there"


def test_a_student_stands_beside_its_teacher_at_the_same_noise_level():
    teacher, student = levels(20), levels(4)
    rows = list(zip(*aligned_rows((teacher, student), ROWS), strict=True))
    beside = [(one, other) for one, other in rows if other >= 0]
    assert [other for _, other in beside] == [0, 1, 2, 3, 4]
    assert all(one >= 0 for one, _ in rows), "the teacher, which takes more steps, has no gap"
    assert all(abs(teacher[one] - student[other]) <= SAME_LEVEL for one, other in beside[1:-1])


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 20, 100])
def test_columns_of_as_many_steps_have_no_gaps(steps):
    first, second = aligned_rows((levels(steps), levels(steps)), ROWS)
    assert first == second
    assert len(first) == min(steps + 1, ROWS)
    apart = [after - before for before, after in pairwise(first)]
    assert max(apart) - min(apart) <= 1
