"""Measuring runs: figures with intervals and floors, kept one by one, and equal to what they stand for."""

import errno
import hashlib
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image, ImageOps

from pipelines.common.devices import hardware
from pipelines.evaluate import Evaluate, main
from pipelines.evaluation import measurements
from pipelines.evaluation.judges import SHIPPED, judge_for
from pipelines.evaluation.judging import paired_losses
from pipelines.evaluation.measured import shared_settings
from pipelines.evaluation.measurements import likelihood, measure_floor, measure_reconstructions
from pipelines.evaluation.real_images import RealImages
from pipelines.evaluation.results import FIGURES, Evaluation
from pipelines.evaluation.tables import samples_table
from pipelines.figures.evaluation import newest
from pipelines.models.classifier import load_classifier
from pipelines.models.loading import LoadedModel, load_model
from pipelines.models.networks import make_network
from pipelines.storage.files import CLASSIFIERS
from pipelines.storage.run import Run
from pipelines.storage.spacing import LearnedSpacing
from pipelines.storage.weights import read_tensors, write_tensors

QUICK = ("--num-images", 30, "--reference-images", 30, "--held-out-images", 10)
QUICK += ("--likelihood-images", 2, "--likelihood-levels", 20)


@pytest.fixture
def evaluate(command, judge):
    """Evaluates quickly; the outcome."""

    def run_it(*arguments):
        features = () if "--features" in arguments else ("--features", judge)
        done = command("pipelines.evaluate", *arguments, *features, *QUICK)
        assert done.code == 0, done.error
        return done

    return run_it


def test_everything_is_measured_once_and_kept(evaluate, copied_run):
    said = evaluate(copied_run.path, "--steps", 2, 4, "--likelihood-levels", 20).output
    assert "bits per dimension" in said
    assert "real against real" in said
    evaluation = Evaluation(copied_run)
    assert [result.kind for result in evaluation.results] == ["loss", "bound", "floor", "samples", "samples"]
    again = evaluate(copied_run.path, "--steps", 2, 4, 3, "--likelihood-levels", 20).output
    assert again.count("already measured") == 5
    assert len(Evaluation(copied_run).results) == 6
    assert Image.open(copied_run.path / "evaluation-neighbours.png").size[0] > 8 * 12


def test_a_compiled_network_has_the_same_figures_and_its_time_says_so(evaluate, copied_run, monkeypatch):
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend=lambda graph, inputs: graph.forward))
    evaluate(copied_run.path, "--steps", 3, "--batch-size", 20)
    (plain,) = Evaluation(copied_run).of_kind("samples")
    (copied_run.path / "evaluation.json").unlink()
    said = evaluate(copied_run.path, "--steps", 3, "--batch-size", 20, "--compile", True).output
    assert said.count("compiled the network in") == 1
    (compiled,) = Evaluation(copied_run).of_kind("samples")
    assert compiled.found["figures"] == plain.found["figures"]
    assert compiled.found["machine"] == f"{plain.found['machine']}, compiled"
    assert compiled.found["memory"] == plain.found["memory"]


def test_every_figure_has_an_interval_and_a_floor(evaluate, copied_run):
    evaluate(copied_run.path, "--steps", 4, "--samplers", "ddim", "heun")
    table = samples_table([Evaluation(copied_run)])
    assert list(table["sampler"]) == ["ddim", "heun"]
    assert table["network_calls"][0] == 4 < table["network_calls"][1]
    assert set(table["machine"]) == {hardware(torch.device("cpu"))}
    too_few = {"frechet_at_infinity", "vendi_score"}  # for which there are too few held-out images
    assert table["vendi_score"].notna().all()
    for name in set(FIGURES) - {"agreement"} - too_few:
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
        assert table[f"{name}_floor"].notna().all()
    assert (table["frechet_distance"] > table["frechet_distance_floor"]).all(), "a model of 24 steps is worse than the real"
    assert table["agreement"].isna().all()


@pytest.mark.parametrize("kind", ["class", "text"])
def test_conditional_models_are_asked_for_what_held_out_images_show(evaluate, class_run, text_run, kind, tmp_path):
    run = Run(shutil.copytree({"class": class_run, "text": text_run}[kind].path, tmp_path / "run"))
    evaluate(run.path, "--steps", 2, "--guidance", 3)
    result = Evaluation(run).of_kind("samples")[-1]
    assert result.asked["request"]["guidance"] == 3
    assert result.asked["shown"] == "what held-out images show"
    assert 0 <= result.found["figures"]["agreement"]["value"] <= 1


