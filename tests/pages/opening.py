"""Opening a page without a browser."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def open_app(page: str, **inputs: object) -> AppTest:
    """A page of the dashboard, by the name of its file, with these values in its address."""
    app = AppTest.from_file(f"../../pages/{page}.py", default_timeout=120)
    for name, value in inputs.items():
        app.query_params[name] = value if isinstance(value, list) else str(value)
    app.run()
    assert not app.exception
    return app
