import { meanSquaredError } from "./stage_metrics.js"

/**
 * Orders the images by how much their newest estimates differ from the first column's.
 * @param {import("./stage_scene.js").Scene} scene the comparison
 * @param {import("./stage_paint.js").Painter} painter knows the pixels
 * @returns {number[] | null} the images, the most different first; null while their pixels are being loaded
 */
export function byDifference(scene, painter) {
  const { columns } = scene.data
  const newest = columns.map(({ frames }, column) => scene.imagesAt(column, frames.length - 1, "x0"))
  const [first, ...others] = newest.filter((_, column) => !columns[column].incomparable.x0)
  if (![first, ...others].every((picture) => painter.ready(picture))) return null
  const errors = Array.from({ length: columns[0].count }, (_, image) => {
    const reference = painter.pixels(first, image).data
    return others.reduce((sum, other) => sum + meanSquaredError(painter.pixels(other, image).data, reference), 0)
  })
  return [...errors.keys()].toSorted((one, other) => errors[other] - errors[one])
}
