"""What a dashboard does that has only the packages of requirements/base.txt: prints it as JSON, for test_extras.py.

Arguments: the modules that are not installed there.
"""

from __future__ import annotations

import json
import sys

for module in sys.argv[1:]:
    sys.modules[module] = None  # type: ignore[assignment]  # importing it fails, as where it is not installed

sys.path.insert(0, "tests/pages")

from opening import generate, open_app  # noqa: E402

FASHION = {"model1": "fashion-baseline", "model2": "fashion-class", "guidance2": 2, "images": 2, "steps1": 1, "steps2": 1}


def told(app: object) -> dict[str, list[str] | dict[str, str]]:
    """What a page says in boxes and beside buttons, and the help of its disabled buttons, by their labels."""
    buttons = [part.proto for part in (*app.get("button"), *app.get("download_button"))]
    buttons += [part.proto.popover for part in app.get("popover")]
    return {
        "error": [box.value for box in (*app.error, *app.exception)],
        "warning": [box.value for box in app.warning],
        "beside": [text.value for text in app.markdown if ":material/block:" in text.value],
        "disabled": {button.label: button.help for button in buttons if button.disabled},
    }


pages = {"train": told(open_app("train")), "evaluate": told(open_app("evaluate", runs=["fashion-baseline"]))}
pages["forward"] = told(open_app("forward", source="A dataset", dataset="somebody/flowers"))
pages["home"] = told(open_app("../main_interface"))
pages["training_curves"] = told(open_app("training_curves", runs=["fashion-baseline", "fashion-attention"]))
pages["compare"] = told(generate(open_app("compare", **FASHION), "comparison"))
pages["reverse"] = told(generate(open_app("reverse", model="fashion-baseline", steps=1), "reverse", "Denoise"))
pages["generate"] = told(open_app("generate", model="fashion-text", images_a_cell=1))
print(json.dumps(pages))
