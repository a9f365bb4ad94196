import { entriesOf } from "./facts.js"
import { ASK, FRAME, announce } from "./frame.js"
import { mount } from "./mount.js"
import { Playback } from "./playback.js"
import { sharpWidth } from "./sharp_canvas.js"

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

const GAP = 8 // between pictures, in CSS pixels
const SMALL = 64 // width of a picture in CSS pixels below which they stand one below the other

class Player {
  /** @type {Film | undefined} */
  film
  /** @type {HTMLImageElement | undefined} */
  sheet
  told = -1

  /** @param {ParentNode} root contains player.html */
  constructor(root) {
    const part = (selector) => root.querySelector(selector)
    this.whole = part(".player")
    this.place = this.whole.parentElement
    this.pictures = part(".pictures")
    this.facts = part(".facts")
    this.label = part(".label")
    this.count = part(".count")
    this.playback = new Playback(this.whole, { show: (frame) => this.show(frame), rested: (frame) => this.report(frame) })
    this.resizing = new ResizeObserver(() => this.arrange())
    this.answer = (event) => {
      if (event.detail.player === this.film?.key) this.announce()
    }
    this.pictures.addEventListener("click", (event) => {
      if (event.target.matches("canvas")) this.touch()
    })
    document.addEventListener(ASK, this.answer)
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
    this.playback.frames = film.labels.length
    this.playback.framesPerSecond = film.framesPerSecond
    this.build()
    this.arrange()
    this.resizing.observe(this.place)
    if (another) this.begin()
    else this.show(this.playback.index) // its label may have changed
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
    this.playback.setPlaying(false)
    this.show(start)
    const image = new Image()
    image.addEventListener("load", () => {
      if (sheet !== this.film.sheet) return // replaced meanwhile
      this.sheet = image
      this.draw()
      if (play && !this.playback.calm.matches) this.playback.setPlaying(true)
    })
    image.src = sheet
  }

  /** Gives every picture the same width: as many side by side as are large enough, with whole screen pixels per pixel. */
  arrange() {
    const { captions, width, maxSide } = this.film
    const room = this.place.clientWidth
    let across = captions.length
    const side = () => sharpWidth(Math.min((room - (across - 1) * GAP) / across, maxSide), width)
    if (side() < SMALL) across = 1
    this.pictures.style.gridTemplateColumns = `repeat(${across}, ${side()}px)`
    this.whole.style.width = `${Math.max(Math.min(room, 256), across * side() + (across - 1) * GAP)}px`
  }

  /** @param {number} frame counted from 0 */
  show(frame) {
    const { labels, captions, facts } = this.film
    this.playback.mark(frame, labels[frame])
    this.label.textContent = labels[frame]
    this.count.textContent = `${frame + 1} / ${labels.length}`
    this.facts.replaceChildren(...entriesOf(facts[frame] ?? {}))
    for (const [part, canvas] of this.canvases()) canvas.ariaLabel = [captions[part], labels[frame]].filter(Boolean).join(": ")
    this.draw()
    this.announce()
  }

  announce() {
    announce(FRAME, { player: this.film.key, frame: this.playback.index })
  }

  canvases() {
    return this.pictures.querySelectorAll("canvas").entries()
  }

  draw() {
    if (!this.sheet) return // still being decoded
    const { gap, columns, width, height, captions } = this.film
    for (const [part, canvas] of this.canvases()) {
      const place = this.playback.index * captions.length + part
      const left = gap + (place % columns) * (width + gap)
      const top = gap + Math.floor(place / columns) * (height + gap)
      canvas.getContext("2d").drawImage(this.sheet, left, top, width, height, 0, 0, width, height)
    }
  }

  /** @param {number} frame that has stayed, which the server is told */
  report(frame) {
    if (frame === this.told) return
    this.told = frame
    this.tell("shown", { sequence: this.film.sequence, frame })
  }

  /** Plays or pauses. */
  touch() {
    this.playback.setPlaying(!this.playback.playing)
    this.playback.focus()
  }

  close() {
    this.playback.close()
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

export default mount(Player)
