/**
 * Sets a slider, and colours its track up to there.
 * @param {HTMLInputElement} slider of type "range"
 * @param {number} value where it stands from now on
 */
export function setSlider(slider, value) {
  slider.value = String(value)
  const [from, to] = [Number(slider.min), Number(slider.max)]
  slider.style.setProperty("--done", `${(100 * (Number(slider.value) - from)) / Math.max(1, to - from)}%`)
}
