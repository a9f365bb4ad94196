const AT_ONCE = 4 // requests to the server
const ROOM = 400e6 // maximum bytes of decoded sheets
const PATIENCE = 3000 // milliseconds before a sheet that did not load is asked for again

/** Sheets of images, fetched once and kept decoded; the least recently used are dropped. */
export class Sheets {
  /** @type {Map<string, OffscreenCanvas>} by URL, the least recently used first */
  kept = new Map()
  /** @type {Set<string>} */
  loading = new Set()
  /** @type {string[]} URLs to load, the next at the end */
  waiting = []
  bytes = 0

  /** @param {() => void} arrived called when a sheet has been loaded */
  constructor(arrived) {
    this.arrived = arrived
  }

  /**
   * @param {string} url of a sheet
   * @returns {OffscreenCanvas | undefined} the sheet; if it is not there yet, it is the next to be loaded
   */
  get(url) {
    const sheet = this.kept.get(url)
    if (sheet) {
      this.kept.delete(url)
      this.kept.set(url, sheet)
    } else this.want(url)
    return sheet
  }

  /** @param {string} url of the next sheet to load */
  want(url) {
    if (this.loading.has(url)) return
    this.waiting = [...this.waiting.filter((other) => other !== url), url]
    this.work()
  }

  /**
   * Loads sheets before they are needed, after all others, while half the room is free.
   * @param {string[]} urls in the order in which they will be needed
   */
  ahead(urls) {
    if (this.bytes > ROOM / 2) return
    const news = urls.filter((url) => !this.kept.has(url) && !this.loading.has(url) && !this.waiting.includes(url))
    this.waiting = [...news.toReversed(), ...this.waiting]
    this.work()
  }

  work() {
    while (this.loading.size < AT_ONCE && this.waiting.length > 0) {
      const url = this.waiting.pop()
      this.loading.add(url)
      this.load(url).then(
        () => this.loaded(url),
        () => setTimeout(() => this.loaded(url), PATIENCE),
      )
    }
  }

  /** @param {string} url of a sheet that has been loaded, or may be asked for again */
  loaded(url) {
    this.loading.delete(url)
    this.arrived()
    this.work()
  }

  /** @param {string} url of the sheet to load and keep */
  async load(url) {
    const answer = await fetch(url)
    if (!answer.ok) throw new Error(`${url}: ${answer.status}`)
    const picture = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" })
    const sheet = new OffscreenCanvas(picture.width, picture.height)
    sheet.getContext("2d", { willReadFrequently: true }).drawImage(picture, 0, 0)
    picture.close()
    this.kept.set(url, sheet)
    this.bytes += size(sheet)
    this.forget()
  }

  forget() {
    for (const [url, sheet] of this.kept) {
      if (this.bytes <= ROOM || this.kept.size === 1) return
      this.kept.delete(url)
      this.bytes -= size(sheet)
    }
  }

  close() {
    this.waiting = []
    this.kept.clear()
    this.bytes = 0
  }
}

/**
 * @param {OffscreenCanvas} sheet a decoded sheet
 * @returns {number} its bytes
 */
function size(sheet) {
  return 4 * sheet.width * sheet.height
}
