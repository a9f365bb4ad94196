/**
 * The size of a picture.
 * @typedef {object} Size
 * @property {number} width in pixels of the picture
 * @property {number} height in pixels of the picture
 * @property {number} maxWidth maximum width in CSS pixels
 */

/**
 * Returns the CSS width of an image: a whole number of screen pixels per image pixel, if there is room.
 * @param {number} room available width in CSS pixels
 * @param {number} width width of the image, in pixels
 * @returns {number} width in CSS pixels
 */
export function sharpWidth(room, width) {
  const factor = Math.floor((room * devicePixelRatio) / width)
  return factor >= 1 ? (factor * width) / devicePixelRatio : room
}

/** A small canvas, enlarged so that all its pixels are equally large and sharp at any page width. */
export class SharpCanvas {
  /** @type {Size} */
  size = { width: 1, height: 1, maxWidth: 0 }
  wanted = ""

  /** @param {ParentNode} root contains a `.room`, which becomes as wide as the `canvas` in it */
  constructor(root) {
    this.canvas = root.querySelector("canvas")
    this.room = root.querySelector(".room")
    this.place = this.room.parentElement
    this.resizing = new ResizeObserver(() => this.resize())
  }

  /**
   * Reserves the space for pictures of a size and keeps it sharp when the page is resized.
   * @param {Size} size size of the pictures to draw
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
   * @param {string} source its URL
   * @param {(image: HTMLImageElement) => void} use called with the image, unless another one has been requested meanwhile
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
   * Prepares the canvas for drawing, with one canvas pixel per picture pixel. Its content stays until then.
   * @returns {CanvasRenderingContext2D} context of a canvas of the picture's size
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
