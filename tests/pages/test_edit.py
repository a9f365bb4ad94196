"""The logic of the Edit page, without a browser."""

import base64
import io
import json
import shutil
import zipfile
from functools import partial
from types import SimpleNamespace

import numpy as np
import opening
import pytest
import torch
from opening import button_of, labels, open_app
from streamlit.testing.v1 import AppTest

from pages.components import carried as carried_module
from pages.components import condition_table
from pages.components import painter as painter_module
from pages.components import thumbnails as thumbnails_module
from pages.components.condition_table import LARGEST, ROOM, SMALLEST, fitted, table_cost
from pages.components.downloads import comparison_zip
from pages.components.generation import level_name
from pages.components.painter import painter
from pages.components.runs import newest_samples
from pipelines.common.images import png_bytes, read_request, split_montage
from pipelines.common.picture_files import open_picture
from pipelines.models.loading import load_model
from pipelines.sampling.fitting import fit_picture
from pipelines.sampling.origins import BetweenPictures, FromInversion, FromPicture
from pipelines.storage.run import Run

open_page = partial(open_app, "edit")
generate = partial(opening.generate, key="edited")


@pytest.fixture(autouse=True)
def runs(class_run, text_run, tiny_run, tmp_path, monkeypatch):
    """Small models are at hand, and nothing else."""
    for run in (class_run, text_run, tiny_run):
        (tmp_path / run.name).symlink_to(run.path)
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", tmp_path / "none")


def cells(app: AppTest):
    return app.session_state["edited"][1].columns


def finished(app: AppTest):
    table, comparison = app.session_state["edited"]
    assert comparison.status == "done", comparison.error
    return table, comparison.columns


def pixels(picture: bytes):
    return np.atleast_3d(np.asarray(open_picture(picture)))


def test_a_picture_is_varied_by_several_strengths():
    app = generate(
        open_page(model="tiny", strengths=["0.2", "0.8"], images_a_cell=3, steps=5, seed=7, source_run="tiny", source_number=1)
    )
    table, columns = finished(app)
    assert table.columns == ["strength 0.2", "strength 0.8"]
    assert [column.origin.strength for column in columns] == [0.2, 0.8]
    assert {(column.request.num_images, column.request.steps, column.request.seed) for column in columns} == {(3, 5, 7)}
    chosen = pixels(columns[0].origin.picture)
    assert np.array_equal(chosen, newest_samples(Run(str(columns[0].run.path)))[1])
    near, far = (np.abs(column.frames[-1].x.astype(int) - chosen).mean() for column in columns)
    assert near < far
    assert any(caption.value.endswith(f"{table.about}.") for caption in app.caption), "the sample needs no noise level"
    slider = app.select_slider[0]
    slider.set_value(level_name(columns[1].frames[0].log_snr)).run()
    starts = [f"t = {column.frames[0].timestep:.0f}" for column in columns]
    assert starts[0] != starts[1]
    assert any(f"{', '.join(starts)}." in caption.value for caption in app.caption), "each column's own noise level is told"


