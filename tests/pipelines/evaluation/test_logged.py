"""What the logs of runs say about which of them is ahead."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipelines.evaluation.intervals import neighbours_half
from pipelines.evaluation.logged import Log, gap, judged_alike, lead, unlike, unpaired
from pipelines.storage.config import (
    ConditionConfig,
    DataConfig,
    DiffusionConfig,
    HeldOutConfig,
    LatentConfig,
    NetworkConfig,
    RunConfig,
)
from pipelines.storage.run import Run

CONFIG = RunConfig(image_shape=(3, 8, 8))


def shipped(name):
    run = Run(f"checkpoints/{name}")
    return Log(name, run.config, run.metrics())


def made(name, losses, steps=None, config=CONFIG, spread=0.0):
    """A log of validations; ``spread`` makes neighbouring ranges of timesteps differ by that much."""
    steps = [100 * number for number in range(1, len(losses) + 1)] if steps is None else steps
    bins = [loss + spread * (-1.0) ** np.arange(20) for loss in losses]
    rows = {"step": steps, "images_seen": [8 * step for step in steps], "val_loss": losses, "loss_by_timestep": bins}
    return Log(name, config, pd.DataFrame(rows))


def test_the_gap_is_the_difference_of_the_logged_losses_at_common_steps():
    run, reference = shipped("fashion-class"), shipped("fashion-attention")
    losses = [one.table.dropna(subset="val_loss").set_index("step")["val_loss"] for one in (run, reference)]
    found = gap(run, reference).set_index("step")
    assert list(found.index) == sorted(set(losses[0].index) & set(losses[1].index))
    assert np.array_equal(found["difference"], losses[0][found.index] - losses[1][found.index])
    assert (found["low"] < found["difference"]).all()
    back = gap(reference, run).set_index("step")
    assert np.allclose(-back[["difference", "high", "low"]], found[["difference", "low", "high"]])


def test_the_interval_of_a_gap_contains_the_truth_in_95_of_100_cases():
    """Whatever the spreads of the ranges of timesteps are, and however expectations change from one to the next."""
    random = np.random.default_rng(0)
    for truth in (np.zeros(20), np.linspace(0.1, 0, 20), np.exp(-np.arange(20.0))):
        for spread in (np.full(20, 0.02), np.linspace(0.05, 0.001, 20), 0.02 * np.exp(-np.arange(20) / 5)):
            drawn = truth + spread * random.standard_normal((1000, 20))
            covered = np.abs(drawn.mean(1) - truth.mean()) <= [neighbours_half(one) for one in drawn]
            assert covered.mean() > 0.935, (truth[:2], spread[:2])


def test_validations_at_nearly_the_same_step_are_compared_and_others_are_not():
    run, reference = made("a", [0.3, 0.2], [1863, 3726]), made("b", [0.5, 0.4, 0.1], [1865, 3730, 5595])
    assert gap(run, reference)["difference"].tolist() == pytest.approx([-0.2, -0.2])
    assert gap(run, made("c", [0.5], [1800])).empty
    assert gap(run, Log("d", CONFIG, pd.DataFrame({"step": [10], "loss": [1.0]}))).empty
    assert gap(run, Log("e", CONFIG, pd.DataFrame())).empty


def test_a_run_leads_surely_only_if_the_interval_excludes_0():
    for difference, spread in ((0.01, 0.0001), (0.01, 0.1), (0.0, 0.0)):
        found = lead([made("a", [0.5, 0.2 + difference], spread=spread), made("b", [0.4, 0.2])])
        assert found.difference.value == pytest.approx(difference)
        assert found.sure == (found.difference.low > 0)
        assert ("surely" in str(found)) == found.sure
        assert ("not told apart" in str(found)) == (not found.sure)
    assert found.difference.high == 0


def test_who_leads_does_not_depend_on_the_order_and_is_told_where_all_were_validated_last():
    logs = [made("a", [0.5, 0.3, 0.1]), made("b", [0.4, 0.35], spread=0.001), made("c", [0.6, 0.2], spread=0.002)]
    found = lead(logs)
    assert (found.best, found.second, found.where, found.runs) == ("c", "a", "step 200", 3)
    assert found.difference.value == pytest.approx(0.1)
    assert "lowest" in str(found)
    assert lead(logs[::-1]) == found
    assert lead(logs, "images_seen").where == "1,600 images"
    assert lead(logs[:1]) is None
    assert lead([*logs, Log("new", CONFIG, pd.DataFrame())]) is None


def test_what_cannot_be_compared_says_why():
    assert unlike(CONFIG, replace(CONFIG, network=NetworkConfig(unet="class"), condition=ConditionConfig(classes=("a",)))) == ""
    log_normal = replace(CONFIG.diffusion, timestep_density="log_normal")
    assert unlike(CONFIG, replace(CONFIG, diffusion=log_normal)) == "", "the validation loss covers all timesteps alike"
    others = {
        "autoencoder": replace(CONFIG, model="autoencoder"),
        "latents": replace(CONFIG, latent=LatentConfig(latent_fingerprint="0" * 16)),
        "different losses": replace(CONFIG, diffusion=DiffusionConfig(prediction="v")),
        "images": replace(CONFIG, image_shape=(3, 16, 16)),
    }
    for word, other in others.items():
        assert word in unlike(CONFIG, other) == unlike(other, CONFIG)


def test_a_difference_without_an_interval_claims_nothing():
    for changed in (replace(CONFIG, seed=1), replace(CONFIG, data=DataConfig(held_out_images=10))):
        found = lead([made("a", [0.3]), made("b", [0.1], config=changed)])
        assert unpaired(CONFIG, changed) == found.reason != ""
        assert not found.sure
        assert found.reason in str(found)
        assert gap(made("a", [0.3]), made("b", [0.1], config=changed))[["low", "high"]].isna().all(axis=None)
    old = made("a", [0.3])
    found = lead([old, Log("b", CONFIG, made("b", [0.1]).table.drop(columns="loss_by_timestep"))])
    assert not found.sure
    assert "how surely is not known" in str(found)


def test_the_newest_value_up_to_a_step_is_the_last_finite_one_with_its_own_step():
    log = made("a", [0.3, np.nan, 0.2])
    steps = [0, 99, 100, 250, 300, 10**6]
    assert [log.newest("val_loss", step) for step in steps] == [None, None, (100, 0.3), (100, 0.3), (300, 0.2), (300, 0.2)]
    assert log.newest("psnr", 300) is None


def test_kernel_distances_of_other_images_are_left_out_and_told():
    data = replace(CONFIG.data, data="holidays", held_out=HeldOutConfig(digest="d"))
    sizes = {"small": 32, "large": 64, "again": 32, "without": 64}
    configs = {name: replace(CONFIG, data=data, image_shape=(3, size, size)) for name, size in sizes.items()}
    configs["renamed"] = replace(configs["small"], data=replace(data, data="journey"))
    logs = [made(name, [0.3], config=config) for name, config in configs.items()]
    for log in logs:
        if log.name != "without":
            log.table["kernel_distance"] = 0.1
    found, told = judged_alike(logs)
    assert [log.name for log in found if "kernel_distance" in log.table] == ["small", "again", "renamed"]
    assert [len(log.table) for log in found] == [1] * 5
    assert told.startswith("The kernel distances of large are from other images")
    assert judged_alike(logs[:1]) == (logs[:1], "")
    assert "images are different" in unlike(configs["small"], configs["large"]), "although the same pictures are held out"