def test_guidance_is_tried_where_there_is_something_to_guide_by(evaluate, class_run, copied_run, tmp_path):
    run = Run(shutil.copytree(class_run.path, tmp_path / "class"))
    evaluate(run.path, copied_run.path, "--steps", 2)
    assert list(samples_table([Evaluation(run)])["guidance"]) == [1, 2]
    assert list(samples_table([Evaluation(copied_run)])["guidance"]) == [1]


@pytest.mark.parametrize("kind", ["class", "text"])
def test_classes_are_as_frequent_among_samples_as_among_held_out_images(class_run, text_run, judge, tmp_path, kind):
    """A regression: with equally many samples per class, even a perfect model of unbalanced data was far from it."""
    config = {"class": class_run, "text": text_run}[kind].config
    folder = tmp_path / "data"
    shutil.copytree(config.data.data, folder / "train")
    for shade, (name, count) in enumerate((("circles", 9), ("squares", 3))):
        for number in range(count):
            picture = Image.new("RGB", (12, 12), (90 * shade, number, 0))
            (folder / "test" / name).mkdir(parents=True, exist_ok=True)
            picture.save(folder / "test" / name / f"{number}.png")
    config = replace(config, data=replace(config.data, data=str(folder)), training_images=None, training_digest="")
    config = replace(config, condition=replace(config.condition, digest=""))
    real = RealImages(config, judge_for(class_run.config, judge), 100, 100)
    assert sorted(real.labels.tolist()) == [0] * 9 + [1] * 3
    shown, again = real.shown(range(12)), real.shown(range(12, 24))
    told = shown.labels if kind == "class" else shown.tokens
    assert torch.equal(told, again.labels if kind == "class" else again.tokens)
    for label in (0, 1):
        own = [number for number in range(12) if real.labels[number] == label]
        assert own == [number for number in range(12) if torch.equal(told[number], told[own[0]])]


def test_the_loss_is_that_of_validation(evaluate, train, tmp_path):
    """For a network that predicts v under the cosine schedule, whose loss has uniform weights."""
    run = train(tmp_path / "run", steps=24, prediction="v", schedule="cosine")
    evaluate(run.path, "--steps", 1)
    [loss] = Evaluation(run).of_kind("loss")
    assert loss.found["whole"]["low"] < run.metrics()["val_loss"].iloc[-1] < loss.found["whole"]["high"]
    assert len(loss.found["mean"]) == 20
    assert all(low < mean < high for low, mean, high in zip(*(loss.found[key] for key in ("low", "mean", "high")), strict=True))


def test_the_bound_is_the_sum_of_its_terms(evaluate, copied_run):
    evaluate(copied_run.path, "--steps", 1)
    [result] = Evaluation(copied_run).of_kind("bound")
    found = result.found
    assert found["prior"] + sum(found["denoising"]) + found["decoder"] == pytest.approx(found["total"]["value"])
    assert sum(found["images"]) / 2 == pytest.approx(found["total"]["value"])
    assert len(found["denoising"]) == len(found["log_snr"]) - 2 == result.asked["levels"] == 20


def test_other_weights_have_other_results(evaluate, copied_run):
    evaluate(copied_run.path, "--steps", 1, "--likelihood-levels", 5)
    network = load_model(copied_run, dtype=torch.float32).denoiser.network
    weights = {name: tensor * 1.01 for name, tensor in network.state_dict().items()}
    copied_run.write_model(weights, copied_run.config)
    assert Evaluation(Run(copied_run.path)).results == []


def test_another_spacing_has_results_of_its_own_and_so_has_a_spacing_learnt_anew(evaluate, copied_run):
    asked = (copied_run.path, "--steps", 2)
    evaluate(*asked)
    learned = LearnedSpacing(copied_run.fingerprint, "ddim", 1.0, 1, 0, ((999.0,), (999.0, 300.0)))
    learned.write(copied_run)
    asked += ("--spacing", "learned")
    assert "2 steps of UniPC-3 at learned spacing: Fréchet distance" in evaluate(*asked).output
    assert evaluate(*asked).output.count("already measured") == 4
    replace(learned, timesteps=((999.0,), (999.0, 500.0))).write(copied_run)
    assert evaluate(*asked).output.count("already measured") == 3
    evaluation = Evaluation(copied_run)
    assert [result.asked.get("timesteps") for result in evaluation.of_kind("samples")] == [None, [999, 300], [999, 500]]
    settings = shared_settings([evaluation])
    assert [str(setting) for setting in settings] == [
        "30 samples, 2 steps of UniPC-3",
        "30 samples, 2 steps of UniPC-3 at learned spacing",
    ]
    assert list(samples_table([evaluation])["spacing"]) == ["trailing", "learned", "learned"]


