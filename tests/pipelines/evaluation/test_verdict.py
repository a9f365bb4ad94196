"""Verdicts from the results of runs: what is compared, what is paired, and what is said."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluation.distances import Reference
from pipelines.evaluation.intervals import Estimate
from pipelines.evaluation.judging import (
    GONE,
    ONE_SEED,
    SEEDS,
    UNPAIRED,
    UNTESTED,
    VERDICT,
    grouped,
    keep_verdict,
    paired_losses,
    verdict,
)
from pipelines.evaluation.kept_features import keep_features
from pipelines.evaluation.measured import shared_settings
from pipelines.evaluation.paired import Difference
from pipelines.evaluation.results import LARGER_IS_BETTER, NEAREST_IS_BEST, Evaluation
from pipelines.evaluation.verdict import COUNTED, TITLES, Verdict, cost_sentence, not_compared, sentences
from pipelines.storage.run import Run
from pipelines.storage.weights import read_tensors

IMAGES = 400
REQUEST = {"sampler": "ddim", "steps": 20, "guidance": 1.0, "seed": 0, "num_images": IMAGES}
COMPARED = {
    "features": "shapes classifier",
    "judge": "abc",
    "reference_images": 40,
    "reference_digest": "d",
    "held_out_digest": "h",
}


@pytest.fixture
def made(tiny_run, tmp_path):
    """Makes a run that differs from others in its weights' file and in some settings."""

    def make(name, **settings):
        run = Run(shutil.copytree(tiny_run.path, tmp_path / name))
        (run.path / "evaluation.json").unlink(missing_ok=True)
        run.write_config(replace(run.config, **settings))
        weights, _ = read_tensors(run.model_path)
        run.write_model(weights, replace(run.config, versions={"name": name}))  # a fingerprint of its own
        return Evaluation(run)

    return make


def estimate(value, width=0.5):
    return {"value": value, "low": value - width, "high": value + width}


