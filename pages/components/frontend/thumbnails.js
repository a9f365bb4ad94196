import { mount } from "./mount.js"

/**
 * The data from thumbnails.py.
 * @typedef {object} Choice
 * @property {string[]} pictures data URIs
 * @property {number[]} numbers one for each picture
 * @property {string[]} labels one for each picture; empty for none
 * @property {number} chosen number of the chosen picture
 * @property {number} side width of the largest picture, in pixels
 * @property {string} alt description of the pictures
 */

const SHOWN = 64 // CSS pixels of a thumbnail, about
/** @type {Record<string, number>} */
const ARROWS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }

class Thumbnails {
  /** @type {Choice | undefined} */
  data

  /** @param {ParentNode} root contains thumbnails.html */
  constructor(root) {
    this.group = root.querySelector(".thumbnails")
    this.group.addEventListener("click", (event) => this.choose(this.indexOf(event.target)))
    this.group.addEventListener("keydown", (event) => this.press(event))
  }

  /**
   * @param {EventTarget} target a part of a thumbnail, or the space between them
   * @returns {number} index of the thumbnail; -1 for none
   */
  indexOf(target) {
    return [...this.group.children].indexOf(target.closest("button"))
  }

  /**
   * @param {Choice} data the current data
   * @param {import("./mount.js").Tell} tell reports to the server
   */
  update(data, tell) {
    const others = data.pictures.join() !== this.data?.pictures.join()
    this.data = data
    this.tell = tell
    this.group.setAttribute("aria-label", data.alt)
    const factor = Math.max(1, Math.round((SHOWN * devicePixelRatio) / data.side))
    this.group.style.setProperty("--side", `${(factor * data.side) / devicePixelRatio}px`)
    if (others) this.group.replaceChildren(...data.pictures.map((source, index) => this.button(source, index)))
    const chosen = data.numbers.indexOf(data.chosen)
    this.mark(chosen)
    if (others) this.reveal(chosen)
  }

  /**
   * @param {string} source a data URI
   * @param {number} index of the picture
   * @returns {HTMLButtonElement} the button that chooses it
   */
  button(source, index) {
    const label = this.data.labels[index] ?? ""
    const button = document.createElement("button")
    button.type = "button"
    button.role = "radio"
    button.title = label
    button.ariaLabel = [`Image ${this.data.numbers[index]}`, label].filter(Boolean).join(": ")
    const image = document.createElement("img")
    image.src = source
    image.alt = ""
    button.append(image)
    return button
  }

  /** @param {number} chosen index of the picture to mark as chosen; -1 for none */
  mark(chosen) {
    for (const [index, button] of [...this.group.children].entries()) {
      button.ariaChecked = String(index === chosen)
      button.tabIndex = index === Math.max(0, chosen) ? 0 : -1
    }
  }

  /** @param {number} index a picture to scroll to within the group; the page itself stays where it is */
  reveal(index) {
    const button = this.group.children[index]
    if (button) this.group.scrollTop = button.offsetTop - this.group.offsetTop - button.offsetHeight
  }

  /** @param {number} index the picture that the user has chosen; -1 for none */
  choose(index) {
    if (index < 0) return
    this.mark(index)
    this.tell("chosen", this.data.numbers[index])
  }

  /** @param {KeyboardEvent} event on a thumbnail */
  press(event) {
    const step = ARROWS[event.key]
    if (!step) return
    event.preventDefault()
    const buttons = [...this.group.children]
    const next = this.indexOf(event.target) + step
    if (!buttons[next]) return
    buttons[next].focus()
    this.choose(next)
  }

  close() {
    this.group.replaceChildren()
    this.data = undefined
  }
}

export default mount(Thumbnails)
