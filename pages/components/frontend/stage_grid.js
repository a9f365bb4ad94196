const LEAST = 64 // minimum width of an image in CSS pixels
const MOST = 256 // maximum width of an image in CSS pixels, where there is room
export const GAP = 2 // CSS pixels between images

/**
 * The arrangement of a grid, in screen pixels.
 * @typedef {object} Plan
 * @property {number} factor screen pixels for each pixel of an image
 * @property {number} across images in a row
 * @property {number} fits images that fit into the space
 */

/**
 * @param {number} width of the images, in their pixels
 * @returns {number} the least whole factor that makes them large enough to be seen
 */
export function leastFactor(width) {
  return Math.max(1, Math.ceil((LEAST * devicePixelRatio) / width))
}

/**
 * Plans a grid: all images, as large as fits; if they do not fit, as many as do at the least size.
 * @param {import("./stage_scene.js").Column} column whose images are shown
 * @param {number} room width in CSS pixels
 * @param {number} below height in CSS pixels
 * @returns {Plan} the arrangement
 */
export function planGrid({ count, width, height }, room, below) {
  const gap = Math.round(GAP * devicePixelRatio)
  const [wide, high] = [room * devicePixelRatio + gap, below * devicePixelRatio + gap]
  const plan = (factor) => {
    const across = Math.max(1, Math.floor(wide / (width * factor + gap)))
    return { factor, across, fits: across * Math.max(1, Math.floor(high / (height * factor + gap))) }
  }
  const least = Math.min(leastFactor(width), Math.max(1, Math.floor(wide / width)))
  const most = Math.floor(Math.min((MOST * devicePixelRatio) / width, wide / width))
  for (let factor = most; factor > least; factor--) if (plan(factor).fits >= count) return plan(factor)
  return plan(least)
}

/** The images of a column at one noise level, each a button. */
export class Grid {
  images = ""

  /**
   * @param {HTMLElement} place contains the canvas and the cells
   * @param {import("./stage.js").Stage} stage of the grid
   */
  constructor(place, stage) {
    this.place = place
    this.stage = stage
    this.canvas = place.querySelector("canvas")
    this.cells = place.querySelector(".cells")
    this.cells.addEventListener("click", ({ target }) => stage.look({ image: Number(target.dataset.image) }))
    this.cells.addEventListener("pointerover", ({ target }) => stage.point(Number(target.dataset.image)))
    this.cells.addEventListener("pointerleave", () => stage.point(-1))
    this.cells.addEventListener("focusin", ({ target }) => stage.point(Number(target.dataset.image)))
    this.cells.addEventListener("keydown", (event) => this.press(event))
  }

  /**
   * Reserves the space of the images and places their buttons.
   * @param {import("./stage_scene.js").Column} column whose images they are
   * @param {Plan} plan where they are
   * @param {number[]} images those that are shown, in their order
   */
  arrange(column, plan, images) {
    const gap = Math.round(GAP * devicePixelRatio)
    this.plan = { ...plan, images, wide: column.width * plan.factor + gap, high: column.height * plan.factor + gap }
    const across = Math.min(plan.across, images.length)
    const size = [across * this.plan.wide - gap, Math.ceil(images.length / plan.across) * this.plan.high - gap]
    const arrangement = JSON.stringify([images, this.plan.wide, this.plan.high, plan.across, column.title])
    if (arrangement === this.images) return
    this.images = arrangement
    Object.assign(this.canvas, { width: size[0], height: size[1] })
    for (const element of [this.place, this.canvas]) {
      element.style.width = `${size[0] / devicePixelRatio}px`
      element.style.height = `${size[1] / devicePixelRatio}px`
    }
    this.cells.setAttribute("aria-label", `Images of column ${column.title}`)
    this.cells.replaceChildren(...images.map((image, at) => this.cell(column, image, at)))
    this.drawn = ""
  }

  cell(column, image, at) {
    const button = document.createElement("button")
    const [across, ratio] = [this.plan.across, devicePixelRatio]
    button.type = "button"
    button.dataset.image = String(image)
    button.ariaLabel = `Image ${image} of column ${column.title}`
    button.title = `Image ${image}, numbered from 0`
    button.tabIndex = at === 0 ? 0 : -1
    button.style.left = `${((at % across) * this.plan.wide) / ratio}px`
    button.style.top = `${(Math.floor(at / across) * this.plan.high) / ratio}px`
    button.style.width = `${(column.width * this.plan.factor) / ratio}px`
    button.style.height = `${(column.height * this.plan.factor) / ratio}px`
    return button
  }

  /**
   * Draws the images; the previous ones stay until all are there.
   * @param {import("./stage_paint.js").Picture} picture the images
   * @param {number} gain of a difference
   */
  draw(picture, gain) {
    const { painter } = this.stage
    const ready = painter.ready(picture)
    this.place.setAttribute("aria-busy", String(!ready))
    const wanted = JSON.stringify([picture, gain, painter.dark, ready])
    if (wanted === this.drawn || (this.drawn && !ready)) return
    const context = this.canvas.getContext("2d")
    const { images, wide, high, across, factor } = this.plan
    for (const [at, image] of images.entries())
      painter.draw(context, picture, gain, { image, x: (at % across) * wide, y: Math.floor(at / across) * high, factor })
    this.drawn = wanted
  }

  /** @param {number} image the one to mark, in every column; −1 for none */
  point(image) {
    for (const cell of this.cells.children) cell.classList.toggle("marked", Number(cell.dataset.image) === image)
  }

  /** @param {KeyboardEvent} event on an image */
  press(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.plan.across, ArrowDown: this.plan.across }
    const step = steps[event.key]
    if (!step) return
    event.preventDefault()
    const cells = [...this.cells.children]
    const next = cells[cells.indexOf(event.target) + step]
    if (!next) return
    for (const cell of cells) cell.tabIndex = cell === next ? 0 : -1
    next.focus()
  }
}