def measure(evaluation, distance, losses=0.0, request=(), images="h", **changed):
    """Keep results as the evaluation does: figures of samples, and losses, that vary alike in all runs."""
    vary = np.random.default_rng(0).standard_normal((200, 2))
    figures = {
        "frechet_distance": estimate(distance) | {"halves": (distance + vary).tolist()},
        "agreement": estimate(0.5, 0.05) | {"cases": "01" * (IMAGES // 2)},
    }
    found = {"network_calls": 20, "seconds": 0.5, "memory": 2**21, "figures": figures, "floor": {"images": 40}}
    asked = {"request": REQUEST | dict(request)} | COMPARED | {"held_out_digest": images} | changed
    evaluation.add("samples", {key: value for key, value in asked.items() if value is not None}, found)
    errors = losses + np.random.default_rng(1).exponential(1, 400)
    errors += 0.01 * np.random.default_rng(int(1e6 * losses) + 2).standard_normal(400)
    digest = {"held_out_digest": images} if images else {}
    bins = {"timesteps": [], "mean": [], "low": [], "high": []}
    whole = estimate(errors.mean(), 0.1)
    evaluation.add("loss", {"images": 400, "seed": 0} | digest, bins | {"whole": whole, "errors": errors.tolist()})
    return evaluation


def test_it_says_who_is_better_by_how_much_and_at_what_cost(made):
    found = verdict([measure(made("one"), 6.0)], [measure(made("two"), 5.0, 0.02)])
    assert found.sentence("frechet_distance").startswith(
        "Samples from two are closer to real images: Fréchet distance lower by 1.0"
    )
    assert found.better("loss") == "one"
    assert found.differences["loss"].p == 0.001
    assert found.sentence("agreement") == (
        "Agreement with the condition: not told apart, the difference is at most 0.0069 (95\u00a0%); "
        "about 9,700 samples would be needed to tell a difference of 0.002"
    )
    assert found.better("agreement") is None
    assert found.costs[0]["Network calls"] == "20"
    assert found.costs[0]["Time per image"] == "500 ms"
    assert found.notes == (ONE_SEED, GONE)
    assert str(found.setting) == "400 samples, 20 steps of DDIM"


def test_the_verdict_does_not_depend_on_the_order(made):
    one, two = measure(made("one"), 6.0), measure(made("two"), 5.0, 0.02)
    here, there = verdict([one], [two]), verdict([two], [one])
    assert sentences(here) == sentences(there)
    assert here.summary == there.summary


def test_a_direction_is_claimed_where_the_interval_excludes_zero_and_nowhere_else():
    random = np.random.default_rng(0)
    for name, value in [(name, value) for name in TITLES for value in random.normal(0, 1, 20)]:
        found = Difference(1 + value, 1.0, Estimate(value, value - 0.7, value + 0.7), (1, 1), True, needed=100, tells=0.4)
        [sentence] = sentences(Verdict("one", "two", None, {name: found}, ({}, {}), ()))
        larger, smaller = ("one", "two") if value > 0 else ("two", "one")
        words = re.findall(r"\w+", sentence.text)
        if abs(value) < 0.7:
            assert not sentence.told
            assert sentence.better is None
            assert not {"one", "two", "higher", "lower", "more", "fewer", "closer"} & {word.lower() for word in words[8:]}
        elif name in NEAREST_IS_BEST:
            assert sentence.better is None
            assert (larger in words, smaller in words, "higher" in words) == (True, False, True)
        else:
            better, worse = (larger, smaller) if name in LARGER_IS_BETTER else (smaller, larger)
            assert sentence.better == better
            assert (better in words, worse in words) == (True, False)
            assert ("higher" if name in LARGER_IS_BETTER else "lower") in words


def test_the_summary_counts_each_main_figure_once():
    random = np.random.default_rng(0)
    for values in random.normal(0, 1, (40, len(COUNTED))):
        found = {
            name: Difference(1 + value, 1.0, Estimate(value, value - 0.7, value + 0.7), (1, 1), True, needed=100, tells=0.4)
            for name, value in zip(COUNTED, values, strict=True)
        }
        both = Verdict("one", "two", None, found, ({}, {}), ())
        told = both.summary
        counts = {word: int(number) for word, number in re.findall(r"(one|two) in (\d+)", told)}
        undecided = re.findall(r"(\d+) (?:does|do) not tell them apart|in any of (\d+)", told)
        assert sum(counts.values()) + sum(int(one or other) for one, other in undecided) == len(COUNTED), told
        for model in ("one", "two"):
            assert counts.get(model, 0) == sum(sentence.better == model for sentence in sentences(both))


def test_only_the_end_near_zero_of_an_interval_has_more_digits():
    found = Difference(0.8630, 0.8182, Estimate(0.0448, 0.0005, 0.0890), (1, 1), True)
    told = Verdict("one", "two", None, {"recall": found}, ({}, {}), ()).sentence("recall")
    assert told.endswith("recall higher by 0.045 (95\u00a0%: 0.0005 to 0.089)")


def test_one_weak_difference_among_many_figures_may_be_chance():
    """One whose interval hardly excludes 0 says little among seven; a clear one says enough."""

    def summary(*values):
        found = {
            name: Difference(1 + value, 1.0, Estimate(value, value - 1, value + 1), (1, 1), True)
            for name, value in zip(COUNTED, values, strict=False)
        }
        return Verdict("one", "two", None, found, ({}, {}), ()).summary

    assert (
        summary(1.1, 0, 0, 0, 0, 0, 0)
        == "Better: two in 1 of 7 main figures; 6 do not tell them apart. Among so many figures, this may be chance."
    )
    assert summary(1.5, 0, 0, 0, 0, 0, 0) == "Better: two in 1 of 7 main figures; 6 do not tell them apart."
    of_samples = "main figures of samples (loss and likelihood were not compared)"
    assert summary(1.5, 0) == f"Better: two in 1 of 2 {of_samples}; 1 does not tell them apart."
    assert "in any of 7 main figures." in summary(0, 0, 0, 0, 0, 0, 0)
    assert summary(0, 0).endswith(f"in any of 2 {of_samples}.")
    only = "in the only main figure of samples (loss and likelihood were not compared)."
    assert summary(1.1) == f"Better: two {only}"
    assert summary(0).endswith(only)


def test_no_figure_is_left_out_in_silence(made):
    """Each that was measured for either is in a sentence, or said not to be compared."""
    one, two = measure(made("one"), 6.0), measure(made("two"), 5.0)
    two.of_kind("samples")[0].found["figures"]["recall"] = estimate(0.5)
    two.results = [result for result in two.results if result.kind != "loss"]
    found = verdict([one], [two])
    assert [sentence.name for sentence in sentences(found)] == ["frechet_distance", "agreement"]
    assert found.absent == ("recall", "loss")
    assert "recall, held-out loss" in not_compared(found)
    assert not_compared(verdict([one], [one])) == ""


def test_the_cost_is_told_of_both_and_times_of_one_machine_alone(made):
    found = verdict([measure(made("one"), 6.0)], [measure(made("two"), 5.0)])
    told = cost_sentence(found)
    assert "network calls 20 each; time per image 500 ms each (not recorded)" in told
    elsewhere = replace(found, costs=(found.costs[0], found.costs[1] | {"Measured on": "another", "Time per image": "9 ms"}))
    assert "time per image 500 ms against 9 ms (on different machines, so not comparable)" in cost_sentence(elsewhere)


def test_what_is_paired_is_what_has_the_same_images_and_noise(made):
    """Neither the seed of training nor the name of the data matters; without digests both do, because they chose the images."""
    one = measure(made("one"), 6.0)
    data = one.run.config.data
    elsewhere = measure(made("elsewhere", data=replace(data, data="someone/shapes"), seed=7), 5.9, 0.02)
    assert all(found.paired for found in verdict([one], [elsewhere]).differences.values())
    assert list(paired_losses([one, elsewhere])["Run"]) == ["elsewhere"]
    others = measure(made("others", seed=7), 5.9, 0.02, images="other")
    assert not shared_settings([one, others])
    assert not verdict([one], [others]).differences["loss"].paired
    assert paired_losses([one, others]).empty
    old = [measure(made(name, seed=seed), 6.0, images=None, judge=None) for name, seed in (("a", 0), ("b", 0), ("c", 7))]
    assert verdict(old[:1], old[1:2]).differences["loss"].paired
    assert not verdict(old[:1], old[2:]).differences["loss"].paired
    assert UNPAIRED in verdict(old[:1], old[2:]).notes


def test_other_data_are_not_compared(made):
    one = measure(made("one"), 6.0)
    other = made("other", data=replace(one.run.config.data, data="flowers"), training_digest="")
    assert verdict([one], [measure(other, 5.0, images="other")]).differences == {}
    namesake = made("namesake", training_digest="0" * 16)  # another folder of the same name
    assert verdict([one], [measure(namesake, 5.0, images="other")]).differences == {}
    assert "loss" in verdict([one], [measure(made("older", training_digest=""), 5.0, images="other")]).differences


def test_samples_of_another_setting_are_not_compared(made):
    one, two = measure(made("one"), 6.0), measure(made("two"), 5.0, request={"steps": 10})
    assert "loss" in verdict([one], [two]).differences
    assert verdict([one], [two]).setting is None
    measure(two, 5.0, request={"steps": 20}, shown="what held-out images show")
    assert str(verdict([one], [two]).setting) == "400 samples, 20 steps of DDIM"


def test_seeds_of_one_recipe_are_one_model_whose_spread_counts(made):
    recipe = [measure(made(f"a{seed}", seed=seed), 6 + seed / 2) for seed in range(3)]
    other = made("b", optimizer=replace(recipe[0].run.config.optimizer, lr=0.5))
    measure(other, 5.0)
    groups = grouped([*recipe, other])
    assert {name: len(group) for name, group in groups.items()} == {"a0 (3 seeds)": 3, "b": 1}
    found = verdict(*groups.values())
    assert found.differences["frechet_distance"].seeds == (3, 1)
    alone = verdict(recipe[1:2], [other]).differences["frechet_distance"].estimate
    assert found.differences["frechet_distance"].estimate.error > 3 * alone.error
    assert found.notes == (SEEDS.format(3, 1),)
    assert "more training seeds" in found.sentence("frechet_distance")


def test_it_is_kept_with_p_values_of_distances(made, tmp_path, monkeypatch):
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path / "cache"))
    one, two = measure(made("one"), 6.0), measure(made("two"), 5.0)
    random = np.random.default_rng(0)
    noise, reference = random.standard_normal((40, 3)), Reference(random.standard_normal((60, 3)))
    for evaluation, shift in ((one, 1.0), (two, 0.0)):
        asked = evaluation.of_kind("samples")[0].asked
        keep_features(evaluation.fingerprint, asked, shift + noise, reference)
    [setting] = shared_settings([one, two])
    assert UNTESTED in verdict([one], [two]).notes
    found = keep_verdict([one], [two], setting)
    assert not {UNTESTED, GONE} & {*found.notes, *verdict([two], [one]).notes}
    assert found.differences["frechet_distance"].p == 0.005
    for kept in (verdict([one], [two]), verdict([two], [one])):
        assert kept.differences["frechet_distance"].p == 0.005
    [result] = Evaluation(one.run).of_kind(VERDICT)
    assert result.found["figures"]["frechet_distance"]["verdict"] == found.sentence("frechet_distance")
    assert json.loads(json.dumps(found.to_json())) == result.found
    keep_verdict([one], [two], setting)
    assert len(Evaluation(one.run).of_kind(VERDICT)) == 1


def test_a_figure_that_is_best_where_real_images_have_it_is_told_without_a_better_one(made):
    one, two = (measure(made(name), 6.0) for name in ("one", "two"))
    for evaluation, density in ((one, 1.3), (two, 0.8)):
        evaluation.add("floor", COMPARED | {"images": 40}, {"figures": {"density": estimate(0.97)}})
        [samples] = evaluation.of_kind("samples")
        values = density + np.random.default_rng(int(10 * density)).standard_normal(IMAGES)
        samples.found["figures"] |= {"density": estimate(density) | {"values": values.tolist()}}
    found = verdict([one], [two])
    assert found.sentence("density").startswith(
        "Samples from one crowd more where real images are: density higher by 0.50 (95\u00a0%: 0.3"
    )
    assert found.sentence("density").endswith("; the best is that of real images, 0.97")
    assert found.better("density") is None
    assert "of 3 main figures" in found.summary


def test_what_does_not_fit_is_not_paired(made):
    """A file that somebody edited."""
    one, two = measure(made("one"), 6.0), measure(made("two"), 5.0)
    two.of_kind("samples")[0].found["figures"]["frechet_distance"]["halves"].pop()
    assert not verdict([one], [two]).differences["frechet_distance"].paired
