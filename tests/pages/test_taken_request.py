"""What a downloaded picture says of its making, taken by the Compare page as a request."""

import io
import math
from functools import partial

import numpy as np
import pytest
from opening import open_app
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pages.components.taken_request import _request_in
from pipelines.common.images import png_bytes
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import metadata_of
from pipelines.storage.catalogue import Listed
from pipelines.storage.run import Run

open_page = partial(open_app, "compare")


def test_a_picture_carries_its_own_prompt():
    run = Run("checkpoints/fashion-text")
    metadata = metadata_of(run.name, run.fingerprint, SamplingRequest(seed=7, prompt=("a dress", "a bag")))
    picture = np.zeros((8, 8, 1), np.uint8)
    made = [
        _request_in(io.BytesIO(png_bytes(picture, metadata | {"image": image})), {"it": Listed(run, run.config)})
        for image in (0, 3)
    ]
    assert [told.image for _, told, _ in made] == [0, 3]
    assert made[0][2]["prompt"] == ("a dress", "a bag")


@pytest.mark.parametrize(("column", "changed"), [({"column": 2}, {2}), ({"column": 9}, {3}), ({}, {1, 2, 3})])
def test_a_picture_sets_the_column_that_it_comes_from(column, changed):
    run = Run("checkpoints/fashion-baseline")
    metadata = metadata_of(run.name, run.fingerprint, SamplingRequest(seed=41, steps=7)) | column
    app = open_page(columns=3)
    app.file_uploader(key="request_png").upload("any.png", png_bytes(np.zeros((8, 8, 1), np.uint8), metadata)).run()
    assert not app.exception
    assert {number for number in (1, 2, 3) if app.session_state[f"seed{number}"] == 41} == changed
    assert app.session_state[f"model{min(changed)}"] == run.name


@pytest.mark.parametrize(
    ("model", "request_", "sentence"),
    [
        ("fashion-text", {"seed": 2**31}, "seed, 2147483648, is larger than a page allows"),
        ("fashion-text", {"prompt": "a bag", "guidance": 30.0}, "guidance, 30, is larger than a page allows"),
        ("fashion-class", {}, "made without a class"),
    ],
)
def test_a_request_that_a_page_cannot_show_is_not_taken_for_another(model, request_, sentence):
    run = Run(f"checkpoints/{model}")
    metadata = metadata_of(run.name, run.fingerprint, SamplingRequest(**request_))
    with pytest.raises(ValueError, match=sentence):
        _request_in(io.BytesIO(png_bytes(np.zeros((8, 8, 1), np.uint8), metadata)), {"it": Listed(run, run.config)})


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"request": {"sampler": "ddim", "eta": 1.5}}, "This picture's request: .*eta=1.5: choose a number from 0 to 1"),
        ({"request": {"sampler": "euler"}}, "unknown sampler 'euler': choose one of"),
        ({"request": {"steps": 10**9}}, "steps exceed the 1000 timesteps of it"),
        ({"request": {"steps": "many"}}, "This picture's request: steps: "),
        ({"request": {"colour": "red"}}, "This picture's request: colour: "),
        ({"request": [1, 2]}, "This picture's request: "),
        ({"request": None}, "This picture's request: "),
        ({"image": "first"}, "contains no request"),
        ({"image": None}, "contains no request"),
        ({"image": math.inf}, "contains no request"),
        ({"image": 10**400}, "contains no request"),
        ({"run": ["mine"]}, "contains no request"),
        ({"fingerprint": None}, "contains no request"),
        ({"request": {"guidance": math.nan}}, "This picture's request: .*guidance=nan: choose a finite number"),
        ({"request": {"prompt": ["a" * 5000]}}, "longer than a page allows"),
        ({"run": "x" * 10**6, "fingerprint": "y" * 10**6}, "The run 'x{79}…' that made this picture is not available"),
    ],
)
def test_a_request_that_nobody_could_have_made_is_refused_in_one_sentence(written, sentence):
    run = Run("checkpoints/fashion-baseline")
    metadata = metadata_of(run.name, run.fingerprint, SamplingRequest()) | written
    with pytest.raises(ValueError, match=sentence) as refusal:
        _request_in(io.BytesIO(png_bytes(np.zeros((8, 8, 1), np.uint8), metadata)), {"it": Listed(run, run.config)})
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("text", ["[" * 100_000, "[1, 2]", '"\\ud800"'], ids=["deep", "list", "no Unicode"])
def test_a_picture_that_holds_anything_else_gets_a_sentence(text):
    told = PngInfo()
    told.add_itxt("noisescope", text)
    picture = io.BytesIO()
    Image.new("L", (8, 8)).save(picture, "PNG", pnginfo=told)
    app = open_page()
    app.file_uploader(key="request_png").upload("any.png", picture.getvalue()).run()
    assert not app.exception
    assert "contains no request" in app.warning[0].value


def test_a_run_whose_weights_cannot_be_read_hides_no_other(own_run):
    own_run.model_path.unlink()
    own_run.model_path.symlink_to("/proc/self/mem")
    assert own_run.has_weights
    run = Run("checkpoints/fashion-baseline")
    picture = png_bytes(np.zeros((8, 8, 1), np.uint8), metadata_of(run.name, run.fingerprint, SamplingRequest(seed=7)))
    name, _, values = _request_in(io.BytesIO(picture), {"mine": Listed(own_run, run.config), "it": Listed(run, run.config)})
    assert (name, values["seed"]) == ("it", 7)
