import { mount } from "./mount.js"
import { load } from "./plotly.js"

/**
 * The data from live_figure.py.
 * @typedef {object} Chart
 * @property {string} figure Plotly's JSON
 * @property {string} alt what the figure shows
 * @property {string} plotly URL of plotly.min.js
 */

const OPTIONS = {
  displaylogo: false,
  showSendToCloud: false, // no data leave this machine
  responsive: true,
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

class LiveFigure {
  /** @type {any} the library, once the chart has been drawn */
  plotly

  /** @param {ParentNode} root holds live_figure.html */
  constructor(root) {
    this.place = root.querySelector(".live-figure")
    this.resizing = new ResizeObserver(() => this.resize())
  }

  /** @param {Chart} chart the current chart */
  update(chart) {
    const { data, layout } = JSON.parse(chart.figure)
    this.place.setAttribute("aria-label", chart.alt)
    this.place.style.height = `${layout.height}px` // reserves the space while Plotly loads
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
    if (finger) layout.dragmode = false // a finger scrolls the page, and the mode bar would hide the legend
    plotly.react(this.place, data, layout, { ...OPTIONS, displayModeBar: finger ? false : "hover" })
    this.plotly = plotly
    this.resizing.observe(this.place)
  }

  resize() {
    if (this.place.isConnected) this.plotly.Plots.resize(this.place)
  }

  close() {
    this.resizing.disconnect()
    this.plotly?.purge(this.place)
  }
}

export default mount(LiveFigure)
