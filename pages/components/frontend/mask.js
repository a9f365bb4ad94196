const KEPT = 50 // strokes that can be undone

/** @typedef {[number, number]} Point x and y in pixels from the picture's upper left corner */

/** A painted mask with its undo history. */
export class Mask {
  /** @type {Uint8Array[]} */
  history = []

  /**
   * @param {number} width in pixels
   * @param {number} height in pixels
   * @param {string} pixels "1" for each painted pixel, "0" for the others, row by row
   */
  constructor(width, height, pixels) {
    this.width = width
    this.height = height
    this.pixels = Uint8Array.from(pixels, Number)
  }

  get text() {
    return this.pixels.join("")
  }

  get undoable() {
    return this.history.length > 0
  }

  /** @returns {number} the painted share, 0 to 1 */
  get share() {
    return this.pixels.reduce((sum, value) => sum + value, 0) / this.pixels.length
  }

  /** Saves the state to which the next undo returns. */
  remember() {
    this.history = [...this.history.slice(1 - KEPT), this.pixels.slice()]
  }

  undo() {
    this.pixels = this.history.pop() ?? this.pixels
  }

  clear() {
    this.remember()
    this.pixels.fill(0)
  }

  /**
   * Draws a line with a round brush.
   * @param {Point} from one end
   * @param {Point} to the other end
   * @param {number} diameter of the brush, in pixels
   * @param {0 | 1} value 1 paints, 0 erases
   */
  line(from, to, diameter, value) {
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])))
    for (let step = 0; step <= steps; step++) {
      const between = (axis) => from[axis] + ((to[axis] - from[axis]) * step) / steps
      for (const pixel of this.under([between(0), between(1)], diameter)) this.pixels[pixel] = value
    }
  }

  /**
   * Finds the pixels whose centres the brush covers, and at least the one below its own centre.
   * @param {Point} middle centre of the brush
   * @param {number} diameter of the brush, in pixels
   * @returns {number[]} their indices, row by row
   */
  under([x, y], diameter) {
    const radius = diameter / 2
    const found = []
    for (let row = clip(y - radius, this.height); row <= clip(y + radius, this.height); row++)
      for (let column = clip(x - radius, this.width); column <= clip(x + radius, this.width); column++)
        if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius) found.push(row * this.width + column)
    return found.length > 0 ? found : [clip(y, this.height) * this.width + clip(x, this.width)]
  }
}

/**
 * @param {number} place coordinate along a side
 * @param {number} length length of that side, in pixels
 * @returns {number} the index of the nearest pixel
 */
function clip(place, length) {
  return Math.min(Math.max(Math.floor(place), 0), length - 1)
}