def test_runs_of_one_name_are_told_apart(evaluate, copied_run, tmp_path):
    evaluate(copied_run.path, "--steps", 2)
    twin = Run(shutil.copytree(copied_run.path, tmp_path / "elsewhere" / copied_run.name))
    both = [Evaluation(copied_run, name="shipped"), Evaluation(twin, name="yours")]
    assert list(samples_table(both)["run"]) == ["shipped", "yours"]
    assert list(newest(both, "loss")) == ["shipped", "yours"]
    assert list(paired_losses(both)["Run"]) == ["yours"]


def test_likelihood_does_not_depend_on_the_batch_size(copied_run, judge):
    model = load_model(copied_run, dtype=torch.float32)
    real = RealImages(model.config, judge_for(model.config, judge), 30, 4)
    one, all_ = (likelihood(model, real, 4, 6, 0, batch_size) for batch_size in (1, 4))
    assert one["total"] == pytest.approx(all_["total"], rel=1e-4)
    assert one["denoising"] == pytest.approx(all_["denoising"], rel=1e-3)
    assert one["log_snr"] == all_["log_snr"]


def test_padding_is_no_dimension_of_the_images(copied_run, judge):
    """A frame that all images share tells nothing, and the bits of the images are not divided by it."""
    model = load_model(copied_run, dtype=torch.float32)
    real = RealImages(model.config, judge_for(model.config, judge), 30, 4)
    whole = likelihood(model, real, 2, 3, 0, 2)
    height = real.train.images.shape[2]
    real.train.images[:, :, 0] = 0
    framed = likelihood(model, real, 2, 3, 0, 2)
    assert framed["dimensions"] == whole["dimensions"] * (height - 1) // height
    assert framed["total"]["value"] == pytest.approx(whole["total"]["value"] * height / (height - 1))


def test_other_images_than_a_run_was_trained_on_are_refused(evaluate, command, train, image_folder, judge, tmp_path):
    """Of one more image others are held out, which the run has been trained on; another class changes all numbers."""
    folder = shutil.copytree(image_folder, tmp_path / "shapes")
    run = train(tmp_path / "run", unet="class", data=str(folder), steps=2)
    evaluate(run.path, "--steps", 1)
    asked = ("pipelines.evaluate", run.path, "--features", judge, *QUICK)
    Image.new("RGB", (12, 12)).save(folder / "circles" / "more.png")
    assert "37 readable training images, but had 36" in command(*asked).refused_in_one_sentence()
    resumed = command("pipelines.train", "--resume", run.path)
    assert "37 readable training images, but had 36" in resumed.refused_in_one_sentence()
    (folder / "circles" / "more.png").unlink()
    (folder / "circles").rename(folder / "rounds")
    Evaluation(run).path.unlink()
    assert "not the 2 that this run has learnt" in command(*asked).refused_in_one_sentence()


def test_to_measure_takes_some_held_out_images(command, train, judge, tmp_path):
    for number in range(20):
        (tmp_path / "few").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "few" / f"{number}.png")
    run = train(tmp_path / "run", data=str(tmp_path / "few"), steps=1)
    done = command("pipelines.evaluate", run.path, "--features", judge, *QUICK)
    assert "2 held-out images: evaluation needs 4 or more" in done.refused_in_one_sentence()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "no run given"),
        (("nowhere",), "no run at"),
        (("RUN",), "no classifier takes shapes images of 3×8×8"),
        (("RUN", "--num-images", 1), "num_images=1"),
        (("RUN", "--features", "JUDGE", "--samplers", "nope"), "unknown sampler 'nope'"),
        (("RUN", "--features", "JUDGE", "--steps", 5000), "5000"),
        (("RUN", "--features", "RUN/model.safetensors"), "is not a classifier"),
    ],
)
def test_what_cannot_be_measured_is_refused(command, copied_run, judge, arguments, sentence):
    named = [str(part).replace("RUN", str(copied_run.path)).replace("JUDGE", str(judge)) for part in arguments]
    limits = [] if not arguments or "--num-images" in named else list(map(str, QUICK))
    assert sentence in command("pipelines.evaluate", *named, *limits).refused_in_one_sentence()


