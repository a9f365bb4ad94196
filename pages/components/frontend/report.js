const TELL_EVERY = 250 // milliseconds between reports while the frame changes continuously

/** Reports the current frame to the server, at a limited rate while it changes continuously. */
export class Report {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  pending
  told = -1
  toldAt = -Infinity

  /**
   * @param {() => number} frame returns the current frame
   * @param {(frame: number) => void} tell reports a frame to the server
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

  /** @param {number} milliseconds delay of the report, which replaces a pending one */
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
