import { meanSquaredError } from "./stage_metrics.js"

/**
 * Orders the images by how much their estimates at the last noise level differ from the first column's.
 * @param {import("./stage_scene.js").Scene} scene the comparison
 * @param {import("./stage_paint.js").Painter} painter knows the pixels
 * @returns {number[] | null} the images, the most different first; null while their pixels are being loaded
 */
export function byDifference(scene, painter) {
  const { columns } = scene.data
  const last = columns.map((_, column) => scene.imagesAt(column, scene.frameOf(column, scene.last), "x0"))
  const [first, ...others] = last.filter((_, column) => !columns[column].incomparable.x0)
  if (![first, ...others].every((picture) => painter.ready(picture))) return null
  const errors = Array.from({ length: columns[0].count }, (_, image) => {
    const reference = painter.pixels(first, image).data
    return others.reduce((sum, other) => sum + meanSquaredError(painter.pixels(other, image).data, reference), 0)
  })
  return [...errors.keys()].toSorted((one, other) => errors[other] - errors[one])
}
