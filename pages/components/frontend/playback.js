import { setSlider } from "./slider.js"

/**
 * What plays.
 * @typedef {object} Played
 * @property {(frame: number) => void} show draws a frame, counted from 0
 * @property {(frame: number) => void} rested called when a frame has stayed for a moment, and nothing is being played
 */

const PLAY = "M8 5v14l11-7z"
const PAUSE = "M6 5h4v14H6zm8 0h4v14h-4z"
const REST = 250 // milliseconds after which a frame has stayed
const HOLD = 1000 // milliseconds for which looping rests on the last frame
const CALM = 2 // maximum frames per second for people who prefer reduced motion
/** @type {Record<string, number>} */
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -Infinity, End: Infinity }

/** Plays and scrubs a sequence of frames: the play button, the loop button if there is one, the slider and the keys. */
export class Playback {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  resting
  index = 0
  frames = 1
  framesPerSecond = 8

  /**
   * @param {HTMLElement} whole contains the controls; keys work on all of it
   * @param {Played} played what plays
   */
  constructor(whole, played) {
    this.played = played
    this.play = whole.querySelector(".play")
    this.loop = whole.querySelector(".loop")
    this.slider = whole.querySelector("input")
    this.calm = matchMedia("(prefers-reduced-motion: reduce)")
    this.play.addEventListener("click", () => this.setPlaying(!this.playing))
    this.loop?.addEventListener("click", () => this.loop.setAttribute("aria-pressed", String(!this.looping)))
    this.slider.addEventListener("input", () => this.scrub(Number(this.slider.value)))
    whole.addEventListener("keydown", (event) => this.press(event))
  }

  get playing() {
    return this.timer !== undefined
  }

  get looping() {
    return this.loop?.getAttribute("aria-pressed") === "true"
  }

  get last() {
    return this.frames - 1
  }

  /**
   * @param {number} frame the frame to show
   * @param {string} label what it is
   */
  mark(frame, label) {
    this.index = frame
    this.slider.max = String(this.last)
    setSlider(this.slider, frame)
    this.slider.setAttribute("aria-valuetext", label)
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
    const frame = 1000 / (this.calm.matches ? Math.min(CALM, this.framesPerSecond) : this.framesPerSecond)
    this.timer = setTimeout(() => this.tick(), this.index === this.last ? Math.max(HOLD, frame) : frame)
  }

  tick() {
    this.moveTo(this.index === this.last ? 0 : this.index + 1)
    if (this.index === this.last && !this.looping) this.setPlaying(false)
    else this.wait()
  }

  /** @param {number} frame the frame to show, and to report if it stays */
  moveTo(frame) {
    this.played.show(frame)
    if (!this.playing) this.rest()
  }

  rest() {
    clearTimeout(this.resting)
    this.resting = setTimeout(() => {
      if (!this.playing) this.played.rested(this.index)
    }, REST)
  }

  /** @param {number} frame the frame to pause at, limited to the first and last */
  scrub(frame) {
    if (this.playing) this.setPlaying(false)
    this.moveTo(Math.min(Math.max(frame, 0), this.last))
  }

  /** Focuses the slider, so that the arrow keys and the space bar work. */
  focus() {
    this.slider.focus({ preventScroll: true })
  }

  /** @param {KeyboardEvent} event on any part of the whole */
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
  }
}
