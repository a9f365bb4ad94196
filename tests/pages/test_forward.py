"""The logic of the Forward page, without a browser."""

import json
import math
from functools import cache, partial

import numpy as np
import pytest
from made_pictures import ADOBE_RGB, flat, icc_profile, saved
from opening import open_app

from diffusion_core.schedules import SCHEDULES, make_schedule
from pipelines.common.images import png_bytes

open_page = partial(open_app, "forward")


def parts(app):
    """What was sent to the player, the histograms and the schedules' curves, whatever other components the page has."""
    sent = [json.loads(element.proto.json) for element in app.get("bidi_component")]
    [player] = [data for data in sent if "captions" in data]
    histograms, schedules = [data for data in sent if "figure" in data]
    return player, json.loads(histograms["figure"]), json.loads(schedules["figure"])


@cache
def usual_parts():
    """The parts of the page without inputs."""
    return parts(open_page())


NAMES = list(SCHEDULES)


@pytest.mark.parametrize(("a", "b"), [*zip(NAMES, NAMES[1:] + NAMES[:1], strict=True), ("cosine", "cosine")])
def test_any_schedule_against_any_other(a, b):
    """Each is A and B, and one stands beside its own rescaled kind."""
    player, _, schedules = parts(open_page(schedule_A=a, schedule_B=b, zero_terminal_snr_B="true"))
    names = [f"A: {a}", f"B: {make_schedule(b, zero_terminal_snr=True).name}"]
    assert player["captions"] == names
    assert len(player["labels"]) == 51
    assert list(dict.fromkeys(trace["name"] for trace in schedules["data"])) == names


@pytest.mark.parametrize(
    ("wanted", "t"), [("0", 0), ("300", 300), ("309", 300), ("99999", 999), ("-5", 300), ("x", 300), ("", 300)]
)
def test_the_timestep_of_the_address_is_shown_and_marked_on_every_curve(wanted, t):
    app = open_page(t=wanted)
    player, _, schedules = parts(app)
    dots = [trace for trace in schedules["data"] if trace.get("mode") == "markers"]
    assert player["labels"][player["start"]] == f"t = {t}"
    assert len(dots) == 8
    assert {tuple(trace["x"]) for trace in dots} == {(t,)}
    assert app.query_params["t"] in ((str(t), [str(t)]) if wanted.isdecimal() else (wanted, [wanted]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("schedule_A", "../../etc"), ("t", "1e9"), ("noise_seed", "-1"), ("source_number", "99999"), ("zero_terminal_snr_A", "2")],
)
def test_a_hostile_address_gets_the_page_as_if_it_had_not_been_there(name, value):
    assert parts(open_page(**{name: value})) == usual_parts()


def test_the_pixels_are_as_noisy_as_the_schedules_say():
    """Std(x_t)² = alpha²·Var(x0) + sigma², also for an image that was sampled from the very seed that noises it."""

    def deviations(t):
        titles = [annotation["text"] for annotation in parts(open_page(t=t))[1]["layout"]["annotations"]]
        return [float(title.rsplit(" ", 1)[1]) for title in titles]

    image, _ = deviations("0")  # nearly clean
    assert abs(image - 1) > 0.1
    for t in (300, 500, 999):
        levels = [make_schedule(name).at(t) for name in ("cosine", "linear")]
        expected = [math.sqrt(alpha**2 * image**2 + sigma**2) for alpha, sigma in levels]
        assert deviations(t) == pytest.approx(expected, rel=0.03), t


def test_the_seed_changes_the_noise_and_the_schedule_does_not():
    first, other = usual_parts()[0], parts(open_page(noise_seed="1"))[0]
    assert first["sequence"] != other["sequence"]
    assert parts(open_page())[0]["sequence"] == first["sequence"]


def test_both_schedules_get_the_same_noise():
    app = open_page(schedule_A="linear", schedule_B="linear")
    heights = [trace["y"] for trace in parts(app)[1]["data"] if trace["type"] == "bar"]
    assert np.array_equal(*heights) if isinstance(heights[0], list) else heights[0] == heights[1]


def test_how_an_upload_is_read_is_told():
    app = open_page(source="An upload")
    app.file_uploader(key="upload").upload(
        "any.png", saved(flat("RGB", (60, 160, 60)), icc_profile=icc_profile(ADOBE_RGB, 2.2, "*x*"))
    ).run()
    assert not app.exception
    assert "1 picture with the colours of “&#42;x&#42;”: converted to sRGB" in [caption.value for caption in app.caption]


@pytest.mark.parametrize(("shape", "side"), [((5, 7, 1), 8), ((28, 40, 3), 28), ((200, 150, 3), 128)])
def test_an_upload_is_shown_as_large_as_its_noise_can_be_seen(shape, side):
    app = open_page(source="An upload")
    app.file_uploader(key="upload").upload("any.png", png_bytes(np.zeros(shape, np.uint8))).run()
    assert not app.exception
    assert parts(app)[0]["height"] == side
