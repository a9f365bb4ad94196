const LINE = 17 // CSS pixels per label
const ROOM = 8 // CSS pixels between a curve and its label
const LARGEST_SHARE = 0.28 // of the figure's width; with longer names a legend takes less room
const NARROWEST = 560 // CSS pixels of a figure with labels at its curves

/**
 * @param {string} label a trace's name, with Plotly's entities
 * @returns {string} its text
 */
function plain(label) {
  return new DOMParser().parseFromString(label, "text/html").body.textContent
}

/**
 * Returns the width of texts in the figure's font.
 * @param {Element} place the figure
 * @param {string[]} texts the texts
 * @returns {number} CSS pixels of the widest
 */
function widest(place, texts) {
  const context = document.createElement("canvas").getContext("2d")
  context.font = `12px ${getComputedStyle(place).fontFamily}`
  return Math.ceil(Math.max(0, ...texts.map((text) => context.measureText(text).width)))
}

/**
 * Moves labels apart, as little as possible, so that none covers another.
 * @param {{ y: number }[]} labels the labels, with the positions of their curves, which are changed
 */
function spread(labels) {
  labels.sort((one, other) => one.y - other.y)
  /** @type {{ y: number, group: { y: number }[] }[]} */
  const heaps = []
  for (const label of labels) {
    let heap = { y: label.y, group: [label] }
    while (heaps.length > 0 && overlap(heaps.at(-1), heap)) heap = joined(heaps.pop(), heap)
    heaps.push(heap)
  }
  for (const { y, group } of heaps)
    for (const [index, label] of group.entries()) label.y = y + (index - (group.length - 1) / 2) * LINE
}

const named = (data) => data.filter((trace) => trace.meta === "end label")

const overlap = (one, other) => other.y - one.y < ((one.group.length + other.group.length) / 2) * LINE

function joined(one, other) {
  const group = [...one.group, ...other.group]
  return { y: (one.y * one.group.length + other.y * other.group.length) / group.length, group }
}

/**
 * Returns where a value lies along an axis.
 * @param {any} axis one of the axes of Plotly's layout
 * @param {number} value a coordinate
 * @returns {number} from 0, the axis's first end, to 1
 */
function along(axis, value) {
  const [from, to] = axis.range
  return ((axis.type === "log" ? Math.log10(value) : value) - from) / (to - from)
}

/**
 * Returns the last point of a curve of the first plot that is in sight from left to right.
 * @param {any} trace one of Plotly's traces
 * @param {any} layout Plotly's layout
 * @returns {{ across: number, up: number } | undefined} its position in the plot, from 0 to 1; undefined if none is in sight
 */
function end({ x, y }, { xaxis, yaxis }) {
  const index = x.findLastIndex((value) => along(xaxis, value) >= 0 && along(xaxis, value) <= 1.001)
  if (index < 0) return
  const up = along(yaxis, y[index])
  return up >= 0 && up <= 1 ? { across: along(xaxis, x[index]), up } : undefined
}

/** Names at the right ends of curves, in their colours, in place of a legend. Pressing one hides and shows its run. */
export class EndLabels {
  /** @param {HTMLElement} place the figure */
  constructor(place) {
    this.place = place
    this.box = document.createElement("div")
    this.box.className = "end-labels"
    /** @type {Set<string>} the names of hidden runs */
    this.hidden = new Set()
  }

  /**
   * Makes room for the labels, if they fit.
   * @param {any[]} data Plotly's traces
   * @param {any} layout Plotly's layout, which is changed
   */
  arrange(data, layout) {
    const curves = named(data)
    for (const trace of data) if (this.hidden.has(trace.name)) trace.visible = "legendonly"
    this.width = curves.length > 0 ? widest(this.place, curves.map((trace) => plain(trace.name))) + ROOM : Infinity
    this.shown = this.fits
    if (curves.length > 0) layout.showlegend = !this.shown
    if (this.shown) layout.margin = { ...layout.margin, r: this.width + ROOM }
  }

  /** @returns {boolean} whether there is room for the labels at the figure's present width */
  get fits() {
    const room = this.place.clientWidth
    return room >= NARROWEST && this.width < LARGEST_SHARE * room
  }

  /**
   * Places the labels where the curves now end.
   * @param {any} plotly the library
   */
  draw(plotly) {
    const { data, layout } = this.place
    const plot = this.shown && this.place.querySelector(".draglayer .nsewdrag")?.getBBox()
    const labels = []
    for (const trace of plot ? named(data) : []) {
      const last = end(trace, layout)
      if (last) labels.push({ trace, x: plot.x + last.across * plot.width, y: plot.y + (1 - last.up) * plot.height })
    }
    const right = Math.max(...labels.map(({ x }) => x)) // beside the longest curve, so that none lies on other curves
    for (const label of labels) label.x = right
    spread(labels)
    this.box.replaceChildren(...labels.map((label) => this.button(plotly, label)))
    this.place.append(this.box)
  }

  /**
   * @param {any} plotly the library
   * @param {{ trace: any, x: number, y: number }} label a curve and the place of its name
   * @returns {HTMLElement} its name
   */
  button(plotly, { trace, x, y }) {
    const button = document.createElement("button")
    const shown = trace.visible !== "legendonly"
    button.type = "button"
    button.textContent = plain(trace.name)
    button.title = shown ? "Hide this run" : "Show this run"
    button.setAttribute("aria-pressed", String(shown))
    button.style.color = trace.line.color
    button.style.transform = `translate(${x + ROOM}px, calc(${y}px - 50%))`
    button.addEventListener("click", () => {
      if (shown) this.hidden.add(trace.name)
      else this.hidden.delete(trace.name)
      const curves = [...this.place.data.keys()].filter((index) => this.place.data[index].name === trace.name)
      plotly.restyle(this.place, { visible: shown ? "legendonly" : true }, curves)
    })
    return button
  }
}
