"""A brush: a picture on which a person paints the part that is to be made anew."""

from __future__ import annotations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.components import browser_state
from pages.components.pictures import data_uri, digest_of
from pipelines.common.images import Pixels

HTML = """
<div class="painter" role="group" hidden>
  <canvas tabindex="0" role="application"></canvas>
  <div class="tools">
    <label>Brush <input type="range" min="1" step="1" aria-label="Width of the brush in pixels"></label>
    <button class="erase" type="button" aria-pressed="false">Erase</button>
    <button class="undo" type="button">Undo</button>
    <button class="clear" type="button">Clear</button>
  </div>
  <div class="count" aria-live="polite"></div>
</div>
"""

CSS = """
.painter { font-family: var(--st-font); color: var(--st-text-color); font-size: 0.875rem; line-height: 1.4; max-width: 100%; }
canvas { display: block; image-rendering: pixelated; cursor: crosshair; touch-action: none; }  /* a finger paints */
.tools { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; margin-top: 8px; }
label { display: flex; align-items: center; gap: 8px; flex: 1 1 7rem; }
input { flex: 1; min-width: 4rem; height: 24px; accent-color: var(--st-primary-color); cursor: pointer; }
button { padding: 0 12px; font: inherit; }
.count { margin-top: 4px; min-height: 1.4em; opacity: 0.75; font-variant-numeric: tabular-nums; }
"""

JS = """
const PAINT = [255, 0, 160]   // stands out from the pictures, in both themes
const KEPT = 50               // strokes that can be undone

function build(root) {
  const part = (selector) => root.querySelector(selector)
  const [whole, canvas, brush, count] = [".painter", "canvas", "input", ".count"].map(part)
  const [erase, undo, clear] = [".erase", ".undo", ".clear"].map(part)
  let data = {}, tell, picture, mask, strokes = [], last = null, cursor = null

  function resize() {
    const width = sharpWidth(Math.min(whole.parentElement.clientWidth, data.maxWidth), data.width)
    canvas.style.width = whole.style.width = `${width}px`
    canvas.style.height = `${(width * data.height) / data.width}px`
  }

  // The pixels whose middle the brush covers; at least the one it is over.
  function under([x, y]) {
    const radius = brush.value / 2, found = []
    const clip = (value, most) => Math.min(Math.max(Math.floor(value), 0), most - 1)
    for (let row = clip(y - radius, data.height); row <= clip(y + radius, data.height); row++)
      for (let column = clip(x - radius, data.width); column <= clip(x + radius, data.width); column++)
        if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius) found.push(row * data.width + column)
    return found.length ? found : [clip(y, data.height) * data.width + clip(x, data.width)]
  }

  function draw() {
    if (!picture) return
    const context = canvas.getContext("2d", { willReadFrequently: true })
    context.drawImage(picture, 0, 0)
    const image = context.getImageData(0, 0, data.width, data.height)
    const tint = (pixel, share) => PAINT.forEach((value, channel) => {
      image.data[4 * pixel + channel] += share * (value - image.data[4 * pixel + channel])
    })
    mask.forEach((painted, pixel) => painted && tint(pixel, 0.65))
    if (cursor) under(cursor).forEach((pixel) => tint(pixel, 0.35))
    context.putImageData(image, 0, 0)
    const painted = mask.reduce((sum, value) => sum + value, 0)
    const share = Math.round((100 * painted) / mask.length)
    count.textContent = painted ? `${share || "<1"} % is made anew` : "Paint over what is to be made anew."
    undo.disabled = !strokes.length
    clear.disabled = !painted
  }

  function report() {
    tell("painted", { picture: data.picture, mask: mask.join("") })
  }

  function remember() {
    strokes = [...strokes.slice(1 - KEPT), mask.slice()]
  }

  function stroke(to) {
    const from = last ?? to
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])))
    for (let step = 0; step <= steps; step++) {
      const at = [0, 1].map((axis) => from[axis] + ((to[axis] - from[axis]) * step) / steps)
      for (const pixel of under(at)) mask[pixel] = erase.ariaPressed === "true" ? 0 : 1
    }
    last = to
  }

  function place(event) {
    const box = canvas.getBoundingClientRect()
    return [((event.clientX - box.left) / box.width) * data.width, ((event.clientY - box.top) / box.height) * data.height]
  }

  canvas.onpointerdown = (event) => {
    if (event.button) return
    canvas.setPointerCapture(event.pointerId)
    remember()
    last = null
    stroke((cursor = place(event)))
    draw()
  }
  canvas.onpointermove = (event) => {
    cursor = place(event)
    if (canvas.hasPointerCapture(event.pointerId)) stroke(cursor)
    draw()
  }
  canvas.onlostpointercapture = report
  canvas.onpointerleave = canvas.onblur = () => { cursor = null; draw() }
  canvas.onkeydown = (event) => {
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0]
    if (!right && !down && event.key !== " ") return
    event.preventDefault()
    const [x, y] = cursor ?? [data.width / 2, data.height / 2]
    const within = (value, most) => Math.min(Math.max(value, 0.5), most - 0.5)
    cursor = [within(x + right, data.width), within(y + down, data.height)]
    if (event.key === " ") {
      remember()
      last = null
      stroke(cursor)
      report()
    }
    draw()
  }
  erase.onclick = () => { erase.ariaPressed = erase.ariaPressed !== "true" }
  undo.onclick = () => { mask = strokes.pop(); draw(); report() }
  clear.onclick = () => { remember(); mask.fill(0); draw(); report() }
  const sizes = new ResizeObserver(resize)

  function update(fresh, setStateValue) {
    const another = fresh.picture !== data.picture
    data = fresh
    tell = setStateValue
    whole.hidden = false
    whole.setAttribute("aria-label", data.alt)
    canvas.setAttribute("aria-label", `${data.alt}. Arrow keys move the brush, the space bar paints.`)
    resize()
    sizes.observe(whole.parentElement)
    if (!another) return
    mask = new Uint8Array(data.width * data.height)
    for (let pixel = 0; pixel < mask.length; pixel++) mask[pixel] = data.mask[pixel] === "1" ? 1 : 0
    strokes = []
    canvas.width = data.width
    canvas.height = data.height
    brush.max = Math.ceil(data.width / 2)
    brush.value = Math.ceil(data.width / 6)
    const decoding = new Image(), of = data.picture
    decoding.onload = () => { if (of === data.picture) { picture = decoding; draw() } }
    decoding.src = data.source
  }

  return { update, close: () => sizes.disconnect() }
}
"""

