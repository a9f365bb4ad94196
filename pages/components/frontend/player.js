import { ASK, FRAME, announce } from "./frame.js"
import { mount } from "./mount.js"
import { sharpWidth } from "./sharp_canvas.js"
import { setSlider } from "./slider.js"

/**
 * The data from player.py.
 * @typedef {object} Film
 * @property {string} key identifies the player
 * @property {string} sequence identifies the frames
 * @property {string} sheet sprite sheet of all pictures, frame by frame, as a data URI
 * @property {number} gap pixels between the pictures on the sheet
 * @property {number} columns pictures per row of the sheet
 * @property {number} width width of a picture, in pixels
 * @property {number} height height of a picture, in pixels
 * @property {string[]} labels one label per frame
 * @property {string[]} captions one caption for each picture of a frame
 * @property {Record<string, string>[]} facts values of each frame, by name; none if empty
 * @property {string} alt description of the frames
 * @property {number} start index of the first frame shown
 * @property {boolean} play whether to play new frames at once
 * @property {number} framesPerSecond speed of playing
 * @property {number} maxSide maximum width of a picture in CSS pixels
 */

/**
 * The state `shown` that player.py reads.
 * @typedef {object} Shown
 * @property {string} sequence identifies the frames
 * @property {number} frame index of the current frame
 */

const PLAY = "M8 5v14l11-7z"
const PAUSE = "M6 5h4v14H6zm8 0h4v14h-4z"
const REST = 250 // milliseconds for which a frame is shown before the server is told
const HOLD = 1000 // milliseconds for which a looping player rests on its last frame
const GAP = 8 // between pictures, in CSS pixels
const SMALL = 96 // width of a picture in CSS pixels below which there are fewer side by side
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
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  resting
  index = 0
  told = -1

  /** @param {ParentNode} root contains player.html */
  constructor(root) {
    const part = (selector) => root.querySelector(selector)
    this.whole = part(".player")
    this.place = this.whole.parentElement
    this.pictures = part(".pictures")
    this.facts = part(".facts")
    this.play = part(".play")
    this.loop = part(".loop")
    this.label = part(".label")
    this.count = part(".count")
    this.slider = part("input")
    this.resizing = new ResizeObserver(() => this.arrange())
    this.calm = matchMedia("(prefers-reduced-motion: reduce)")
    this.answer = (event) => {
      if (event.detail.player === this.film?.key) this.announce()
    }
    this.listen()
  }

  listen() {
    this.play.addEventListener("click", () => this.setPlaying(!this.playing))
    this.pictures.addEventListener("click", (event) => {
      if (event.target.matches("canvas")) this.touch()
    })
    this.loop.addEventListener("click", () => this.loop.setAttribute("aria-pressed", String(!this.looping)))
    this.slider.addEventListener("input", () => this.scrub(Number(this.slider.value)))
    this.whole.addEventListener("keydown", (event) => this.press(event))
    document.addEventListener(ASK, this.answer)
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
    this.build()
    this.arrange()
    this.resizing.observe(this.place)
    if (another) this.begin()
    else this.show(this.index) // its label may have changed
  }

  /** Builds the pictures of a frame; those of the frames before stay until the new ones are decoded. */
  build() {
    const { captions, width, height } = this.film
    while (this.pictures.children.length > captions.length) this.pictures.lastElementChild.remove()
    while (this.pictures.children.length < captions.length) this.pictures.append(emptyPicture())
    for (const [part, { firstChild: canvas, lastChild: caption }] of [...this.pictures.children].entries()) {
      caption.textContent = captions[part]
      if (canvas.width !== width) canvas.width = width // assigning it clears the canvas
      if (canvas.height !== height) canvas.height = height
    }
  }

  begin() {
    const { start, sheet, play } = this.film
    this.sheet = undefined
    this.told = start // the server chose it
    this.setPlaying(false)
    this.show(start)
    const image = new Image()
    image.addEventListener("load", () => {
      if (sheet !== this.film.sheet) return // replaced meanwhile
      this.sheet = image
      this.draw()
      if (play && !this.calm.matches) this.setPlaying(true)
    })
    image.src = sheet
  }

  /** Gives every picture the same width: as many side by side as are large enough, with whole screen pixels per pixel. */
  arrange() {
    const { captions, width, maxSide } = this.film
    const room = this.place.clientWidth
    let across = captions.length
    const side = () => sharpWidth(Math.min((room - (across - 1) * GAP) / across, maxSide), width)
    while (across > 1 && side() < SMALL) across = Math.ceil(across / 2)
    this.pictures.style.gridTemplateColumns = `repeat(${across}, ${side()}px)`
    this.whole.style.width = `${Math.max(Math.min(room, 256), across * side() + (across - 1) * GAP)}px`
  }

  /** @param {number} frame counted from 0 */
  show(frame) {
    const { labels, captions, facts } = this.film
    this.index = frame
    setSlider(this.slider, frame)
    this.slider.setAttribute("aria-valuetext", labels[frame])
    this.label.textContent = labels[frame]
    this.count.textContent = `${frame + 1} / ${labels.length}`
    this.facts.replaceChildren(...Object.entries(facts[frame] ?? {}).map((each) => fact(...each)))
    for (const [part, canvas] of this.canvases()) canvas.ariaLabel = [captions[part], labels[frame]].filter(Boolean).join(": ")
    this.draw()
    this.announce()
  }

  announce() {
    announce(FRAME, { player: this.film.key, frame: this.index })
  }

  canvases() {
    return this.pictures.querySelectorAll("canvas").entries()
  }

  draw() {
    if (!this.sheet) return // still being decoded
    const { gap, columns, width, height, captions } = this.film
    for (const [part, canvas] of this.canvases()) {
      const place = this.index * captions.length + part
      const left = gap + (place % columns) * (width + gap)
      const top = gap + Math.floor(place / columns) * (height + gap)
      canvas.getContext("2d").drawImage(this.sheet, left, top, width, height, 0, 0, width, height)
    }
  }

  /** @param {boolean} on whether to play */
  setPlaying(on) {
    clearTimeout(this.timer)
    this.timer = undefined
    if (on && this.index === this.last) this.moveTo(0)
    if (on) this.wait()
    else this.rest()
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

  /** @param {number} frame the frame to show, and to report to the server if it stays */
  moveTo(frame) {
    this.show(frame)
    if (!this.playing) this.rest()
  }

  rest() {
    clearTimeout(this.resting)
    this.resting = setTimeout(() => this.report(), REST)
  }

  report() {
    if (this.index === this.told || this.playing) return
    this.told = this.index
    this.tell("shown", { sequence: this.film.sequence, frame: this.index })
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
    } else if (event.key === " " && event.target === this.slider) this.setPlaying(!this.playing)
    else return // the space bar on a button presses the button
    event.preventDefault()
  }

  close() {
    clearTimeout(this.timer)
    clearTimeout(this.resting)
    document.removeEventListener(ASK, this.answer)
    this.resizing.disconnect()
  }
}

/** @returns {HTMLElement} a canvas with a caption */
function emptyPicture() {
  const figure = document.createElement("figure")
  const canvas = document.createElement("canvas")
  canvas.role = "img"
  figure.append(canvas, document.createElement("figcaption"))
  return figure
}

/**
 * @param {string} name name of a value
 * @param {string} value the value
 * @returns {HTMLElement} an entry of a description list
 */
function fact(name, value) {
  const entry = document.createElement("div")
  const [term, description] = [document.createElement("dt"), document.createElement("dd")]
  term.textContent = name
  description.textContent = value
  entry.append(term, description)
  return entry
}

export default mount(Player)
