"""Who may import whom, and what must not be loaded before it is needed."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = {"diffusion_core", "unets", "pipelines", "pages", "main_interface"}
FOLDERS = ("diffusion_core", "unets", "pipelines", "pages", "benchmarks")
SOURCES = sorted(
    path for path in [*ROOT.glob("*.py"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))] if path.is_file()
)

# Each package and which of ours it may import; relative imports stay inside a package.
ALLOWED = {
    "diffusion_core": {"diffusion_core"},
    "unets": {"unets"},
    "pipelines": {"pipelines", "unets", "diffusion_core"},
    "pages": {"pages", "pipelines", "diffusion_core", "unets"},
    "main_interface.py": {"pages", "pipelines"},
}

# The rooms of pipelines/: each may import from itself and from those before it. The commands on top may import from all.
ROOMS = ("common", "storage", "datasets", "models", "sampling", "evaluation", "training", "figures")

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

HEAVY = {
    "matplotlib",
    "torch",
    "torchvision",
    "transformers",
    "diffusers",
    "datasets",
    "accelerate",
    "sentence_transformers",
    "streamlit",
}


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(path):
    """The top-level names of all absolute imports of a file, also of those inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def modules_of_ours(path):
    """The dotted names of our modules that a file imports anywhere: also in functions, and under TYPE_CHECKING."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in OURS)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*start, *(node.module or "").split("."))).strip(".")
            if module.split(".")[0] in OURS:
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)  # the names may be modules


def relative_depth(path):
    """How many packages up the relative imports of a file reach."""
    return max((node.level for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)), default=0)


def test_the_packages_are_there():
    """Without any source files, the other tests would pass vacuously."""
    parts = {path.relative_to(ROOT).parts[0] for path in SOURCES}
    assert {"diffusion_core", "unets", "pipelines"} <= parts


def test_imports_run_one_way():
    for path in SOURCES:
        relative = path.relative_to(ROOT)
        assert relative_depth(path) <= len(relative.parts) - 1, f"a relative import of {relative} leaves its package"
        allowed = ALLOWED.get(relative.parts[0])
        if allowed is not None:
            assert set(imported(path)) & OURS <= allowed, relative


def room_of(module):
    """The room of a module of ``pipelines``, or None for a command on top."""
    _, *inside = module.split(".")
    return inside[0] if inside and inside[0] in ROOMS else None


def test_every_module_of_pipelines_is_a_command_or_lies_in_a_room():
    on_top = {path.stem for path in (ROOT / "pipelines").glob("*.py")}
    commands = {
        "data",
        "train",
        "distill",
        "sample",
        "spacing",
        "evaluate",
        "classifier",
        "publish",
        "figure",
        "jobs",
        "download",
    }
    commands |= {"import_diffusers", "export_diffusers"}
    others = {"dashboard", "runs", "__init__"}  # dashboard starts it; runs has the names that the README promises
    assert on_top == commands | others
    assert {path.name for path in (ROOT / "pipelines").iterdir() if (path / "__init__.py").is_file()} == set(ROOMS)


def test_rooms_import_from_rooms_listed_before_them():
    seen = set()
    for path in SOURCES:
        name, *inside = path.relative_to(ROOT).with_suffix("").parts
        if name != "pipelines" or inside[0] not in ROOMS:
            continue
        seen.add(inside[0])
        allowed = ROOMS[: ROOMS.index(inside[0]) + 1]
        for module in modules_of_ours(path):
            if module.startswith("pipelines.") and module != "pipelines.__version__":
                assert room_of(module) in allowed, f"{'/'.join(inside)} imports {module}, which lies above its room"
    assert seen == set(ROOMS)


def test_no_module_imports_itself_through_others():
    """Counted are imports anywhere: a circle that hides in a function, or under TYPE_CHECKING, is one too."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES}
    imports = {name: {module for module in modules_of_ours(path) if module in names} for name, path in names.items()}
    # A package's own name is imported with each of its modules; only what stands in its __init__ counts.
    imports = {name: {module for module in modules if not name.startswith(f"{module}.")} for name, modules in imports.items()}
    while leaves := {name for name, modules in imports.items() if not modules & imports.keys() - {name}}:
        imports = {name: modules for name, modules in imports.items() if name not in leaves}
    assert not imports, "these import each other"