def test_losses_are_paired_where_images_and_noise_are_the_same(evaluate, train, copied_run, latent_run, tmp_path):
    longer = train(tmp_path / "longer", steps=60)
    cosine = train(tmp_path / "cosine", steps=60, schedule="cosine", prediction="v")
    other = Run(shutil.copytree(latent_run.path, tmp_path / "latent"))
    for run in (copied_run, longer, cosine, other):
        evaluate(run.path, "--steps", 2)
    runs = [Evaluation(run) for run in (copied_run, longer, cosine, other)]
    row, of_cosine = paired_losses(runs).to_dict("records")
    assert (row["Run"], row["Compared with"]) == ("longer", "copied")
    assert copied_run.config.diffusion.schedule != "cosine"
    assert (of_cosine["Run"], of_cosine["Compared with"]) == ("cosine", "copied"), (
        "under another schedule, at the same noise levels"
    )
    first, second = (one.of_kind("loss")[0].found for one in runs[:2])
    difference, half = map(float, row["Difference"].split(" ± "))
    assert difference == pytest.approx(second["whole"]["value"] - first["whole"]["value"], abs=half / 10)
    assert difference + half < 0, "longer training is better beyond doubt"
    assert half < (first["whole"]["high"] - first["whole"]["low"]) / 2
    assert paired_losses(runs[:1]).empty


def test_there_are_as_many_samples_as_held_out_images_unless_said(command, judge, copied_run, monkeypatch):
    """The floor is measured with held-out images: of another number it would be another figure's."""
    monkeypatch.setattr("pipelines.evaluate.LEAST", 1)  # this run has held out four
    arguments = ("--features", judge, "--likelihood-images", 0, "--steps", 2)
    assert command("pipelines.evaluate", copied_run.path, *arguments).code == 0
    [result] = Evaluation(copied_run).of_kind("samples")
    assert Evaluation(copied_run).beside(result, "floor").asked["images"] == result.asked["request"]["num_images"] == 4


