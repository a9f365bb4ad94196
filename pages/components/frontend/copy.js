const TOLD = 1500 // milliseconds for which a button says that it has copied

/**
 * Copies a text to the clipboard.
 * @param {HTMLButtonElement} button says that it was copied
 * @param {string} text what to copy
 * @param {() => string} refused called where the browser does not let pages copy; returns what the button says then
 */
export async function copy(button, text, refused) {
  button.dataset.label ??= button.textContent
  try {
    await navigator.clipboard.writeText(text)
    button.textContent = "Copied"
  } catch {
    button.textContent = refused()
  }
  setTimeout(() => (button.textContent = button.dataset.label), TOLD)
}
