/**
 * A finished result.
 * @typedef {object} Entry
 * @property {string} id identifies the result
 * @property {string} title what was made
 * @property {string} details how it was made
 * @property {string} page name of the page in the address
 * @property {Record<string, string[]>} params values of the page's address that determine it
 * @property {Record<string, string>[]} columns settings of the columns, if others can be compared with them
 * @property {string} picture data URI of a small picture
 * @property {number} when time in milliseconds
 * @property {boolean} pinned whether it is kept when newer ones come
 */

const KEPT = 24 // results that are not pinned
const MOST_COLUMNS = 4
const PLACE = "noisescope-history"

/** The newest results of this browser, in its own storage. */
export class History {
  /** @type {string | undefined} */
  added
  /** @type {Entry | null} */
  current = null
  page = ""

  /** @param {ParentNode} root contains sharing.html */
  constructor(root) {
    this.dialog = root.querySelector("dialog.history")
    root.querySelector(".open-history").addEventListener("click", () => {
      this.draw()
      this.dialog.showModal()
    })
  }

  /**
   * Takes up a finished result.
   * @param {string} page name of the page
   * @param {Entry | null} entry the result; null while there is none
   */
  update(page, entry) {
    this.page = page
    this.current = entry
    if (entry === null || entry.id === this.added) return
    this.added = entry.id
    const known = read()
    const before = known.find((other) => other.id === entry.id)
    const params = before?.params ?? completed(entry.params)
    const now = { ...entry, params, when: Date.now(), pinned: before?.pinned ?? false }
    write([now, ...known.filter((other) => other.id !== entry.id)])
    if (this.dialog.open) this.draw()
  }

  draw() {
    const entries = read()
    const ordered = [...entries.filter((entry) => entry.pinned), ...entries.filter((entry) => !entry.pinned)]
    this.dialog.querySelector(".empty").hidden = entries.length > 0
    this.dialog.querySelector("ul").replaceChildren(...ordered.map((entry) => this.card(entry)))
  }

  /**
   * @param {Entry} entry a result
   * @returns {HTMLLIElement} its card
   */
  card(entry) {
    const card = document.createElement("li")
    card.classList.toggle("pinned", entry.pinned)
    const link = document.createElement("a")
    link.href = address(entry.page, entry.params)
    const picture = document.createElement("img")
    Object.assign(picture, { src: entry.picture, alt: "" })
    const told = document.createElement("span")
    told.className = "told"
    const title = document.createElement("b")
    title.textContent = entry.title
    const details = document.createElement("span")
    details.textContent = `${entry.details} · ${new Date(entry.when).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`
    told.append(title, details)
    link.append(picture, told)
    const actions = document.createElement("div")
    actions.className = "actions"
    const pin = button(entry.pinned ? "Unpin" : "Pin", () => this.change(entry, { pinned: !entry.pinned }))
    pin.setAttribute("aria-pressed", String(entry.pinned))
    actions.append(...this.comparing(entry), pin, button("Delete", () => this.change(entry, null)))
    card.append(link, actions)
    return card
  }

  /**
   * @param {Entry} entry a result
   * @returns {HTMLAnchorElement[]} a link that adds its first column to those shown now, if there is room
   */
  comparing(entry) {
    const shown = this.current
    if (shown === null || shown.id === entry.id || Math.min(shown.columns.length, entry.columns.length) === 0) return []
    if (shown.columns.length >= MOST_COLUMNS) return []
    const columns = [...shown.columns, ...entry.columns].slice(0, MOST_COLUMNS)
    /** @type {Record<string, string[]>} */
    const params = { columns: [String(columns.length)], images: shown.params.images }
    for (const [index, column] of columns.entries())
      for (const [name, value] of Object.entries(column)) params[`${name}${index + 1}`] = [value].flat()
    const link = document.createElement("a")
    Object.assign(link, { className: "button", href: address("compare", params), textContent: "Compare with" })
    link.title = "Adds its columns to those shown now"
    return [link]
  }

  /**
   * Changes or deletes a result.
   * @param {Entry} entry the result
   * @param {Partial<Entry> | null} changes null deletes it
   */
  change(entry, changes) {
    write(read().flatMap((other) => (other.id === entry.id ? (changes ? [{ ...other, ...changes }] : []) : [other])))
    this.draw()
  }

  close() {
    this.dialog.close()
  }
}

/**
 * @param {Record<string, string[]>} params values of the address that the server names
 * @returns {Record<string, string[]>} these, and the others of the page's address
 */
export function completed(params) {
  const { searchParams } = new URL(location.href)
  const others = [...new Set(searchParams.keys())].map((name) => [name, searchParams.getAll(name)])
  return { ...Object.fromEntries(others), ...params }
}

/** @returns {Entry[]} the results in this browser's storage, the newest first; none if it cannot be read */
function read() {
  try {
    const entries = JSON.parse(localStorage.getItem(PLACE) ?? "[]")
    return Array.isArray(entries) ? entries : []
  } catch {
    return []
  }
}

/**
 * Stores the pinned results and the newest others; fewer if there is no room for them.
 * @param {Entry[]} entries the newest first
 */
function write(entries) {
  let others = KEPT
  while (others >= 0) {
    let left = others
    const kept = entries.filter((entry) => entry.pinned || left-- > 0)
    try {
      localStorage.setItem(PLACE, JSON.stringify(kept))
      return
    } catch {
      others -= 4
    }
  }
}

/**
 * @param {string} page name of a page
 * @param {Record<string, string[]>} params values of its address
 * @returns {string} the address, beside that of the current page
 */
export function address(page, params) {
  const url = new URL(`./${page}`, location.href)
  for (const [name, values] of Object.entries(params)) for (const value of values) url.searchParams.append(name, value)
  return url.href
}

/**
 * @param {string} text label
 * @param {() => void} press what it does
 * @returns {HTMLButtonElement} a button
 */
function button(text, press) {
  const made = document.createElement("button")
  made.type = "button"
  made.textContent = text
  made.addEventListener("click", press)
  return made
}
