"""A damaged evaluation.json is refused in one sentence, or its tables and figures can be made."""

import copy
import json
import random
import shutil

import pytest

from pipelines.evaluation.brief import EVALUATION
from pipelines.evaluation.judging import paired_losses, verdict
from pipelines.evaluation.results import Evaluation
from pipelines.evaluation.tables import readable_table, samples_table
from pipelines.figures.cost import quality_against_cost
from pipelines.figures.evaluation import bound_terms, loss_bands, newest
from pipelines.storage.files import ROOT
from pipelines.storage.run import Run

SHIPPED = ROOT / "checkpoints" / "fashion-attention"
WRONG = [None, "", "text", -1, 10**15, 0.5, 1e308, True, [], {}, [1], {"a": 1}, [[]]]


@pytest.fixture
def run(tmp_path):
    """A run with results of its own weights."""
    for name in ("config.json", "model.safetensors", EVALUATION):
        shutil.copy(SHIPPED / name, tmp_path / name)
    return Run(tmp_path)


def show(evaluation, other):
    """Everything that the Evaluate page makes of a run's results."""
    table = samples_table([other, evaluation])
    quality_against_cost(table, "frechet_distance", "seconds")
    readable_table(table)
    paired_losses([other, evaluation])
    told = verdict([other], [evaluation])
    assert told.summary + "".join(told.sentence(name) + told.values(name) + told.chance(name) for name in told.differences)
    loss_bands(newest([evaluation], "loss"))
    bound_terms(newest([evaluation], "bound"))


def places(value, path=()):
    """The paths to all values in a document."""
    yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ():
        yield from places(part, (*path, key))


def changed(document, path, value):
    """The document with another value at a path; without it for ``...``."""
    document = copy.deepcopy(document)
    inside = document
    for key in path[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return document


def test_what_is_missing_or_of_another_type_is_refused_or_shown(run):
    draw, told = random.Random(0), []
    other = Evaluation(Run(SHIPPED))
    whole = json.loads((run.path / EVALUATION).read_text())
    show(Evaluation(run), other)
    for path in draw.sample([path for path in places(whole) if path], 90):
        (run.path / EVALUATION).write_text(json.dumps(changed(whole, path, draw.choice([..., *WRONG]))))
        try:
            evaluation = Evaluation(run)
        except ValueError as error:
            told.append(str(error))
        else:
            show(evaluation, other)
    assert 20 < len(told) < 80
    assert all("\n" not in sentence and len(sentence) < 500 for sentence in told)


def test_what_is_missing_is_named(run):
    whole = json.loads((run.path / EVALUATION).read_text())
    number = [result["kind"] for result in whole["results"]].index("samples")
    (run.path / EVALUATION).write_text(json.dumps(changed(whole, ("results", number, "found", "figures"), ...)))
    with pytest.raises(ValueError, match=r"found\.figures of a result of kind samples: is missing"):
        Evaluation(run)
