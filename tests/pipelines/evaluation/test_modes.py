"""The classes of two models' samples from the same noise."""

import numpy as np

from pipelines.evaluation.modes import class_shares

NAMES = [f"class {number}" for number in range(10)]


def found(seen):
    return {"classes": {"names": NAMES, "seen": np.asarray(seen).tolist()}}


def test_equal_models_seldom_differ_surely():
    """In 5 of 100 cases at most, over all classes together: here each image keeps its class with probability 0.8."""
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        classes = random.integers(10, size=400)
        one, other = (np.where(random.random(400) < 0.9, classes, random.integers(10, size=400)) for _ in range(2))
        wrong += any(share.sure for share in class_shares(found(one), found(other)).shares)
    assert wrong <= 0.05 * 300


def test_a_class_that_is_dropped_is_told_and_swapping_turns_it_round():
    random = np.random.default_rng(1)
    teacher = random.integers(10, size=500)
    student = np.where((teacher == 3) & (random.random(500) < 0.8), 7, teacher)
    told = class_shares(found(teacher), found(student))
    assert {share.name for share in told.shares if share.sure} == {"class 3", "class 7"}
    kept = (teacher == student).mean()
    assert str(told).startswith("Class shares, each of 10 classes tested by itself: surely fewer of class 3 (")
    assert "more of class 7" in str(told)
    assert str(told).endswith(f"{100 * kept:.0f} % of the noise becomes the same class.")
    turned = class_shares(found(student), found(teacher))
    assert "fewer of class 7" in str(turned)
    assert "more of class 3" in str(turned)
    for share, other in zip(told.shares, turned.shares, strict=True):
        assert (share.first, share.second, share.sure) == (other.second, other.first, other.sure)


def test_shares_need_the_same_classifier_for_both():
    seen = found([0, 1, 2])
    assert class_shares(seen, seen).kept == 100
    assert "none differs surely" in str(class_shares(seen, seen))
    for other in ({}, {"classes": None}, found([0, 1]), {"classes": {"names": ["a", "b", "c"], "seen": [0, 1, 2]}}):
        assert class_shares(seen, other) is None
        assert class_shares(other, seen) is None
