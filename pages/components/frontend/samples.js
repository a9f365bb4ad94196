import { mount } from "./mount.js"
import { setSlider } from "./slider.js"
import { Tiles } from "./tiles.js"

/**
 * The data from samples.py.
 * @typedef {object} Samples
 * @property {number[]} steps training steps at which any of the rows has a grid, rising
 * @property {number | null} start the step to show first; null for the newest, also when newer ones come
 * @property {import("./tiles.js").Row[]} rows one row of images per run
 * @property {number} lines maximum number of lines of images in a row, 0 for all images
 */

class SamplesOverTraining {
  /** @type {Samples | undefined} */
  samples
  /** @type {number | null} the chosen step, or null for the newest */
  step = null
  /** @type {Tiles[]} */
  rows = []

  /** @param {ParentNode} root contains samples.html */
  constructor(root) {
    this.whole = root.querySelector(".samples")
    this.place = root.querySelector(".rows")
    this.slider = root.querySelector("input")
    this.label = root.querySelector(".step")
    this.slider.addEventListener("input", () => this.choose(Number(this.slider.value)))
    this.slider.addEventListener("change", () => this.tell("step", this.step ?? "newest"))
    this.resizing = new ResizeObserver(() => this.rows.forEach((row) => row.draw()))
    this.resizing.observe(this.place)
  }

  /**
   * @param {Samples} samples the current grids
   * @param {import("./mount.js").Tell} tell reports to the server
   */
  update(samples, tell) {
    if (!this.samples) this.step = samples.start
    this.samples = samples
    this.tell = tell
    this.whole.hidden = false
    while (this.rows.length < samples.rows.length) this.rows.push(new Tiles())
    this.rows.length = samples.rows.length
    this.place.replaceChildren(...this.rows.map(({ figure }) => figure))
    for (const [index, row] of this.rows.entries()) row.update(samples.rows[index], samples.lines)
    this.slider.max = String(samples.steps.length - 1)
    this.slider.parentElement.hidden = samples.steps.length < 2
    this.show()
  }

  /** @param {number} index of one of the steps */
  choose(index) {
    const { steps } = this.samples
    this.step = index === steps.length - 1 ? null : steps[index]
    this.show()
  }

  show() {
    const { steps } = this.samples
    const index = this.step === null ? steps.length - 1 : Math.max(0, steps.findLastIndex((step) => step <= this.step))
    const told = `Step ${steps[index].toLocaleString("en")}`
    setSlider(this.slider, index)
    this.slider.setAttribute("aria-valuetext", told)
    this.label.textContent = told
    for (const row of this.rows) row.show(steps[index])
  }

  close() {
    this.resizing.disconnect()
  }
}

export default mount(SamplesOverTraining)
