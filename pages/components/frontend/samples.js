import { Film } from "./film.js"
import { ASK, FRAME, announce } from "./frame.js"
import { mount } from "./mount.js"
import { Playback } from "./playback.js"
import { Tiles } from "./tiles.js"

/**
 * The data from samples.py.
 * @typedef {object} Samples
 * @property {number[]} steps training steps at which any of the rows has a grid, rising
 * @property {number | null} start the step to show first; null for the newest, also when newer ones come
 * @property {number} image number of the image whose film to show first
 * @property {import("./tiles.js").Row[]} rows one row of images per run
 * @property {number} lines maximum number of lines of images in a row, 0 for all images
 * @property {string} key identifies this player to the charts that follow it
 */

const SPEED = 4 // steps per second

class SamplesOverTraining {
  /** @type {Samples | undefined} */
  samples
  /** @type {number | null} the chosen step, or null for the newest */
  step = null
  image = 0
  /** @type {Tiles[]} */
  rows = []

  /** @param {ParentNode} root contains samples.html */
  constructor(root) {
    this.whole = root.querySelector(".samples")
    this.place = root.querySelector(".rows")
    this.label = root.querySelector(".step")
    this.playback = new Playback(this.whole, { show: (index) => this.choose(index), rested: () => this.report() })
    this.playback.framesPerSecond = SPEED
    this.film = new Film(root.querySelector(".film"), {
      step: (step) => {
        this.playback.scrub(this.samples.steps.indexOf(step))
        this.playback.focus()
      },
      image: (number) => this.mark(number),
    })
    this.resizing = new ResizeObserver(() => this.draw())
    this.resizing.observe(this.place)
    this.answer = (event) => {
      if (event.detail.player === this.samples?.key) this.announce()
    }
    document.addEventListener(ASK, this.answer)
  }

  /**
   * @param {Samples} samples the current grids
   * @param {import("./mount.js").Tell} tell reports to the server
   */
  update(samples, tell) {
    const first = !this.samples
    if (first) {
      this.step = samples.start
      this.image = samples.image
    }
    this.samples = samples
    this.tell = tell
    this.whole.hidden = false
    while (this.rows.length < samples.rows.length) this.rows.push(new Tiles((number) => this.pick(number)))
    this.rows.length = samples.rows.length
    this.place.replaceChildren(...this.rows.map(({ figure }) => figure))
    for (const [index, row] of this.rows.entries()) row.update(samples.rows[index], samples.lines, () => this.draw())
    this.image = Math.min(this.image, this.images - 1)
    this.playback.frames = samples.steps.length
    this.playback.slider.parentElement.hidden = samples.steps.length < 2
    if (first) this.playback.setPlaying(false)
    this.show()
    this.told = [this.step, this.image]
  }

  /** @param {number} index of one of the steps */
  choose(index) {
    const { steps } = this.samples
    this.step = index === steps.length - 1 ? null : steps[index]
    this.show()
  }

  /** @param {number} number of the image whose film to show */
  mark(number) {
    this.image = Math.min(number, this.images - 1)
    this.show()
    this.playback.rest()
  }

  /** @param {number} number of the image that was clicked */
  pick(number) {
    this.mark(number)
    this.playback.focus()
  }

  /** @returns {number} how many images every row has */
  get images() {
    return Math.min(...this.samples.rows.map(({ images }) => images))
  }

  show() {
    const { steps } = this.samples
    const index = this.step === null ? steps.length - 1 : Math.max(0, steps.findLastIndex((step) => step <= this.step))
    const told = `Step ${steps[index].toLocaleString("en")}`
    this.playback.mark(index, told)
    this.label.textContent = told
    const film = steps.length > 1
    for (const row of this.rows) row.show(steps[index], film ? this.image : undefined)
    this.film.show({ rows: this.rows, steps, step: steps[index], image: this.image, images: this.images })
    this.announce()
  }

  draw() {
    for (const row of this.rows) row.draw()
    this.film.draw()
  }

  announce() {
    announce(FRAME, { player: this.samples.key, frame: this.playback.index })
  }

  /** Tells the server, which writes them into the address, what has been chosen. */
  report() {
    const [step, image] = this.told
    if (this.step !== step) this.tell("step", this.step ?? "newest")
    if (this.image !== image) this.tell("image", this.image)
    this.told = [this.step, this.image]
  }

  close() {
    this.playback.close()
    document.removeEventListener(ASK, this.answer)
    this.resizing.disconnect()
  }
}

export default mount(SamplesOverTraining)
