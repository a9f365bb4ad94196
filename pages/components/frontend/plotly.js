/** @type {Promise<any> | undefined} */
let library

/**
 * Fetches a script and runs it. The server does not say for how long its files are good, so that the browser would fetch those of
 * a script element anew after every reload.
 * @param {string} url names the version as well
 */
async function run(url) {
  const response = await fetch(url, { cache: "force-cache" })
  if (!response.ok) throw new Error(`${url} did not load`)
  const script = document.createElement("script")
  script.src = URL.createObjectURL(await response.blob())
  await new Promise((resolve, reject) => {
    script.addEventListener("load", resolve)
    script.addEventListener("error", () => reject(new Error(`${url} did not run`)))
    document.head.append(script)
  })
  URL.revokeObjectURL(script.src)
}

/**
 * Loads Plotly once for all figures of the page.
 * @param {string} url of plotly.min.js
 * @returns {Promise<any>} the library
 */
export function load(url) {
  library ??= run(url).then(
    () => window.Plotly,
    (error) => {
      library = undefined // the next figure tries again
      throw error
    },
  )
  return library
}
