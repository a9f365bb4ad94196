import { mount } from "./mount.js"

const push = history.pushState

let before = "" // the address when a person last acted, until that has led to another page

/**
 * @param {string} address an address of the dashboard
 * @returns {string} what the back button tells apart: its page and its lesson
 */
function place(address) {
  const { pathname, searchParams } = new URL(address, location.href)
  return `${pathname} ${searchParams.get("lesson")}`
}

/**
 * Stands in for `history.pushState`. Streamlit makes an entry for every value that the server writes into the address, but none
 * for those that its own inputs write. Here values never make one, so that the back button leads to the page before; and what one
 * does makes one entry at most, whose predecessor is left as it was then.
 * @param {unknown} state of the entry
 * @param {string} title unused by browsers
 * @param {string} address of the entry
 */
function pushOnce(state, title, address) {
  if (before !== "" && place(address) !== place(before)) {
    history.replaceState(history.state, "", before)
    before = ""
    push.call(history, state, title, address)
  } else history.replaceState(state, title, address)
}

function act() {
  before = location.href
}

/** Makes the back button lead from page to page. */
class BackButton {
  constructor() {
    if (history.pushState === pushOnce) return // as when the connection was lost and the page is built anew
    history.pushState = pushOnce
    for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, act, { capture: true })
    addEventListener("popstate", () => (before = ""))
  }

  update() {}

  close() {}
}

export default mount(BackButton)
