"""What is said of two columns of a comparison: measured settings, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.evaluation.columns import Column, compare, measured_together, told_apart
from pipelines.evaluation.measured import same_data
from pipelines.evaluation.results import Evaluation
from pipelines.evaluation.verdict import sentences
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.run import Run

FASHION = {name: Evaluation(Run(f"checkpoints/fashion-{name}")) for name in ("baseline", "attention", "class")}


def column(model="baseline", **settings):
    return Column(FASHION[model], SamplingRequest(**settings))


def test_two_models_sampled_alike_get_their_verdict():
    found = compare(column(), column("attention"))
    assert (found.missing, found.elsewhere, found.remarks) == ((), False, ())
    assert found.verdict is not None
    assert {found.verdict.first, found.verdict.second} == {"fashion-baseline", "fashion-attention"}
    assert "loss" in found.verdict.differences


def test_one_model_sampled_in_two_ways_is_compared_at_these_settings():
    found = compare(column(steps=5), column(steps=20)).verdict
    assert found is not None
    assert not {"loss", "bound"} & {*found.differences}, "the network is the same"
    assert found.better("frechet_distance") == "20 steps"
    assert (found.costs[0]["Network calls"], found.costs[1]["Network calls"]) == ("5", "20")
    swapped = compare(column(steps=20), column(steps=5)).verdict
    assert swapped is not None
    assert sentences(swapped) == sentences(found)
    assert compare(column(steps=5), column(sampler="ddim", steps=20)).verdict.second == "DDIM in 20 steps"
    guided = compare(column("class", label="all", guidance=2.0), column("class", label="all")).verdict
    assert {guided.first, guided.second} == {"guidance 2", "guidance 1"}


def test_columns_are_called_by_what_differs():
    def names(*wishes):
        return told_apart([model for model, _ in wishes], [SamplingRequest(**settings) for _, settings in wishes])

    one, other, guided = ("one", {}), ("other", {}), ("guided", {"label": "all", "guidance": 2.0})
    ddim = {"sampler": "ddim"}
    assert names(one, ("one", ddim)) == ["UniPC-3", "DDIM"]
    assert names(one, other) == ["one", "other"]
    assert names(one, one) == ["one", "one"]
    assert names(one, guided) == ["one", "guided"], "what does not apply to a model does not differ"
    assert names(one, ("other", ddim | {"steps": 5})) == ["one with UniPC-3 in 20 steps", "other with DDIM in 5 steps"]
    assert names(("one", {"label": "rose"}), ("one", {"label": "all", "seed": 1})) == [
        "rose, seed 0",
        "every class in turn, seed 1",
    ]
    assert names(("one", {"prompt": ("a rose",)}), ("one", {"prompt": ("an iris",)})) == ["a rose", "an iris"]


@pytest.mark.parametrize(
    ("one", "other", "remark"),
    [
        (column(), column("attention", seed=3), "different noise (seeds 0 and 3)"),
        (column(), column(seed=3), "differ in their noise alone"),
        (column(), column(), "The columns are the same."),
        (column("class", label="Bag"), column("class", label="Coat"), "differ in what was asked for"),
        (column("class", label="Bag"), column(), "(Bag; anything)"),
        (column("class", label="Bag"), column("class", label="Bag", guidance=2.0), "not about Bag alone"),
    ],
)
def test_what_cannot_be_compared_is_said(one, other, remark):
    for pair in ((one, other), (other, one)):
        assert any(part in " ".join(compare(*pair).remarks) for part in (remark, _turned(remark)))


def _turned(remark):
    return remark.replace("0 and 3", "3 and 0").replace("Bag; anything", "anything; Bag")


def test_models_of_other_images_get_no_verdict():
    flowers = Column(Evaluation(Run("checkpoints/flowers-baseline-64")), SamplingRequest())
    found = compare(column(), flowers)
    assert found.verdict is None
    learnt = "fashion-baseline learnt from fashion_mnist at 32×32, flowers-baseline-64"
    assert found.remarks[0].startswith(f"Not comparable: {learnt}")
    assert not found.same_noise
    assert compare(column(), column("attention")).same_noise


def test_settings_that_were_not_measured_are_named_with_the_options_that_measure_them():
    measured, new = column(), column(steps=13)
    found = compare(new, measured)
    assert found.verdict is None
    assert [one.options for one in found.missing] == [measured.options | {"--steps": "13"}]
    assert found.num_images == 500, "as many as of the other"
    both = compare(new, column("attention", steps=13))
    assert both.elsewhere
    assert both.verdict is not None
    assert both.verdict.setting is not None, "what was measured elsewhere is told with its setting"
    assert len(both.missing) == 2
    models_alone = compare(new, column("attention"))
    assert models_alone.verdict is not None
    assert models_alone.verdict.first == "fashion-baseline", "what needs no samples does not depend on how they are made"
    assert {*models_alone.verdict.differences} <= {"loss", "bound"}
    assert "eta" in column(sampler="ddim", eta=0.5).unmeasurable
    spaced = column(spacing="karras")
    assert not spaced.unmeasurable
    assert [one.options for one in compare(measured, spaced).missing] == [measured.options | {"--spacing": "karras"}]
    assert not measured.unmeasurable


def test_one_press_measures_what_one_command_measures_without_more():
    few, spaced = column(steps=5), column(steps=5, spacing="karras")
    options = ["--samplers", "unipc", "--steps", "5", "--spacing", "trailing", "karras"]
    assert measured_together([few, spaced]) == ([few, spaced], options)
    other = column("attention", steps=5)
    assert measured_together([few, spaced, other])[0] == [few, spaced], "a spacing of the other would be measured unasked"
    both = [few, spaced, other, column("attention", steps=5, spacing="karras")]
    assert measured_together(both) == (both, options)
    assert measured_together([few, other]) == ([few, other], [*options[:-1]])
    several = [few, column(steps=7, spacing="karras")]
    assert measured_together(several)[0] == [few]
    guided = column("class", steps=5, guidance=2.0, label="all")
    assert measured_together([few, guided])[1][-2:] == ["--guidance", "2"]


def test_what_was_measured_by_another_network_is_not_compared():
    """Fréchet distances in the features of different classifiers."""
    one, other = column(steps=5), column(steps=20)
    [old] = other.samples
    changed = Evaluation(other.evaluation.run)
    changed.results = [replace(old, asked=old.asked | {"judge": "another"})]
    found = compare(one, Column(changed, other.request))
    assert found.verdict is None
    assert len(found.missing) == 2


def test_a_dataset_is_known_by_its_images_not_by_its_name(monkeypatch):
    ours, theirs = FASHION["baseline"], Evaluation(Run("checkpoints/fashion-attention"))
    hub = replace(theirs.config, data=replace(theirs.config.data, data="someone/garments"))

    def same(config, results=()):
        monkeypatch.setattr(theirs, "config", config)
        monkeypatch.setattr(theirs, "results", list(results))
        return same_data(ours, theirs)

    assert same(theirs.config)
    assert not same(hub), "without digests the names are all there is"
    assert same(hub, FASHION["attention"].results)
    assert not same(replace(hub, image_shape=(1, 64, 64)), FASHION["attention"].results)
    monkeypatch.setattr(ours, "config", replace(ours.config, training_digest="0123"))
    assert same(replace(hub, training_digest="0123"))
    assert not same(replace(theirs.config, training_digest="4567"))
