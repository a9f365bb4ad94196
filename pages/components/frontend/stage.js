import { mount } from "./mount.js"
import { Choice } from "./stage_choice.js"
import { Controls } from "./stage_controls.js"
import { Grid, planGrid } from "./stage_grid.js"
import { Inspector } from "./stage_inspector.js"
import { Address, BY_DIFFERENCE, LAST, readLook, USUAL } from "./stage_look.js"
import { byDifference } from "./stage_order.js"
import { isDark, Painter } from "./stage_paint.js"
import { Scene } from "./stage_scene.js"
import { Strip } from "./stage_strip.js"

const NARROW = 600 // CSS pixels, below which there is one column at a time
const BELOW = 0.45 // least share of the window's height for the grids
const MARGIN = 24 // CSS pixels below the grids
const SPEED = 8 // levels per second
const CALM = 2 // the same for people who prefer reduced motion

/** @type {{ comparison: string, seen: import("./stage_look.js").Look } | undefined} the look before the page was left */
let remembered

/** A comparison on the page: its bar, grids, film strips and inspector. */
export class Stage {
  /** @type {number[]} images in the order of the grids */
  images = []
  column = 0 // the one that is seen on a narrow screen
  all = false
  /** @type {ReturnType<typeof setInterval> | undefined} */
  timer

  /** @param {ParentNode} root contains stage.html */
  constructor(root) {
    this.root = root
    this.whole = this.part(".stage")
    this.scene = new Scene(readLook() ?? USUAL)
    this.address = new Address()
    this.painter = new Painter(() => this.arrived())
    this.controls = new Controls(this.part(".bar .controls"), this)
    this.flip = new Choice(this.part(".flip"), (column) => this.change({ column }))
    this.inspector = new Inspector(this.part(".inspector"), this)
    this.calm = matchMedia("(prefers-reduced-motion: reduce)")
    this.part(".order").addEventListener("change", ({ target }) => this.look({ order: target.value }))
    this.part(".cancel").addEventListener("click", () => this.cancel())
    this.part(".all").addEventListener("click", () => this.change({ all: !this.all }))
    this.resizing = new ResizeObserver(() => this.resize())
    this.resizing.observe(this.whole)
    this.onResize = () => this.resize()
    addEventListener("resize", this.onResize)
  }

  part(selector) {
    return this.root.querySelector(selector)
  }

  get playing() {
    return this.timer !== undefined
  }

  get narrow() {
    return this.whole.clientWidth < NARROW
  }

  /**
   * @param {import("./stage_scene.js").Shown} data the comparison as it is now
   * @param {import("./mount.js").Tell} tell tells the server which view is seen
   */
  update(data, tell) {
    const before = this.scene.data
    this.tell = tell
    if (data.comparison !== before.comparison) this.begin(data.comparison, before.comparison === "")
    this.scene.data = data
    this.whole.hidden = false
    if (data.comparison !== before.comparison || data.columns.length !== before.columns.length) this.build()
    this.draw()
  }

  begin(comparison, opened) {
    const { seen } = this.scene
    if (!opened) this.scene.seen = { ...seen, level: LAST } // a new request is seen from its newest frames
    else if (!readLook() && remembered?.comparison === comparison) this.scene.seen = remembered.seen
    this.pause()
    this.below = undefined
    this.all = false
  }

  build() {
    const { columns } = this.scene.data
    const copies = (template, place) => {
      const parts = columns.map(() => this.part(template).content.cloneNode(true).firstElementChild)
      this.part(place).replaceChildren(...parts)
      return parts
    }
    this.sections = copies(".column-parts", ".columns")
    this.grids = this.sections.map((section) => new Grid(section.querySelector(".grid"), this))
    this.strips = copies(".strip-parts", ".strips").map((section, column) => new Strip(section, this, column))
    this.flip.offer(columns.map((_, column) => ({ value: column, long: "Column ", label: `${column + 1}` })))
    this.column = Math.min(this.column, columns.length - 1)
    this.inspector.build()
    this.whole.style.setProperty("--columns", columns.length)
  }

  /** @param {Partial<import("./stage_look.js").Look>} changes of how the comparison is looked at */
  look(changes) {
    const { view } = this.scene.seen
    this.scene.seen = { ...this.scene.seen, ...changes }
    if (this.scene.seen.view !== view) this.tell("view", this.scene.seen.view)
    this.draw()
  }

  change(changes) {
    Object.assign(this, changes)
    this.draw()
  }

  draw() {
    const { data, seen } = this.scene
    this.painter.setDark(isDark(getComputedStyle(this.whole).getPropertyValue("--st-background-color")))
    this.whole.classList.toggle("narrow", this.narrow)
    this.sortImages()
    this.controls.show()
    this.showLegends()
    this.flip.show(this.column)
    this.part(".order").value = seen.order
    this.part(".ordering").hidden = data.columns.length < 2 || data.activity !== ""
    this.showProgress()
    this.drawColumns()
    this.inspector.draw()
    this.painter.sheets.ahead(data.columns.flatMap(({ frames }) => frames.map((frame) => frame[seen.view])))
    this.address.soon(seen)
    remembered = { comparison: data.comparison, seen }
  }

  showProgress() {
    const { activity, done } = this.scene.data
    this.part(".progress").hidden = activity === ""
    this.part(".activity").textContent = activity
    this.whole.style.setProperty("--progress", `${100 * done}%`)
  }

  cancel() {
    this.part(".activity").textContent = "Cancelling"
    this.tell("cancelled", Date.now())
  }