def test_what_is_painted_is_made_anew_and_the_rest_stays():
    methods = ["one pass", "reconstruction guidance", "RePaint, 2 passes"]
    app = open_page(model="tiny", edit="Inpaint", methods=methods, images_a_cell=2, steps=4)
    button = button_of(app, "Generate")
    assert button.disabled
    assert "Paint over" in app.info[0].value
    [(of, mask)] = app.session_state["mask painted"].items()
    app.session_state["mask painted"] = {of: "1" * (len(mask) // 2) + "0" * (len(mask) - len(mask) // 2)}  # the upper half
    table, columns = finished(generate(app.run()))
    assert table.columns == methods
    assert [(column.origin.resamplings, column.origin.guided) for column in columns] == [(1, False), (1, True), (2, False)]
    for column in columns:
        chosen, made = pixels(column.origin.picture), column.frames[-1].x
        half = len(chosen) // 2
        assert np.array_equal(made[:, half:], np.broadcast_to(chosen[half:], made[:, half:].shape))
        assert not np.array_equal(made[0, :half], made[1, :half])


def test_a_widened_picture_stands_small_among_what_is_made():
    app = generate(
        open_page(
            model="tiny", edit="Outpaint", share=0.5, across=0.0, down=1.0, methods=["one pass"], images_a_cell=1, steps=4
        )
    )
    _, [column] = finished(app)
    canvas, made = pixels(column.origin.picture), column.frames[-1].x[0]
    half = len(canvas) // 2
    assert np.array_equal(made[half:, :half], canvas[half:, :half])
    assert not np.array_equal(made, canvas)


@pytest.fixture(scope="module")
def wide():
    """A picture three times as wide as high, light on the left and dark on the right, and a mask of all but its right end."""
    pixels = np.tile(np.linspace(255, 0, 90).astype(np.uint8)[:, None], (30, 1, 3))
    mask = np.zeros((30, 90, 1), np.uint8)
    mask[:, :55] = 255
    return png_bytes(pixels), png_bytes(mask)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_an_upload_and_its_mask_go_the_way_of_the_command_line(wide, fit, train, tmp_path):
    picture, mask = wide
    run = train(tmp_path / "fitted", fit=fit, steps=1)
    app = open_page(model="fitted", edit="Inpaint", source="An upload", methods=["one pass"], images_a_cell=1, steps=2)
    app.file_uploader(key="upload").upload("wide.png", picture).run()
    app.file_uploader(key="mask_file").upload("mask.png", mask).run()
    _, [column] = finished(generate(app))
    model = load_model(run, dtype=torch.float32)
    here, there = (
        origin.start(model, column.request, [0]).known for origin in (column.origin, FromPicture(picture, 1.0, mask))
    )
    assert torch.equal(here.image, there.image)
    assert torch.equal(here.mask, there.mask)
    assert here.mask.mean().item() == pytest.approx({"crop": 1 / 8, "pad": 1 - 3 * 5 / 64}[fit])


def test_a_mask_that_does_not_fit_is_left_out_and_said(wide):
    """And all else stays: the canvas, what was made before, the button."""
    picture, mask = wide
    app = open_page(model="tiny", edit="Inpaint", source="An upload", methods=["one pass"], images_a_cell=1, steps=2)
    app.file_uploader(key="upload").upload("wide.png", picture).run()
    app.file_uploader(key="mask_file").upload("mask.png", mask).run()
    generate(app)
    wrong = {
        "small.png": (png_bytes(np.ones((8, 8, 1), np.uint8)), "a mask of 8×8 pixels for a picture of 90×30: give one of the"),
        "black.png": (png_bytes(np.zeros((30, 90, 1), np.uint8)), "the mask has no white area at 8×8 pixels"),
        "text.png": (b"a text", "not a readable image"),
    }
    for name, (content, reason) in wrong.items():
        app.file_uploader(key="mask_file").upload(name, content).run()
        assert app.warning[0].value.startswith(f"{name} is ignored: {reason}")
        assert "Paint over" in app.info[0].value
        assert any(caption.value.startswith("1 image · ") for caption in app.caption)


def test_what_is_known_of_a_mask_from_a_file_can_be_painted_on(monkeypatch):
    """It is on the canvas, and without the file what was painted before is back."""
    sent, state = [], SimpleNamespace(painted=None)
    monkeypatch.setattr(painter_module, "_component", lambda data, **_: sent.append(data) or state)
    monkeypatch.setattr(painter_module.st, "session_state", {})
    monkeypatch.setattr(painter_module.st, "query_params", {})
    picture, given = np.zeros((2, 2, 1), np.uint8), np.array([[True, False], [False, False]])
    assert np.array_equal(painter(picture, "mask", alt="", begin=given), given)
    state.painted = {"picture": sent[-1]["picture"], "mask": "1010"}
    assert painter(picture, "mask", alt="", begin=given).tolist() == [[True, False], [True, False]]
    assert not painter(picture, "mask", alt="").any()
    assert painter(picture, "mask", alt="", begin=given).tolist() == [[True, False], [True, False]]
    assert [data["mask"] for data in sent] == ["1000", "1000", "0000", "1010"]


def test_a_link_carries_a_mask_and_a_small_uploaded_picture(wide):
    """Whoever opens it gets the same edit; a mask of another picture's size, or a damaged one, is told and ignored."""
    picture, mask = wide
    address = {"model": "tiny", "edit": "Inpaint", "source": "An upload", "methods": "one pass", "images_a_cell": 1, "steps": 2}
    app = open_page(**address)
    app.file_uploader(key="upload").upload("wide.png", picture).run()
    app.file_uploader(key="mask_file").upload("mask.png", mask).run()
    assert shared(app)["leftOut"] == ""
    painted = max(app.session_state["mask painted"].values())
    carried = {name: "".join(app.query_params[name]) for name in ("picture", "mask")}
    _, [made] = finished(generate(app))
    _, [again] = finished(generate(open_page(**address, **carried)))
    assert again.origin == made.origin
    for other in ("x", carried["mask"][:-4], carried["picture"]):
        app = open_page(**address | carried | {"mask": other})
        [(_, kept)] = app.session_state["mask painted"].items()
        assert set(kept) == {"0"} != set(painted)
        assert "mask" not in app.query_params
    app = open_page(**address, picture=carried["picture"])
    assert "picture" in app.query_params
    other = carried_module._packed(b"GIF89a")
    assert not any("came with the link" in caption.value for caption in open_page(**address, picture=other).caption)
    app = open_page(**address | {"source": "A sample"}, **carried)
    assert "picture" not in app.query_params, "which the link names"


def shared(app):
    """What the browser is told to share."""
    return next(data for one in app.get("bidi_component") if "leftOut" in (data := json.loads(one.proto.json)))


def test_what_a_link_has_no_room_for_is_said(monkeypatch, wide):
    monkeypatch.setattr(carried_module, "ROOM", 60)
    picture, mask = wide
    app = open_page(model="tiny", edit="Inpaint", source="An upload", methods=["one pass"], images_a_cell=1, steps=2)
    app.file_uploader(key="upload").upload("wide.png", picture).run()
    app.file_uploader(key="mask_file").upload("mask.png", mask).run()
    assert "picture" not in app.query_params
    assert "mask" in app.query_params
    assert shared(app)["leftOut"].startswith("It leaves out your picture, too large for a link.")
    finished(generate(app))
    assert shared(app)["entry"] is None, "the history could not show it again"
    assert {"picture.png", "mask.png"} <= set(shared(app)["files"])


def test_a_picture_of_a_dataset_is_edited_as_it_is(image_folder, tmp_path, monkeypatch):
    """Whatever size the data are trained at, the model that is chosen here says how large it shall be."""
    (tmp_path / "oxford_flowers").symlink_to(image_folder)
    monkeypatch.setenv("NOISESCOPE_DATA", str(tmp_path))
    app = open_page(model="tiny", source="A dataset", dataset="oxford_flowers", dataset_image=1)
    _, columns = finished(generate(app))
    file = sorted(image_folder.rglob("*.png"))[1].read_bytes()
    assert np.array_equal(pixels(columns[0].origin.picture), fit_picture(file, columns[0].config))


def test_a_picture_of_a_dataset_is_chosen_from_thumbnails_that_are_spread_over_it(image_folder, tmp_path, monkeypatch):
    """Also where some pictures cannot be read, and with a number beyond the last."""
    offered = []
    monkeypatch.setattr(thumbnails_module, "_component", lambda **given: offered.append(given["data"]))
    folder = shutil.copytree(image_folder, tmp_path / "oxford_flowers")
    files = sorted(folder.rglob("*.png"))
    files[13].write_bytes(b"torn")
    monkeypatch.setenv("NOISESCOPE_DATA", str(tmp_path))
    app = open_page(model="tiny", source="A dataset", dataset="oxford_flowers", dataset_image=len(files) + 3)
    first = offered[-1]
    assert first["chosen"] == 3
    assert first["numbers"] == [number for number in range(1, len(files), 2) if number != 13]
    for source, number, name in zip(first["pictures"], first["numbers"], first["labels"], strict=True):
        shown = pixels(base64.b64decode(source.partition(",")[2]))
        assert np.array_equal(shown, pixels(files[number].read_bytes()))
        assert name == files[number].parent.name
    opening.press(app, "Other pictures")
    assert not set(offered[-1]["numbers"]) & set(first["numbers"])
    assert offered[-1]["chosen"] in offered[-1]["numbers"]


def test_two_pictures_are_blended():
    address = {"source_number": 0, "source_number2": 3, "between": 5, "steps_traced": 20}
    app = generate(open_page(model="tiny", edit="Interpolate", **address))
    _, [column] = finished(app)
    assert isinstance(column.origin, BetweenPictures)
    made = column.frames[-1].x.astype(int)
    assert len(made) == 5
    once = column.origin.nfe(load_model(column.run), column.request)
    assert once > column.request.steps
    assert f"5 images · {column.request.steps + once / 5:.0f} network calls per image" in " ".join(
        told.value for told in app.caption
    )
    for end, picture in ((0, column.origin.first), (-1, column.origin.second)):
        assert np.abs(made[end] - pixels(picture)).mean() < 8
    assert np.abs(made[0] - made[-1]).mean() > 8


def test_a_picture_is_reworded_by_class_and_by_prompt():
    app = generate(
        open_page(
            model="class",
            edit="Change condition",
            shows_class="squares",
            strengths_traced=["0.5", "1"],
            steps_traced=3,
            guidance=3,
        )
    )
    table, columns = finished(app)
    assert (table.rows, table.columns) == (["circles", "squares"], ["strength 0.5", "strength 1"])
    assert {(column.origin.label, column.request.sampler, column.request.guidance) for column in columns} == {
        ("squares", "ddim", 3.0)
    }
    assert [column.request.label for column in columns] == ["circles"] * 2 + ["squares"] * 2
    app = generate(
        open_page(
            model="text", edit="Change condition", shows="a circle", prompts="a square", strengths_traced=["1"], steps_traced=3
        )
    )
    _, [column] = finished(app)
    assert column.origin == FromInversion(column.origin.picture, prompt="a circle")
    assert column.request.prompt == ("a square",)


def test_an_inversion_is_charged_once_to_all_rows_also_to_those_that_have_not_begun():
    """By hand: four images of 3 calls each, from two places of 10 and 6 calls."""
    made = {"request": SimpleNamespace(num_images=1), "seconds": 1.0, "nfe": 3}
    near, far = FromInversion(b"", strength=0.5), FromInversion(b"")
    begun = ((near, 6), (far, 10), (near, 0), (far, 0))
    columns = [SimpleNamespace(**made, origin=origin, origin_nfe=nfe) for origin, nfe in begun]
    assert table_cost(SimpleNamespace(columns=columns)) == "4 images · 7 network calls per image · 4.0 s of computation"


def test_cells_of_different_cost_are_told_with_their_mean_and_their_ends():
    request = SimpleNamespace(num_images=2)
    columns = [SimpleNamespace(request=request, seconds=1.0, nfe=nfe, origin=None, origin_nfe=0) for nfe in (20, 40)]
    assert table_cost(SimpleNamespace(columns=columns)).startswith("4 images · 30 (20 to 40) network calls per image")
    assert table_cost(SimpleNamespace(columns=columns[:1])).startswith("2 images · 20 network calls per image")


def test_ways_begin_with_strengths_of_their_own_and_pictures_that_differ():
    app = open_page(model="class", edit="Change condition", strengths=["0.3"])
    assert app.multiselect(key="strengths_traced").value == [0.7, 0.9, 1.0]
    app = open_page(model="tiny", edit="Interpolate")
    assert app.number_input(key="source_number").value != app.number_input(key="source_number2").value


def test_each_picture_keeps_the_mask_that_was_painted_on_it(monkeypatch):
    """The browser is sent what will be used, also when it comes back to a picture."""
    sent, state, session = [], SimpleNamespace(painted=None), {}
    monkeypatch.setattr(painter_module, "_component", lambda data, **_: sent.append(data) or state)
    monkeypatch.setattr(painter_module.st, "session_state", session)
    monkeypatch.setattr(painter_module.st, "query_params", {})
    one, other = np.zeros((2, 2, 1), np.uint8), np.ones((2, 2, 1), np.uint8)
    assert not painter(one, "mask", alt="").any()
    state.painted = {"picture": sent[-1]["picture"], "mask": "1100"}
    assert painter(one, "mask", alt="").tolist() == [[True, True], [False, False]]
    assert not painter(other, "mask", alt="").any()
    assert painter(one, "mask", alt="").tolist() == [[True, True], [False, False]]
    assert [data["mask"] for data in sent] == ["0000", "0000", "0000", "1100"]


def test_what_a_model_cannot_do_is_there_with_the_reason():
    def ways(app):
        return next(control for control in app.button_group if control.key == "edit").options

    able, unable = open_page(model="class"), open_page(model="tiny")
    assert len(ways(able)) == len(ways(unable))
    assert "only for models trained on classes or prompts" in " ".join(told.value for told in unable.caption)
    assert "only for models" not in " ".join(told.value for told in able.caption)
    asked = open_page(model="tiny", edit="Change condition")
    assert "needs a model that was trained on classes or prompts" in asked.info[0].value
    assert "Generate" not in labels(asked)
    asked.selectbox(key="model").select("class").run()
    assert "Generate" in labels(asked)


def test_a_click_on_a_thumbnail_chooses_its_picture_and_what_it_was_made_for(monkeypatch):
    """The samples of the chosen model come first, and the classes of the page follow those of the picture."""
    clicked = []
    monkeypatch.setattr(thumbnails_module, "_component", lambda **given: clicked.append(given))
    app = open_page(model="class", edit="Change condition")
    assert app.selectbox(key="source_run").value == "class"
    shown = clicked[-1]["data"]
    assert shown["labels"] == ["circles", "squares"] * (len(shown["labels"]) // 2)
    for number in (3, 2):
        app.number_input(key="source_number").set_value(number).run()  # as a click does
        assert clicked[-1]["data"]["chosen"] == number
        assert app.selectbox(key="shows_class").value == shown["labels"][number]
    next(control for control in app.button_group if control.key == "edit").set_value("Vary").run()
    app.selectbox(key="model").select("tiny").run()
    assert app.selectbox(key="source_run").value == "tiny"


@pytest.mark.parametrize(("count", "columns", "rows"), [(4, 4, 1), (1, 1, 1), (4, 2, 10), (64, 1, 1), (5, 3, 2)])
def test_images_are_as_large_as_the_room_allows(count, columns, rows):
    across, rem = fitted(count, columns, rows)
    lines = -(-count // across)
    assert across * lines >= count
    sides = [min(ROOM[0] / (columns * n), ROOM[1] / (rows * -(-count // n))) for n in range(1, count + 1)]
    assert min(ROOM[0] / (columns * across), ROOM[1] / (rows * lines)) == max(sides)
    assert SMALLEST <= rem <= LARGEST


def test_the_files_say_where_they_come_from():
    app = generate(open_page(model="tiny", strengths=["0.5"], images_a_cell=2, steps=3))
    table, comparison = app.session_state["edited"]
    with zipfile.ZipFile(io.BytesIO(comparison_zip(table.names, comparison))) as archive:
        [request] = json.loads(archive.read("request.json")).values()
        name = next(name for name in archive.namelist() if name.endswith("00001.png"))
        told = read_request(io.BytesIO(archive.read(name)))
    assert told["origin"] == request["origin"] == cells(app)[0].origin.about
    assert told["origin"]["kind"] == "FromPicture"


def test_too_much_at_once_is_said():
    app = open_page(model="tiny", images_a_cell=64, strengths=[str(number / 10) for number in range(1, 11)])
    assert "at most 400" in app.info[0].value


def test_the_original_is_as_large_as_the_results(monkeypatch):
    shown = []
    monkeypatch.setattr(condition_table, "picture_table", lambda columns, rows, *_, **__: shown.append((columns, rows)))
    app = generate(open_page(model="tiny", strengths=["0.5"], images_a_cell=4, steps=2))
    columns, [(_, (original, made))] = shown[-1]
    assert columns == ["original", "strength 0.5"]
    assert original.shape[1] == made.shape[1]  # columns are equally wide, so their pixels are equally large
    chosen = pixels(cells(app)[0].origin.picture)
    assert np.array_equal(split_montage(original, *chosen.shape[:2], 1)[0], chosen)


@pytest.mark.parametrize("way", ["Vary", "Inpaint", "Outpaint", "Interpolate"])
def test_settings_outlive_a_picture_that_cannot_be_read(way):
    suffix, own = ("_traced", {"between": 5}) if way == "Interpolate" else ("", {"images_a_cell": 3})
    asked = {f"steps{suffix}": 7} | own
    app = open_page(model="tiny", edit=way, source="An upload", **asked)
    for content in (None, b"a text"):
        if content:
            app.file_uploader(key="upload").upload("picture.png", content).run()
            assert "cannot be used" in app.error[0].value
        assert {key: app.number_input(key=key).value for key in asked} == asked
        assert "Generate" not in labels(app)
    next(control for control in app.button_group if control.key == "source").set_value("A sample").run()
    assert {key: app.number_input(key=key).value for key in asked} == asked
    assert "Generate" in labels(app)


def test_any_order_of_ways_works():
    app = open_page()
    for way in ("Outpaint", "Interpolate", "Inpaint", "Vary"):
        next(control for control in app.button_group if control.key == "edit").set_value(way).run()
        assert not app.exception


def test_the_same_picture_by_the_same_strength_is_there_at_once():
    address = {"model": "tiny", "strengths": ["0.4"], "images": 1, "steps": 3}
    first = finished(generate(open_page(**address)))[1][0]
    app = open_page(**address)
    button_of(app, "Generate").click().run()
    again = cells(app)[0]
    assert again.finished
    assert again.origin == first.origin == FromPicture(png_bytes(pixels(first.origin.picture)), 0.4)
