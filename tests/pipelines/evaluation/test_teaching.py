"""A student beside its teacher and other models: in verdicts, rankings and figures."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from pages.components.results import usual_series
from pipelines.evaluation.columns import Column, compare
from pipelines.evaluation.judging import verdict
from pipelines.evaluation.measured import shared_settings
from pipelines.evaluation.ranking import ranking, settings_to_rank
from pipelines.evaluation.results import Evaluation, Result
from pipelines.evaluation.tables import samples_table
from pipelines.evaluation.teaching import teaching
from pipelines.figures.chart import Curve
from pipelines.figures.cost import quality_against_cost
from pipelines.figures.screen import on_screen
from pipelines.sampling.own_steps import own_steps
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.config import DistillationConfig
from pipelines.storage.run import Run

BASELINE, TEACHER = (Evaluation(Run(f"checkpoints/fashion-{name}")) for name in ("baseline", "attention"))
SHIPPED = next(one for one in TEACHER.of_kind("samples") if one.asked["request"]["steps"] == 20)
MEASURED = replace(SHIPPED, found={name: value for name, value in SHIPPED.found.items() if name != "classes"})


def measured(factor=1.0, classes=None, **request) -> Result:
    """The teacher's measurement at other settings, with another distance."""
    asked, found = copy.deepcopy(MEASURED.asked), copy.deepcopy(MEASURED.found)
    asked["request"] |= request
    found["network_calls"] = asked["request"]["steps"]
    figure = found["figures"]["frechet_distance"]
    figure |= {end: factor * figure[end] for end in ("value", "low", "high")}
    figure["halves"] = [[factor * part for part in halves] for halves in figure["halves"]]
    return Result("samples", asked, found | ({"classes": classes} if classes else {}))


@pytest.fixture
def teacher():
    made = Evaluation(TEACHER.run)
    made.results = [*(one for one in made.results if one.kind != "samples"), MEASURED]
    return made


@pytest.fixture
def student():
    """A student of fashion-attention, as if it had been measured."""
    own = DistillationConfig(
        calls=(4,), spacing="trailing", teacher="fashion-attention", teacher_fingerprint=TEACHER.fingerprint
    )
    config = replace(TEACHER.config, distillation=own)
    made = Evaluation(TEACHER.run, fingerprint="0123456789abcdef", name="student", config=config)
    made.results = [measured(1.1, **own_steps(config))]
    return made


def columns(teacher, student, **request):
    return Column(teacher, SamplingRequest(**request)), Column(student, SamplingRequest(**own_steps(student.config)))


def test_a_student_is_compared_in_its_own_steps_with_other_models_at_theirs(teacher, student):
    models = [BASELINE, teacher, student]
    for order in (models, models[::-1]):
        settings = shared_settings(order)
        assert [(one.request["sampler"], one.request["steps"]) for one in settings] == [("unipc", 20)]
        found = verdict([order[0]], [order[-1]])
        assert "frechet_distance" in found.differences
        assert "student is a student and samples in its own 4 steps." in found.notes
    groups = settings_to_rank(models)
    setting, members = next(iter(groups.values()))
    assert members == models
    assert [student] not in [members for _, members in groups.values()], "it has no ranking of its own"
    assert {one.name for one in ranking(members, setting, "frechet_distance")} == {one.name for one in models}
    student.results = [measured(guidance=2.0, **own_steps(student.config))]
    assert not shared_settings([teacher, student]), "another guidance is another question"


def test_a_student_of_several_numbers_is_compared_in_the_nearest(teacher, student):
    own = replace(student.config.distillation, calls=(2, 4, 8))
    student.config = replace(student.config, distillation=own)
    student.results = [measured(factor, **own_steps(student.config, steps)) for factor, steps in ((3, 2), (1.5, 4), (1.1, 8))]
    teacher.results = [measured(steps=3), measured()]
    notes = [verdict([teacher], [student], setting).notes for setting in shared_settings([teacher, student])]
    assert [[note for note in told if "student" in note] for told in notes] == [
        ["student is a student and samples in its own 2 steps."], ["student is a student and samples in its own 8 steps."],
    ]  # fmt: skip
    two, eight = (Column(student, SamplingRequest(**own_steps(student.config, steps))) for steps in (2, 8))
    assert (two.options, eight.options) == ({"--steps": "2"}, {"--steps": "8"})
    found, value = compare(two, eight), MEASURED.found["figures"]["frechet_distance"]["value"]
    difference = found.verdict.differences["frechet_distance"].estimate.value
    assert abs(difference) == pytest.approx(1.9 * value)
    assert (found.verdict.first, found.verdict.second) == ("2 steps", "8 steps")
    rankings = settings_to_rank([student])
    assert [setting.request["steps"] for setting, _ in rankings.values()] == [2, 4, 8]


