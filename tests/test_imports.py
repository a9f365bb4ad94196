"""Who may import whom, and what must not be loaded before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"diffusion_core", "unets", "pipelines", "pages", "main_interface"}
FOLDERS = ("diffusion_core", "unets", "pipelines", "pages", "benchmarks")
SOURCES = sorted(
    path for path in [*ROOT.glob("*.py"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))] if path.is_file()
)
every_source = pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])

# Each package and which of ours it may import; relative imports stay inside a package.
ALLOWED = {
    "diffusion_core": {"diffusion_core"},
    "unets": {"unets"},
    "pipelines": {"pipelines", "unets", "diffusion_core"},
    "pages": {"pages", "pipelines", "diffusion_core", "unets"},
    "main_interface.py": {"pages", "pipelines"},
}

# Functions that seed a generator that everything else in the process shares.
GLOBAL_SEEDING = {
    "torch.manual_seed",
    "torch.seed",
    "torch.random.manual_seed",
    "torch.set_rng_state",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "random.seed",
    "np.random.seed",
    "numpy.random.seed",
    "manual_seed",
    "set_seed",
    "seed_everything",
    "accelerate.utils.set_seed",
}

HEAVY = {"torch", "torchvision", "transformers", "diffusers", "datasets", "accelerate", "sentence_transformers", "streamlit"}


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(path):
    """The top-level names of all absolute imports of a file, also of those inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def relative_depth(path):
    """How many packages up the relative imports of a file reach."""
    return max((node.level for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)), default=0)


def test_the_packages_are_there():
    """The other tests would pass on nothing."""
    parts = {path.relative_to(ROOT).parts[0] for path in SOURCES}
    assert {"diffusion_core", "unets", "pipelines"} <= parts


@every_source
def test_imports_run_one_way(path):
    relative = path.relative_to(ROOT)
    assert relative_depth(path) <= len(relative.parts) - 1, "a relative import leaves its package"
    allowed = ALLOWED.get(relative.parts[0])
    if allowed is not None:
        assert set(imported(path)) & OURS <= allowed


@every_source
def test_the_mathematics_and_the_networks_need_torch_and_numpy_alone(path):
    if path.relative_to(ROOT).parts[0] in ("diffusion_core", "unets"):
        outside = set(imported(path)) - set(sys.stdlib_module_names) - {"torch", "numpy"} - OURS
        assert not outside


@every_source
def test_only_the_pages_import_streamlit(path):
    if path.relative_to(ROOT).parts[0] not in ("pages", "main_interface.py"):
        assert "streamlit" not in set(imported(path))


@every_source
def test_nothing_seeds_a_shared_generator(path):
    if path.relative_to(ROOT).parts[0] == "benchmarks":
        return  # scripts that own their process
    calls = {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
    assert not calls & GLOBAL_SEEDING


def test_the_search_for_seeding_finds_it():
    found = {ast.unparse(n.func) for n in ast.walk(ast.parse("torch.manual_seed(0)")) if isinstance(n, ast.Call)}
    assert found & GLOBAL_SEEDING
    allowed = ast.parse("torch.Generator().manual_seed(0); generator.manual_seed(0)")
    assert not {ast.unparse(n.func) for n in ast.walk(allowed) if isinstance(n, ast.Call)} & GLOBAL_SEEDING


@every_source
def test_nothing_is_unpickled(path):
    """Nor read by torch's loader, except with ``weights_only``, which builds tensors and runs nothing."""
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    names = {ast.unparse(node.func) for node in calls if "weights_only=True" not in map(ast.unparse, node.keywords)}
    assert not names & {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "eval", "exec"}


def loaded_by(statement):
    """The top-level modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return set(result.stdout.split())


def test_home_opens_before_tables_are_loaded():
    loaded = loaded_by("import pages.components.runs")
    assert "streamlit" in loaded
    assert not loaded & (HEAVY - {"streamlit"} | {"pandas", "pyarrow"})


@pytest.mark.parametrize("module", ["config", "runs", "sample", "train", "import_diffusers", "export_diffusers"])
def test_command_lines_load_before_the_heavy_libraries(module):
    loaded = loaded_by(f"import pipelines.{module}")
    assert "pipelines" in loaded
    heavy = {
        "torch",
        "torchvision",
        "transformers",
        "diffusers",
        "datasets",
        "accelerate",
        "sentence_transformers",
        "streamlit",
    }
    assert not loaded & heavy


def test_the_packages_load_no_more_than_torch():
    packages = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("diffusion_core", "unets")]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in packages]
    loaded = loaded_by(f"import {', '.join(modules)}")
    assert {"torch", "diffusion_core", "unets"} <= loaded
    assert not loaded & (HEAVY - {"torch"} | {"pipelines", "pages"})
