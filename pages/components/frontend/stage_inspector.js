import { copy } from "./copy.js"
import { Choice } from "./stage_choice.js"
import { Controls } from "./stage_controls.js"
import { Film, stillFactor } from "./stage_film.js"
import { meanSquaredError, structuralSimilarity } from "./stage_metrics.js"
import { setSlider } from "./slider.js"

const BESIDE = "beside"
const BLINK = "blink"
const SWIPE = "swipe"
const WAYS = [
  { value: BESIDE, label: "Side by side" },
  { value: BLINK, label: "Blink" },
  { value: SWIPE, label: "Swipe" },
]
const BLINKS = 700 // milliseconds
const MOST_BESIDE = 4 // columns
const HIGHEST = 0.96 // share of the window's height, as in stage.css
const AROUND = 280 // CSS pixels above and below the large images and their film strips

/** One image in every column, large. */
export class Inspector {
  way = BESIDE
  other = 1 // the column that blinks with the first
  second = false // whether it is the one seen while blinking
  divider = 0.5 // share of the first column's image when swiping

  /**
   * @param {HTMLDialogElement} dialog contains its parts
   * @param {import("./stage.js").Stage} stage what it inspects
   */
  constructor(dialog, stage) {
    this.dialog = dialog
    this.stage = stage
    this.controls = new Controls(dialog.querySelector(".controls"), stage)
    this.ways = new Choice(dialog.querySelector(".way"), (way) => this.arrange({ way }))
    this.pair = new Choice(dialog.querySelector(".pair"), (other) => this.arrange({ other }))
    this.ways.offer(WAYS)
    this.large = dialog.querySelector(".large")
    this.slider = dialog.querySelector(".divider")
    this.slider.addEventListener("input", () => this.divide(Number(this.slider.value) / 100))
    dialog.querySelector(".turn").addEventListener("click", () => this.turn())
    dialog.querySelector(".previous").addEventListener("click", () => this.move(-1))
    dialog.querySelector(".next").addEventListener("click", () => this.move(1))
    dialog.querySelector(".copy").addEventListener("click", ({ target }) => this.copyLink(target))
    dialog.querySelector(".close").addEventListener("click", () => stage.look({ image: undefined }))
    dialog.addEventListener("close", () => this.closed())
    dialog.addEventListener("keydown", (event) => this.press(event))
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) stage.look({ image: undefined }) // beside the content
    })
    this.calm = matchMedia("(prefers-reduced-motion: reduce)")
  }

  get open() {
    return this.dialog.open
  }

  build() {
    const { columns } = this.stage.scene.data
    this.other = Math.min(this.other, Math.max(1, columns.length - 1))
    if (columns.length < 2) this.way = BESIDE
    this.pair.offer(columns.slice(1).map((_, at) => ({ value: at + 1, label: `1 and ${at + 2}` })))
    this.parts = columns.map(() => {
      const part = this.stage.part(".large-parts").content.cloneNode(true).firstElementChild
      part.querySelector("canvas").addEventListener("pointermove", (event) => this.swipe(event))
      part.querySelector("canvas").addEventListener("pointerdown", (event) => this.swipe(event))
      part.querySelector("canvas").addEventListener("click", () => this.turn())
      return part
    })
    this.large.replaceChildren(...this.parts)
    this.films = this.parts.map((part, at) => new Film(part.querySelector(".film"), this.stage, at))
  }

  arrange(changes) {
    Object.assign(this, changes)
    this.second = false
    this.blink()
    this.draw()
  }

  blink() {
    clearInterval(this.timer)
    this.timer = undefined
    if (this.open && this.way === BLINK && !this.calm.matches) this.timer = setInterval(() => this.flip(), BLINKS)
  }

  flip() {
    this.second = !this.second
    this.draw()
  }

  // Changes by hand which column is seen, and stops blinking.
  turn() {
    if (this.way !== BLINK) return
    clearInterval(this.timer)
    this.flip()
  }

  // Differences are shown side by side; the other arrangements compare the images themselves.
  get plain() {
    return this.way !== BESIDE
  }

  /**
   * @param {number} column index of a column
   * @param {number} frame index of one of its frames
   * @param {number} first index of the first column's frame with which it is compared
   * @returns {import("./stage_paint.js").Picture} what is shown of it
   */
  pictureAt(column, frame, first) {
    const { scene } = this.stage
    return this.plain ? scene.imagesAt(column, frame) : scene.pictureAt(column, frame, first)
  }

  pictureOf(column) {
    const { scene } = this.stage
    return this.pictureAt(column, scene.frameOf(column), scene.frameOf(0))
  }

  copyLink(button) {
    this.stage.address.now(this.stage.scene.seen)
    copy(button, location.href, () => "Copy the address")
  }

  draw() {
    const { seen, data } = this.stage.scene
    const image = seen.image
    if (image === undefined || !(image < this.stage.images.length)) {
      if (this.open) this.dialog.close()
      return
    }
    if (!this.open) {
      this.dialog.showModal()
      this.blink()
    }
    this.dialog.querySelector(".head .title").textContent = `Image ${image}`
    this.controls.show()
    this.ways.show(this.way)
    this.pair.show(this.other)
    const part = (name) => this.dialog.querySelector(name)
    this.dialog.classList.toggle("plain", this.plain)
    part(".way").hidden = data.columns.length < 2
    part(".pair").hidden = this.way === BESIDE || data.columns.length < 3
    part(".divider").hidden = this.way !== SWIPE
    part(".turn").hidden = this.way !== BLINK
    this.drawParts(image)
  }

  drawParts(image) {
    const factor = this.factor()
    for (const [at, part] of this.parts.entries()) {
      part.hidden = !this.shows(at)
      if (part.hidden) continue
      part.querySelector(".title").textContent = this.title(at)
      part.querySelector(".when").textContent = this.when(at)
      this.drawLarge(part.querySelector("canvas"), at, image, factor)
      part.querySelector(".numbers").textContent = this.numbers(this.way === SWIPE ? this.other : at, image)
      this.films[at].draw(image)
    }
  }

  // Whether a column is seen in this arrangement.
  shows(at) {
    return this.way === BESIDE || at === (this.way === BLINK && this.second ? this.other : 0)
  }

  title(at) {
    const { columns } = this.stage.scene.data
    return this.way === SWIPE ? `Left ${columns[0].title} · right ${columns[this.other].title}` : columns[at].title
  }

  when(at) {
    const seen = this.way === SWIPE ? [0, this.other] : [at]
    return [...new Set(seen.map((column) => this.stage.scene.caption(column, this.plain)))].join(" · ")
  }

  // Screen pixels per pixel of the large images: as many as fit beside each other.
  factor() {
    const { columns } = this.stage.scene.data
    const beside = this.way === BESIDE ? Math.min(columns.length, this.stage.narrow ? 2 : MOST_BESIDE) : 1
    this.large.style.setProperty("--beside", String(beside))
    const [wide, high] = [Math.max(...columns.map(({ width }) => width)), Math.max(...columns.map(({ height }) => height))]
    const room = (this.large.clientWidth - 16 * (beside - 1)) / beside
    const still = Math.max(...columns.map((column) => column.height * stillFactor(column.width))) / devicePixelRatio
    const below = Math.max(160, HIGHEST * innerHeight - AROUND - still)
    return Math.max(1, Math.floor(Math.min(room / wide, below / high) * devicePixelRatio))
  }

  drawLarge(canvas, at, image, factor) {
    const { painter, scene } = this.stage
    const { data, seen } = scene
    const { width, height, title } = data.columns[at]
    const picture = this.pictureOf(at)
    if (!painter.ready(picture) && canvas.dataset.drawn === title) return
    canvas.dataset.drawn = title
    const [wide, high] = [width * factor, height * factor]
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high })
    canvas.style.width = `${wide / devicePixelRatio}px`
    canvas.style.height = `${high / devicePixelRatio}px`
    canvas.setAttribute("aria-label", `Image ${image} of column ${title}`)
    const context = canvas.getContext("2d")
    painter.draw(context, picture, seen.gain, { image, x: 0, y: 0, factor })
    if (this.way === SWIPE) this.drawSwipe(context, image, factor)
  }

  drawSwipe(context, image, factor) {
    const { painter, scene } = this.stage
    const edge = Math.round(this.divider * context.canvas.width)
    context.save()
    context.beginPath()
    context.rect(edge, 0, context.canvas.width, context.canvas.height)
    context.clip()
    painter.draw(context, this.pictureOf(this.other), scene.seen.gain, { image, x: 0, y: 0, factor })
    context.restore()
    context.fillStyle = "#ffffff"
    context.fillRect(edge - 1, 0, 2, context.canvas.height)
  }

  swipe(event) {
    if (this.way === SWIPE && (event.buttons > 0 || event.pointerType === "mouse"))
      this.divide(event.offsetX / event.target.clientWidth)
  }

  divide(share) {
    this.divider = Math.min(Math.max(share, 0), 1)
    setSlider(this.slider, 100 * this.divider)
    this.draw()
  }

  // The distances of an image from the first column's.
  numbers(at, image) {
    const { painter, scene } = this.stage
    const { data, seen } = scene
    const column = data.columns[at]
    if (at === 0) return data.columns.length > 1 ? "The reference" : ""
    if (column.incomparable[seen.view]) return column.incomparable[seen.view]
    const [own, other] = [at, 0].map((one) => painter.pixels(scene.imagesAt(one, scene.frameOf(one)), image)?.data)
    if (!own || !other) return ""
    const [error, similarity] = [meanSquaredError(own, other), structuralSimilarity(own, other, column.width)]
    const alike = Number.isNaN(similarity) ? "" : ` · SSIM ${similarity.toFixed(3)}`
    return `From column 1: MSE ${error.toPrecision(3)}${alike}`
  }

  /** @param {number} step from the open image to the next, in the order of the grid */
  move(step) {
    const { images, scene } = this.stage
    const at = images.indexOf(scene.seen.image) + step
    if (at >= 0 && at < images.length) this.stage.look({ image: images[at] })
  }

  /** @param {KeyboardEvent} event anywhere in the dialog */
  press(event) {
    if (event.target.matches("input") && event.key !== "Escape") return // the slider has its own keys
    const actions = {
      ArrowLeft: () => this.move(-1),
      ArrowRight: () => this.move(1),
      ArrowUp: () => this.stage.scrub(this.stage.scene.level + 1),
      ArrowDown: () => this.stage.scrub(this.stage.scene.level - 1),
    }
    if (event.key === " " && !event.target.matches("button")) this.stage.togglePlaying()
    else if (actions[event.key]) actions[event.key]()
    else return
    event.preventDefault()
  }

  closed() {
    clearInterval(this.timer)
    this.stage.look({ image: undefined })
  }

  close() {
    clearInterval(this.timer)
  }
}
