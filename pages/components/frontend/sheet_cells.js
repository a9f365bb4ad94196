const SMALLEST = 64 // CSS pixels of an image's width
export const GAP = 2 // CSS pixels around images

/**
 * How images are laid out on a canvas, in screen pixels: enlarged by a whole factor, with gaps around them.
 * @typedef {object} Cells
 * @property {number} wide width of an image
 * @property {number} high height of an image
 * @property {number} gap between images, and at the edges
 * @property {number} across how many fit side by side
 */

/**
 * Returns how images are laid out in a room.
 * @param {number} room available width in CSS pixels
 * @param {number} width width of an image, in its own pixels
 * @param {number} height height of an image, in its own pixels
 * @returns {Cells} the layout
 */
export function cellsIn(room, width, height) {
  const factor = Math.max(1, Math.ceil((SMALLEST * devicePixelRatio) / width))
  const [wide, high, gap] = [width * factor, height * factor, Math.round(GAP * devicePixelRatio)]
  return { wide, high, gap, across: Math.max(1, Math.floor((room * devicePixelRatio - gap) / (wide + gap))) }
}

/**
 * Clears a canvas and gives it room for images.
 * @param {HTMLCanvasElement} canvas the canvas
 * @param {Cells} cells the layout
 * @param {number} columns images side by side
 * @param {number} lines images one above the other
 * @returns {CanvasRenderingContext2D} its context, which keeps pixels sharp
 */
export function prepare(canvas, { wide, high, gap }, columns, lines) {
  canvas.width = columns * (wide + gap) + gap
  canvas.height = lines * (high + gap) + gap
  canvas.style.width = `${canvas.width / devicePixelRatio}px`
  const context = canvas.getContext("2d")
  context.imageSmoothingEnabled = false
  return context
}

/**
 * Draws an image of a grid into a cell.
 * @param {CanvasRenderingContext2D} context of the canvas
 * @param {Cells} cells the layout
 * @param {[number, number]} cell its column and line
 * @param {HTMLImageElement} sheet all images of the grid in a square, without gaps
 * @param {import("./tiles.js").Row} row the grid's row
 * @param {number} number of the image in the grid
 */
export function drawCell(context, { wide, high, gap }, [column, line], sheet, row, number) {
  const side = Math.ceil(Math.sqrt(row.images))
  const [across, down] = [(number % side) * row.width, Math.floor(number / side) * row.height]
  const [left, top] = [gap + column * (wide + gap), gap + line * (high + gap)]
  context.drawImage(sheet, across, down, row.width, row.height, left, top, wide, high)
}

/**
 * Writes into a cell that has no image.
 * @param {CanvasRenderingContext2D} context of the canvas
 * @param {Cells} cells the layout
 * @param {[number, number]} cell its column and line
 * @param {string[]} lines of text
 */
export function writeCell(context, { wide, high, gap }, [column, line], lines) {
  const { color, fontFamily } = getComputedStyle(context.canvas)
  const size = 11 * devicePixelRatio
  context.font = `${size}px ${fontFamily}`
  Object.assign(context, { fillStyle: color, globalAlpha: 0.75, textAlign: "center", textBaseline: "middle" })
  for (const [index, text] of lines.entries()) {
    const middle = gap + line * (high + gap) + high / 2 + (index - (lines.length - 1) / 2) * 1.3 * size
    context.fillText(text, gap + column * (wide + gap) + wide / 2, middle, wide)
  }
  context.globalAlpha = 1
}

/**
 * Frames a cell, in the gaps around it.
 * @param {CanvasRenderingContext2D} context of the canvas
 * @param {Cells} cells the layout
 * @param {[number, number]} cell its column and line
 */
export function frameCell(context, { wide, high, gap }, [column, line]) {
  context.lineWidth = gap
  context.strokeStyle = getComputedStyle(context.canvas).getPropertyValue("--st-primary-color")
  context.strokeRect(gap / 2 + column * (wide + gap), gap / 2 + line * (high + gap), wide + gap, high + gap)
}

/**
 * Returns the cell under the pointer.
 * @param {PointerEvent} event on the canvas
 * @param {Cells} cells the layout
 * @returns {[number, number]} its column and line, which may have no image
 */
export function cellAt(event, { wide, high, gap }) {
  const at = (offset, size) => Math.max(0, Math.floor((offset * devicePixelRatio - gap / 2) / (size + gap)))
  return [at(event.offsetX, wide), at(event.offsetY, high)]
}