  // Paints pictures that have been loaded. They change nothing else, unless the images' order depends on them.
  arrived() {
    this.painting ??= requestAnimationFrame(() => {
      this.painting = undefined
      if (!this.grids) return
      if (this.scene.seen.order === BY_DIFFERENCE) this.draw()
      else this.paint()
    })
  }

  paint() {
    for (const [at, section] of this.sections.entries()) {
      if (section.hidden) continue
      this.describe(at)
      this.strips[at].paint()
      this.grids[at].draw(this.scene.pictureOf(at), this.scene.seen.gain)
    }
    this.inspector.draw()
  }

  soon() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined
      if (this.grids) this.draw()
    })
  }

  sortImages() {
    const { data, seen } = this.scene
    const numbers = Array.from({ length: data.columns[0].count }, (_, image) => image)
    if (seen.order !== BY_DIFFERENCE || this.images.length !== numbers.length) this.images = numbers
    if (seen.order === BY_DIFFERENCE && !this.playing && !this.inspector.open) // nothing moves while one looks at it
      this.images = byDifference(this.scene, this.painter) ?? this.images
  }

  showLegends() {
    const { data, seen } = this.scene
    const most = Math.round(255 / Math.max(1, seen.gain))
    for (const legend of this.root.querySelectorAll(".legend")) {
      legend.hidden = seen.gain === 0 || data.columns.length < 2
      legend.querySelector(".darker").textContent = `−${most} darker`
      legend.querySelector(".brighter").textContent = `+${most} brighter`
      this.painter.drawScale(legend.querySelector(".scale"))
    }
  }

  drawColumns() {
    const { data, seen } = this.scene
    const plans = this.plan()
    const fit = Math.min(...plans.map(({ fits }) => fits), this.images.length)
    const shown = this.all ? this.images : this.images.slice(0, fit)
    let strips = this.images.length
    for (const [at, column] of data.columns.entries()) {
      const hidden = this.narrow && at !== this.column
      this.sections[at].hidden = this.strips[at].section.hidden = hidden
      if (hidden) continue
      this.describe(at)
      this.grids[at].arrange(column, plans[at], shown)
      strips = Math.min(strips, this.strips[at].draw(column, this.images, this.scene.frameOf(at)))
      this.grids[at].draw(this.scene.pictureOf(at), seen.gain) // last, so that its sheets are the next to be loaded
    }
    const some = strips < this.images.length
    this.part(".gaps").hidden = !data.columns.some(({ strip }) => strip.some((frame) => frame < 0))
    this.part(".more").textContent = some ? ` ${strips} of ${this.images.length} are in sight: scroll sideways for the others.` : ""
    this.part(".all").hidden = fit === this.images.length
    this.part(".all").textContent = this.all ? "Fewer images" : `All ${this.images.length} images`
  }

  describe(at) {
    const { title, cost, count } = this.scene.data.columns[at]
    const error = this.painter.error(this.scene.pictureOf(at), count)
    const part = (name) => this.sections[at].querySelector(name)
    part(".title").textContent = part(".title").title = title
    part(".cost").textContent = cost
    part(".when").textContent = this.scene.caption(at) + (error === null ? "" : `: MSE ${error.toPrecision(3)}`)
  }

  // The arrangement of each column. The height that is left on the first screen is measured once for a comparison.
  plan() {
    const { place } = this.grids[this.narrow ? this.column : 0]
    place.parentElement.hidden = false
    const room = place.parentElement.clientWidth
    this.below ??= Math.max(innerHeight * BELOW, innerHeight - top(place) - MARGIN)
    return this.scene.data.columns.map((column) => planGrid(column, room, this.below))
  }

  /** @param {number} level index of the level to pause at */
  scrub(level) {
    this.pause()
    this.look({ level: this.scene.nameOf(level) })
  }

  togglePlaying() {
    if (this.playing) this.pause()
    else this.play()
    this.draw()
  }

  play() {
    const { scene } = this
    if (scene.level === scene.last) this.look({ level: scene.nameOf(0) })
    this.timer = setInterval(() => this.tick(), 1000 / (this.calm.matches ? CALM : SPEED))
  }

  tick() {
    const { scene } = this
    if (!scene.data.columns.every((_, column) => this.painter.ready(scene.pictureOf(column)))) return // still being loaded
    if (scene.level + 1 >= scene.last) this.pause()
    this.look({ level: scene.nameOf(scene.level + 1) })
  }

  pause() {
    clearInterval(this.timer)
    this.timer = undefined
  }

  /** @param {number} image the one to mark in every column; −1 for none */
  point(image) {
    for (const grid of this.grids) grid.point(image)
  }

  scrollStrips(left) {
    for (const { scroll } of this.strips) scroll.scrollLeft = left
    this.soon()
  }

  resize() {
    const measured = `${innerWidth} ${innerHeight} ${this.whole.clientWidth}`
    if (measured === this.measured) return
    this.measured = measured
    this.below = undefined
    this.soon()
  }

  close() {
    this.pause()
    this.resizing.disconnect()
    removeEventListener("resize", this.onResize)
    cancelAnimationFrame(this.waiting)
    cancelAnimationFrame(this.painting)
    this.address.close()
    this.inspector.close()
    this.painter.sheets.close()
  }
}

// Distance of an element from the top of the page, in CSS pixels.
function top(element) {
  let scrolled = 0
  for (let parent = element.getRootNode().host; parent; parent = parent.parentElement) scrolled += parent.scrollTop
  return element.getBoundingClientRect().top + scrolled
}

export default mount(Stage)
