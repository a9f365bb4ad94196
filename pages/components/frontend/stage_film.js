const SIDE = 32 // width of a still in CSS pixels, about

/**
 * @param {number} width of an image, in its pixels
 * @returns {number} screen pixels per pixel of a still
 */
export function stillFactor(width) {
  return Math.max(1, Math.round((SIDE * devicePixelRatio) / width))
}

/** The film strip of one image of a column: a button for every timestep. */
export class Film {
  /** @type {{ button: HTMLButtonElement, canvas: HTMLCanvasElement, label: HTMLElement }[]} */
  stills = []

  /**
   * @param {HTMLElement} place where the stills are
   * @param {import("./stage.js").Stage} stage of the film
   * @param {number} column index of the column
   */
  constructor(place, stage, column) {
    this.place = place
    this.stage = stage
    this.column = column
  }

  /** @param {number} image the one that is shown */
  draw(image) {
    const { inspector, painter, scene } = this.stage
    const { data, seen } = scene
    const { strip, frames, width, height } = data.columns[this.column]
    const present = strip.filter((frame) => frame >= 0 && frame < frames.length)
    while (this.stills.length < present.length) this.stills.push(this.still(this.stills.length))
    const factor = stillFactor(width)
    for (const [number, frame] of present.entries()) {
      const { button, canvas, label } = this.stills[number]
      if (canvas.width !== width * factor) Object.assign(canvas, { width: width * factor, height: height * factor })
      canvas.style.width = `${canvas.width / devicePixelRatio}px`
      const picture = inspector.pictureAt(this.column, frame, frames[frame].first)
      painter.draw(canvas.getContext("2d"), picture, seen.gain, { image, x: 0, y: 0, factor })
      label.textContent = frames[frame].label
      button.setAttribute("aria-pressed", String(frame === scene.frameOf(this.column)))
    }
    this.follow()
  }

  // Scrolls to the still that is seen if it is another one.
  follow() {
    const seen = this.stills.find(({ button }) => button.ariaPressed === "true")
    if (!seen || seen === this.followed) return
    this.followed = seen
    this.place.scrollLeft = seen.button.offsetLeft - (this.place.clientWidth - seen.button.clientWidth) / 2
  }

  still(number) {
    const button = document.createElement("button")
    const [canvas, label] = [document.createElement("canvas"), document.createElement("span")]
    button.type = "button"
    button.append(canvas, label)
    button.addEventListener("click", () => {
      const { strip, frames } = this.stage.scene.data.columns[this.column]
      this.stage.look({ level: frames[strip.filter((frame) => frame >= 0)[number]].level })
    })
    this.place.append(button)
    return { button, canvas, label }
  }
}
