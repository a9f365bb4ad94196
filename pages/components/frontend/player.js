import { mount } from "./mount.js"
import { Report } from "./report.js"
import { SharpCanvas } from "./sharp_canvas.js"
import { setSlider } from "./slider.js"

/**
 * The data from player.py.
 * @typedef {object} Film
 * @property {string} sequence identifies the frames
 * @property {string} sheet sprite sheet of all frames, as a data URI
 * @property {number} gap pixels between the frames on the sheet
 * @property {number} columns frames per row of the sheet
 * @property {number} width width of a frame, in pixels
 * @property {number} height height of a frame, in pixels
 * @property {string[]} labels one label per frame
 * @property {string[]} captions captions of the equally wide parts of every frame
 * @property {string} alt description of the frames
 * @property {number} start index of the first frame shown
 * @property {number} framesPerSecond speed of playing
 * @property {number} maxWidth maximum width in CSS pixels
 */

/**
 * The state `shown` that player.py reads.
 * @typedef {object} Shown
 * @property {string} sequence identifies the frames
 * @property {number} frame index of the current frame
 */

const PLAY = "M8 5v14l11-7z"
const PAUSE = "M6 5h4v14H6zm8 0h4v14h-4z"
const HOLD = 1000 // milliseconds for which a looping player rests on its last frame
const CALM = 2 // maximum frames per second for people who prefer reduced motion
/** @type {Record<string, number>} */
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -Infinity, End: Infinity }

class Player {
  /** @type {Film | undefined} */
  film
  /** @type {HTMLImageElement | undefined} */
  sheet
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer
  index = 0

  /** @param {ParentNode} root contains player.html */
  constructor(root) {
    const part = (selector) => root.querySelector(selector)
    this.whole = part(".player")
    this.captions = part(".captions")
    this.play = part(".play")
    this.loop = part(".loop")
    this.label = part(".label")
    this.count = part(".count")
    this.slider = part("input")
    this.picture = new SharpCanvas(root)
    this.calm = matchMedia("(prefers-reduced-motion: reduce)")
    this.report = new Report(
      () => this.index,
      (frame) => this.tell("shown", { sequence: this.film.sequence, frame }),
    )
    this.listen()
  }

  listen() {
    this.play.addEventListener("click", () => this.setPlaying(!this.playing))
    this.picture.canvas.addEventListener("click", () => this.touch())
    this.loop.addEventListener("click", () => this.loop.setAttribute("aria-pressed", String(!this.looping)))
    this.slider.addEventListener("input", () => this.scrub(Number(this.slider.value)))
    this.slider.addEventListener("change", () => this.report.atOnce())
    this.whole.addEventListener("keydown", (event) => this.press(event))
  }

  get playing() {
    return this.timer !== undefined
  }

  get looping() {
    return this.loop.getAttribute("aria-pressed") === "true"
  }

  get last() {
    return this.film.labels.length - 1
  }

  /**
   * @param {Film} film the current frames
   * @param {import("./mount.js").Tell} tell reports to the server
   */
  update(film, tell) {
    const another = film.sequence !== this.film?.sequence
    this.film = film
    this.tell = tell
    this.whole.hidden = false
    this.whole.setAttribute("aria-label", film.alt)
    this.slider.max = String(this.last)
    this.captions.replaceChildren(...film.captions.map(caption))
    this.picture.fit(film)
    if (another) this.begin()
    else this.show(this.index) // its label may have changed
  }

  begin() {
    const { start, sheet } = this.film
    this.sheet = undefined
    this.report.told = start // the server chose it
    this.show(start)
    this.setPlaying(false)
    this.picture.load(sheet, (image) => {
      this.sheet = image
      this.draw()
    })
  }

  /** @param {number} frame counted from 0 */
  show(frame) {
    const { labels, alt } = this.film
    this.index = frame
    setSlider(this.slider, frame)
    this.slider.setAttribute("aria-valuetext", labels[frame])
    this.label.textContent = labels[frame]
    this.count.textContent = `${frame + 1} / ${labels.length}`
    this.picture.canvas.setAttribute("aria-label", `${alt}: ${labels[frame]}`)
    this.draw()
  }

  draw() {
    if (!this.sheet) return // still being decoded; the previous picture stays until then
    const { gap, columns, width, height } = this.film
    const left = gap + (this.index % columns) * (width + gap)
    const top = gap + Math.floor(this.index / columns) * (height + gap)
    this.picture.context().drawImage(this.sheet, left, top, width, height, 0, 0, width, height)
  }

  /** @param {boolean} on whether to play */
  setPlaying(on) {
    clearTimeout(this.timer)
    this.timer = undefined
    if (on && this.index === this.last) this.moveTo(0)
    if (on) this.wait()
    else this.report.atOnce()
    this.play.querySelector("path").setAttribute("d", on ? PAUSE : PLAY)
    this.play.ariaLabel = this.play.title = on ? "Pause" : "Play"
  }

  wait() {
    const { framesPerSecond } = this.film
    const frame = 1000 / (this.calm.matches ? Math.min(CALM, framesPerSecond) : framesPerSecond)
    this.timer = setTimeout(() => this.tick(), this.index === this.last ? Math.max(HOLD, frame) : frame)
  }

  tick() {
    this.moveTo(this.index === this.last ? 0 : this.index + 1)
    if (this.index === this.last && !this.looping) this.setPlaying(false)
    else this.wait()
  }

  /** @param {number} frame the frame to show and report to the server */
  moveTo(frame) {
    this.show(frame)
    this.report.soon()
  }

  /** @param {number} frame the frame to pause at, limited to the first and last */
  scrub(frame) {
    if (this.playing) this.setPlaying(false)
    this.moveTo(Math.min(Math.max(frame, 0), this.last))
  }

  /** Plays or pauses, and focuses the slider so that the arrow keys and the space bar work. */
  touch() {
    this.setPlaying(!this.playing)
    this.slider.focus({ preventScroll: true })
  }

  /** @param {KeyboardEvent} event on any part of the player */
  press(event) {
    const step = STEPS[event.key]
    if (step) {
      this.scrub(this.index + step)
      this.report.atOnce()
    } else if (event.key === " " && event.target === this.slider) this.setPlaying(!this.playing)
    else return // the space bar on a button presses the button
    event.preventDefault()
  }

  close() {
    clearTimeout(this.timer)
    this.report.close()
    this.picture.close()
  }
}

/**
 * @param {string} text text of a caption
 * @returns {HTMLElement} its element
 */
function caption(text) {
  const element = document.createElement("span")
  element.textContent = text
  return element
}

export default mount(Player)
