import { Choice } from "./stage_choice.js"
import { GAINS } from "./stage_look.js"
import { setSlider } from "./slider.js"

const PLAY = "M8 5v14l11-7z"
const PAUSE = "M6 5h4v14H6zm8 0h4v14h-4z"
const VIEWS = [
  { value: "x", long: "Noisy state ", label: "x_t" },
  { value: "x0", long: "Estimate of ", label: "x0" },
]
const DIFFERENCES = GAINS.map((gain) => ({ value: gain, label: gain ? `×${gain}` : "off" }))

/** The view, the difference and the noise level, as the bar and the inspector have them. */
export class Controls {
  /**
   * @param {HTMLElement} place where they are
   * @param {import("./stage.js").Stage} stage what they control
   */
  constructor(place, stage) {
    place.append(stage.part(".controls-parts").content.cloneNode(true))
    this.stage = stage
    this.view = new Choice(place.querySelector(".view"), (view) => stage.look({ view }))
    this.gain = new Choice(place.querySelector(".gain"), (gain) => stage.look({ gain }))
    this.view.offer(VIEWS)
    this.gain.offer(DIFFERENCES)
    this.labelled = place.querySelector(".labelled")
    this.play = place.querySelector(".play")
    this.slider = place.querySelector("input")
    this.label = place.querySelector(".level")
    this.play.addEventListener("click", () => stage.togglePlaying())
    this.slider.addEventListener("input", () => stage.scrub(Number(this.slider.value)))
    this.slider.addEventListener("keydown", (event) => {
      if (event.key === " ") stage.togglePlaying()
    })
  }

  show() {
    const { playing, scene } = this.stage
    const { data, last, level, seen } = scene
    this.view.show(seen.view)
    this.gain.show(seen.gain)
    this.labelled.hidden = data.columns.length < 2
    this.slider.max = String(last)
    this.slider.disabled = this.play.disabled = last === 0
    setSlider(this.slider, level)
    const text = data.levels[level]?.label ?? (data.activity ? "waiting" : "nothing")
    this.slider.setAttribute("aria-valuetext", text)
    this.label.textContent = text
    this.play.querySelector("path").setAttribute("d", playing ? PAUSE : PLAY)
    this.play.ariaLabel = this.play.title = playing ? "Pause" : "Play from noise to sample"
  }
}
