"""Runs on the hub: pushed and pulled with the hub's own client, from and to a hub that the tests serve themselves."""

import json
import shutil
from pathlib import Path

import pytest
from hub_server import TOKEN, Repository
from huggingface_hub import ModelCard

from pipelines.evaluation.measured import way_in_words
from pipelines.evaluation.results import Evaluation
from pipelines.models.loading import load_model
from pipelines.publish import Publish
from pipelines.publish import main as publish
from pipelines.storage.added import add, added, remove
from pipelines.storage.catalogue import read_catalogue
from pipelines.storage.config import InitConfig, RunConfig
from pipelines.storage.hub_id import HubId
from pipelines.storage.locations import with_settled_paths
from pipelines.storage.run import Run
from pipelines.storage.runs import LESSONS, PUBLISHED, find_run, reference_to
from pipelines.storage.weights import read_tensors
from pipelines.train import default_name

FLOWERS = "tester/flowers"
SHIPPED = Run(PUBLISHED / LESSONS / "lesson-averages")


@pytest.fixture
def published(hub):
    """A small run that the project ships, which has been pushed as it is."""
    assert publish(Publish(SHIPPED.path, push=FLOWERS, license="mit")) == 0
    return SHIPPED


def refusal(name=FLOWERS):
    """The one sentence, without the token, that refuses a run on the hub; nothing is left that could be taken for a run."""
    with pytest.raises(ValueError, match=r".") as refused:
        find_run(name, download=True)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert TOKEN not in sentence
    hub = HubId.parse(name)
    assert hub is None or hub.cached() is None
    return sentence


def test_the_hubs_addresses_are_ids_too():
    meant = {
        "https://huggingface.co/a/b": "a/b",
        "https:/huggingface.co/a/b/": "a/b",  # as a path
        "https://hf.co/a/b/tree/v1/sub/run": "a/b@v1/sub/run",
    }
    assert {address: str(HubId.parse(address)) for address in meant} == meant
    assert HubId.parse("https://example.com/a/b") is None


def test_a_run_pushed_and_pulled_is_the_same(hub, published, capsys):
    pulled = find_run(FLOWERS, download=True)
    assert [path for path in hub.asked if path.startswith("GET")][-1].endswith("/model.safetensors")  # without it, it is no run
    told = capsys.readouterr().err
    assert "downloading tester/flowers@" in told
    assert f"of which the weights are {published.model_path.stat().st_size / 2**10:.0f} KiB" in told
    assert pulled.fingerprint == published.fingerprint
    assert pulled.model_path.read_bytes() == published.model_path.read_bytes()
    assert pulled.config == published.config
    assert [average.fingerprint for average in pulled.averages] == [average.fingerprint for average in published.averages]
    assert len(pulled.averages) == 5
    assert pulled.metrics().equals(published.metrics())
    assert list(pulled.samples()) == list(published.samples())
    assert not (pulled.path / "README.md").exists()  # nobody here reads what strangers wrote there
    assert pulled.name == "flowers"
    assert load_model(FLOWERS).fingerprint == published.fingerprint
    reference = reference_to(pulled)
    assert reference == f"{FLOWERS}@{hub.repositories[FLOWERS].branches['main']}"
    config = RunConfig(init=InitConfig(FLOWERS))
    assert with_settled_paths(config).init.init_from == reference  # for a resume, when the hub has another commit
    assert default_name(config, hub_runs := pulled.path.parent) == default_name(with_settled_paths(config), hub_runs)
    hub.asked.clear()
    assert find_run(reference, download=True) == find_run(reference) == find_run(FLOWERS) == pulled
    assert hub.asked == []  # a commit that is here needs no hub


