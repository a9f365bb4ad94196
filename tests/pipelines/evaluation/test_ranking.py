"""Rankings of models, and the differences of their losses by noise level, of the published runs."""

import re

import numpy as np
import pytest

from pipelines.evaluation.judging import verdict
from pipelines.evaluation.measured import loss_figure
from pipelines.evaluation.ranking import loss_differences, ranking, ranking_sentence, settings_to_rank
from pipelines.evaluation.results import LARGER_IS_BETTER, Evaluation
from pipelines.storage.run import Run

NAMES = ("fashion-attention", "fashion-text", "fashion-class", "flowers-text")


@pytest.fixture(scope="module")
def evaluations():
    return [Evaluation(Run(f"checkpoints/{name}")) for name in NAMES]


def test_models_are_ranked_where_most_of_them_were_measured_alike(evaluations):
    (setting, members), *others = settings_to_rank(evaluations).values()
    assert [one.name for one in members] == list(NAMES[:3])
    assert all(len(other[1]) <= 3 for other in others)
    assert setting.request["guidance"] == 1


def test_every_model_is_ranked_also_those_compared_with_other_real_images(evaluations):
    others = [Evaluation(Run(f"checkpoints/{name}")) for name in ("flowers-attention-64", "flowers-class-64")]
    found = settings_to_rank([*evaluations[:3], *others])
    usual = {"guidance": 1, "steps": 20}.items()
    groups = [[one.name for one in members] for setting, members in found.values() if usual <= setting.request.items()]
    assert groups == [list(NAMES[:3]), [one.name for one in others]]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("figure", ["frechet_distance", "precision"])
def test_a_model_is_surely_worse_only_if_the_verdict_says_so(evaluations, figure):
    setting, members = next(iter(settings_to_rank(evaluations).values()))
    ranked = ranking(members, setting, figure)
    values = [one.estimate.value for one in ranked]
    assert values == sorted(values, reverse=figure in LARGER_IS_BETTER)
    by_name = {one.name: one for one in members}
    for other in ranked[1:]:
        found = verdict([by_name[ranked[0].name]], [by_name[other.name]], setting)
        assert other.surely_worse == found.differences[figure].told_among(3), "three pairs are three chances to err"
        assert found.better(figure) == ranked[0].name or not other.surely_worse
        assert other.behind.estimate.value == pytest.approx(-found.differences[figure].estimate.value)
    told = ranking_sentence(ranked, figure)
    assert ("surely better" in told) == any(one.surely_worse for one in ranked)
    worse = re.findall(r"[\w-]+", told.partition("surely better than ")[2].partition(";")[0])
    assert all((one.name in worse) == one.surely_worse for one in ranked)
    turned = ranking(members[::-1], setting, figure)
    assert [one.estimate for one in turned] == [one.estimate for one in ranked]


def test_differences_by_noise_level_add_up_to_that_of_the_whole_loss(evaluations):
    found = loss_differences(evaluations)
    assert list(found) == list(NAMES[1:3]), "flowers-text was measured on other images"
    first = loss_figure(evaluations[0]).estimate.value
    for evaluation in evaluations[1:3]:
        table = found[evaluation.name]
        assert table["difference"].mean() == pytest.approx(loss_figure(evaluation).estimate.value - first, abs=1e-5)
        assert (table["low"] < table["difference"]).all()
        assert np.allclose(table["difference"] - table["low"], table["high"] - table["difference"])
    assert not loss_differences(evaluations[:1])