def test_fewer_samples_than_held_out_images_have_a_floor_of_as_few(command, judge, train, image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.evaluate.LEAST", 1)
    data = shutil.copytree(image_folder, tmp_path / "data")
    for path in list(data.rglob("*.png")):
        shutil.copyfile(path, path.with_stem(f"{path.stem}-again"))
    run = train(tmp_path / "run", data=str(data), steps=1)
    arguments = ("--features", judge, "--likelihood-images", 0, "--steps", 2, "--num-images", 5)
    assert command("pipelines.evaluate", run.path, *arguments).code == 0
    [loss], [samples] = (Evaluation(run).of_kind(kind) for kind in ("loss", "samples"))
    assert loss.asked["images"] == 8
    assert Evaluation(run).beside(samples, "floor").asked["images"] == 5


def test_colour_images_without_a_classifier_of_their_own_are_seen_by_that_of_photographs(small_config, tmp_path):
    config = replace(small_config(), image_shape=(3, 32, 32))
    run = Run(tmp_path / "run")
    run.write_config(config)
    run.write_model(make_network(config, seed=0).state_dict(), config)
    judge = judge_for(run.config)
    assert (judge.name, judge.classifier) == ("tiny-imagenet classifier", None)
    assert judge.features(torch.zeros(2, 3, 32, 32)).shape == (2, 256)


def test_a_model_of_latents_is_measured_by_its_images_on_the_same_axes(evaluate, latent_run, copied_run, judge, tmp_path):
    run = Run(shutil.copytree(latent_run.path, tmp_path / "latent"))
    evaluate(run.path, copied_run.path, "--steps", 2, "--guidance", 1)
    evaluation = Evaluation(run)
    kinds = [result.kind for result in evaluation.results]
    assert kinds == ["loss", "floor", "reconstruction", "samples"], "a bound on latents says nothing of pixels"
    table = samples_table([evaluation, Evaluation(copied_run)])
    name = f"shapes classifier {hashlib.sha256(judge.read_bytes()).hexdigest()[:8]}"
    assert list(table["features"]) == [f"{name}, images made 8×8", name]
    assert table["judge"].nunique() == 1
    assert (table["memory"] * 2**20 > Run(run.path).num_parameters).all()
    assert table["frechet_distance"].notna().all()
    assert table["frechet_distance_decoded"].notna().tolist() == [True, False]


def test_the_autoencoder_is_measured_by_what_it_leaves_of_held_out_images(latent_run, judge, monkeypatch):
    """Of an autoencoder that loses nothing, that is what real images score."""
    model = load_model(latent_run)
    real = RealImages(model.config, judge_for(model.config, judge), 30, 10)
    count = len(real.held_out)
    floor = measure_floor(real, count)["figures"]
    lost = measure_reconstructions(model, real, count, batch_size=3)["figures"]
    assert lost["frechet_distance"]["value"] != floor["frechet_distance"]["value"]
    monkeypatch.setattr(LoadedModel, "encode", lambda self, x: x)
    monkeypatch.setattr(LoadedModel, "decode", lambda self, x: x)
    assert measure_reconstructions(model, real, count, batch_size=count)["figures"] == floor


def test_a_classifier_makes_larger_images_smaller_and_refuses_others(judge):
    classifier = load_classifier(judge)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    larger = images.repeat_interleave(4, -1).repeat_interleave(4, -2)
    torch.testing.assert_close(classifier.features(larger), classifier.features(images), atol=0.3, rtol=0.3)
    for shape in ((3, 7, 8), (1, 8, 8)):
        assert not classifier.takes(shape)
        with pytest.raises(ValueError, match="this classifier takes"):
            classifier.features(torch.zeros(1, *shape))


def test_two_models_get_a_verdict(evaluate, copied_run, tmp_path, monkeypatch):
    """Of the same noise other weights make other samples, and nearly the same weights make nearly the same."""
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path / "cache"))
    tensors, metadata = read_tensors(copied_run.model_path)
    runs = [copied_run.path]
    for name, factor in (("alike", 1 + 1e-4), ("other", 1.5)):
        shutil.copytree(copied_run.path, tmp_path / name)
        changed = {key: tensor * factor for key, tensor in tensors.items()}
        write_tensors(tmp_path / name / "model.safetensors", changed, metadata)
        write_config_with_batch(tmp_path / name, 7 if name == "alike" else 9)
        runs.append(tmp_path / name)
    said = evaluate(*runs, "--steps", 2).output
    assert "Better: other in " in said
    assert said.count(" k each; network calls 2 each;") == 3
    kept = {result.found["second"]: result.found["figures"] for result in Evaluation(copied_run).of_kind("verdict")}
    assert set(kept) == {"alike", "other"}
    for name in ("frechet_distance", "kernel_distance"):
        assert kept["other"][name]["paired"]
        assert kept["other"][name]["p"] == 0.005
        alike = kept["alike"][name]
        width = alike["estimate"]["high"] - alike["estimate"]["low"]
        [samples] = Evaluation(copied_run).of_kind("samples")
        alone = samples.found["figures"][name]
        assert width < 0.1 * (alone["high"] - alone["low"]), "the same noise: hardly any difference is left to chance"
    assert "already measured" in evaluate(*runs, "--steps", 2).output
    assert len(Evaluation(copied_run).of_kind("verdict")) == 2


def write_config_with_batch(folder, batch):
    """Make a run another recipe than the one it was copied from."""
    config = Run(folder).config
    Run(folder).write_config(replace(config, optimizer=replace(config.optimizer, batch_size=batch)))


# --- several evaluations, and files that cannot be used


def test_two_evaluations_at_once_measure_everything_once(copied_run, judge, capsys, monkeypatch):
    """A regression: both measured all, and each result was kept twice."""
    measuring, waiting = threading.Event(), threading.Event()
    measure = measurements.loss_by_noise_level

    def measure_when_the_other_waits(*arguments):
        measuring.set()
        assert waiting.wait(60)
        return measure(*arguments)

    monkeypatch.setattr(measurements, "loss_by_noise_level", measure_when_the_other_waits)
    monkeypatch.setattr(
        "pipelines.evaluation.results.report_progress", lambda what: waiting.set() if "waiting" in what else None
    )
    arguments = Evaluate((copied_run.path,), steps=(2,), features=judge, num_images=30, held_out_images=10, likelihood_images=0)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(main, arguments)
        assert measuring.wait(60)
        second = pool.submit(main, replace(arguments, steps=(2, 3)))
        assert (first.result(120), second.result(120)) == (0, 0)
    assert [result.kind for result in Evaluation(copied_run).results] == ["loss", "floor", "samples", "samples"]
    assert capsys.readouterr().out.count("already measured") == 3


