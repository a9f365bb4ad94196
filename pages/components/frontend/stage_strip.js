import { GAP, leastFactor } from "./stage_grid.js"

/** The film strip of a column: rows are noise levels, columns are images. It is drawn where it is scrolled to. */
export class Strip {
  /**
   * @param {HTMLElement} section contains the rows' labels and the canvas
   * @param {import("./stage.js").Stage} stage of the strip
   * @param {number} number index of the column
   */
  constructor(section, stage, number) {
    this.stage = stage
    this.number = number
    this.section = section
    this.title = section.querySelector(".title")
    this.rows = section.querySelector(".rows")
    this.scroll = section.querySelector(".scroll")
    this.whole = section.querySelector(".whole")
    this.canvas = section.querySelector("canvas")
    this.scroll.addEventListener("scroll", () => stage.scrollStrips(this.scroll.scrollLeft))
    this.canvas.addEventListener("click", (event) => this.open(event))
  }

  /**
   * @param {import("./stage_scene.js").Column} column whose frames are shown
   * @param {number[]} images all of them, in their order
   * @param {number} shown index of the frame that the grid shows
   * @returns {number} number of images that are seen at once, all of them whole
   */
  draw(column, images, shown) {
    const [ratio, gap] = [devicePixelRatio, Math.round(GAP * devicePixelRatio)]
    const factor = leastFactor(column.width)
    const [wide, high] = [column.width * factor + gap, column.height * factor + gap]
    this.drawn = { column, images, wide, high, factor }
    this.title.textContent = column.title
    this.scroll.setAttribute("aria-label", `Film strip of column ${column.title}`)
    this.label(column, high / ratio, shown)
    this.whole.style.width = `${(images.length * wide - gap) / ratio}px`
    this.scroll.style.maxWidth = ""
    const fits = Math.min(images.length, Math.max(1, Math.floor((this.scroll.clientWidth * ratio + gap) / wide)))
    this.scroll.style.maxWidth = `${(fits * wide - gap) / ratio}px`
    const size = [fits * wide - gap, column.strip.length * high - gap]
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) {
      Object.assign(this.canvas, { width: size[0], height: size[1] })
      this.canvas.style.width = `${size[0] / ratio}px`
      this.canvas.style.height = `${size[1] / ratio}px`
    }
    this.paint()
    return fits
  }

  label({ strip, frames }, high, shown) {
    const labels = strip.map((frame) => {
      const label = document.createElement("span")
      label.textContent = frames[frame]?.label ?? ""
      label.style.height = `${high}px`
      label.classList.toggle("marked", frame === shown)
      return label
    })
    this.rows.replaceChildren(...labels)
  }

  /** Draws the images again where others are there, or wanted, than before. */
  paint() {
    const { column, images, wide, high, factor } = this.drawn
    const { painter, scene } = this.stage
    const pictures = column.strip.map((frame) => scene.pictureAt(this.number, frame, column.frames[frame]?.first))
    const { gain } = scene.seen
    const ready = pictures.map((picture) => painter.ready(picture))
    const wanted = JSON.stringify([pictures, ready, gain, painter.dark, this.scroll.scrollLeft, this.canvas.width, images])
    if (wanted === this.painted) return
    this.painted = wanted
    const context = this.canvas.getContext("2d")
    const left = Math.round(this.scroll.scrollLeft * devicePixelRatio)
    context.clearRect(0, 0, this.canvas.width, this.canvas.height)
    for (let at = Math.floor(left / wide); at < images.length && at * wide - left < this.canvas.width; at++)
      for (const [row, picture] of pictures.entries())
        if (column.strip[row] >= 0) painter.draw(context, picture, gain, { image: images[at], x: at * wide - left, y: row * high, factor })
  }

  /** @param {MouseEvent} event on an image, which is opened at its noise level */
  open({ offsetX, offsetY }) {
    const { column, images, wide, high } = this.drawn
    const at = Math.floor((offsetX + this.scroll.scrollLeft) * devicePixelRatio / wide)
    const frame = column.strip[Math.floor((offsetY * devicePixelRatio) / high)]
    if (column.frames[frame]) this.stage.look({ image: images[at], level: column.frames[frame].level })
  }
}
