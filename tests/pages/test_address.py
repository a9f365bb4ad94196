"""Numbers in a page's address: those that no input takes are told."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def _page() -> None:
    import streamlit as st

    from pages.components.address import forget_infinite_numbers, unused_numbers_told

    forget_infinite_numbers()
    with unused_numbers_told():
        st.number_input("Seed", 0, 2**31 - 1, 7, key="seed", bind="query-params")
        st.number_input("Guidance", 0.0, 20.0, 2.0, key="guidance", bind="query-params")


@pytest.mark.parametrize("text", ["18446744073709551616", "-1", "1e400", "-inf", "two", "9" * 400, "nan"])
def test_a_number_out_of_range_is_told_with_what_is_used_instead(text):
    app = AppTest.from_function(_page)
    app.query_params["seed"] = text
    app.query_params["guidance"] = "3.5"
    app.run()
    assert not app.exception
    assert (app.number_input(key="seed").value, app.number_input(key="guidance").value) == (7, 3.5)
    [toast] = app.toast
    assert "seed=" in toast.value
    assert "in the address cannot be used here" in toast.value
    app.number_input(key="seed").set_value(9).run()
    assert not app.toast, "what a person chooses is nothing to tell"
    assert app.number_input(key="seed").value == 9
