"""Plotly figures that are updated in place.

``st.plotly_chart`` builds a chart anew whenever its data change: it blinks, and zoom, hidden curves and the hover label are
lost. Here the browser keeps one chart and hands new data to ``Plotly.react``, which keeps what a person did to the chart for
as long as the figure's ``layout.uirevision`` stays the same.
"""

from __future__ import annotations

from pathlib import Path

import plotly
import plotly.graph_objects as go
import streamlit as st
from streamlit.components.v1 import declare_component

HTML = '<div class="live-figure" role="figure"></div>'

CSS = """
.live-figure { width: 100%; font-family: var(--st-font); color: var(--st-text-color); }
.live-figure .nsewdrag { touch-action: pan-y pinch-zoom !important; }  /* a finger on the chart still scrolls the page */
"""

JS = """
const figures = new WeakMap()

function load(url) {
  return window.noisescopePlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script")
    script.src = url
    script.onload = () => resolve(window.Plotly)
    script.onerror = () => { window.noisescopePlotly = undefined; reject(new Error(url)) }
    document.head.append(script)
  })
}

// The page's colours and font, as a template: whatever the figure says itself comes first.
function template(place) {
  const style = getComputedStyle(place)
  const value = (name) => style.getPropertyValue(`--st-${name}`).trim()
  const text = value("text-color"), grid = value("border-color-light") || value("border-color"), none = "rgba(0,0,0,0)"
  const title = { standoff: 8, font: { size: 13 } }
  const spike = { spikecolor: text, spikethickness: -1, spikedash: "solid" }  // negative: without a border
  const axis = { gridcolor: grid, zeroline: false, linecolor: grid, automargin: true, title, ...spike }
  return { layout: {
    paper_bgcolor: none, plot_bgcolor: none, xaxis: { ...axis, showgrid: false }, yaxis: axis,
    font: { family: value("font"), color: text, size: 12 },
    hoverlabel: { bgcolor: value("secondary-background-color"), bordercolor: grid, font: { color: text }, namelength: -1 },
    modebar: { bgcolor: none, color: text, activecolor: value("primary-color") },
  } }
}

// Streamlit calls this at every rerun with the same element: the chart is built once, then fed.
export default function ({ parentElement, data }) {
  const place = parentElement.querySelector(".live-figure")
  const { data: traces, layout } = JSON.parse(data.figure)
  place.setAttribute("aria-label", data.alt)
  place.style.height = `${layout.height}px`  // the place is kept while Plotly loads
  const coarse = matchMedia("(pointer: coarse)").matches
  const removed = ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"]  // nothing leaves this machine
  const options = { displaylogo: false, showSendToCloud: false, responsive: true, modeBarButtonsToRemove: removed }
  load(data.plotly).then((Plotly) => {
    if (!place.isConnected) return
    layout.template = template(place)
    if (coarse) layout.dragmode = false
    Plotly.react(place, traces, layout, options)
    if (!figures.has(place)) {
      const sizes = new ResizeObserver(() => place.isConnected && Plotly.Plots.resize(place))
      sizes.observe(place)
      figures.set(place, () => { sizes.disconnect(); Plotly.purge(place) })
    }
  }, () => { place.textContent = "The chart cannot be drawn: plotly.min.js did not load. Reload the page." })
  return () => figures.get(place)?.()
}
"""

# Registered for its side effect alone: Streamlit now serves the plotly.min.js that comes with the plotly package.
_FILES = declare_component("plotly", path=str(Path(plotly.__file__).parent / "package_data"))
_component = st.components.v2.component("noisescope_live_figure", html=HTML, css=CSS, js=JS, isolate_styles=False)


def live_figure(figure: go.Figure, key: str, alt: str) -> None:
    """Draw a figure, or update the one drawn before under the same ``key`` in place.

    Args:
        figure: its ``layout.height`` is the height in CSS pixels; its width is the place's.
        key: must stay the same from run to run.
        alt: what the figure shows, for screen readers.
    """
    base = st.get_option("server.baseUrlPath").strip("/")
    url = f"{'/' if base else ''}{base}/component/{_FILES.name}/plotly.min.js?{plotly.__version__}"
    _component(key=key, data={"figure": figure.to_json(), "alt": alt, "plotly": url})
