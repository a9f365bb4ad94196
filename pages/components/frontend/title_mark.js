import { mount } from "./mount.js"

const MARK = /^(?:\d+ % · |✓ )/u

/** Marks the window's title while something is computed, and when it is done until somebody looks. */
class TitleMark {
  /** @param {{ share: number }} data share of the work that is done */
  update({ share }) {
    document.title = `${Math.round(100 * share)} % · ${unmarked()}`
  }

  close() {
    document.title = document.hidden ? `✓ ${unmarked()}` : unmarked()
    if (document.hidden) document.addEventListener("visibilitychange", () => (document.title = unmarked()), { once: true })
  }
}

/** @returns {string} the title without a mark */
function unmarked() {
  return document.title.replace(MARK, "")
}

export default mount(TitleMark)
