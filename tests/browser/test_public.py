"""A public dashboard as its visitors see it, in its own process with its own environment."""

from playwright.sync_api import expect

from .conftest import dashboard
from .test_hosts import handshake

HOSTS = "demo.example.org *.hf.space"


def test_a_visitor_finds_models_but_no_training_and_uploads_little(page, tmp_path, forking):
    (tmp_path / "runs").mkdir()
    environment = {
        "NOISESCOPE_PUBLIC": "1",
        "NOISESCOPE_PUBLIC_UPLOAD": "1",
        "STREAMLIT_SERVER_ALLOWED_HOSTS": f"localhost {HOSTS}",
    }
    with dashboard(tmp_path / "log.txt", forking, NOISESCOPE_RUNS=str(tmp_path / "runs"), **environment) as address:
        page.goto(f"{address}/train?data=/etc&fetch=true")
        page.get_by_text("There is no page train").wait_for()
        page.goto(address)
        page.get_by_text("This is a public instance").wait_for()
        page.get_by_role("link", name="Compare", exact=True).wait_for()
        expect(page.get_by_role("link", name="Train", exact=True)).to_have_count(0)
        page.goto(f"{address}/forward?source=An+upload")
        file = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(2**20 + 1)}
        page.locator("input[type=file]").set_input_files(file)
        page.get_by_text("File must be 1.0MB or smaller.").wait_for()
        for host in ("demo.example.org", "user-space.hf.space"):
            assert handshake(address, host, host) == 101
        assert handshake(address, "evil.example", "evil.example") == 403
    assert not list((tmp_path / "runs").iterdir())
