"""What is bound to fail is said first: before data are read, models are loaded, or anything is trained or measured."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from pipelines.storage.disk import refuse_full, refuse_unwritable

LIST = "pipelines.training.reading.load_split"  # by which training reads its images


@pytest.fixture
def idle(monkeypatch):
    """Fails when a command does the work whose results it could not write."""

    def of(*names):
        for name in names:
            monkeypatch.setattr(name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))

    return of


COMMANDS = {  # what each would work on, and its arguments but the folder
    "pipelines.train": (LIST, lambda data, _run: ("--data", data, "--steps", 1, "--out")),
    "pipelines.sample": ("pipelines.sample.load_model", lambda _data, run: (run, "--out")),
    "pipelines.classifier": ("pipelines.training.classifier.load_split", lambda data, _run: ("--data", data)),
    "pipelines.publish": ("pipelines.storage.publishing.read_tensors", lambda _data, run: (run,)),
    "pipelines.export_diffusers": ("pipelines.export_diffusers.load_model", lambda _data, run: (run, "--out")),
    "pipelines.import_diffusers": ("pipelines.models.foreign.importing.open_folder", lambda data, _run: (data, "--out")),
}


@pytest.mark.parametrize("program", COMMANDS)
def test_what_cannot_be_written_is_said_before_the_work(command, idle, full_disk, image_folder, tiny_run, program):
    work, arguments = COMMANDS[program]
    idle(work)
    name = "new.safetensors" if program == "pipelines.classifier" else "new"
    in_the_way = full_disk.folder / "file"
    in_the_way.write_text("mine")

    def said(out):
        given = arguments(image_folder, tiny_run.path)
        words = (out, *given) if program == "pipelines.classifier" else (*given, out)
        return command(program, *words).refused_in_one_sentence()

    assert f"because {in_the_way} is not a folder: choose another" in said(in_the_way / name)
    full_disk.fill()
    assert "full: free some space, or choose another" in (told := said(full_disk.folder / name)) or "cannot be written" in told
    full_disk.free()
    assert [path.name for path in full_disk.folder.iterdir()] == ["file"]
    assert in_the_way.read_text() == "mine"


def test_a_disk_mounted_read_only_is_found_out_though_permissions_allow_all(full_disk):
    def remount(how):
        mount = ["mount", "-o", f"remount,{how}", str(full_disk.folder)]
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0

    if not remount("ro"):
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(ValueError, match=r"new/run cannot be written \(read-only file system\): choose another"):
            refuse_unwritable(full_disk.folder / "new" / "run", "choose another")
    finally:
        remount("rw")


def test_room_is_counted_where_the_files_will_be(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    refuse_full(tmp_path / "not" / "made", free // 2, "they", "free some")
    with pytest.raises(ValueError, match=r"they take at least .* in .*/not/made, where .* are free: free some"):
        refuse_full(tmp_path / "not" / "made", free * 2, "they", "free some")


def test_no_run_is_evaluated_if_one_cannot_be(command, idle, copied_run, tiny_run, full_disk, judge):
    """The second, in each case, after minutes for the first."""
    idle("pipelines.evaluate.measurements")
    asked = ("--features", judge)
    locked = shutil.copytree(tiny_run.path, full_disk.folder / "locked")
    full_disk.fill()
    told = command("pipelines.evaluate", copied_run.path, locked, *asked).refused_in_one_sentence()
    full_disk.free()
    assert "the results of locked are kept there, so copy the run" in told
    told = command("pipelines.evaluate", copied_run.path, "--steps", 20, 5000, *asked).refused_in_one_sentence()
    assert "5000" in told
    (locked / "model.safetensors").write_bytes(copied_run.model_path.read_bytes()[:1000])
    told = command("pipelines.evaluate", copied_run.path, locked, *asked).refused_in_one_sentence()
    assert f"{locked / 'model.safetensors'} is not a valid safetensors file" in told


@pytest.mark.parametrize(
    ("flags_", "sentence"),
    [
        (("--unet", "class"), "these data have no classes: sort the pictures into at least two folders"),
        (("--unet", "text"), "these data have no captions: put a text file"),
        (("--unet", "text", "--encoder", "/nowhere"), "/nowhere"),
        (("--unet", "class", "--label-column", "kind"), "kind"),
        (("--model", "autoencoder", "--feature-weight", 0.1, "--feature-classifier", "nobody"), "nobody.safetensors"),
        (("--latent", "nobody"), "no run at 'nobody'"),
        (("--init-from", "nobody"), "no run at 'nobody'"),
        (("--precision", "fp16"), "needs a GPU"),
    ],
    ids=lambda part: " ".join(map(str, part))[:40] if isinstance(part, tuple) else "",
)
def test_settings_that_do_not_fit_the_data_are_refused_before_images_are_decoded(
    command, idle, flags, image_folder, tmp_path, flags_, sentence
):
    idle(LIST)
    data = image_folder if {"/nowhere", "kind"} & {*flags_} else image_folder / "circles"  # which has no classes
    done = command("pipelines.train", *flags(data=str(data)), *flags_, "--out", tmp_path / "run")
    assert sentence in done.refused_in_one_sentence()
    assert not (tmp_path / "run").exists()


def test_a_damaged_state_is_told_before_images_are_decoded(command, idle, copied_run):
    idle(LIST)
    state = copied_run.path / "state" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-10])
    told = command("pipelines.train", "--resume", copied_run.path).refused_in_one_sentence()
    assert f"{state} cannot be resumed from: " in told


def test_a_prompt_file_and_a_picture_are_read_before_the_model(command, idle, tiny_run, tmp_path):
    idle("pipelines.sample.load_model")
    for flag in ("--prompt", "--init-image"):
        told = command("pipelines.sample", tiny_run.path, flag, tmp_path / "missing.txt", "--out", tmp_path / "out")
        assert "missing.txt" in told.refused_in_one_sentence()


def test_a_classifier_is_not_replaced_in_silence(command, idle, image_folder, judge):
    idle("pipelines.training.classifier.load_split")
    before = judge.read_bytes()
    assert "already exists" in command("pipelines.classifier", judge, "--data", image_folder).refused_in_one_sentence()
    assert judge.read_bytes() == before


def test_wandb_without_a_login_is_said_first(command, idle, flags, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    idle(LIST)
    import wandb

    def refuse():
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "login", refuse)
    done = command("pipelines.train", *flags(), "--out", tmp_path / "run", "--tracker", "wandb")
    assert "wandb login` to log in): log in, or set WANDB_MODE=offline" in done.refused_in_one_sentence()
    assert sys.modules["wandb"] is wandb
