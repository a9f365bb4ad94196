import { GAP, cellAt, cellsIn, drawCell, frameCell, prepare, writeCell } from "./sheet_cells.js"

const MOST = 60 // columns, because canvases cannot be as wide as one likes

/**
 * What is shown.
 * @typedef {object} Shown
 * @property {import("./tiles.js").Tiles[]} rows one per run
 * @property {number[]} steps training steps at which any of the rows has a grid, rising
 * @property {number} step one of them, the chosen one
 * @property {number} image number of the chosen image
 * @property {number} images how many images every row has
 */

/**
 * What a user chooses.
 * @typedef {object} Chosen
 * @property {(step: number) => void} step called with a training step
 * @property {(number: number) => void} image called with the number of an image
 */

/** What one image becomes at every step of training: a strip for each run, with the same steps one below the other. */
export class Film {
  /**
   * @param {HTMLElement} place contains the parts of samples.html
   * @param {Chosen} chosen called when something is chosen
   */
  constructor(place, chosen) {
    const part = (selector) => place.querySelector(selector)
    this.place = place
    this.chosen = chosen
    this.name = part(".which")
    this.heads = part(".steps")
    this.strips = part(".strips")
    this.scroller = part(".scroller")
    part(".before").addEventListener("click", () => this.turn(-1))
    part(".after").addEventListener("click", () => this.turn(1))
  }

  /** @param {number} by how many images to go on, from the last to the first */
  turn(by) {
    const { image, images } = this.shown
    this.chosen.image((image + by + images) % images)
  }

  /** @param {Shown} shown what to show */
  show(shown) {
    this.shown = shown
    this.place.hidden = shown.steps.length < 2
    if (this.place.hidden) return
    this.name.textContent = `Image ${shown.image + 1} of ${shown.images}`
    while (this.strips.children.length < shown.rows.length) this.strips.append(this.strip())
    while (this.strips.children.length > shown.rows.length) this.strips.lastElementChild.remove()
    this.draw()
  }

  draw() {
    const room = this.scroller.clientWidth
    if (room === 0 || this.place.hidden) return
    const { rows, steps } = this.shown
    const layouts = rows.map(({ row }) => cellsIn(room, row.width, row.height))
    this.steps = evenly(steps, MOST)
    this.head(Math.max(...layouts.map(({ wide }) => wide)) / devicePixelRatio)
    for (const [index, tiles] of rows.entries()) this.drawStrip(this.strips.children[index], tiles, layouts[index])
    this.reveal()
  }

  /** @returns {number} the index of the newest of its steps up to the chosen one, or -1 */
  get current() {
    return this.steps.findLastIndex((step) => step <= this.shown.step)
  }

  /** @param {number} width CSS pixels of a column */
  head(width) {
    const { current } = this
    while (this.heads.children.length < this.steps.length) this.heads.append(this.button())
    while (this.heads.children.length > this.steps.length) this.heads.lastElementChild.remove()
    for (const [index, button] of [...this.heads.children].entries()) {
      button.textContent = told(this.steps[index])
      button.title = `Show step ${button.textContent}`
      button.style.width = `${width}px`
      button.setAttribute("aria-current", String(index === current))
    }
  }

  /** Scrolls to the chosen step's column, if it is not in sight. */
  reveal() {
    const { scroller } = this
    const head = this.heads.children[Math.max(0, this.current)]
    const left = head.offsetLeft - this.heads.offsetLeft
    const right = left + head.offsetWidth + 2 * GAP
    if (left < scroller.scrollLeft) scroller.scrollLeft = left
    else if (right > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = right - scroller.clientWidth
  }

  /** @returns {HTMLElement} the head of a column */
  button() {
    const button = document.createElement("button")
    button.type = "button"
    button.addEventListener("click", () => this.chosen.step(this.steps[[...this.heads.children].indexOf(button)]))
    return button
  }

  /** @returns {HTMLElement} the strip of a run */
  strip() {
    const figure = document.createElement("figure")
    const canvas = document.createElement("canvas")
    canvas.setAttribute("role", "img")
    canvas.addEventListener("click", (event) => {
      const [column] = cellAt(event, this.cells)
      if (column < this.steps.length) this.chosen.step(this.steps[column])
    })
    figure.append(document.createElement("figcaption"), canvas)
    return figure
  }

  /**
   * Draws one run's images. Where it has saved none since the column before, the frame says so.
   * @param {HTMLElement} figure its strip
   * @param {import("./tiles.js").Tiles} tiles its grids
   * @param {import("./sheet_cells.js").Cells} cells how its images are laid out
   */
  drawStrip(figure, tiles, cells) {
    const [caption, canvas] = figure.children
    const { row } = tiles
    const { image } = this.shown
    this.cells = cells
    caption.textContent = [row.label, row.shows[image]].filter(Boolean).join(" · ")
    canvas.setAttribute("aria-label", `Image ${image + 1} of ${row.label}, at ${this.steps.length} steps of training`)
    const context = prepare(canvas, cells, this.steps.length, 1)
    let before
    for (const [column, step] of this.steps.entries()) {
      const grid = tiles.gridAt(step)
      const sheet = grid !== before && tiles.sheetOf(grid)
      if (sheet) drawCell(context, cells, [column, 0], sheet, row, image)
      else if (grid === before) writeCell(context, cells, [column, 0], ["no samples", grid ? `since ${told(grid.step)}` : "yet"])
      if (column === this.current) frameCell(context, cells, [column, 0])
      before = grid
    }
  }
}

const told = (step) => step.toLocaleString("en")

/**
 * @param {number[]} steps rising
 * @param {number} most at most so many are returned
 * @returns {number[]} some of them, evenly spaced, with the first and the last
 */
function evenly(steps, most) {
  const count = Math.min(steps.length, most)
  return Array.from({ length: count }, (_, index) => steps[Math.round((index * (steps.length - 1)) / (count - 1))])
}
