"""A player: a sequence of pictures to play, loop and scrub, all in the browser once it has been sent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import streamlit as st

from pages.components import browser_state
from pages.components.pictures import data_uri, digest_of
from pipelines.common.images import Pixels, montage

HTML = """
<div class="player" role="group" hidden>
  <div class="room">
    <canvas role="img"></canvas>
    <div class="captions"></div>
    <div class="controls">
      <button class="play" type="button">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path></path></svg>
      </button>
      <input type="range" min="0" step="1" aria-label="Frame">
      <button class="loop" type="button" aria-label="Loop" title="Loop" aria-pressed="false">
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <path d="M7 7h10v3l4-4-4-4v3H5v6h2zm10 10H7v-3l-4 4 4 4v-3h12v-6h-2z"></path>
        </svg>
      </button>
    </div>
    <div class="where"><span class="label"></span><span class="count"></span></div>
  </div>
</div>
"""

CSS = """
.player { font-family: var(--st-font); color: var(--st-text-color); font-size: 0.875rem; line-height: 1.4; }
.room { max-width: 100%; min-width: min(100%, 16rem); }
canvas { display: block; max-width: 100%; image-rendering: pixelated; cursor: pointer; }
.captions { display: flex; gap: 4px; margin-top: 4px; text-align: center; overflow-wrap: anywhere; opacity: 0.75; }
.captions span { flex: 1 1 0; min-width: 0; }
.captions:empty { display: none; }
.controls { display: flex; align-items: center; gap: 8px; margin-top: 8px; }
button { flex: none; width: 40px; padding: 8px; }
button.play { color: var(--st-background-color); background: var(--st-primary-color); border-color: var(--st-primary-color); }
svg { display: block; width: 100%; height: 100%; fill: currentColor; }
input {
  flex: 1; min-width: 0; height: 24px; margin: 0; border-radius: 4px; cursor: pointer; appearance: none; background: none;
  --track: linear-gradient(90deg, var(--st-primary-color) var(--done), var(--st-border-color) var(--done));
}
input::-webkit-slider-runnable-track { height: 4px; border-radius: 2px; background: var(--track); }
input::-moz-range-track { height: 4px; border-radius: 2px; background: var(--track); }
input::-webkit-slider-thumb {
  appearance: none; width: 16px; height: 16px; margin-top: -6px; border-radius: 50%; background: var(--st-primary-color);
}
input::-moz-range-thumb { border: 0; width: 16px; height: 16px; border-radius: 50%; background: var(--st-primary-color); }
.where {
  display: flex; justify-content: space-between; gap: 16px; margin-top: 4px; min-height: 1.4em;
  font-variant-numeric: tabular-nums;
}
.count { opacity: 0.75; white-space: nowrap; }
"""

JS = """
const PLAY = "M8 5v14l11-7z", PAUSE = "M6 5h4v14H6zm8 0h4v14h-4z"
const TELL_EVERY = 250  // milliseconds between reports to the server while the frame keeps changing
const HOLD = 1000       // milliseconds that a looping player rests on its last frame

