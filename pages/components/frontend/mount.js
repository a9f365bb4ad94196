/**
 * Tells the server a value of the component's state; the page reruns with it.
 * @callback Tell
 * @param {string} name of the state
 * @param {unknown} value anything that JSON holds
 * @returns {void}
 */

/**
 * What a component is: built once in its place, then fed by every rerun.
 * @template Data what the Python beside it sends
 * @typedef {object} Component
 * @property {(data: Data, tell: Tell) => void} update shows what a rerun brings
 * @property {() => void} close lets go of everything, when the page is left
 */

/**
 * Makes the function that Streamlit calls at every rerun, with the same element. The component in it is built at the first
 * call only, so that what a person did there stays.
 * @template Data
 * @param {new (root: ParentNode) => Component<Data>} Kind of component; `root` holds its HTML
 * @returns {(rerun: { parentElement: ParentNode, data: Data, setStateValue: Tell }) => () => void} what a module exports
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
