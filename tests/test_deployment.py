"""The files that put the dashboard elsewhere: what they name exists, and they agree with each other and with the program."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from streamlit import config as streamlit_config

from pipelines.common.public import VARIABLE, Bounds

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "DEPLOYMENT.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
NEEDED = [  # by the dashboard when it runs
    "main_interface.py", "requirements.txt", ".streamlit/config.toml", "pages/home.py", "pipelines/storage/recipes",
    "diffusion_core/choices.py", "unets/choices.py", "checkpoints/lessons", "classifiers", "docs/GLOSSARY.md",
    "docs/denoising.png", "docs/miniatures",
]  # fmt: skip


def instructions(name: str) -> list[str]:
    return [line.split(maxsplit=1)[1].strip() for line in DOCKERFILE.splitlines() if line.split(maxsplit=1)[:1] == [name]]


def environment(words: list[str]) -> dict[str, str]:
    return dict(pair.split("=", 1) for line in words for pair in shlex.split(line))


def known_options() -> set[str]:
    return {option.env_var for option in streamlit_config.get_config_options().values()}


def test_the_image_runs_the_dashboard_as_nobody_in_particular_from_files_that_are_there():
    assert instructions("USER") == ["1000"]
    assert instructions("CMD") == ['["streamlit", "run", "main_interface.py"]']
    variables = environment(instructions("ENV"))
    assert {name for name in variables if name.startswith("STREAMLIT_")} <= known_options()
    assert instructions("EXPOSE") == [variables["STREAMLIT_SERVER_PORT"]]
    assert instructions("VOLUME") == [variables["NOISESCOPE_RUNS"]]
    assert "/_stcore/health" in instructions("HEALTHCHECK")[0]
    for line in instructions("COPY"):
        *sources, _ = shlex.split(line)
        assert all((ROOT / source).exists() for source in sources)
    assert DOCKERFILE.index("chmod -R a-w") < DOCKERFILE.index("USER 1000") < DOCKERFILE.index("VOLUME")


def test_the_image_holds_what_the_dashboard_needs_and_nothing_private():
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def ignored(path: str) -> bool:
        found = False
        for pattern in patterns:  # the last one that fits counts
            part = pattern.lstrip("!").replace("**/", "*")
            if fnmatch(path, part) or fnmatch(path, f"{part}/*"):
                found = not pattern.startswith("!")
        return found

    assert not [path for path in NEEDED if ignored(path) or not (ROOT / path).exists()]
    unwanted = [
        ".git/config",
        ".venv/x",
        "runs/mine",
        "data/mine",
        "my pictures/1.png",
        "tests/x.py",
        ".env",
        "pages/__pycache__",
    ]
    assert [path for path in unwanted if not ignored(path)] == []


def test_a_space_listens_where_the_image_does():
    front, text = re.fullmatch(r"---\n(.*?)---\n(.*)", (ROOT / "deploy/huggingface/README.md").read_text(), re.DOTALL).groups()
    told = yaml.safe_load(front)
    assert (told["sdk"], told["app_port"]) == ("docker", int(environment(instructions("ENV"))["STREAMLIT_SERVER_PORT"]))
    assert len(told["short_description"]) <= 60
    assert {told["colorFrom"], told["colorTo"]} <= {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert "public instance" in text


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, empty_lines_in_values=False)
    parser.optionxform = str  # type: ignore[assignment]
    lines = (ROOT / "deploy/noisescope.service").read_text().splitlines()
    parser.read_string("\n".join(re.sub("^Environment=", f"Environment{number}=", line) for number, line in enumerate(lines)))
    return parser


def test_the_unit_starts_a_public_dashboard_in_folders_of_its_own(unit):
    service = unit["Service"]
    variables = environment([value for name, value in service.items() if re.fullmatch(r"Environment\d+", name)])
    assert variables[VARIABLE] == "1"
    assert variables["NOISESCOPE_RUNS"] == f"/var/lib/{service['StateDirectory']}"
    assert variables["HOME"] == f"/var/cache/{service['CacheDirectory']}"
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.startswith(service["WorkingDirectory"])
    assert arguments[:2] == ["run", "main_interface.py"]
    options = streamlit_config.get_config_options()
    assert {flag.removeprefix("--") for flag in arguments if flag.startswith("--")} <= options.keys()
    assert (service["DynamicUser"], service["ProtectSystem"], service["NoNewPrivileges"]) == ("yes", "strict", "yes")
    assert service["CapabilityBoundingSet"] == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_understands_the_unit(tmp_path):
    text = (ROOT / "deploy/noisescope.service").read_text()
    text = text.replace("/opt/noisescope/.venv/bin/streamlit", "/usr/bin/env").replace("/opt/noisescope", str(tmp_path))
    (tmp_path / "noisescope.service").write_text(text)
    command = ["systemd-analyze", "verify", tmp_path / "noisescope.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "noisescope.service" not in done.stderr


def test_the_guide_names_every_bound_with_its_default_and_no_option_that_there_is_not():
    rows = dict(re.findall(r"^\| `(NOISESCOPE_PUBLIC_\w+)` \| (\d+) \|", GUIDE, re.MULTILINE))
    usual = Bounds()
    assert rows == {f"{VARIABLE}_{name.upper()}": str(getattr(usual, name)) for name in Bounds.__dataclass_fields__}
    assert set(re.findall(r"STREAMLIT_\w+", GUIDE)) <= known_options()
    assert set(re.findall(r"127\.0\.0\.1:8501:(\d+)", GUIDE)) == set(instructions("EXPOSE"))


def test_the_commands_for_the_cloud_open_the_dashboard_to_its_proxy(tmp_path):
    (tmp_path / ".streamlit").mkdir()
    for name in (".streamlit/config.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    before = tomllib.loads((tmp_path / ".streamlit/config.toml").read_text())
    [commands] = [block for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL) if "config.toml" in block]
    subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, check=True)
    after = tomllib.loads((tmp_path / ".streamlit/config.toml").read_text())
    del before["server"]["address"], before["server"]["allowedHosts"]
    assert after == before
    first, *rest = (tmp_path / "requirements.txt").read_text().splitlines()
    assert first == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert rest == (ROOT / "requirements.txt").read_text().splitlines()


def test_every_upload_of_a_page_has_a_limit():
    calls = [part for page in (ROOT / "pages").rglob("*.py") for part in page.read_text().split("st.file_uploader(")[1:]]
    assert len(calls) >= 4
    assert not [part[:200] for part in calls if "max_upload_size=" not in part[:600]]