def test_the_mathematics_and_the_networks_need_torch_and_numpy_alone():
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] in ("diffusion_core", "unets"):
            assert not set(imported(path)) - set(sys.stdlib_module_names) - {"torch", "numpy"} - OURS, path


def test_only_the_pages_import_streamlit():
    importing = {path.relative_to(ROOT).parts[0] for path in SOURCES if "streamlit" in set(imported(path))}
    assert importing - {"benchmarks"} == {"pages", "main_interface.py"}  # benchmarks drive pages


def calls_in(path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]


def test_nothing_seeds_a_shared_generator():
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] != "benchmarks":  # scripts that own their process
            assert not {ast.unparse(node.func) for node in calls_in(path)} & GLOBAL_SEEDING, path


def test_the_search_for_seeding_finds_it():
    found = {ast.unparse(n.func) for n in ast.walk(ast.parse("torch.manual_seed(0)")) if isinstance(n, ast.Call)}
    assert found & GLOBAL_SEEDING
    allowed = ast.parse("torch.Generator().manual_seed(0); generator.manual_seed(0)")
    assert not {ast.unparse(n.func) for n in ast.walk(allowed) if isinstance(n, ast.Call)} & GLOBAL_SEEDING


def test_nothing_is_unpickled():
    """Nor read by torch's loader, except with ``weights_only``, which builds tensors and runs nothing."""
    for path in SOURCES:
        calls = (node for node in calls_in(path) if "weights_only=True" not in map(ast.unparse, node.keywords))
        names = {ast.unparse(node.func) for node in calls}
        assert not names & {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "eval", "exec"}, path


PARSES_JSON = re.compile(r"json\.loads?$|(?<!config_)from_json$|validate_json$|\.read_json$|parse_raw$|JSONDecoder$")


def test_one_module_parses_json():
    """Everything else goes through it, so that no file exhausts the stack or the memory, whoever wrote it."""
    parsing = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] != "benchmarks"  # scripts that read what they have just written
        and any(PARSES_JSON.search(ast.unparse(node.func)) for node in calls_in(path))
    }
    assert parsing == {"pipelines/common/json_files.py"}


# Calls that decode a picture file, by the last part of their name, and modules that do.
DECODES = {"Image.open", "ImageFile.Parser", "imread", "decode_image", "read_image", "default_loader", "ImageFolder"}


def test_one_module_opens_picture_files():
    """It alone says which formats are read, and how much of them: Pillow would start Ghostscript on some."""
    for path in SOURCES:
        names = {ast.unparse(node.func) for node in calls_in(path)}
        opening = {name for name in names if any(f".{name}".endswith(f".{call}") for call in DECODES)}
        ours = path.relative_to(ROOT).as_posix() == "pipelines/common/picture_files.py"
        assert opening == ({"Image.open"} if ours else set()), path
        assert not set(imported(path)) & {"imageio", "cv2", "skimage"}, path


def loaded_by(statement):
    """The top-level modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return set(result.stdout.split())


def test_home_opens_before_tables_and_flags_are_loaded():
    loaded = loaded_by("import pages.components.runs, pages.components.visitors")
    assert "streamlit" in loaded
    assert not loaded & (HEAVY - {"streamlit"} | {"pandas", "pyarrow", "tyro"})


def test_home_opens_without_a_look_through_all_modules():
    """``inspect.getmodule`` takes one to find its caller, and keeps what it has found."""
    code = "import inspect, pages.components.runs; print(len(inspect.modulesbyfile))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout == "0\n"


def test_figures_on_the_pages_load_no_matplotlib():
    loaded = loaded_by("import pages.components.live_figure, pages.components.downloads, pipelines.figures.notebook")
    assert {"streamlit", "plotly"} <= loaded
    assert "matplotlib" not in loaded, "needed only when a figure is saved"


def test_command_lines_load_before_the_heavy_libraries():
    modules = [f"pipelines.{path.stem}" for path in (ROOT / "pipelines").glob("*.py") if path.stem != "__init__"]
    loaded = loaded_by(f"import {', '.join(modules)}, pipelines.storage.config")
    assert "pipelines" in loaded
    assert not loaded & HEAVY


def test_the_packages_load_no_more_than_torch():
    packages = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("diffusion_core", "unets")]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in packages]
    loaded = loaded_by(f"import {', '.join(modules)}")
    assert {"torch", "diffusion_core", "unets"} <= loaded
    assert not loaded & (HEAVY - {"torch"} | {"pipelines", "pages"})
