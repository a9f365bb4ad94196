"""Opening a page without a browser."""

from __future__ import annotations

import time
from functools import cache

from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

# Each AppTest would look through all installed packages for components, which takes longer than many a page.
manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)


def open_app(page: str, **inputs: object) -> AppTest:
    """A page of the dashboard, by the name of its file, with these values in its address."""
    app = AppTest.from_file(f"../../pages/{page}.py", default_timeout=120)
    for name, value in inputs.items():
        app.query_params[name] = value if isinstance(value, list) else str(value)
    app.run()
    assert not app.exception
    return app


def generate(app: AppTest, key: str, label: str = "Generate") -> AppTest:
    """Press the button that starts a job, and look again when the job that the session keeps under ``key`` is done.

    The Compare page has no such button while it shows what is asked for, as it does of its own accord if all is cached.
    """
    buttons = [button for button in app.button if _untimed(button.label) in (label, "Update")]
    assert buttons or key in app.session_state
    for button in buttons:
        button.click().run()
    assert not app.exception
    if key in app.session_state:
        _, job = app.session_state[key]
        deadline = time.monotonic() + 120
        while job.active:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        app.run()
    return app


def press(app: AppTest, label: str) -> AppTest:
    """Press the only button with that label."""
    button_of(app, label).click().run()
    assert not app.exception
    return app


def button_of(app: AppTest, label: str) -> Button:
    """The only button with that label, without the time that it may name."""
    [button] = [button for button in app.button if _untimed(button.label) == label]
    return button


def labels(app: AppTest) -> set[str]:
    """The labels of all buttons, without the times that they may name."""
    return {_untimed(button.label) for button in app.button}


def _untimed(label: str) -> str:
    return label.split(" (about")[0]
