import { EndLabels } from "./end_labels.js"
import { ASK, FRAME, announce } from "./frame.js"
import { mount } from "./mount.js"
import { load } from "./plotly.js"

/**
 * The data from live_figure.py.
 * @typedef {object} Chart
 * @property {string} figure Plotly's JSON
 * @property {string} alt what the figure shows
 * @property {string} plotly URL of plotly.min.js
 * @property {string} follows key of the player whose frames it follows
 * @property {string} frames JSON: for each of these frames, what `Plotly.update` needs to show it
 */

const OPTIONS = {
  displaylogo: false,
  showSendToCloud: false, // no data leave this machine
  responsive: true,
  doubleClick: "autosize", // shows everything, also what a scale leaves out
  modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
}

/**
 * Builds a template from the page's colours and font; the figure's own settings take precedence.
 * @param {Element} place an element with Streamlit's style variables
 * @returns {object} Plotly's `layout.template`
 */
function template(place) {
  const style = getComputedStyle(place)
  const value = (name) => style.getPropertyValue(`--st-${name}`).trim()
  const text = value("text-color")
  const grid = value("border-color-light") || value("border-color")
  const none = "rgba(0,0,0,0)"
  const title = { standoff: 8, font: { size: 13 } }
  const spike = { spikecolor: text, spikethickness: -1, spikedash: "solid" } // negative: without a border
  const axis = { gridcolor: grid, zeroline: false, linecolor: grid, automargin: true, title, ...spike }
  return {
    layout: {
      paper_bgcolor: none,
      plot_bgcolor: none,
      xaxis: { ...axis, showgrid: false },
      yaxis: axis,
      font: { family: value("font"), color: text, size: 12 },
      hoverlabel: { bgcolor: value("secondary-background-color"), bordercolor: grid, font: { color: text }, namelength: -1 },
      modebar: { bgcolor: none, color: text, activecolor: value("primary-color") },
    },
  }
}

/**
 * @param {Record<string, any>} layout Plotly's layout
 * @returns {[string, any][]} its axes with their names
 */
function axes(layout) {
  return Object.entries(layout).filter(([name]) => /^[xy]axis\d*$/u.test(name))
}

class LiveFigure {
  /** @type {any} the library, once the chart has been drawn */
  plotly
  extra = 0 // CSS pixels that the legend needs besides those for which the figure has room
  /** @type {number | undefined} the frame that the player last showed */
  frame

  /** @param {ParentNode} root holds live_figure.html */
  constructor(root) {
    this.place = root.querySelector(".live-figure")
    this.labels = new EndLabels(this.place)
    this.resizing = new ResizeObserver(() => this.resize())
    this.listen = (event) => this.follow(event.detail)
    document.addEventListener(FRAME, this.listen)
  }

  /** @param {Chart} chart the current chart */
  update(chart) {
    const { data, layout } = JSON.parse(chart.figure)
    this.follows = chart.follows
    this.frames = JSON.parse(chart.frames)
    if (this.follows && this.frame === undefined) announce(ASK, { player: this.follows })
    this.place.setAttribute("aria-label", chart.alt)
    this.place.style.height = `${layout.height + this.extra}px` // reserves the space while Plotly loads
    load(chart.plotly).then(
      (plotly) => this.draw(plotly, data, layout),
      () => {
        this.place.textContent = "The chart cannot be drawn: plotly.min.js did not load. Reload the page."
      },
    )
  }

  /**
   * @param {any} plotly the library
   * @param {object[]} data Plotly's traces
   * @param {Record<string, unknown>} layout Plotly's layout
   */
  draw(plotly, data, layout) {
    if (!this.place.isConnected) return // the page has been left meanwhile
    layout.template = template(this.place)
    const finger = matchMedia("(pointer: coarse)").matches
    if (finger) layout.dragmode = false // a finger scrolls the page
    const still = finger || axes(layout).every(([, axis]) => axis.fixedrange)
    this.keepZoom(layout)
    const { margin } = layout
    this.labels.arrange(data, layout)
    this.height = layout.height
    layout.height += this.extra
    plotly.react(this.place, data, layout, { ...OPTIONS, displayModeBar: still ? false : "hover" })
    this.again = () => this.draw(plotly, data, { ...layout, margin, height: this.height })
    if (this.grow()) return
    if (!this.plotly) this.place.on("plotly_afterplot", () => this.labels.draw(plotly))
    this.labels.draw(plotly)
    this.plotly = plotly
    this.showFrame()
    this.resizing.observe(this.place)
  }

  /**
   * Makes the figure as much higher as its legend is than the figure has room for, so that the plot keeps its height.
   * @returns {boolean} whether it has been drawn anew for that
   */
  grow() {
    const legend = this.place.querySelector(".legend .bg")?.getBBox().height ?? 0
    const extra = Math.max(0, Math.ceil(legend) - this.place.layout.meta.legend)
    if (extra === this.extra) return false
    this.extra = extra
    this.place.style.height = `${this.height + extra}px`
    this.again()
    return true
  }

  /**
   * Keeps the limits that an axis was given before while the user has changed them, because new ones would undo the change.
   * @param {Record<string, any>} layout Plotly's layout, which is changed
   */
  keepZoom(layout) {
    const before = this.given?.uirevision === layout.uirevision ? this.given : {}
    this.given = { uirevision: layout.uirevision }
    for (const [name, axis] of axes(layout)) {
      if (!axis.range) continue
      const now = this.place.layout?.[name]
      const zoomed = before[name] && now && (now.autorange || before[name].some((end, index) => end !== now.range[index]))
      if (zoomed) axis.range = [...before[name]]
      this.given[name] = [...axis.range]
    }
  }

  /** @param {{ player: string, frame: number }} shown what a player shows */
  follow({ player, frame }) {
    if (player !== this.follows) return
    this.frame = frame
    this.showFrame()
  }

  showFrame() {
    const change = this.frames[this.frame]
    if (change && this.plotly) this.plotly.update(this.place, change.data, change.layout, change.traces)
  }

  resize() {
    if (!this.place.isConnected) return
    if (this.labels.fits === this.labels.shown) this.plotly.Plots.resize(this.place).then(() => this.grow())
    else this.again()
  }

  close() {
    document.removeEventListener(FRAME, this.listen)
    this.resizing.disconnect()
    this.plotly?.purge(this.place)
  }
}

export default mount(LiveFigure)
