"""Models of other libraries on every page, beside one of ours."""

from __future__ import annotations

import pytest
import torch
from opening import generate, open_app
from streamlit.testing.v1 import AppTest

from pipelines.models.foreign.importing import import_model
from pipelines.models.foreign.source import Given


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A folder of runs: a flow-matching network, and a class-conditional one without a class that stands for none."""
    from diffusers import DDPMPipeline, DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel

    folder = tmp_path_factory.mktemp("imported")
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    small = {"sample_size": 8, "layers_per_block": 1, "block_out_channels": (8, 16), "norm_num_groups": 4, **blocks}
    made = {"flow": ({}, FlowMatchEulerDiscreteScheduler(shift=2.0)), "classes": ({"num_class_embeds": 2}, DDPMScheduler())}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, (more, scheduler) in made.items():
            DDPMPipeline(UNet2DModel(**small | more), scheduler).save_pretrained(folder / "saved" / name)
            import_model(folder / "saved" / name, folder / "runs" / name, Given())
    return folder / "runs"


@pytest.fixture(autouse=True)
def runs(imported, class_run, tmp_path, monkeypatch):
    for run in (*imported.iterdir(), class_run.path):
        (tmp_path / run.name).symlink_to(run)
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", tmp_path / "none")


def test_they_are_compared():
    app = generate(open_app("compare", model1="flow", model2="classes", steps1=2, steps2=2), "comparison", "Generate")
    comparison = app.session_state["comparison"][1]
    assert comparison.status == "done", comparison.error
    assert [column.run.name for column in comparison.columns] == ["flow", "classes"]
    assert [column.request.guidance for column in comparison.columns] == [1.0, 1.0]
    assert app.number_input(key="no_guidance2").disabled


def test_a_network_that_cannot_be_guided_is_not_guided():
    app = generate(open_app("generate", model="classes", steps=2, images_a_cell=1), "table")
    table = app.session_state["table"][1]
    assert table.status == "done", table.error
    assert [(cell.request.label, cell.request.guidance) for cell in table.columns] == [("0", 1.0), ("1", 1.0)]
    assert any("cannot be guided" in caption.value for caption in app.caption)


def test_the_trajectory_of_one_has_no_influence_of_a_condition():
    app = generate(open_app("reverse", model="classes", steps=2), "reverse", "Denoise")
    job = app.session_state["reverse"][1]
    assert job.status == "done", job.error
    assert job.way.change is None


@pytest.mark.parametrize("page", ["training_curves", "evaluate", "edit", "forward", "train"])
def test_the_other_pages_open(page):
    open_app(page)


def test_home_lists_them():
    app = AppTest.from_file("../../main_interface.py", default_timeout=120).run()
    assert not app.exception
    assert {"flow", "classes"} <= {word for text in app.markdown for word in text.value.replace("*", " ").split()}
