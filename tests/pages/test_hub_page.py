"""Models of the hub on the pages: added by their id, and uploaded; the commands run in processes of their own."""

import pytest
from opening import press
from streamlit.testing.v1 import AppTest

from pipelines.storage.added import added
from pipelines.storage.catalogue import read_catalogue
from pipelines.storage.hub_id import HubId
from pipelines.storage.hub_jobs import DownloadJob, UploadJob
from pipelines.storage.run import Run
from pipelines.storage.runs import LESSONS, PUBLISHED

FLOWERS = "tester/flowers"
SHIPPED = Run(PUBLISHED / LESSONS / "lesson-averages")


@pytest.fixture
def jobs(hub, tmp_path, monkeypatch):
    """The jobs of the pages, whose files are in an empty folder of runs."""
    download, upload = DownloadJob(tmp_path / "runs"), UploadJob(tmp_path / "runs")
    monkeypatch.setattr("pages.components.hub.DownloadJob", lambda: download)
    monkeypatch.setattr("pages.components.training_share.UploadJob", lambda: upload)
    yield download, upload
    for job in (download, upload):
        job.stop()


def dialog():
    from pages.components.hub import add_from_hub, show_download

    show_download()
    add_from_hub()


def share(name, path):
    from pages.components.training_share import _share
    from pipelines.storage.run import Run

    _share(name, Run(path))


def look_up(app, typed):
    app.text_input(key="hub-id").set_value(typed)
    return press(app, "Look it up")


def test_a_run_is_uploaded_looked_up_and_added_after_its_size_was_told(hub, jobs, wait_for):
    download, upload = jobs
    app = AppTest.from_function(share, args=("flowers", str(SHIPPED.path)), default_timeout=60).run()
    app.text_input(key="push-flowers").set_value(FLOWERS).run()
    app.selectbox(key="license-flowers").select("mit").run()
    press(app, "Upload for everybody")
    wait_for(lambda: not upload.running)
    assert upload.finished, upload.error
    assert [told.value for told in app.run().success] == [f"The run has been uploaded: others use it as {FLOWERS}."]

    app = AppTest.from_function(dialog, default_timeout=60).run()
    [told] = look_up(app, "../etc").error
    assert "is no id of a model on the hub" in told.value
    [told] = look_up(app, "tester/nothing").error
    assert "There is no model tester/nothing on the hub" in told.value
    hub.repositories[FLOWERS].commit(hub.repositories[FLOWERS].files() | {"README.md": b"<script>alert(1)</script>"})
    look_up(app, FLOWERS)
    assert not app.error
    assert "script" not in str([*app.markdown, *app.caption])  # what its card says is a stranger's text
    assert any("of which the weights are" in caption.value for caption in app.caption)
    assert HubId.parse(FLOWERS).cached() is None
    [button] = [button for button in app.button if button.label.startswith("Download ")]
    button.click().run()
    wait_for(lambda: not download.running)
    assert download.finished, download.error
    assert read_catalogue().runs[FLOWERS].run.fingerprint == SHIPPED.fingerprint
    press(app.run(), "Remove")
    assert added() == []


def test_without_a_token_the_page_says_how_to_get_one(hub, jobs, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    app = AppTest.from_function(share, args=("flowers", str(SHIPPED.path)), default_timeout=60).run()
    [told] = app.info
    assert "hf auth login" in told.value
    assert not app.text_input
