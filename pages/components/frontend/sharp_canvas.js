/**
 * The size of a picture.
 * @typedef {object} Size
 * @property {number} width in pixels of its own
 * @property {number} height in pixels of its own
 * @property {number} maxWidth CSS pixels that it may take
 */

/**
 * Returns the CSS pixels for an image: a whole number of the screen's pixels for every one of its own, if there is room.
 * @param {number} room CSS pixels
 * @param {number} width of the image, in pixels of its own
 * @returns {number} CSS pixels
 */
function sharpWidth(room, width) {
  const factor = Math.floor((room * devicePixelRatio) / width)
  return factor >= 1 ? (factor * width) / devicePixelRatio : room
}

/** A canvas of few pixels, enlarged so that every one of them is equally large and sharp, however wide the page is. */
export class SharpCanvas {
  /** @type {Size} */
  size = { width: 1, height: 1, maxWidth: 0 }
  wanted = ""

  /** @param {ParentNode} root holds a `.room`, which becomes as wide as the `canvas` in it */
  constructor(root) {
    this.canvas = root.querySelector("canvas")
    this.room = root.querySelector(".room")
    this.place = this.room.parentElement
    this.resizing = new ResizeObserver(() => this.resize())
  }

  /**
   * Takes the place for pictures of a size, and keeps it sharp from now on.
   * @param {Size} size of what is going to be drawn
   */
  fit(size) {
    this.size = size
    this.resize()
    this.resizing.observe(this.place)
  }

  resize() {
    const { width, height, maxWidth } = this.size
    const shown = sharpWidth(Math.min(this.place.clientWidth, maxWidth), width)
    this.canvas.style.width = this.room.style.width = `${shown}px`
    this.canvas.style.height = `${(shown * height) / width}px`
  }

  /**
   * Decodes an image.
   * @param {string} source its address
   * @param {(image: HTMLImageElement) => void} use it, unless another has been asked for meanwhile
   */
  load(source, use) {
    this.wanted = source
    const image = new Image()
    image.addEventListener("load", () => {
      if (source === this.wanted) use(image)
    })
    image.src = source
  }

  /**
   * Prepares the canvas to be drawn on, one pixel for every one of the picture's. What is on it stays until then.
   * @returns {CanvasRenderingContext2D} of a canvas that has the picture's size
   */
  context() {
    const { canvas, size } = this
    if (canvas.width !== size.width) canvas.width = size.width
    if (canvas.height !== size.height) canvas.height = size.height
    return canvas.getContext("2d", { willReadFrequently: true })
  }

  close() {
    this.resizing.disconnect()
  }
}
