const TELL_EVERY = 250 // milliseconds between reports while the frame keeps changing

/** Tells the server which frame is on show, now and then while it keeps changing. */
export class Report {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  pending
  told = -1
  toldAt = -Infinity

  /**
   * @param {() => number} frame that is on show
   * @param {(frame: number) => void} tell the server
   */
  constructor(frame, tell) {
    this.frame = frame
    this.tell = tell
  }

  soon() {
    this.after(Math.max(0, this.toldAt + TELL_EVERY - performance.now()))
  }

  atOnce() {
    this.after(0)
  }

  /** @param {number} milliseconds to wait; what else is pending is dropped */
  after(milliseconds) {
    clearTimeout(this.pending)
    this.pending = setTimeout(() => this.send(), milliseconds)
  }

  send() {
    const frame = this.frame()
    if (frame === this.told) return
    this.told = frame
    this.toldAt = performance.now()
    this.tell(frame)
  }

  close() {
    clearTimeout(this.pending)
  }
}