def test_results_that_cannot_be_read_are_not_called_damaged(command, copied_run, judge, monkeypatch):
    import pipelines.evaluation.results as results

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(results, "read_json", refuse)  # root may read all
    done = command("pipelines.evaluate", copied_run.path, "--features", judge, *QUICK)
    assert done.refused_in_one_sentence() == f"permission denied: {copied_run.path / 'evaluation.json'}"


def test_classifiers_of_one_name_are_told_apart_by_their_content(evaluate, copied_run, judge, tmp_path):
    """A regression: results of the first were taken for those of any other file of its name."""
    tensors, metadata = read_tensors(judge)
    same, other = tmp_path / "same" / judge.name, tmp_path / "other" / judge.name
    write_tensors(same, tensors, metadata)
    write_tensors(other, {name: tensor * 1.5 for name, tensor in tensors.items()}, metadata)
    for classifier, known in ((judge, 0), (same, 1), (other, 0), (other, 1)):
        said = evaluate(copied_run.path, "--steps", 2, "--features", classifier).output
        assert said.count("steps of UniPC-3: already measured") == known, classifier
    first, second = Evaluation(copied_run).of_kind("samples")
    assert first.asked["features"] != second.asked["features"]
    assert first.found["figures"] != second.found["figures"]


def test_results_of_the_shipped_classifiers_stay_known():
    """They are kept under the names alone."""
    assert {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()[:8] for path in CLASSIFIERS.glob("*.safetensors")
    } == SHIPPED


def test_figures_with_other_held_out_images_are_measured_again(evaluate, command, judge, train, image_folder, tmp_path):
    """A regression: neither their number nor their content was part of what was asked, so that these figures were "known"."""
    folder = tmp_path / "data"
    for split in ("train", "test"):
        shutil.copytree(image_folder, folder / split)
    run = train(tmp_path / "run", data=str(folder), steps=1)
    evaluate(run.path, "--steps", 2)
    [samples] = Evaluation(run).of_kind("samples")
    more = command("pipelines.evaluate", run.path, "--features", judge, "--steps", 2, *QUICK, "--held-out-images", 12).output
    assert "already measured" not in more, "of more images, others are the first"
    assert {result.held_out_digest for result in Evaluation(run).of_kind("samples")} > {samples.held_out_digest}
    shutil.move(folder / "test", tmp_path / "kept")
    shutil.copytree(image_folder, folder / "test")
    for path in (folder / "test").rglob("*.png"):
        ImageOps.invert(Image.open(path)).save(path)
    assert "already measured" not in evaluate(run.path, "--steps", 2).output
    shutil.rmtree(folder / "test")
    shutil.move(tmp_path / "kept", folder / "test")
    assert evaluate(run.path, "--steps", 2).output.count("already measured") == 4


@pytest.mark.parametrize("known", [{"held_out": {"below": "0" * 15 + "1"}}, {}])
def test_a_judge_that_was_trained_on_held_out_images_is_refused(command, copied_run, judge, tmp_path, known):
    """A regression: a classifier of another seed was, and judged them like new ones."""
    weights, metadata = read_tensors(judge)
    described = json.loads(metadata["classifier"])
    assert described["training"]["data"].pop("held_out")["below"] == copied_run.config.data.held_out.below
    described["training"]["data"] |= known  # older versions, {}, recorded nothing
    informed = tmp_path / "informed.safetensors"
    write_tensors(informed, weights, {"classifier": json.dumps(described)})
    done = command("pipelines.evaluate", copied_run.path, "--features", informed, *QUICK)
    assert "may have been trained on 4 of the 4 held-out images: train it again" in done.refused_in_one_sentence()


def test_results_of_older_versions_are_replaced(evaluate, copied_run):
    """They did not record which images were held out."""
    evaluate(copied_run.path, "--steps", 2)
    evaluation = Evaluation(copied_run)
    new = [result.asked for result in evaluation.results]
    stored = json.loads(evaluation.path.read_text())
    for result in stored["results"]:
        for name in ("held_out_digest", "reference_digest", "judge"):
            result["asked"].pop(name, None)
    evaluation.path.write_text(json.dumps(stored))
    assert all(result.held_out_digest is None for result in Evaluation(copied_run).results)
    assert "already measured" not in evaluate(copied_run.path, "--steps", 2).output
    assert [result.asked for result in Evaluation(copied_run).results] == new