_component = st.components.v2.component("noisescope_painter", html=HTML, css=browser_state.CSS + CSS, js=browser_state.JS + JS)


def painter(
    picture: Pixels, key: str, *, alt: str, begin: NDArray[np.bool_] | None = None, max_width: int = 384
) -> NDArray[np.bool_]:
    """A picture to paint on; which of its pixels are painted, (H, W).

    Every picture keeps what was painted on it, from each beginning. The page reruns after every stroke.

    Args:
        picture: (H, W, C) uint8.
        key: of the component.
        alt: what the picture is, for screen readers.
        begin: (H, W), what is painted already; nothing by default.
        max_width: CSS pixels.
    """
    height, width, _ = picture.shape
    if begin is None:
        begin = np.zeros((height, width), bool)
    digest = digest_of(np.dstack([picture, begin]))
    untouched = "".join(map(str, begin.ravel().astype(int)))
    masks = st.session_state.setdefault(f"{key} painted", {})  # a component's own state goes when the page is left
    mask = masks.get(digest, untouched)
    state = _component(
        key=key,
        data={
            "picture": digest,
            "source": data_uri(picture),
            "mask": mask,
            "width": width,
            "height": height,
            "alt": alt,
            "maxWidth": max_width,
        },
        on_painted_change=lambda: None,
    )
    painted = state.painted or {}  # what the browser last said, perhaps about another picture
    if painted.get("picture") == digest:
        mask = painted["mask"]
    masks[digest] = mask
    return np.array([pixel == "1" for pixel in mask]).reshape(height, width)
