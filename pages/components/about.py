"""What each page shows: a line that is always there, and more on demand, with an annotated miniature.

In the texts, [[term]] and [[term|words]] link to the glossary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """A numbered point of a miniature.

    Attributes:
        left, top: where it is, in percent of the miniature's width and height.
        text: what is seen there.
    """

    left: float
    top: float
    text: str


@dataclass(frozen=True)
class About:
    """What a page shows.

    Attributes:
        title: the page's title.
        line: one sentence, as Markdown.
        more: paragraphs for those who ask, as Markdown.
        miniature: a file in docs/miniatures that shows what the page shows; empty if there is none.
        marks: what is seen in it.
    """

    title: str
    line: str
    more: str
    miniature: str = ""
    marks: Sequence[Mark] = ()


ABOUT = {
    "compare": About(
        "Compare",
        "Columns with the same seed and image size start from the **same noise**: what differs then comes from the settings.",
        """
Every column is a model with a [[sampler]], a number of [[steps]] and a [[seed]]. All columns are lined up by
[[log-SNR]], so that you compare equally noisy images, even where [[Schedule|schedules]] differ.

**Noisy state** is what the network receives ([[x_t]]); **estimate** is the clean image that it guesses from it
([[Estimate of x0|x0]]). [[MSE]] and [[SSIM]] say how far two columns' images are apart. What a column costs is
counted in [[network calls]] and seconds; with few steps, samples are [[Grey or blurred samples|grey or blurred]]. The
sentences above the pictures are a [[verdict]] from measurements, not an impression from the few images that you see.
""",
        "strip.webp",
        (
            Mark(8, 50, "A column is one image on its way from noise to sample."),
            Mark(50, 8, "Top row: pure noise, the same for every model."),
            Mark(50, 50, "A row is one timestep of all images."),
            Mark(50, 92, "Bottom row: the samples."),
        ),
    ),
    "forward": About(
        "Forward",
        r"Noise is mixed into an image, step by step, under two schedules: $x_t = \alpha_t\,x_0 + \sigma_t\,\varepsilon$.",
        """
This is what a network is trained on: it receives the [[x_t|noisy image]] and its [[timestep]] and learns to undo it.
The [[schedule]] says how fast the image fades ([[alpha and sigma]]); [[log-SNR]] says how noisy an image is, whatever
the schedule. In the end the pixels are distributed like pure [[noise]].
""",
        "forward.webp",
        (
            Mark(6, 25, "Upper row: cosine schedule."),
            Mark(6, 75, "Lower row: linear schedule, same image and noise."),
            Mark(64, 50, "At equal timesteps the linear schedule has destroyed more."),
        ),
    ),
    "reverse": About(
        "Reverse",
        "**One image** on its way from noise to sample: what the network receives, what it guesses, and what it removes.",
        """
At each step the network estimates the clean image; the [[sampler]] moves the noisy image a little towards it and asks
again. Early estimates are blurred, because many images are still possible; detail comes last. For models with a
[[condition]] you also see what it changes, and with [[cross-attention]] which words each position looks at.
""",
        "reverse.webp",
        (
            Mark(16.7, 14, "The noisy state: what the network receives."),
            Mark(50, 14, "Its estimate of the clean image."),
            Mark(83.3, 14, "The noise that it sees in the state."),
        ),
    ),
    "generate": About(
        "Generate",
        "Images of **classes or prompts**: a row for each, and a column for each guidance scale or model. "
        "Every cell starts from the same noise.",
        """
[[Guidance]] exaggerates what the [[condition]] changes: samples show more clearly what was asked for, and become more
alike and more saturated. A [[prompt]] is understood only as far as the model's training captions had its words. A
[[negative prompt]] says what to move away from.
""",
        "generate.webp",
        (
            Mark(25, 12, "Without guidance (scale 1)."),
            Mark(75, 12, "With guidance, from the same noise."),
            Mark(7, 75, "A row for each class or prompt."),
        ),
    ),
    "edit": About(
        "Edit",
        "Start from **a picture** and let a model change it. What the model adds resembles the images it was trained on.",
        """
**Vary** adds noise and removes it again; [[strength]] says how much. **Inpaint** and **Outpaint** replace an area
([[Inpainting|how]]). **Interpolate** and **Change condition** first find the noise of a picture by [[inversion]]. A
picture unlike the training images is drawn towards them.
""",
    ),
    "training_curves": About(
        "Training curves",
        "How models were trained: the **validation loss**, on images that training does not see (for a student, its distance "
        "from its teacher), and samples on the way.",
        """
The [[validation loss]] says how well a model does on new images; the [[training loss]] alone does not show
[[overfitting]]. [[Loss by timestep]] says at which noise levels a model improves. The weights that are measured and
sampled from are an average over training, the [[EMA]]. Samples are always made from the same [[noise]]: press one to
see what it becomes at every saved step. Samples near training images may be [[copies]]. Losses of different
[[Prediction|predictions]] or [[Schedule|schedules]] cannot be compared here; Evaluate measures all models alike.
""",
        "training.svg",
        (
            Mark(50, 45, "Validation loss: lowest here, where the model is best on new images."),
            Mark(90, 20, "Validation loss: rising, the model overfits."),
            Mark(72, 84, "Training loss: keeps falling, and does not show it."),
        ),
    ),
    "evaluate": About(
        "Evaluate",
        "How good models are and what they cost: every number with its **95 % interval** and the score of **real images**.",
        """
The [[Fréchet distance]] says how far samples are from the training images as a whole, [[precision]] how realistic
they are, [[recall]] how varied, the [[held-out loss]] how well the network predicts. A perfect model would reach the
[[floor]], not 0. Two models are told apart where the [[interval]] of their difference excludes 0, which is a
[[verdict]]. Samples very near to training images may be [[copies]].
""",
        "evaluate.svg",
        (
            Mark(60, 5, "A model's score, the Fréchet distance, say: further left is better."),
            Mark(91, 50, "Its 95 % interval. Where intervals overlap, look at the difference."),
            Mark(22, 78, "The score of real images: no model can be expected to do better."),
        ),
    ),
    "train": About(
        "Train",
        "Train a model of your own, from scratch or from another model. Training goes on when you close this page.",
        """
Choose images, a [[network]] and a budget; a recipe fills in settings that have worked. Some images are [[Held-out
images|held out]] to measure the [[validation loss]]. A model that starts from another one is
[[Fine-tuning|fine-tuned]]. For large images, train on [[latents]] or with a larger [[patch size]]. A [[run]] can be
stopped and resumed at any time.
""",
    ),
}
