"""Giving a trained run to others: as one file, as a folder, or on the Hugging Face hub."""

from __future__ import annotations

import shlex

import streamlit as st

from pages.components.work import describe_work
from pipelines.common.command_line import describe
from pipelines.common.text import code_block, literal, plain_name
from pipelines.storage.hub_jobs import UploadJob
from pipelines.storage.hub_upload import UNKNOWN, refuse_without_token, target
from pipelines.storage.run import Run
from pipelines.storage.runs import PUBLISHED

LICENSES = (UNKNOWN, "mit", "apache-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "openrail")  # the usual ones


def offer_sharing(name: str, run: Run) -> None:
    """Draw a menu of ways to give a run to others."""
    with st.popover("Share", icon=":material/share:", key=f"share-{name}", on_change="rerun") as menu:
        if menu.open:  # the runs are drawn again every two seconds
            _share(name, run)


def _share(name: str, run: Run) -> None:
    st.markdown('**One file** holds the weights and all settings, for `load_model("FILE")` or a folder of runs:')
    st.download_button(
        f"Download {literal(name)}.safetensors", run.model_path.read_bytes, f"{run.name}.safetensors", key=f"file-{name}",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip
    publish = shlex.join(["python", "-m", "pipelines.publish", str(run.path), f"{PUBLISHED.name}/{run.name}"])
    st.markdown(f"**A folder with a model card**, without what only a resume needs:\n\n{code_block(publish)}")
    st.markdown("**The Hugging Face hub**: the same folder, for everybody who has its id.")
    job = UploadJob()
    if job.running:
        st.progress(job.progress.share, literal(describe_work(job.progress)))
        st.button("Cancel", key=f"cancel-upload-{name}", icon=":material/close:", on_click=job.stop)
        return
    path, _, hub = job.asked.partition("\n")
    if path == str(run.path.resolve()):
        if job.error:
            st.error(literal(f"The upload to {hub} failed: {job.error}."))
        elif job.finished:
            st.success(literal(f"The run has been uploaded: others use it as {hub}."))
    try:
        refuse_without_token()
    except ValueError as error:
        st.info(literal(f"To upload from here: {describe(error)}."))
        return
    _offer_upload(job, name, run)


def _offer_upload(job: UploadJob, name: str, run: Run) -> None:
    """Draw the inputs of an upload, and the button that starts it."""
    id_place, license_place = st.columns([3, 2])
    typed = id_place.text_input("Id on the hub", placeholder=f"USER/{plain_name(run.name)}", key=f"push-{name}", max_chars=100)
    license = license_place.selectbox(
        "Licence",
        LICENSES,
        key=f"license-{name}",
        help="Under which others may use the model; think of the licence of the data.",
    )
    private = st.checkbox("Private", key=f"private-{name}", help="Nobody else sees it.")
    label = "Upload for myself" if private else "Upload for everybody"
    if st.button(label, type="primary", icon=":material/cloud_upload:", key=f"upload-{name}", disabled=not typed.strip()):
        try:
            job.start(run, target(typed.strip()), license, private)
        except (ValueError, OSError) as error:
            st.error(literal(describe(error)))
            return
        st.rerun()
