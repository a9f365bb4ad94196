import { mount } from "./mount.js"
import { sharpWidth } from "./sharp_canvas.js"

const IMAGES = '.picture-table img, [data-testid="stImage"] img:not(.st-key-example *)'
const ROOMS = '[role="cell"], [data-testid="stElementContainer"]'

/**
 * Enlarges an image by the largest whole factor for which it fits.
 * @param {HTMLImageElement} image sent at its own size
 */
function sharpen(image) {
  const [room, width] = [image.closest(ROOMS)?.clientWidth ?? 0, Number(image.getAttribute("width")) || image.naturalWidth]
  if (room === 0 || width === 0) return
  image.style.width = `${sharpWidth(room, width)}px`
  image.style.imageRendering = room * devicePixelRatio < width ? "auto" : "pixelated"
}

/** Keeps the small images of every page sharp: all their pixels are equally large, whole numbers of screen pixels. */
class SharpImages {
  constructor() {
    this.resizing = new ResizeObserver((rooms) => rooms.forEach(({ target }) => this.search(target)))
    this.adding = new MutationObserver((changes) => {
      for (const { addedNodes } of changes) for (const node of addedNodes) if (node instanceof Element) this.search(node)
    }) // tells of new images before they are painted
    this.adding.observe(document.body, { childList: true, subtree: true })
    this.onLoad = ({ target }) => {
      if (target instanceof Element && target.matches(IMAGES)) this.keep(target)
    }
    addEventListener("load", this.onLoad, { capture: true })
    this.onResize = () => this.search(document.body) // also when the page is zoomed
    addEventListener("resize", this.onResize)
    this.search(document.body)
  }

  /** @param {Element} part of the page */
  search(part) {
    if (part.matches(IMAGES)) this.keep(part)
    for (const image of part.querySelectorAll(IMAGES)) this.keep(image)
  }

  /** @param {HTMLImageElement} image one to keep sharp */
  keep(image) {
    sharpen(image)
    const room = image.closest(ROOMS)
    if (room) this.resizing.observe(room)
  }

  update() {}

  close() {
    this.resizing.disconnect()
    this.adding.disconnect()
    removeEventListener("load", this.onLoad, { capture: true })
    removeEventListener("resize", this.onResize)
  }
}

export default mount(SharpImages)
