"""Examples begin with what everybody can picture."""

from __future__ import annotations

import random

import pytest

from pipelines.datasets.familiar import EVERYDAY, most_familiar, words_of
from pipelines.storage.runs import PUBLISHED, find_runs


@pytest.mark.parametrize("run", find_runs(PUBLISHED), ids=lambda run: run.name)
def test_shipped_models_begin_with_everyday_things(run):
    condition = run.config.condition
    texts = condition.classes or condition.examples
    if texts:
        first = most_familiar(texts, 2)
        assert all(set(words_of(texts[number])) & set(words_of(EVERYDAY)) for number in first)


def test_the_order_of_the_texts_does_not_matter_to_the_easiest():
    texts = [f"a photo of a {name}" for name in ("ball moss", "lenten rose", "rose", "tree poppy", "bee balm", "sunflower")]
    for seed in range(5):
        mixed = random.Random(seed).sample(texts, len(texts))
        assert [mixed[number] for number in most_familiar(mixed, 2)] == ["a photo of a rose", "a photo of a sunflower"]


def test_texts_that_name_nothing_known_keep_their_order_and_none_is_lost():
    assert most_familiar(["zzz", "yyy", "xxx"], 5) == [0, 1, 2]
    assert most_familiar([], 3) == []
    assert sorted(most_familiar(["cat", "zzz", "cat dog"], 3)) == [0, 1, 2]
