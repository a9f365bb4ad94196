"""What components share that keep a state in the browser: they are built once, and sized to whole pixels."""

# The component's own script follows, with ``build(root)``, which returns ``update(data, setStateValue)`` and ``close()``.
JS = """
const built = new WeakMap()

// Streamlit calls this at every rerun with the same element: what a person did there stays.
export default function ({ parentElement, data, setStateValue }) {
  if (!built.has(parentElement)) built.set(parentElement, build(parentElement))
  const component = built.get(parentElement)
  component.update(data, setStateValue)
  return component.close
}

// CSS pixels for an image this wide: a whole number of device pixels for every one of its own, if the place has that many.
function sharpWidth(place, width) {
  const factor = Math.floor((place * devicePixelRatio) / width)
  return factor >= 1 ? (factor * width) / devicePixelRatio : place
}
"""

CSS = """
button {
  height: 40px; cursor: pointer; color: inherit; background: transparent;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, 8px);
}
button:hover, button[aria-pressed="true"] { color: var(--st-primary-color); border-color: var(--st-primary-color); }
button[aria-pressed="true"] { background: color-mix(in srgb, var(--st-primary-color) 12%, transparent); }
:is(button, input, canvas):focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
"""