def test_what_is_here_goes_before_what_is_on_the_hub(hub, published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.asked.clear()
    for missing in ("runs/flowers", "checkpoints/flowers", "fashion-attention/flowers"):  # mistyped paths, not users of the hub
        with pytest.raises(ValueError, match="no run at"):
            find_run(missing, download=True)
    (tmp_path / "tester").mkdir()
    (tmp_path / FLOWERS).symlink_to(published.path)
    assert find_run(FLOWERS, download=True).path == Path(FLOWERS)
    (tmp_path / FLOWERS).unlink()
    with pytest.raises(ValueError, match="no run at"):
        find_run(FLOWERS, download=True)
    assert hub.asked == []
    assert find_run(f"{FLOWERS}@main", download=True).fingerprint == published.fingerprint  # an id beyond doubt


def test_revisions_and_folders_are_other_runs(hub, published):
    repository = hub.repositories[FLOWERS]
    files = dict(repository.files())
    within = {f"small/one/{name}": content for name, content in files.items()}
    repository.commit({"config.json": b"{}"} | within, "next")
    old, new = find_run(FLOWERS, download=True), find_run(f"{FLOWERS}@next/small/one", download=True)
    assert old.fingerprint == new.fingerprint
    assert old.path != new.path
    assert new.name == "one"
    assert reference_to(new) == f"{FLOWERS}@{repository.branches['next']}/small/one"
    assert f"there are runs in its repository: {FLOWERS}@next/small/one" in refusal(f"{FLOWERS}@next")
    assert "has no revision 'other' on the hub" in refusal(f"{FLOWERS}@other")


def test_without_the_hub_what_was_downloaded_before_is_used(hub, published, monkeypatch, capsys):
    from huggingface_hub import constants

    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE is set" in refusal()
    pulled = find_run(FLOWERS, download=True)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert find_run(FLOWERS, download=True) == pulled
    assert "which was downloaded before, is used" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
        assert find_run(FLOWERS, download=True) == pulled
        assert "cannot be reached" in refusal("tester/other")


def test_what_cannot_be_downloaded_is_one_sentence(hub, published, monkeypatch):
    own = hub.repositories[FLOWERS].files()
    foreign = {"model_index.json": b"{}", "unet/diffusion_pytorch_model.safetensors": b"", "README.md": b""}
    for name, files in {
        "diffusers": foreign,
        "transformers": {"config.json": b'{"model_type": "bert"}', "model.safetensors": b""},
        "pickles": {"config.json": own["config.json"], "pytorch_model.bin": b"", "other.pt": b""},
        "newer": own | {"config.json": json.dumps(json.loads(own["config.json"]) | {"format": 99}).encode()},
        "gated": own,
        "secret": own,
        "teapot": own,
        "large": own,
    }.items():
        hub.repositories[f"tester/{name}"] = Repository(private=name == "secret", gated=name == "gated")
        hub.repositories[f"tester/{name}"].commit(files)
    assert "pipelines.import_diffusers" in refusal("tester/diffusers")
    assert "pipelines.import_diffusers" in refusal("tester/transformers")
    assert "only as pickles" in refusal("tester/pickles")
    assert "update Noisescope" in refusal("tester/newer")
    assert "is gated: ask for access at" in refusal("tester/gated")
    assert "does not give access to it" in refusal("tester/nothing")
    assert "I'm a teapot (Bearer …)" in refusal("tester/teapot")  # an answer that repeats the token
    hub.claimed["model.safetensors"] = 10**16
    assert "take at least 9,094.9 TiB" in refusal("tester/large")
    hub.claimed.clear()
    for odd in (
        "tester/a--b",
        "tester/.hidden",
        "tester/../etc",
        "tester/flowers/../..",
        f"{FLOWERS}@../x",
        "a/b/c.safetensors",
    ):
        hub.asked.clear()
        assert refusal(odd)
        assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "does not accept the token of this machine" in refusal("tester/secret")
    monkeypatch.delenv("HF_TOKEN")
    assert "there is no model tester/secret on the hub or, if it is private, log in" in refusal("tester/secret")


def test_a_download_that_breaks_off_leaves_nothing_that_could_be_taken_for_a_run(hub, published):
    hub.broken.add("content")
    assert "the connection broke off" in (told := refusal()) or "answered 503" in told
    assert [path for path in HubId.parse(FLOWERS).place.rglob("*") if "incomplete" in path.name] == []
    assert read_catalogue().problems == {}
    hub.broken.clear()
    assert find_run(FLOWERS, download=True).fingerprint == published.fingerprint


def test_the_card_on_the_hub_tells_licence_tags_and_figures(hub):
    run, name = Run(PUBLISHED / "fashion-class"), "tester/clothes"
    assert publish(Publish(run.path, push=name, license="cc-by-4.0", private=True)) == 0
    assert hub.repositories[name].private
    files = hub.repositories[name].files()
    assert files["evaluation.json"] == (run.path / "evaluation.json").read_bytes()
    card = ModelCard(files["README.md"].decode())  # as the hub's client reads it
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "noisescope")
    assert card.data.datasets == ["zalando-datasets/fashion_mnist"]
    assert {"diffusion", "class-conditional"} <= set(card.data.tags)
    told = {(result.metric_type, result.metric_name): result.metric_value for result in card.data.eval_results}
    last = run.metrics()["val_loss"].dropna().iloc[-1]
    assert told["validation-loss", "Validation loss"] == pytest.approx(last, rel=1e-5)
    sampled = [result for result in Evaluation(run).of_kind("samples") if result.asked["request"]["guidance"] == 2]
    figures = sampled[-1].found["figures"]
    way = way_in_words(sampled[-1].asked["request"])
    assert told["frechet-distance", f"Fréchet distance, {way}"] == pytest.approx(figures["frechet_distance"]["value"], rel=1e-5)
    assert f"python -m pipelines.sample {name} --label all" in card.text
    assert card.text.lstrip() == (run.path / "README.md").read_text().replace("checkpoints/fashion-class", name, 1)


