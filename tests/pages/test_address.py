"""Values in a page's address: those that no input takes are told."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def _page() -> None:
    import streamlit as st

    from pages.components import end_page
    from pages.components.address import forget_infinite_numbers, unused_values_told

    forget_infinite_numbers()
    with unused_values_told():
        st.number_input("Seed", 0, 2**31 - 1, 7, key="seed", bind="query-params")
        st.number_input("Guidance", 0.0, 20.0, 2.0, key="guidance", bind="query-params")
        end_page()  # as a page without a result does


@pytest.mark.parametrize("text", ["18446744073709551616", "-1", "1e400", "-inf", "two", "9" * 400, "nan"])
def test_a_number_out_of_range_is_told_with_what_is_used_instead(text):
    app = AppTest.from_function(_page)
    app.query_params["seed"] = text
    app.query_params["guidance"] = "3.50"  # which is taken, although Python would write it otherwise
    app.run()
    assert not app.exception
    assert (app.number_input(key="seed").value, app.number_input(key="guidance").value) == (7, 3.5)
    [toast] = app.toast
    assert "seed=" in toast.value
    assert "guidance" not in toast.value
    assert "in the address cannot be used here" in toast.value
    app.number_input(key="seed").set_value(9).run()
    assert not app.toast, "what a person chooses is nothing to tell"
    assert app.number_input(key="seed").value == 9


def _choosing() -> None:
    import streamlit as st

    from diffusion_core.choices import SAMPLERS
    from pages.components.address import is_number, tell_unless, unused_values_told
    from pages.components.named_choice import choose_named

    with unused_values_told():
        tell_unless("level", is_number, "sample")
        st.selectbox("Model", ["one", "two"], key="model", bind="query-params")
        st.multiselect("Runs", ["a", "b", "c"], ["a"], key="runs", bind="query-params")
        choose_named("Sampler", SAMPLERS, "dpmpp_2m", "sampler")


def test_a_choice_that_does_not_exist_is_told_with_what_is_used_instead():
    app = AppTest.from_function(_choosing)
    asked = {"model": "nope", "runs": ["b", "x"], "sampler": "magic", "level": "abc"}
    for name, value in asked.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    [toast] = app.toast
    sentences = [sentence.split(" in the address cannot be used here: ") for sentence in toast.value.split("\n\n")]
    told = {asked: used.removeprefix("this page uses ").removesuffix(" instead.") for asked, used in sentences}
    assert toast.proto.duration == 0, "until a person closes it"
    assert told == {"model=nope": "one", "runs=x": "b", "sampler=magic": "dpmpp_2m", "level=abc": "sample"}
    assert not app.run().toast, "once"

    app = AppTest.from_function(_choosing)
    for name, value in {"model": "two", "runs": ["b", "c"], "sampler": "ddim", "level": "-1.5"}.items():
        app.query_params[name] = value
    assert not app.run().toast
    assert app.selectbox(key="model").value == "two"


def _named() -> None:
    from diffusion_core.choices import SAMPLERS
    from pages.components.named_choice import choose_named

    choose_named("Sampler", SAMPLERS, "dpmpp_2m", "sampler")


def test_a_select_box_shows_titles_and_the_address_short_names():
    app = AppTest.from_function(_named)
    app.query_params["sampler"] = "heun"
    app.run()
    box = app.selectbox(key="sampler")
    assert (box.value, box.options[:2]) == ("heun", ["UniPC-3", "DPM-Solver++(2M)"])
    box.select("ddim").run()
    assert (app.selectbox(key="sampler").value, app.query_params["sampler"]) == ("ddim", "ddim")
    app.query_params["sampler"] = "unipc"  # a link within the session
    assert app.run().selectbox(key="sampler").value == "unipc"
    app.selectbox(key="sampler").select("dpmpp_2m").run()
    assert "sampler" not in app.query_params, "the usual choice is not part of the address"
    app.query_params["sampler"] = "no such sampler"
    app.run()
    assert not app.exception
    assert (app.selectbox(key="sampler").value, "sampler" in app.query_params) == ("dpmpp_2m", False)
