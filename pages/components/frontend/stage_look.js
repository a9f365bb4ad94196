/**
 * How a stage is looked at; kept in the page's address.
 * @typedef {object} Look
 * @property {"x" | "x0"} view the noisy state or the estimate of the image
 * @property {number} gain of the difference from the first column; 0 shows the images themselves
 * @property {string} level name of the noise level; LAST for the newest frames
 * @property {number | undefined} image the open image
 * @property {string} order of the images, IN_ORDER or BY_DIFFERENCE
 */

export const LAST = "sample"
export const IN_ORDER = "number"
export const BY_DIFFERENCE = "difference"
export const GAINS = [0, 1, 4, 16]
/** @type {Look} */
export const USUAL = { view: "x", gain: 0, level: LAST, image: undefined, order: IN_ORDER }
const PAUSE = 250 // milliseconds between changes of the address, which browsers limit

/** @returns {Look | null} what the page's address asks for, if it does */
export function readLook() {
  const asked = new URLSearchParams(location.search)
  if (!["view", "difference", "level", "image", "order"].some((name) => asked.has(name))) return null
  const gain = asked.get("difference") === "true" ? 1 : Number(asked.get("difference")) // links of 0.1 say "true"
  const image = asked.get("image") ?? ""
  return {
    view: asked.get("view") === "x0" ? "x0" : "x",
    gain: GAINS.includes(gain) ? gain : 0,
    level: asked.get("level") ?? LAST,
    image: /^\d{1,4}$/u.test(image) ? Number(image) : undefined,
    order: asked.get("order") === BY_DIFFERENCE ? BY_DIFFERENCE : IN_ORDER,
  }
}

/** Writes a look to the page's address, some time after the last change. */
export class Address {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer

  /** @param {Look} look the current look */
  soon(look) {
    if (look === this.last) return
    this.last = look
    clearTimeout(this.timer)
    this.timer = setTimeout(() => write(look), PAUSE)
  }

  /** @param {Look} look written without waiting */
  now(look) {
    this.close()
    write(look)
  }

  close() {
    clearTimeout(this.timer)
  }
}

/** @param {Look} look written to the address, without what is usual */
function write({ view, gain, level, image, order }) {
  const address = new URL(location.href)
  const set = (name, value, usual) => {
    if (value === usual) address.searchParams.delete(name)
    else address.searchParams.set(name, value)
  }
  set("view", view, USUAL.view)
  set("difference", gain, USUAL.gain)
  set("level", level, USUAL.level)
  set("image", image, USUAL.image)
  set("order", order, USUAL.order)
  if (address.href !== location.href) history.replaceState(history.state, "", address)
}
