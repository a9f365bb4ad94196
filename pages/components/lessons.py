"""Lessons: guided comparisons, each of which sets a page, says what to look at, and what to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The settings of sampling that a lesson does not mention; all are set, so that a page shows nothing of what it showed before.
SAMPLING: dict[str, Any] = {"sampler": "unipc", "steps": 20, "seed": 0, "spacing": "trailing", "eta": 0.0}
LARGE: dict[str, Any] = {"spacing": "shifted"}  # of models of images larger than 32×32
GUIDING: dict[str, Any] = {"guidance": 2.0, "guidance_interval": (0.0, 1.0), "guidance_rescale": 0.0, "negative": ""}


def columns(*chosen: Mapping[str, Any], images: int) -> dict[str, Any]:
    """Return the inputs of Compare for the settings of each column."""
    inputs: dict[str, Any] = {"columns": len(chosen), "images": images}
    for number, column in enumerate(chosen, start=1):
        inputs |= {f"{key}{number}": value for key, value in {**SAMPLING, **GUIDING, **column}.items()}
    return inputs


@dataclass(frozen=True)
class Lesson:
    """A guided comparison.

    Attributes:
        name: its name in addresses.
        title: its subject.
        question: what it answers.
        page: name of the page's file.
        inputs: the values of the page's inputs, by key.
        look: what there is to see, in two sentences.
        then: what to try next.
        notebook: the notebook that goes further.
    """

    name: str
    title: str
    question: str
    page: str
    inputs: Mapping[str, Any]
    look: str
    then: str
    notebook: str

    @property
    def address(self) -> str:
        """Its address within the dashboard."""
        return f"{self.page}?lesson={self.name}"


LESSONS: Sequence[Lesson] = (
    Lesson(
        "schedules",
        "Cosine or linear",
        "How fast does a schedule destroy an image?",
        "forward",
        {
            "source": "A sample",
            "source_run": "flowers-attention-64",
            "source_number": 2,
            "schedule_A": "cosine",
            "schedule_B": "linear",
            "zero_terminal_snr_A": False,
            "zero_terminal_snr_B": False,
            "noise_seed": 0,
            "t": "500",
        },
        "At timestep 500, half-way, the flower is still there under the cosine schedule, and nearly gone under the linear one. "
        "The linear schedule spends its last third on images in which next to nothing can be seen.",
        "Choose rectified flow for one of the two, and find its timestep with a log-SNR of 0.",
        "06_samplers_and_schedules",
    ),
    Lesson(
        "noise-to-image",
        "From noise to image",
        "What does a network see in pure noise?",
        "reverse",
        SAMPLING | LARGE | {"model": "flowers-attention-64", "start": "Noise", "number": 2},
        "Play it: in pure noise, the estimate is a blurred average of all flowers. Colours and shapes are decided early, fine "
        "detail only in the last steps.",
        "Change the image number: another noise, another flower.",
        "01_forward_and_reverse",
    ),
    Lesson(
        "steps",
        "Few steps or many",
        "How many steps does an image need?",
        "compare",
        columns(*(LARGE | {"model": "flowers-attention-64", "steps": steps} for steps in (2, 5, 20, 50)), images=8),
        "With 2 steps all images are much the same blurred average, with 5 they are flowers without fine detail, and with 20 "
        "they are sharp. From 20 to 50 little changes: all columns start from the same noise, and a sampler with enough steps "
        "always makes the same of it.",
        "Set the first column to 100 steps and choose ×1 at *Difference*: from column to column less of it is left.",
        "06_samplers_and_schedules",
    ),
    Lesson(
        "samplers",
        "DDIM or DPM-Solver++",
        "Which sampler gets most out of 10 steps?",
        "compare",
        columns(
            {"model": "fashion-attention", "sampler": "unipc", "steps": 50},
            *({"model": "fashion-attention", "sampler": sampler, "steps": 10} for sampler in ("ddim", "dpmpp_2m", "unipc")),
            images=8,
        ),
        "The first column, with 50 steps, is what all of these samplers approach; with 10 steps DDIM is "
        "farthest from it, with fainter garments, and UniPC nearest, as the MSE in **difference** says.",
        "Give DDIM more steps until its MSE is that of UniPC with 10.",
        "06_samplers_and_schedules",
    ),
    Lesson(
        "fresh-noise",
        "Fresh noise",
        "What if noise is added at every step?",
        "compare",
        columns(
            LARGE | {"model": "flowers-attention-64", "sampler": "ddim", "steps": 50},
            LARGE | {"model": "flowers-attention-64", "sampler": "ddim", "steps": 50, "eta": 1.0},
            LARGE | {"model": "flowers-attention-64", "sampler": "ddpm", "steps": 50},
            images=8,
        ),
        "With eta 1 the noise that an image starts from no longer decides what it becomes. The second and "
        "the third column are equal, because DDIM with eta 1 is DDPM.",
        "Set the steps of all columns to 10: fresh noise needs more steps.",
        "06_samplers_and_schedules",
    ),
    Lesson(
        "predictions",
        "Epsilon, v or flow",
        "What should a network predict?",
        "compare",
        columns(*({"model": f"lesson-{prediction}"} for prediction in ("epsilon", "v", "flow")), images=12),
        "The three differ in nothing but what their network predicts. In almost pure noise ε says next to nothing about the "
        "image, so many samples in column 1 go astray in their first steps, while v and flow make nearly the same garments.",
        "Choose *Estimate of x0* and move the slider to the left: there the estimate is black and white noise with ε, and a "
        "blurred average of all garments with v and flow.",
        "02_unconditional_from_scratch",
    ),
    Lesson(
        "attention",
        "What attention buys",
        "Is a difference real if one can hardly see it?",
        "compare",
        columns(LARGE | {"model": "flowers-attention-64"}, LARGE | {"model": "flowers-baseline-64"}, images=12),
        "Both networks make almost the same flowers of the same noise, and yet measurements tell them "
        "apart: with attention, samples are closer to real flowers as a whole and more varied; without, they pass for real a "
        "little more often.",
        "Do the same with fashion-attention and fashion-baseline: on clothes hardly any figure tells the two apart.",
        "03_baseline_vs_attention",
    ),
    Lesson(
        "conditions",
        "What a condition buys",
        "Attention or classes: which helps more?",
        "training_curves",
        {"runs": ["flowers-baseline-64", "flowers-attention-64", "flowers-class-64"]},
        "Attention lowers the validation loss a little, and knowing the species lowers it further by about twice as much. "
        "The order is the same from the first measurement to the last.",
        "Choose the three fashion models: there attention makes no difference that one could see, and classes a large one.",
        "03_baseline_vs_attention",
    ),
    Lesson(
        "guidance",
        "Too much guidance",
        "What does a guidance scale do?",
        "generate",
        SAMPLING
        | LARGE
        | GUIDING
        | {
            "model": "flowers-class-64",
            "classes": ["sunflower", "rose"],
            "vary": "Guidance scales",
            "scales": [1.0, 2.0, 4.0, 12.0],
            "images_a_cell": 4,
        },
        "From column to column the flowers become clearer, then more alike and brighter; at 12 they have hard "
        "edges and stray pixels.",
        "Set the *Guidance interval* to 0 – 0.6 and look at scale 12 again: without guidance in the noisiest part, variety "
        "comes back.",
        "05_text_to_image_with_guidance",
    ),
    Lesson(
        "unknown-words",
        "A word the model does not know",
        "What does it make of a word it never saw?",
        "generate",
        SAMPLING
        | GUIDING
        | {
            "model": "flowers-text",
            "vary": "Guided only",
            "images_a_cell": 6,
            "prompts": "a photo of a rose\na photo of a sunflower\na photo of a car\na photo of a zebra",
        },
        "Roses and sunflowers are in its training captions. *Car* and *zebra* are not, which is why they are underlined in the "
        "settings, and it makes some flower of them all the same.",
        "Take fashion-text and ask for a bag, a hat and a dog.",
        "05_text_to_image_with_guidance",
    ),
    Lesson(
        "words",
        "When words matter",
        "At which noise levels does a prompt decide?",
        "reverse",
        SAMPLING
        | GUIDING
        | {
            "model": "flowers-text",
            "start": "Noise",
            "number": 0,
            "prompt": "a photo of a sunflower",
        },
        "In the cross-attention maps, *sunflower* is the brightest word in pure noise, in the top row: most attention is on "
        "it. In the bottom row, when what is shown has long been decided, it is as dark as the other words.",
        "Try *a photo of a purple passion flower*: which of its words gets the attention?",
        "05_text_to_image_with_guidance",
    ),
    Lesson(
        "latents",
        "Latents or pixels",
        "Sixteen times the pixels, and the cost?",
        "compare",
        columns(
            *({"model": model, "prompt": "a photo of a rose"} for model in ("flowers-text", "flowers-latent-text")), images=6
        ),
        "Both networks work on 32×32 positions, but the second one denoises latents, which an autoencoder decodes to 128×128 "
        "pixels. Its calls compute 2.5 times as much, because it is wider, and not 16 times. It takes longer here because "
        "every frame is decoded to be shown, where a sample needs only the last.",
        "Move the slider to the left: the noisy state in column 2 is four channels of latents. Its noise has another shape, "
        "so its roses are others too.",
        "04_autoencoder_on_a_hub_dataset",
    ),
    Lesson(
        "ema",
        "What EMA does",
        "Why are averaged weights used?",
        "compare",
        columns(
            {"model": "lesson-averages-ema-1"}, {"model": "lesson-averages"}, {"model": "lesson-averages-ema-100000"}, images=24
        ),
        "All columns are of one training: column 1 has the weights after its last step, columns 2 and 3 their average with a "
        "half-life of 5,000 and 100,000 images. In column 1 some garments are others and broken (trousers that end in a shoe) "
        "and, enlarged, backgrounds have a faint grid; the long average of column 3 still remembers weights that knew little, "
        "and speckles everything.",
        "Choose lesson-averages on Training curves and open *Length of the weight average*: early in training shorter averages "
        "are best, at its end that of 5,000 images.",
        "02_unconditional_from_scratch",
    ),
    Lesson(
        "overfitting",
        "Learnt by heart",
        "What does a network learn from 25 images?",
        "evaluate",
        {"runs": ["lesson-copies", "lesson-flow"], "figure": "closer_than_held_out", "cost": "network_calls", "copies": True},
        "The two differ in nothing but their training images, 25 and 60,000: of the samples of lesson-copies, 59 % come closer "
        "to a training image than 95 % of held-out images do, of lesson-flow none, as *What does quality cost?* shows. They "
        "were measured with different real images, so each is ranked by itself: choose it at *Samples*. At the end of the page "
        "samples stand above the nearest training images, and those of lesson-copies are the same garments.",
        "Choose the two on Training curves: after 400 steps the validation loss of lesson-copies rises, although its training "
        "loss still falls, and the share of its samples that are near training images grows from 0 to more than half.",
        "07_fine_tuning",
    ),
    Lesson(
        "copies",
        "Variety and copies",
        "What does guidance cost?",
        "evaluate",
        {"runs": ["tiny-imagenet-text"], "figure": "closer_than_held_out", "cost": "network_calls", "copies": True},
        "5 % of images that are as new as held-out ones come this close to a training image. Without guidance it is 3 % of the "
        "samples, with guidance 2 it is 13 %, while recall falls from 0.86 to 0.55: typical images, less variety, nearer to "
        "the training images.",
        "Choose *Recall*, and look at the nearest training images at the end of the page: are any of them copies?",
        "05_text_to_image_with_guidance",
    ),
    Lesson(
        "xray",
        "A sampler's X-ray",
        "Which step was wrong, and by how much?",
        "reverse",
        SAMPLING
        | {
            "model": "flowers-attention-64",
            "start": "Noise",
            "number": 0,
            "sampler": "dpmpp_3m",
            "steps": 10,
            "spacing": "leading",
        },
        "Press **Denoise** and switch on the **X-ray** at the end of the page. This spacing never sees the noisiest part: the "
        "error is there before the first step, and grows to twelve times as much in the sample. Before the end, one step is so "
        "long that the order falls from 3 to 1, and its local error is the largest.",
        "Set *Timestep spacing* to trailing, and look where the error comes from then.",
        "09_a_figure_of_a_paper",
    ),
    Lesson(
        "student",
        "Four calls instead of twenty",
        "What can a network learn from its own steps?",
        "compare",
        columns(LARGE | {"model": "flowers-attention-64"}, {"model": "flowers-attention-64-student"}, images=12),
        "Press **Generate**. From the same noise, the student (column 2) makes in 4 network calls nearly the flowers that its "
        "teacher makes in 20. The film strips show where it leaps: its last call turns half noise into a finished flower.",
        "Choose flowers-attention-64 in the second column as well, with 4 steps: without having learnt them, it makes pale and "
        "blurred flowers of the same noise.",
        "06_samplers_and_schedules",
    ),
)
