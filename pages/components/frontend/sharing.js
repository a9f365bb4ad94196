import { History, address, completed } from "./history.js"
import { copy } from "./copy.js"
import { mount } from "./mount.js"

/**
 * The data from sharing.py.
 * @typedef {object} Shared
 * @property {string} page name of the page in the address
 * @property {Record<string, string[]>} params values of the page's address that determine what is shown
 * @property {string} command the same on the command line; empty if it cannot be said there
 * @property {string} python the same in Python; empty if there is nothing to compute
 * @property {Record<string, string>} files data URIs of the files that they read, by name
 * @property {string} leftOut what the link does not contain, in sentences
 * @property {import("./history.js").Entry | null} entry a finished result for the history
 */

const LOCAL = new Set(["localhost", "127.0.0.1", "[::1]"])
const ELSEWHERE =
  "is whichever computer opens the link: others need Noisescope and these models there, or access to your dashboard " +
  "(README.md says how)."

class Sharing {
  /** @type {Shared | undefined} */
  shared

  /** @param {ParentNode} root contains sharing.html */
  constructor(root) {
    this.dialog = root.querySelector("dialog.share")
    this.history = new History(root)
    root.querySelector(".open-share").addEventListener("click", () => this.open())
    for (const dialog of root.querySelectorAll("dialog")) {
      dialog.querySelector(".close").addEventListener("click", () => dialog.close())
      dialog.addEventListener("click", (event) => {
        if (event.target === dialog) dialog.close() // outside its content
      })
    }
    for (const section of this.dialog.querySelectorAll("section"))
      section.querySelector(".copy")?.addEventListener("click", ({ target }) => copyFrom(target, section.querySelector("pre")))
    root.querySelector(".sharing").classList.add("ready")
  }

  /** @param {Shared} shared the data of a rerun */
  update(shared) {
    this.shared = shared
    this.history.update(shared.page, shared.entry)
    if (this.dialog.open) this.fill()
  }

  open() {
    this.fill()
    this.dialog.showModal()
  }

  fill() {
    const { page, params, command, python, files, leftOut } = this.shared
    const names = Object.keys(files).join(" and ")
    const read = names && ` It reads ${names}: save what is below beside it.`
    const reach = LOCAL.has(location.hostname) ? ` “${location.hostname}” ${ELSEWHERE}` : ""
    this.show("link", address(page, completed(params)), `${leftOut ? `. ${leftOut}` : ", and shows the same."}${reach}`)
    this.show("command", command, read)
    this.show("python", python, read)
    const links = Object.entries(files).map(([name, uri]) => {
      const link = document.createElement("a")
      Object.assign(link, { href: uri, download: name, textContent: name })
      return link
    })
    this.dialog.querySelector(".files").hidden = links.length === 0
    this.dialog.querySelector(".files p").replaceChildren("Save them beside the command: ", ...links)
  }

  /**
   * @param {string} name class of a section
   * @param {string} text its text; an empty one hides it
   * @param {string} more what is missing from it
   */
  show(name, text, more) {
    const section = this.dialog.querySelector(`.${name}`)
    section.querySelector(".more").textContent = more
    section.hidden = text === ""
    const words = text.split(/(\s+)/u).map((part, index) => (index % 2 === 0 ? word(part) : part))
    section.querySelector("pre").replaceChildren(...words)
  }

  close() {
    this.dialog.close()
    this.history.close()
  }
}

/**
 * @param {string} text without spaces
 * @returns {HTMLSpanElement} shows it on one line if there is room: browsers would break it at each hyphen
 */
function word(text) {
  const span = document.createElement("span")
  span.textContent = text
  return span
}

/**
 * Copies a text, or selects it where the browser does not let pages copy.
 * @param {HTMLButtonElement} button says that it was copied
 * @param {HTMLElement} source contains the text
 */
function copyFrom(button, source) {
  copy(button, source.textContent, () => {
    getSelection().selectAllChildren(source)
    return "Press Ctrl+C"
  })
}

export default mount(Sharing)
