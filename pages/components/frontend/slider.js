/**
 * Sets a slider and colours its track up to the value.
 * @param {HTMLInputElement} slider an input of type "range"
 * @param {number} value the new value
 */
export function setSlider(slider, value) {
  slider.value = String(value)
  const [from, to] = [Number(slider.min), Number(slider.max)]
  slider.style.setProperty("--done", `${(100 * (Number(slider.value) - from)) / Math.max(1, to - from)}%`)
}
