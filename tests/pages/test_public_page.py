"""A public dashboard and a hostile visitor, who knows the addresses of a private one and sends what no browser would."""

import asyncio
import json
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import streamlit as st
from opening import button_of, generate, labels, open_app
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.backend_operation_handler import InstallSkillsHandler

from diffusion_core.choices import SAMPLERS
from pages.components.generation import generation_queue
from pages.components.lessons import LESSONS
from pages.components.runs import is_diffusion
from pipelines.common.public import ROOT, Bounds
from pipelines.sampling.effort import calls_of, size_of
from pipelines.sampling.generation import Comparison
from pipelines.sampling.queue import Job
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.catalogue import read_catalogue
from pipelines.storage.runs import LESSONS as LESSONS_FOLDER
from pipelines.storage.runs import PUBLISHED

HOME = "../main_interface"  # the only page with links to others
SECRET = "my-secret-run"
ABROAD = "somebody/some-model"
ACTIONS = re.compile("train|distil|delete|remove|download|read the|hub|evaluate…|measure|examine|resume", re.IGNORECASE)


@pytest.fixture(autouse=True)
def public(tiny_run, class_run, tmp_path, monkeypatch):
    """Two published runs, one of which is damaged besides, a run of one's own and one from the hub, on a public dashboard."""
    published, own = tmp_path / "published", tmp_path / "own"
    for run in (tiny_run, class_run):
        shutil.copytree(run.path, published / run.name)
    torn = shutil.copytree(tiny_run.path, published / "torn")
    (torn / "config.json").write_text("{")
    config = json.loads((published / "tiny" / "config.json").read_text())
    assert Path(config["data"]["data"]).is_absolute()  # which no page may show
    shutil.copytree(tiny_run.path, own / SECRET)
    (own / "hub.json").write_text(json.dumps([f"{ABROAD}@{'0' * 40}"]))
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", published)
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", own)
    monkeypatch.setenv("NOISESCOPE_PUBLIC", "1")
    return tmp_path


def everything(app) -> str:
    """All that a page sends to the browser."""
    return "\n".join(str(node.proto) for node in app.main)


def private(said: str, folder: Path) -> list[str]:
    """What a page says that is none of a visitor's business."""
    places = (folder, ROOT, Path.home(), Path("checkpoints").resolve())
    return [word for word in (*map(str, places), SECRET, ABROAD) if word in said]


def addresses(folder: Path) -> dict[str, dict[str, object]]:
    """What a hostile visitor writes into the address of each page."""
    models = [SECRET, str(folder / "own" / SECRET), f"../own/{SECRET}", ABROAD]
    picture = {"source": "A dataset", "dataset": "/etc", "dataset_image": 10**30, "source_run": SECRET, "source_number": -1}
    return {
        HOME: {"lesson": "../../etc/passwd", "models more": "true"},
        "compare": {"model1": models[1], "model2": models[3], "columns": 10**9, "images": 10**12, "steps1": 10**9},
        "forward": picture | {"noise_seed": 10**30},
        "reverse": {"model": models[2], "start": "An image", "steps": 10**9} | picture,
        "generate": {"model": models[0], "images_a_cell": 10**9, "classes": ["<script>"], "steps": 10**9},
        "edit": {"model": models[0], "edit": "Inpaint", "images_a_cell": 10**9} | picture,
        "training_curves": {"runs": ["tiny", "class", *models], "settings": True, "logs": ["/etc", str(folder)]},
        "evaluate": {"runs": ["tiny", *models], "copies": True},
        "train": {"data": "/etc", "fetch": "true", "recipe": "/etc/passwd", "name": "../x", "run": SECRET},
        "glossary": {"search": "/etc"},
    }


@pytest.mark.parametrize("page", addresses(Path()))
def test_no_address_reaches_past_what_is_published(page, public):
    app = open_app(page, **addresses(public)[page])
    assert not private(everything(app), public)
    assert not [label for label in labels(app) if ACTIONS.search(label)]
    choices = [*app.selectbox, *app.multiselect]
    assert not [box.key for box in choices if {SECRET, ABROAD, "/etc"} & set(map(str, box.options))]


def test_several_averages_are_shown_and_not_measured(monkeypatch):
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", PUBLISHED)
    app = open_app("training_curves", runs=["lesson-averages"], averages="true")
    assert "See their figures" in labels(app)
    assert not [label for label in labels(app) if ACTIONS.search(label)]


def test_training_is_refused_even_by_its_own_page(public):
    app = open_app("train")
    assert [info.value for info in app.info] == ["This public dashboard trains nothing: run your own to train, as Home says."]
    assert not app.button
    assert not app.selectbox
    assert not app.get("file_uploader")


