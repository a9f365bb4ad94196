import { difference, meanSquaredError } from "./stage_metrics.js"
import { Sheets } from "./stage_sheets.js"

/**
 * The images of a frame of a column in a view.
 * @typedef {object} Picture
 * @property {string} own URL of their sheet; "" before the first frame
 * @property {string} reference URL of the sheet from which their difference is shown; "" for none
 * @property {number} width of an image, in pixels
 * @property {number} height of an image, in pixels
 */

// Colours from −255 to 255: blue is darker, red or orange is brighter than the first column; distinct for colour-blind people.
const LIGHT = ["#053061", "#4393c3", "#f7f7f7", "#d6604d", "#67001f"]
const DARK = ["#b5dcff", "#3b8fd4", "#101418", "#cf5a2a", "#ffc9a3"]
const EMPTY = "#8080804d"

/** Draws images of sheets, enlarged by whole factors, and measures their differences. */
export class Painter {
  /** @type {Map<string, number>} mean squared errors by the URLs of two sheets */
  errors = new Map()

  /** @param {() => void} arrived called when images have been loaded */
  constructor(arrived) {
    this.sheets = new Sheets(arrived)
    this.scratch = new OffscreenCanvas(1, 1)
    this.setDark(false)
  }

  /** @param {boolean} dark whether the page is dark */
  setDark(dark) {
    if (dark === this.dark) return
    this.dark = dark
    this.colours = blend(dark ? DARK : LIGHT)
  }

  /**
   * @param {Picture} picture images to be shown
   * @returns {boolean} whether they are there; if not, they are loaded next
   */
  ready({ own, reference }) {
    const sheets = [own, reference].filter(Boolean).map((url) => this.sheets.get(url))
    return own !== "" && sheets.every(Boolean)
  }

  /**
   * @param {Picture} picture the images of a frame
   * @param {number} image which of them
   * @returns {ImageData | undefined} its pixels, if they are there
   */
  pixels({ own, width, height }, image) {
    return this.sheets.get(own)?.getContext("2d").getImageData(0, image * height, width, height)
  }

  /**
   * @param {Picture} picture images with a reference
   * @param {number} count of the images
   * @returns {number | null} mean squared error of all images, if they are there
   */
  error(picture, count) {
    const { own, reference } = picture
    const pair = `${own} ${reference}`
    if (!reference || !this.ready(picture)) return null
    if (!this.errors.has(pair)) {
      const error = (image) => {
        const [one, other] = [own, reference].map((url) => this.pixels({ ...picture, own: url }, image).data)
        return meanSquaredError(one, other)
      }
      let sum = 0
      for (let image = 0; image < count; image++) sum += error(image)
      this.errors.set(pair, sum / count)
    }
    return this.errors.get(pair)
  }

  /**
   * @param {CanvasRenderingContext2D} context where to draw
   * @param {Picture} picture the images of a frame
   * @param {number} gain of a difference
   * @param {{ image: number, x: number, y: number, factor: number }} place which image, where and how large
   */
  draw(context, picture, gain, { image, x, y, factor }) {
    const { own, reference, width, height } = picture
    const area = [x, y, width * factor, height * factor]
    context.imageSmoothingEnabled = false
    if (!this.ready(picture)) {
      context.clearRect(...area)
      context.fillStyle = EMPTY
      context.fillRect(...area)
    } else if (reference) {
      context.drawImage(this.difference(picture, gain, image), 0, 0, width, height, ...area)
    } else context.drawImage(this.sheets.get(own), 0, image * height, width, height, ...area)
  }

  difference(picture, gain, image) {
    const { width, height, reference } = picture
    const other = this.pixels({ ...picture, own: reference }, image)
    const signed = difference(this.pixels(picture, image).data, other.data)
    for (let pixel = 0; pixel < signed.length; pixel++) {
      const colour = 3 * (Math.min(Math.max(gain * signed[pixel], -255), 255) + 255)
      for (let channel = 0; channel < 3; channel++) other.data[4 * pixel + channel] = this.colours[colour + channel]
    }
    if (this.scratch.width !== width || this.scratch.height !== height) this.scratch = new OffscreenCanvas(width, height)
    this.scratch.getContext("2d", { willReadFrequently: true }).putImageData(other, 0, 0)
    return this.scratch
  }

  /** @param {HTMLCanvasElement} canvas 511 pixels wide, on which to draw all colours */
  drawScale(canvas) {
    const context = canvas.getContext("2d")
    const line = context.createImageData(511, 1)
    for (let at = 0; at < 511; at++) line.data.set([...this.colours.subarray(3 * at, 3 * at + 3), 255], 4 * at)
    context.putImageData(line, 0, 0)
  }
}

/**
 * @param {string} colour in hexadecimal CSS
 * @returns {boolean} whether it is dark
 */
export function isDark(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(colour.trim().slice(at, at + 2), 16))
  return red + green + blue < 382
}

/**
 * @param {string[]} stops five colours
 * @returns {Uint8ClampedArray} red, green and blue of 511 colours between them
 */
function blend(stops) {
  const known = stops.map((stop) => [1, 3, 5].map((at) => Number.parseInt(stop.slice(at, at + 2), 16)))
  const colours = new Uint8ClampedArray(3 * 511)
  for (let at = 0; at < 511; at++) {
    const place = (at / 510) * (stops.length - 1)
    const before = Math.min(Math.floor(place), stops.length - 2)
    const mixed = known[before].map((value, channel) => value + (known[before + 1][channel] - value) * (place - before))
    colours.set(mixed, 3 * at)
  }
  return colours
}
