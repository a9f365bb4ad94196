import { LAST } from "./stage_look.js"

const SAME = 0.1 // log-SNRs closer than this count as equal

/**
 * The data from stage.py.
 * @typedef {object} Shown
 * @property {string} comparison identifies the requests that are compared
 * @property {string} activity what a growing comparison is doing; "" once it has ended
 * @property {number} done share of the comparison that is done
 * @property {Column[]} columns the columns
 * @property {Level[]} levels noise levels of all columns, noisiest first, as far as every column has come
 */

/**
 * A column.
 * @typedef {object} Column
 * @property {string} title its name
 * @property {string} cost what it has cost so far
 * @property {number} count number of images
 * @property {number} width of an image, in pixels
 * @property {number} height of an image, in pixels
 * @property {boolean} latents whether its noisy states are latents
 * @property {Record<"x" | "x0", string>} incomparable for each view, why it has no difference from the first column; or ""
 * @property {number[]} strip indices of the frames in the film strip, whose rows are the same in all columns; −1 for a gap
 * @property {Frame[]} frames from noise to sample, as far as they are computed
 */

/**
 * A frame of a column.
 * @typedef {object} Frame
 * @property {string} label its timestep
 * @property {string} level name of its noise level
 * @property {number} first index of the first column's frame at this noise level; −1 if there is none yet
 * @property {string} x URL of the sheet of its noisy states
 * @property {string} x0 URL of the sheet of its estimates of the images
 */

/**
 * A noise level.
 * @typedef {object} Level
 * @property {string} name in the address
 * @property {string} label for people
 * @property {number[]} frames index of each column's frame at this level
 */

/** A comparison and how it is looked at: which frames and pictures are seen. */
export class Scene {
  /** @type {Shown} */
  data = { comparison: "", activity: "", done: 0, columns: [], levels: [] }

  /** @param {import("./stage_look.js").Look} seen how it is looked at first */
  constructor(seen) {
    this.seen = seen
  }

  // Index of the noise level that is seen: the named one, or the nearest to it.
  get level() {
    const { levels } = this.data
    const exact = levels.findIndex(({ name }) => name === this.seen.level)
    if (exact >= 0 || levels.length === 0) return Math.max(0, exact)
    const wanted = Number(this.seen.level)
    if (Number.isNaN(wanted)) return this.seen.level === "noise" ? 0 : levels.length - 1
    const distances = levels.map(({ name }) => Math.abs(Number(name.replace(/^[a-z]+$/u, "Infinity")) - wanted))
    return distances.indexOf(Math.min(...distances))
  }

  get last() {
    return Math.max(0, this.data.levels.length - 1)
  }

  /**
   * @param {number} level index of a level, limited to the first and last
   * @returns {string} its name; that of the last stands for the newest that all columns have reached
   */
  nameOf(level) {
    return level >= this.last ? LAST : this.data.levels[Math.max(level, 0)].name
  }

  /**
   * @param {number} column index of a column
   * @param {number} level index of a noise level; of the one that is seen, if it is left out
   * @returns {number} index of its frame there; −1 before the first
   */
  frameOf(column, level = this.level) {
    const { levels, columns } = this.data
    return levels[level]?.frames[column] ?? columns[column].frames.length - 1
  }

  /**
   * @param {number} column index of a column
   * @returns {import("./stage_paint.js").Picture} its images that are seen, or their difference from the first column's
   */
  pictureOf(column) {
    return this.pictureAt(column, this.frameOf(column), this.frameOf(0))
  }

  /**
   * @param {number} column index of a column
   * @param {number} frame index of one of its frames
   * @param {number} first index of the first column's frame with which it is compared
   * @returns {import("./stage_paint.js").Picture} its images, or their difference from the first column's
   */
  pictureAt(column, frame, first) {
    const picture = this.imagesAt(column, frame)
    return this.isCompared(column) ? { ...picture, reference: this.imagesAt(0, first).own } : picture
  }

  /**
   * @param {number} column index of a column
   * @param {number} frame index of one of its frames
   * @param {"x" | "x0"} view the one that is seen, if it is left out
   * @returns {import("./stage_paint.js").Picture} its images themselves
   */
  imagesAt(column, frame, view = this.seen.view) {
    const { frames, width, height } = this.data.columns[column]
    return { own: frames[frame]?.[view] ?? "", reference: "", width, height }
  }

  // Whether the difference of a column from the first is seen.
  isCompared(column) {
    return this.seen.gain > 0 && column > 0 && !this.data.columns[column].incomparable[this.seen.view]
  }

  // The timestep of a column that is seen.
  when(column) {
    const nothing = this.data.activity ? "waiting for the first step" : "nothing was computed"
    return this.data.columns[column].frames[this.frameOf(column)]?.label ?? nothing
  }

  // The noise level of a column's frame, if it is another than the one that is seen.
  ownLevel(column) {
    const own = Number(this.data.columns[column].frames[this.frameOf(column)]?.level)
    return Math.abs(own - Number(this.data.levels[this.level]?.name)) > SAME ? `, log-SNR ${own.toFixed(1)}` : ""
  }

  /**
   * @param {number} column index of a column
   * @param {boolean} plain whether its images are seen although differences are asked for
   * @returns {string} what its images are
   */
  caption(column, plain = false) {
    const { latents, incomparable } = this.data.columns[column]
    const { view, gain } = this.seen
    const when = this.when(column) + this.ownLevel(column)
    const what = latents && view === "x" && when !== "sample" ? `${when}, channels of the latents side by side` : when
    if (gain === 0 || column === 0 || plain) return what
    const other = this.when(0) === this.when(column) ? "" : ` at ${this.when(0)}, the nearest noise level`
    return `${what}. ${incomparable[view] || `Difference from column 1${other}`}`
  }
}
