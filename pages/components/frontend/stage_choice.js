/** A row of buttons of which one is chosen. */
export class Choice {
  /** @type {{ value: unknown, button: HTMLButtonElement }[]} */
  options = []

  /**
   * @param {HTMLElement} place where the buttons are
   * @param {(value: any) => void} choose called with the value of the pressed button
   */
  constructor(place, choose) {
    this.place = place
    this.choose = choose
  }

  /** @param {{ value: unknown, label: string, long?: string }[]} options what to choose from; `long` precedes a label if there is room */
  offer(options) {
    this.options = options.map(({ value, label, long = "" }) => {
      const button = document.createElement("button")
      button.type = "button"
      const before = document.createElement("span")
      before.className = "long"
      before.textContent = long
      button.append(before, label)
      button.addEventListener("click", () => this.choose(value))
      return { value, button }
    })
    this.place.replaceChildren(...this.options.map(({ button }) => button))
  }

  /** @param {unknown} chosen the value that is chosen now */
  show(chosen) {
    for (const { value, button } of this.options) button.setAttribute("aria-pressed", String(value === chosen))
  }
}