function build(root) {
  const part = (selector) => root.querySelector(selector)
  const [whole, room, canvas, captions] = [".player", ".room", "canvas", ".captions"].map(part)
  const [play, slider, loop, label, count] = [".play", "input", ".loop", ".label", ".count"].map(part)
  const calm = matchMedia("(prefers-reduced-motion: reduce)")
  let data = {}, tell, sheet, index = 0, timer = null, pending, told = -1, toldAt = -Infinity

  function resize() {
    const width = sharpWidth(Math.min(whole.clientWidth, data.maxWidth), data.width)
    canvas.style.width = room.style.width = `${width}px`
    canvas.style.height = `${(width * data.height) / data.width}px`
  }

  function draw() {
    if (sheet?.of !== data.sequence) return  // still being decoded; the picture before stays, its place is kept
    if (canvas.width !== data.width) canvas.width = data.width
    if (canvas.height !== data.height) canvas.height = data.height
    const left = data.gap + (index % data.columns) * (data.width + data.gap)
    const top = data.gap + Math.floor(index / data.columns) * (data.height + data.gap)
    canvas.getContext("2d").drawImage(sheet, left, top, data.width, data.height, 0, 0, data.width, data.height)
  }

  function show(frame) {
    index = frame
    slider.value = frame
    slider.style.setProperty("--done", `${(100 * frame) / Math.max(1, data.labels.length - 1)}%`)
    label.textContent = data.labels[frame]
    slider.setAttribute("aria-valuetext", data.labels[frame])
    canvas.setAttribute("aria-label", `${data.alt}: ${data.labels[frame]}`)
    count.textContent = `${frame + 1} / ${data.labels.length}`
    draw()
  }

  function report(atOnce) {
    clearTimeout(pending)
    pending = setTimeout(() => {
      if (told === index) return
      told = index
      toldAt = performance.now()
      tell("shown", { sequence: data.sequence, frame: index })
    }, atOnce ? 0 : Math.max(0, toldAt + TELL_EVERY - performance.now()))
  }

  function move(frame, atOnce) {
    show(Math.min(Math.max(frame, 0), data.labels.length - 1))
    report(atOnce)
  }

  const last = () => index === data.labels.length - 1
  const looping = () => loop.getAttribute("aria-pressed") === "true"

  function wait() {
    const frame = 1000 / (calm.matches ? Math.min(2, data.framesPerSecond) : data.framesPerSecond)
    timer = setTimeout(tick, last() ? Math.max(HOLD, frame) : frame)
  }

  function tick() {
    move(last() ? 0 : index + 1)
    if (last() && !looping()) setPlaying(false)
    else wait()
  }

  function setPlaying(on) {
    clearTimeout(timer)
    timer = null
    if (on && last()) move(0)
    if (on) wait()
    else report(true)
    play.querySelector("path").setAttribute("d", on ? PAUSE : PLAY)
    play.ariaLabel = play.title = on ? "Pause" : "Play"
  }

  play.onclick = canvas.onclick = () => setPlaying(timer === null)
  loop.onclick = () => loop.setAttribute("aria-pressed", !looping())
  slider.oninput = () => { if (timer !== null) setPlaying(false); move(Number(slider.value)) }
  slider.onchange = () => report(true)
  whole.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key]
    if (step) { if (timer !== null) setPlaying(false); move(index + step, true) }
    else if (event.key === " " && event.target === slider) setPlaying(timer === null)  // on a button it presses the button
    else return
    event.preventDefault()
  }
  const sizes = new ResizeObserver(resize)

  function update(fresh, setStateValue) {
    const another = fresh.sequence !== data.sequence
    data = fresh
    tell = setStateValue
    whole.hidden = false
    whole.setAttribute("aria-label", data.alt)
    slider.max = data.labels.length - 1
    captions.replaceChildren(...data.captions.map((text) => {
      const caption = document.createElement("span")
      caption.textContent = text
      return caption
    }))
    resize()
    sizes.observe(whole)
    if (!another) return show(index)  // labels may have changed
    told = data.start
    setPlaying(false)
    show(data.start)
    const decoding = new Image()
    decoding.of = data.sequence
    decoding.onload = () => { if (decoding.of === data.sequence) { sheet = decoding; draw() } }
    decoding.src = data.sheet
  }

  function close() {
    clearTimeout(timer)
    clearTimeout(pending)
    sizes.disconnect()
  }

  return { update, close }
}
"""

GAP = 1  # pixels between the frames on their sheet

_component = st.components.v2.component("noisescope_player", html=HTML, css=browser_state.CSS + CSS, js=browser_state.JS + JS)


def player(
    frames: Sequence[Pixels] | Pixels,
    labels: Sequence[str],
    key: str,
    *,
    alt: str,
    captions: Sequence[str] = (),
    start: int = -1,
    frames_per_second: float = 8.0,
    max_width: int = 720,
) -> int:
    """Show pictures one after another; which of them is on show.

    All frames are sent once, so playing and scrubbing never wait for the server. The page, or the fragment that this is
    called in, reruns with the new frame when the player stops or is scrubbed, and at most four times a second in between.

    Args:
        frames: (H, W, C) uint8 each, all of one size; the browser enlarges them with nearest neighbour.
        labels: what each frame is called.
        key: of the component; other frames under the same key begin at ``start`` again.
        alt: what the pictures show, for screen readers.
        captions: of the equally wide parts that every frame has side by side, below them.
        start: the frame shown first, counted from the end if negative.
        frames_per_second: how fast it plays (at most 2 for people who prefer reduced motion).
        max_width: CSS pixels.

    Raises:
        ValueError: no frames, or not as many labels.
    """
    if len(frames) == 0 or len(frames) != len(labels):
        raise ValueError(f"{len(frames)} frames and {len(labels)} labels: give one label for each of at least one frame")
    start %= len(frames)
    pixels = np.asarray(frames)
    sequence = digest_of(pixels)
    columns = math.ceil(math.sqrt(len(frames) * pixels.shape[1] / pixels.shape[2]))
    state = _component(
        key=key,
        data={
            "sequence": sequence,
            "sheet": _sheet(sequence, columns, pixels),
            "gap": GAP,
            "columns": columns,
            "width": pixels.shape[2],
            "height": pixels.shape[1],
            "labels": list(labels),
            "captions": list(captions),
            "alt": alt,
            "start": start,
            "framesPerSecond": frames_per_second,
            "maxWidth": max_width,
        },
        on_shown_change=lambda: None,
    )
    shown = state.shown or {}  # what the browser last said, perhaps about frames that have been replaced since
    return min(int(shown["frame"]), len(frames) - 1) if shown.get("sequence") == sequence else start


@st.cache_data(max_entries=32, show_spinner=False)
def _sheet(sequence: str, columns: int, _frames: Pixels) -> str:
    """All frames on one picture, as a data URI; cached by the digest of its pixels."""
    return data_uri(montage(_frames, columns, gap=GAP))
