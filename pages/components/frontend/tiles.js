import { entriesOf } from "./facts.js"
import { cellAt, cellsIn, drawCell, frameCell, prepare } from "./sheet_cells.js"

/**
 * The samples of one run over its training.
 * @typedef {object} Row
 * @property {string} label the run
 * @property {number} width width of an image, in pixels
 * @property {number} height height of an image, in pixels
 * @property {number} images number of images of a grid
 * @property {string[]} shows for each image of a grid, the class or prompt it was made for; empty if there are none
 * @property {Grid[]} grids by rising step
 */

/**
 * The samples of one run at one step.
 * @typedef {object} Grid
 * @property {number} step the training step
 * @property {string} source data URI of all images in a square
 * @property {Record<string, string>} facts what was logged by then, by name
 */

/** One run's images at one step, enlarged by a whole factor, as many as fit. */
export class Tiles {
  /** @param {(number: number) => void} choose called with the number of an image that is clicked */
  constructor(choose) {
    this.figure = document.createElement("figure")
    this.caption = document.createElement("figcaption")
    this.facts = document.createElement("dl")
    this.facts.className = "facts"
    this.canvas = document.createElement("canvas")
    this.canvas.setAttribute("role", "img")
    this.figure.append(this.caption, this.facts, this.canvas)
    this.canvas.addEventListener("click", (event) => {
      const [column, line] = cellAt(event, this.cells)
      const number = line * this.columns + column
      if (column < this.columns && number < this.row.images) choose(number)
    })
    /** @type {Map<string, HTMLImageElement>} */
    this.loaded = new Map()
  }

  /**
   * @param {Row} row the run's grids, which are decoded at once so that changing between them does not blink
   * @param {number} lines see samples.js
   * @param {() => void} decoded called when one of them can be drawn
   */
  update(row, lines, decoded) {
    this.row = row
    this.lines = lines
    const sources = row.grids.map(({ source }) => source)
    for (const source of this.loaded.keys()) if (!sources.includes(source)) this.loaded.delete(source)
    for (const source of sources) if (!this.loaded.has(source)) this.load(source, decoded)
  }

  /**
   * @param {string} source a data URI
   * @param {() => void} decoded called when it can be drawn
   */
  load(source, decoded) {
    const image = new Image()
    this.loaded.set(source, image)
    image.addEventListener("load", decoded)
    image.src = source
  }

  /**
   * @param {number} step a training step
   * @returns {Grid | undefined} the newest grid up to this step
   */
  gridAt(step) {
    return this.row.grids.findLast((grid) => grid.step <= step)
  }

  /**
   * @param {Grid | undefined} grid one of the grids
   * @returns {HTMLImageElement | undefined} its images, once they are decoded
   */
  sheetOf(grid) {
    const sheet = grid && this.loaded.get(grid.source)
    return sheet?.complete ? sheet : undefined
  }

  /**
   * @param {number} step the newest grid up to this step is shown
   * @param {number | undefined} marked number of the image that is framed, if any
   */
  show(step, marked) {
    this.grid = this.gridAt(step)
    this.marked = marked
    const [name, told] = [document.createElement("b"), document.createElement("span")]
    const first = this.row.grids[0].step.toLocaleString("en")
    name.textContent = this.row.label
    told.textContent = this.grid ? ` · step ${this.grid.step.toLocaleString("en")}` : ` · no samples before step ${first}`
    this.caption.replaceChildren(name, told)
    this.facts.replaceChildren(...entriesOf(this.grid?.facts ?? {}))
    this.facts.hidden = this.row.grids.every(({ facts }) => Object.keys(facts).length === 0)
    this.canvas.setAttribute("aria-label", this.grid ? `Samples of ${this.row.label}, step ${this.grid.step}` : "No samples yet")
    this.draw()
  }

  draw() {
    const room = this.figure.clientWidth
    if (room === 0) return
    const { width, height, images } = this.row
    this.cells = cellsIn(room, width, height)
    this.columns = Math.min(images, this.cells.across)
    const lines = Math.min(this.lines || Infinity, Math.ceil(images / this.columns))
    const context = prepare(this.canvas, this.cells, this.columns, lines)
    const sheet = this.sheetOf(this.grid)
    if (!sheet) return
    for (let number = 0; number < Math.min(images, this.columns * lines); number++)
      drawCell(context, this.cells, this.cell(number), sheet, this.row, number)
    if (this.marked < Math.min(images, this.columns * lines)) frameCell(context, this.cells, this.cell(this.marked))
  }

  /**
   * @param {number} number of an image
   * @returns {[number, number]} its column and line
   */
  cell(number) {
    return [number % this.columns, Math.floor(number / this.columns)]
  }
}