def test_a_run_that_is_not_published_is_published_on_the_way(hub, tmp_path):
    run = Run(shutil.copytree(SHIPPED.path, tmp_path / "own"))
    (run.path / "README.md").unlink()
    (run.path / "state").mkdir()
    (run.path / "state" / "state.safetensors").write_bytes(b"secret")
    assert publish(Publish(run.path, push="tester/own")) == 0
    files = hub.repositories["tester/own"].files()
    assert not any("state" in name for name in files)
    assert not (run.path / "README.md").exists()
    assert ModelCard(files["README.md"].decode()).text.lstrip().startswith("# own\n")
    weights, pulled = (read_tensors(one.model_path)[0] for one in (run, find_run("tester/own", download=True)))
    assert weights.keys() == pulled.keys()
    assert all(weights[name].equal(pulled[name]) for name in weights)  # they have 16 bits already


def test_an_upload_that_breaks_off_goes_on_and_replaces_what_was_there(hub, published, tmp_path):
    """Nothing of it is seen before the single commit; files of an earlier run disappear with it."""
    before = hub.repositories[FLOWERS].files()
    hub.repositories[FLOWERS].commit(before | {"samples/step-00000007.png": b"old", "notes.txt": b"keep"})
    sent, grown = hub.sent, Run(shutil.copytree(published.path, tmp_path / "grown"))
    weights, config = read_tensors(published.model_path)[0], published.config
    grown.write_model({name: tensor + 1 for name, tensor in weights.items()}, config)
    hub.broken.add("commit")
    with pytest.raises(ValueError, match="nothing of the run is visible there, and the same command goes on") as refused:
        publish(Publish(grown.path, push=FLOWERS))
    assert TOKEN not in str(refused.value)
    assert hub.repositories[FLOWERS].files()["model.safetensors"] == published.model_path.read_bytes()
    hub.broken.clear()
    assert hub.sent == sent + 1  # the weights alone: the other files are there
    assert publish(Publish(grown.path, push=FLOWERS)) == 0
    assert hub.sent == sent + 1
    after = hub.repositories[FLOWERS].files()
    assert after["model.safetensors"] == grown.model_path.read_bytes()
    assert after.keys() == before.keys() | {"notes.txt"}


def test_an_upload_that_may_not_be_is_one_sentence_and_leaves_nothing(hub, published, command, tmp_path, monkeypatch):
    hub.repositories["tester/other"] = Repository()
    hub.repositories["tester/other"].commit({"model.safetensors": b"of another library"})
    commits = {name: len(repository.commits) for name, repository in hub.repositories.items()}

    def refused(name, *flags):
        outcome = command("pipelines.publish", published.path, "--push", name, *flags)
        assert TOKEN not in outcome.output + outcome.error
        return outcome.refused_in_one_sentence()

    assert "everybody can see it" in refused(FLOWERS, "--private", "True")
    assert "not of Noisescope, and would be overwritten" in refused("tester/other")
    assert "does not allow the upload of somebody/flowers" in refused("somebody/flowers")
    assert "Invalid metadata in README.md" in refused("tester/new", "--license", "")
    assert hub.repositories.pop("tester/new").files() == {".gitattributes": b""}
    assert "give USER/NAME" in refused("flowers")
    assert "give USER/NAME" in refused(f"{FLOWERS}@next")
    assert "or --push USER/NAME" in command("pipelines.publish", published.path).refused_in_one_sentence()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "does not accept the token" in refused(FLOWERS)
    monkeypatch.delenv("HF_TOKEN")
    assert "has no token of the hub" in refused(FLOWERS)
    assert {name: len(repository.commits) for name, repository in hub.repositories.items()} == commits


def test_runs_of_the_hub_stand_in_the_lists_from_when_they_are_added(hub, published, tmp_path):
    pulled = find_run(FLOWERS, download=True)
    assert FLOWERS not in read_catalogue().runs
    fixed = HubId.of(pulled.path)
    add(fixed)
    assert added() == [fixed]
    assert read_catalogue().runs[FLOWERS].run == pulled
    (pulled.path / "model.safetensors").unlink()
    assert "add it again" in read_catalogue().problems[FLOWERS]
    remove(fixed)
    assert FLOWERS not in read_catalogue().problems
    (tmp_path / "runs" / "hub.json").write_text("{")
    assert "hub.json" in read_catalogue().problems["runs from the hub"]
