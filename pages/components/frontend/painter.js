import { Mask } from "./mask.js"
import { mount } from "./mount.js"
import { SharpCanvas } from "./sharp_canvas.js"
import { setSlider } from "./slider.js"

/** @typedef {import("./mask.js").Point} Point */

/**
 * The data from painter.py.
 * @typedef {object} Canvas
 * @property {string} picture identifies the picture and its initial mask
 * @property {string} source the picture, as a data URI
 * @property {string} mask "1" for each painted pixel, "0" for the others, row by row
 * @property {number} width width of the picture, in pixels
 * @property {number} height height of the picture, in pixels
 * @property {string} alt description of the picture
 * @property {number} maxWidth maximum width in CSS pixels
 */

/**
 * The state `painted` that painter.py reads.
 * @typedef {object} Painted
 * @property {string} picture the picture that was painted on
 * @property {string} mask as above
 */

const PAINTS = [[255, 0, 160], [255, 255, 255]] // red, green and blue of the stripes: one of them stands out from any picture
const STRIPES = 24 // across the picture
const PAINTED = 0.75 // opacity of the paint on painted pixels
const HOVERED = 0.4 // and on pixels under the brush
const KEYS = "Arrow keys move the brush, with Shift by its own width; Space paints; Ctrl+Z undoes."
/** @type {Record<string, Point>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }

class Painter {
  /** @type {Canvas | undefined} */
  data
  /** @type {HTMLImageElement | undefined} */
  image
  /** @type {Mask | undefined} */
  mask
  /** @type {Point | null} position of the brush, if it is over the picture */
  cursor = null

  /** @param {ParentNode} root contains painter.html */
  constructor(root) {
    const part = (selector) => root.querySelector(selector)
    this.whole = part(".painter")
    this.count = part(".count")
    this.brush = part("input")
    this.erase = part(".erase")
    this.undo = part(".undo")
    this.clear = part(".clear")
    this.picture = new SharpCanvas(root)
    this.canvas = this.picture.canvas
    this.listenToCanvas()
    this.listenToTools()
  }

  listenToCanvas() {
    const { canvas } = this
    canvas.addEventListener("pointerdown", (event) => this.touch(event))
    canvas.addEventListener("pointermove", (event) => this.drag(event))
    canvas.addEventListener("lostpointercapture", () => this.report())
    canvas.addEventListener("pointerleave", () => this.moveTo(null))
    canvas.addEventListener("blur", () => this.moveTo(null))
    canvas.addEventListener("focus", () => this.showBrush())
    canvas.addEventListener("keydown", (event) => this.press(event))
  }

  listenToTools() {
    this.brush.addEventListener("input", () => {
      setSlider(this.brush, this.diameter)
      this.moveTo(this.middle)
    })
    this.brush.addEventListener("blur", () => this.moveTo(null))
    this.whole.addEventListener("keydown", (event) => this.pressAnywhere(event))
    this.erase.addEventListener("click", () => {
      this.erase.ariaPressed = String(!this.erasing)
    })
    this.undo.addEventListener("click", () => this.change(() => this.mask.undo()))
    this.clear.addEventListener("click", () => this.change(() => this.mask.clear()))
  }

  get erasing() {
    return this.erase.ariaPressed === "true"
  }

  /** @returns {Point} the centre of the picture */
  get middle() {
    return [this.data.width / 2, this.data.height / 2]
  }

  get diameter() {
    return Number(this.brush.value)
  }

  /**
   * @param {Canvas} data the current data
   * @param {import("./mount.js").Tell} tell reports to the server
   */
  update(data, tell) {
    const another = data.picture !== this.data?.picture
    this.data = data
    this.tell = tell
    this.whole.hidden = false
    this.whole.setAttribute("aria-label", data.alt)
    this.canvas.setAttribute("aria-label", `${data.alt}. ${KEYS}`)
    this.picture.fit(data)
    if (another) this.begin()
  }

  begin() {
    const { width, height, mask, source } = this.data
    this.mask = new Mask(width, height, mask)
    this.image = undefined
    this.brush.max = String(Math.ceil(width / 2))
    setSlider(this.brush, Math.ceil(width / 6))
    this.picture.load(source, (image) => {
      this.image = image
      this.draw()
    })
  }

  draw() {
    if (!this.image) return // still being decoded; the previous picture stays until then
    const context = this.picture.context()
    context.drawImage(this.image, 0, 0)
    const pixels = context.getImageData(0, 0, this.data.width, this.data.height)
    for (const [pixel, painted] of this.mask.pixels.entries()) if (painted) this.tint(pixels.data, pixel, PAINTED)
    if (this.cursor) for (const pixel of this.mask.under(this.cursor, this.diameter)) this.tint(pixels.data, pixel, HOVERED)
    context.putImageData(pixels, 0, 0)
    this.describe()
  }

  /**
   * Blends paint into a pixel's colour, in diagonal stripes.
   * @param {Uint8ClampedArray} colours RGBA values of all pixels
   * @param {number} pixel index of the pixel
   * @param {number} share opacity of the paint, 0 to 1
   */
  tint(colours, pixel, share) {
    const { width } = this.data
    const stripe = Math.floor((Math.floor(pixel / width) + (pixel % width)) / Math.ceil(width / STRIPES))
    const start = 4 * pixel
    for (const [channel, value] of PAINTS[stripe % 2].entries())
      colours[start + channel] += share * (value - colours[start + channel])
  }

  describe() {
    const { share } = this.mask
    const percent = Math.round(100 * share) || "<1"
    this.count.textContent = share ? `${percent} % masked` : "Paint over the area to inpaint."
    this.undo.disabled = !this.mask.undoable
    this.clear.disabled = !share
  }

  report() {
    this.tell("painted", { picture: this.data.picture, mask: this.mask.text })
  }

  /** @param {() => void} edit a complete change of the mask */
  change(edit) {
    edit()
    this.draw()
    this.report()
  }

  /** @param {Point | null} cursor new position of the brush, or null if it has left */
  moveTo(cursor) {
    this.cursor = cursor
    this.draw()
  }

  /** @param {Point} to the end of a stroke from the current position of the brush */
  stroke(to) {
    this.mask.line(this.cursor ?? to, to, this.diameter, this.erasing ? 0 : 1)
    this.moveTo(to)
  }

  /**
   * @param {PointerEvent} event on the canvas
   * @returns {Point} its position in the picture
   */
  placeOf(event) {
    const box = this.canvas.getBoundingClientRect()
    const { width, height } = this.data
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height]
  }

  /** @param {PointerEvent} event the start of a stroke */
  touch(event) {
    if (event.button) return
    this.canvas.setPointerCapture(event.pointerId)
    this.mask.remember()
    this.cursor = null
    this.stroke(this.placeOf(event))
  }

  /** @param {PointerEvent} event a continued stroke, or a movement over the picture */
  drag(event) {
    if (this.canvas.hasPointerCapture(event.pointerId)) this.stroke(this.placeOf(event))
    else this.moveTo(this.placeOf(event))
  }

  /** Shows the brush after keyboard focus; a pointer shows it at its own position. */
  showBrush() {
    if (this.canvas.matches(":focus-visible")) this.moveTo(this.cursor ?? this.middle)
  }

  /** @param {KeyboardEvent} event on the canvas */
  press(event) {
    const arrow = ARROWS[event.key]
    const place = this.cursor ?? this.middle
    if (arrow) this.moveTo(this.beyond(place, arrow, event.shiftKey ? this.diameter : 1))
    else if (event.key === " ") this.change(() => this.dab(place))
    else return
    event.preventDefault()
  }

  /** @param {KeyboardEvent} event on any part of the painter */
  pressAnywhere(event) {
    if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.key.toLowerCase() !== "z") return
    event.preventDefault()
    if (this.mask.undoable) this.change(() => this.mask.undo())
  }

  /**
   * @param {Point} from start
   * @param {Point} direction left or right, up or down
   * @param {number} far distance in pixels
   * @returns {Point} the end, or the nearest point in the picture
   */
  beyond([x, y], [right, down], far) {
    return [within(x + far * right, this.data.width), within(y + far * down, this.data.height)]
  }

  /** @param {Point} place centre of a single dab of the brush */
  dab(place) {
    this.mask.remember()
    this.cursor = null
    this.stroke(place)
  }

  close() {
    this.picture.close()
  }
}

/**
 * @param {number} place coordinate along a side
 * @param {number} length length of that side, in pixels
 * @returns {number} the coordinate, or the centre of the nearest pixel if it is outside
 */
function within(place, length) {
  return Math.min(Math.max(place, 0.5), length - 0.5)
}

export default mount(Painter)
