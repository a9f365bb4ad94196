import { mount } from "./mount.js"

/**
 * The data from thumbnails.py.
 * @typedef {object} Choice
 * @property {string[]} pictures data URIs
 * @property {string[]} labels one for each picture; empty for none
 * @property {number} chosen index of the chosen picture
 * @property {string} alt description of the pictures
 */

/** @type {Record<string, number>} */
const ARROWS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }

class Thumbnails {
  /** @type {Choice | undefined} */
  data

  /** @param {ParentNode} root contains thumbnails.html */
  constructor(root) {
    this.group = root.querySelector(".thumbnails")
    this.group.addEventListener("click", (event) => this.choose([...this.group.children].indexOf(event.target.closest("button"))))
    this.group.addEventListener("keydown", (event) => this.press(event))
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
    if (others) this.group.replaceChildren(...data.pictures.map((source, index) => this.button(source, index)))
    this.mark(data.chosen)
    if (others) this.reveal(data.chosen)
  }

  /**
   * @param {string} source a data URI
   * @param {number} index number of the picture
   * @returns {HTMLButtonElement} the button that chooses it
   */
  button(source, index) {
    const label = this.data.labels[index] ?? ""
    const button = document.createElement("button")
    button.type = "button"
    button.role = "radio"
    button.title = label
    button.ariaLabel = [`Image ${index}`, label].filter(Boolean).join(": ")
    const image = document.createElement("img")
    image.src = source
    image.alt = ""
    button.append(image)
    return button
  }

  /** @param {number} chosen index of the picture to mark as chosen */
  mark(chosen) {
    for (const [index, button] of [...this.group.children].entries()) {
      button.ariaChecked = String(index === chosen)
      button.tabIndex = index === chosen ? 0 : -1
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
    this.tell("chosen", index)
  }

  /** @param {KeyboardEvent} event on a thumbnail */
  press(event) {
    const step = ARROWS[event.key]
    if (!step) return
    event.preventDefault()
    const buttons = [...this.group.children]
    const next = buttons.indexOf(event.target.closest("button")) + step
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
