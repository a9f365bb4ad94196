/**
 * Returns the entries of a description list.
 * @param {Record<string, string>} values by their names
 * @returns {HTMLElement[]} one for each of them
 */
export function entriesOf(values) {
  return Object.entries(values).map(([name, value]) => {
    const entry = document.createElement("div")
    const [term, description] = [document.createElement("dt"), document.createElement("dd")]
    term.textContent = name
    description.textContent = value
    entry.append(term, description)
    return entry
  })
}