def test_what_a_student_drops_is_known_once_the_classes_of_both_were_recorded(teacher, student):
    pair = columns(teacher, student)
    found = compare(*pair)
    told = teaching(*pair, found)
    assert (told.missing, told.num_images) == (pair, 500), "older versions recorded no classes"
    assert told.coverage.startswith("Coverage")
    assert (found.verdict.first, found.verdict.second) == (teacher.name, student.name)
    assert told.classes is None
    names = ["a", "b"]
    teacher.results = [measured(classes={"names": names, "seen": [0, 1] * 250})]
    student.results = [measured(classes={"names": names, "seen": [0] * 500}, **own_steps(student.config))]
    for both in (pair, pair[::-1]):
        told = teaching(*both, compare(*both))
        assert (told.teacher, told.student) == pair
        assert not told.missing
        assert "fewer of b (50.0 % → 0.0 %)" in str(told.classes)
    student.results = []
    told = teaching(*pair, compare(*pair))
    assert told.missing == (pair[1],)
    assert not told.coverage


def test_only_a_teacher_and_its_student_are_one(teacher, student):
    for pair in (columns(BASELINE, student), (Column(teacher, SamplingRequest()), Column(BASELINE, SamplingRequest()))):
        assert teaching(*pair, compare(*pair)) is None
    own = replace(student.config.distillation, teacher_fingerprint="f" * 16)
    other = Evaluation(TEACHER.run, fingerprint=student.fingerprint, config=replace(student.config, distillation=own))
    pair = columns(teacher, other)
    assert "has other weights than when" in teaching(*pair, compare(*pair)).remark


def test_quality_against_calls_shows_students_and_learned_spacings_among_samplers(teacher, student):
    teacher.results = [measured(3.0, steps=5), measured(2.0, steps=5, spacing="learned"), measured()]
    models = [BASELINE, teacher, student]
    table = usual_series(samples_table(models))
    assert set(table["run"]) == {one.name for one in models}
    assert set(table[table["run"] == teacher.name]["spacing"]) == {"trailing", "learned"}
    chart = quality_against_cost(table, "frechet_distance", "network_calls", [one.name for one in models])
    curves = {mark.name: mark for panel in chart.panels for mark in panel.marks if isinstance(mark, Curve)}
    star = curves["student, 4 steps"]
    assert next(iter(curves)) == star.name, "first in the legend, and drawn last"
    assert (star.look.symbol, star.line, list(star.x)) == ("star", False, [4])
    assert [name for name, curve in curves.items() if curve.look.symbol == "star"] == ["student, 4 steps"]
    assert curves["fashion-attention, UniPC-3, learned spacing"].look.symbol == "circle-open"
    drawn = on_screen(chart)
    listed = next(trace for trace in drawn["data"] if trace["showlegend"] and len(trace["x"]))  # Plotly lists no others
    assert (listed["name"], listed["mode"], listed["marker"]["symbol"]) == (star.name, "markers", "star")
    explained = [curve.name for curve in chart.key]
    assert {"learned spacing", "student, 4 steps", "fashion-attention", "DDIM"} <= set(explained)
    at_4 = [x for curve in curves.values() for x in curve.x if x == 4]
    assert len(at_4) == 2, "the star, and the front that begins there: no series is hidden behind the star"
    teacher.results.append(measured(2.5, steps=5, sampler="ddim"))
    pair = quality_against_cost(samples_table([teacher, student]), "frechet_distance", "network_calls")
    looks = [mark.look for mark in pair.panels[0].marks if isinstance(mark, Curve) and mark.points]
    colours = [{look.color for look in looks if (look.symbol == "star") == starred} for starred in (True, False)]
    assert list(map(len, colours)) == [1, 2]
    assert colours[0].isdisjoint(colours[1]), "no sampler has a student's colour"
    own = replace(student.config.distillation, calls=(2, 4, 8))
    student.config = replace(student.config, distillation=own)
    student.results = [measured(factor, **own_steps(student.config, steps)) for factor, steps in ((3, 2), (1.5, 4), (1.1, 8))]
    several = quality_against_cost(samples_table(models), "frechet_distance", "network_calls", [one.name for one in models])
    *_, star = (mark for mark in several.panels[0].marks if isinstance(mark, Curve) and mark.look.symbol == "star")
    assert (star.name, star.line, list(star.x)) == ("student, 2, 4 or 8 steps", True, [2, 4, 8])
    student.results = student.results[1:2]
    alone = quality_against_cost(samples_table([student]), "frechet_distance", "network_calls")
    assert {curve.name for panel in alone.panels for curve in panel.marks if isinstance(curve, Curve)} == {"student, 4 steps"}
