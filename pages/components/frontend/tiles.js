/**
 * The samples of one run over its training.
 * @typedef {object} Row
 * @property {string} label the run
 * @property {number} width width of an image, in pixels
 * @property {number} height height of an image, in pixels
 * @property {number} images number of images of a grid
 * @property {{ step: number, source: string }[]} grids by rising step: data URIs of all images in a square
 */

const SMALLEST = 64 // CSS pixels of an image's width
const GAP = 2 // CSS pixels between images

/** One run's images at one step, enlarged by a whole factor, as many as fit. */
export class Tiles {
  constructor() {
    this.figure = document.createElement("figure")
    this.caption = document.createElement("figcaption")
    this.canvas = document.createElement("canvas")
    this.canvas.setAttribute("role", "img")
    this.figure.append(this.caption, this.canvas)
    /** @type {Map<string, HTMLImageElement>} */
    this.loaded = new Map()
  }

  /**
   * @param {Row} row the run's grids, which are decoded at once so that changing between them does not blink
   * @param {number} lines see samples.js
   */
  update(row, lines) {
    this.row = row
    this.lines = lines
    const sources = row.grids.map(({ source }) => source)
    for (const source of this.loaded.keys()) if (!sources.includes(source)) this.loaded.delete(source)
    for (const source of sources) if (!this.loaded.has(source)) this.load(source)
  }

  /** @param {string} source a data URI */
  load(source) {
    const image = new Image()
    this.loaded.set(source, image)
    image.addEventListener("load", () => this.draw())
    image.src = source
  }

  /** @param {number} step the newest grid up to this step is shown */
  show(step) {
    this.grid = this.row.grids.findLast((grid) => grid.step <= step)
    this.figure.hidden = !this.grid
    if (!this.grid) return
    const told = document.createElement("span")
    told.textContent = ` · step ${this.grid.step.toLocaleString("en")}`
    this.caption.replaceChildren(this.row.label, told)
    this.canvas.setAttribute("aria-label", `Samples of ${this.row.label}, step ${this.grid.step}`)
    this.draw()
  }

  draw() {
    const image = this.grid && this.loaded.get(this.grid.source)
    const room = this.figure.clientWidth
    if (!image?.complete || room === 0) return
    const { width, height, images } = this.row
    const factor = Math.max(1, Math.ceil((SMALLEST * devicePixelRatio) / width))
    const [wide, high, gap] = [width * factor, height * factor, Math.round(GAP * devicePixelRatio)]
    const columns = Math.min(images, Math.max(1, Math.floor((room * devicePixelRatio + gap) / (wide + gap))))
    const side = Math.ceil(Math.sqrt(images))
    const lines = Math.min(this.lines || Infinity, Math.ceil(images / columns))
    const { canvas } = this
    canvas.width = columns * (wide + gap) - gap
    canvas.height = lines * (high + gap) - gap
    canvas.style.width = `${canvas.width / devicePixelRatio}px`
    const context = canvas.getContext("2d")
    context.imageSmoothingEnabled = false
    for (let index = 0; index < Math.min(images, columns * lines); index++) {
      const [across, down] = [(index % side) * width, Math.floor(index / side) * height]
      const [left, top] = [(index % columns) * (wide + gap), Math.floor(index / columns) * (high + gap)]
      context.drawImage(image, across, down, width, height, left, top, wide, high)
    }
  }
}
