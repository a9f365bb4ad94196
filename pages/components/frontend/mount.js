/**
 * Sends the server a value of the component's state, with which the page reruns.
 * @callback Tell
 * @param {string} name name of the state
 * @param {unknown} value any JSON value
 * @returns {void}
 */

/**
 * A component, built once and updated by every rerun.
 * @template Data data from the Python side
 * @typedef {object} Component
 * @property {(data: Data, tell: Tell) => void} update shows the data of a rerun
 * @property {() => void} close releases all resources when the page is left
 */

/**
 * Returns the function that Streamlit calls with the same element at every rerun. The component is built only at the first
 * call, so that the user's changes persist.
 * @template Data
 * @param {new (root: ParentNode) => Component<Data>} Kind class of the component; `root` contains its HTML
 * @returns {(rerun: { parentElement: ParentNode, data: Data, setStateValue: Tell }) => () => void} the module's default export
 */
export function mount(Kind) {
  /** @type {WeakMap<ParentNode, Component<Data>>} */
  const built = new WeakMap()
  return ({ parentElement, data, setStateValue }) => {
    const component = built.get(parentElement) ?? new Kind(parentElement)
    built.set(parentElement, component)
    component.update(data, setStateValue)
    return () => component.close()
  }
}
