/** The event with which a player tells the charts that follow it which frame it shows: `{ player, frame }`. */
export const FRAME = "noisescope:frame"

/** The event with which a chart that has just come asks a player for its frame: `{ player }`. */
export const ASK = "noisescope:ask"

/**
 * Dispatches one of these events.
 * @param {string} name its name
 * @param {{ player: string, frame?: number }} detail what it says
 */
export function announce(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }))
}