def test_home_says_that_it_is_public_and_how_to_run_ones_own():
    [line] = [caption.value for caption in open_app(HOME).caption if "public instance" in caption.value]
    assert "pip install -r requirements.txt && streamlit run main_interface.py" in line


def test_no_visitor_can_have_streamlit_write_files(public, monkeypatch):
    """Streamlit offers to install instructions for coding assistants, where it believes that its browser is the developer's."""
    monkeypatch.setattr("streamlit.web.skills.agent_harness_present", lambda: True)
    monkeypatch.setattr("streamlit.runtime.backend_operation_handler.connection_locality", lambda session: "loopback")
    handler = InstallSkillsHandler(lambda: str(public / "app"))
    earlier = config.get_option("server.headless")
    config.set_option("server.headless", False)
    try:
        open_app(HOME)
        asking = handler.handle(BackMsg().backend_operation_request, "session")
        answer = ThreadPoolExecutor(1).submit(asyncio.run, asking).result()  # Playwright has a loop in this one
    finally:
        config.set_option("server.headless", earlier)
    assert answer.error_reason == "refused:headless"
    assert not (public / "app").exists()


def test_what_no_browser_would_send_is_refused():
    """A browser's inputs have limits; here values beyond them come without one."""
    app = open_app("reverse", model="class", start="An image", source="An upload")
    for key, value in {"steps": 10**9, "number": 10**30, "guidance": 1e300}.items():
        usual = app.number_input(key=key).value
        app.number_input(key=key).set_value(value).run()
        assert not app.exception
        assert app.number_input(key=key).value == usual


def test_a_larger_request_than_allowed_is_refused_and_a_smaller_one_computed(monkeypatch):
    monkeypatch.setenv("NOISESCOPE_PUBLIC_CALLS", "1")
    app = open_app("generate", model="class", images_a_cell=9, steps=4)
    reason = r"his is \S+ times as much as one request .* 1 network calls for .*columns\.$"
    assert button_of(app, "Generate").disabled
    assert any(re.search(reason, text.value.removesuffix("]")) for text in app.markdown)
    started = open_app("compare")
    started.session_state["start_comparison"] = True  # as Home's button does
    started.run()
    assert re.search(reason, started.error[0].value)
    assert "comparison" not in started.session_state
    app.number_input(key="images_a_cell").set_value(1)
    app.number_input(key="steps").set_value(2).run()  # 12 calls for 8×8 pixels, of which 16 count as one
    assert not button_of(app, "Generate").disabled
    button_of(app, "Generate").click().run()
    assert not app.error
    assert "table" in app.session_state


def test_what_is_too_large_is_disabled_with_the_reason_beside_it(monkeypatch):
    app = generate(open_app("reverse", model="tiny", steps=2), "reverse", "Denoise")
    assert not app.toggle(key="xray").disabled
    monkeypatch.setenv("NOISESCOPE_PUBLIC_CALLS", "1")
    app = open_app("reverse", model="tiny", steps=2, xray="true")  # the trajectory is cached
    [toggle] = app.toggle
    assert (toggle.disabled, toggle.value) == (True, False)
    assert "xray_job" not in app.session_state
    assert not app.error
    assert any("as much as one request" in text.value for text in app.markdown)
    monkeypatch.setenv("NOISESCOPE_PUBLIC_CALLS", "40")  # more than the X-ray of 8×8 pixels takes, less than the comparison
    app.run()
    generate(app, "xray_job", "none")
    assert button_of(app, "Compare them").disabled
    assert any("as much as one request" in text.value for text in app.markdown)


def test_an_x_ray_that_is_too_large_is_not_offered_on_compare(monkeypatch):
    address = {"model1": "tiny", "model2": "class", "images": 1, "steps1": 2, "steps2": 2}
    app = generate(open_app("compare", **address), "comparison")
    assert not app.button(key="xray1").disabled
    monkeypatch.setenv("NOISESCOPE_PUBLIC_CALLS", "1")
    app.run()
    assert app.button(key="xray1").disabled


def test_prompts_that_this_server_cannot_encode_are_not_offered(monkeypatch, request):
    st.cache_data.clear()  # pages remember for a while whether an encoder is there
    request.addfinalizer(st.cache_data.clear)
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", PUBLISHED)
    monkeypatch.setattr("pages.components.asking.local_encoder", lambda name: None)
    app = open_app("generate", model="fashion-text", images_a_cell=1)
    assert button_of(app, "Generate").disabled
    assert any("text encoder of this model is not on this server" in text.value for text in app.markdown)
    assert not app.error


class Stuck(Job):
    """A job that ends when it is told to."""

    effort = nbytes = steps_done = 0
    num_steps = 1

    def __init__(self) -> None:
        super().__init__()
        self.end = threading.Event()

    def recall(self, results):
        return False

    def compute(self, results):
        self.end.wait(60)
        yield


