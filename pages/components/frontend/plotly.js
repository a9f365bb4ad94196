/** @type {Promise<any> | undefined} */
let library

/**
 * Loads Plotly once for all figures of the page.
 * @param {string} url of plotly.min.js
 * @returns {Promise<any>} the library
 */
export function load(url) {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script")
    script.src = url
    script.addEventListener("load", () => resolve(window.Plotly))
    script.addEventListener("error", () => {
      library = undefined // the next figure tries again
      reject(new Error(`${url} did not load`))
    })
    document.head.append(script)
  })
  return library
}