def test_no_visitor_can_have_another_queue_made():
    """Any browser can send Streamlit a message that empties its caches for everybody."""
    queue = generation_queue()
    st.cache_resource.clear()
    assert generation_queue() is queue


@pytest.fixture
def stuck():
    """A job of somebody else that is being computed."""
    job = generation_queue().submit(Stuck())
    yield job
    job.end.set()


def test_visitors_wait_in_a_queue_of_limited_length(stuck, monkeypatch):
    monkeypatch.setenv("NOISESCOPE_PUBLIC_QUEUE", "1")
    app = open_app("reverse", model="tiny", steps=2, seed=7)
    button_of(app, "Denoise").click().run()
    assert "1 requests of other visitors are waiting" in app.error[0].value
    assert "reverse" not in app.session_state
    monkeypatch.setenv("NOISESCOPE_PUBLIC_QUEUE", "2")
    button_of(app, "Denoise").click().run()
    assert app.session_state["reverse"][1].status == "queued"


def test_a_visitor_has_few_requests_at_a_time(stuck, monkeypatch):
    monkeypatch.setenv("NOISESCOPE_PUBLIC_WAITING", "1")
    app = open_app("reverse", model="tiny", steps=2, seed=8)
    app.session_state["table"] = None, generation_queue().submit(Stuck())  # as after Generate
    button_of(app, "Denoise").click().run()
    assert "1 of your requests" in app.error[0].value
    app.session_state["table"][1].cancel()
    button_of(app, "Denoise").click().run()
    assert app.session_state["reverse"][1].status == "queued"


def test_the_results_that_all_visitors_keep_are_bounded(stuck, monkeypatch):
    monkeypatch.setattr(Stuck, "nbytes", 2**30 + 1)
    app = open_app("reverse", model="tiny", steps=2, seed=9)
    button_of(app, "Denoise").click().run()
    assert app.session_state["reverse"][1].active
    app.session_state["kept"] = kept = Stuck()
    kept.status = "done"
    from pages.components.visitors import keep_in_mind

    keep_in_mind(kept)
    app.number_input(key="seed").set_value(10).run()
    button_of(app, "Denoise").click().run()
    assert "as many results as this public page can keep" in app.error[0].value


def test_a_hostile_upload_is_refused_in_one_sentence(public, monkeypatch):
    monkeypatch.setenv("NOISESCOPE_PUBLIC_UPLOAD", "1")
    app = open_app("reverse", model="tiny", start="An image", source="An upload")
    for content, reason in ((bytes(2**20 + 1), "larger than 1 MiB"), (b"\x89PNG\r\n\x1a\n/etc", "not a readable image")):
        app.file_uploader(key="upload").upload("<img src=/etc/passwd>.png", content).run()
        assert not app.exception
        assert reason in app.error[0].value
        assert not private(app.error[0].value, public)


def test_what_pages_offer_at_first_and_lessons_show_is_allowed():
    """Of the shipped models: the comparison behind Home's button, and each lesson's."""
    models = read_catalogue(PUBLISHED, PUBLISHED / LESSONS_FOLDER).models_and_averages(is_diffusion)
    for names, guidance in (
        (("flowers-attention-64", "flowers-baseline-64"), 1.0),
        (("flowers-text", "flowers-latent-text"), 2.0),
    ):
        first = [(models[name].run, SamplingRequest(60, guidance=guidance)) for name in names]
        assert Comparison.of(first).effort <= Bounds().calls, names
    lessons = [lesson for lesson in LESSONS if lesson.page == "compare"]
    assert any("flowers-latent-text" in lesson.inputs.values() for lesson in lessons)
    for lesson in lessons:
        effort = 0.0
        for number in range(1, lesson.inputs["columns"] + 1):
            config = models[lesson.inputs[f"model{number}"]].config
            asked = {
                name: lesson.inputs.get(f"{name}{number}", getattr(SamplingRequest, name)) for name in ("sampler", "steps")
            }
            scale = 2.0 if config.network.conditional else 1.0
            effort += size_of(config) * calls_of(config, SamplingRequest(lesson.inputs["images"], guidance=scale, **asked))
        assert effort <= Bounds().calls, lesson.name


def test_effort_counts_network_calls(tiny_run):
    config = tiny_run.config
    assert size_of(config) == 8 * 8 / 32**2
    for name, sampler in SAMPLERS.items():
        assert calls_of(config, SamplingRequest(3, sampler=name, steps=5)) == 15 * sampler.calls
        assert calls_of(config, SamplingRequest(3, sampler=name, steps=5, guidance=2.0)) == 30 * sampler.calls
