/** @typedef {Uint8ClampedArray} Pixels red, green, blue and alpha of every pixel, row by row */

const WINDOW = 11 // side of the SSIM window in pixels
const BELL = bell(1.5)

/**
 * Finds the signed difference of two images: in every pixel that of the colour channel which differs most.
 * @param {Pixels} own one image
 * @param {Pixels} other the image that is subtracted
 * @returns {Int16Array} −255 to 255 for every pixel
 */
export function difference(own, other) {
  const found = new Int16Array(own.length / 4)
  for (let pixel = 0; pixel < found.length; pixel++) {
    for (let at = 4 * pixel; at < 4 * pixel + 3; at++) {
      const signed = own[at] - other[at]
      if (Math.abs(signed) > Math.abs(found[pixel])) found[pixel] = signed
    }
  }
  return found
}

/**
 * @param {Pixels} own one image
 * @param {Pixels} other another of the same size
 * @returns {number} their mean squared error, with black at 0 and white at 1
 */
export function meanSquaredError(own, other) {
  let sum = 0
  for (let at = 0; at < own.length; at++) sum += (own[at] - other[at]) ** 2 // alpha is equal
  return sum / (own.length * 0.75) / 255 ** 2
}

/**
 * Computes the structural similarity as pipelines.common.picture_metrics does.
 * @param {Pixels} own one image
 * @param {Pixels} other another of the same size
 * @param {number} width of both
 * @returns {number} mean SSIM over the windows inside the image and the channels, 1 for equal images; NaN if they are too small
 */
export function structuralSimilarity(own, other, width) {
  const height = own.length / 4 / width
  if (Math.min(width, height) < WINDOW) return Number.NaN
  let sum = 0
  let count = 0
  for (let channel = 0; channel < 3; channel++) {
    for (const similarity of channelSimilarity(plane(own, channel), plane(other, channel), width)) {
      sum += similarity
      count++
    }
  }
  return sum / count
}

function product(one, two) {
  return one.map((value, at) => value * two[at])
}

function channelSimilarity(a, b, width) {
  const [meanA, meanB] = [blur(a, width), blur(b, width)]
  const [squareA, squareB, both] = [blur(product(a, a), width), blur(product(b, b), width), blur(product(a, b), width)]
  const [c1, c2] = [0.01 ** 2, 0.03 ** 2]
  return meanA.map((own, at) => {
    const other = meanB[at]
    const variance = squareA[at] - own ** 2 + squareB[at] - other ** 2
    const covariance = both[at] - own * other
    return ((2 * own * other + c1) * (2 * covariance + c2)) / ((own ** 2 + other ** 2 + c1) * (variance + c2))
  })
}

// One colour channel, from 0 to 1.
function plane(pixels, channel) {
  return Float64Array.from({ length: pixels.length / 4 }, (_, pixel) => pixels[4 * pixel + channel] / 255)
}

// Gaussian means of all windows inside an image.
function blur(values, width) {
  return slideDown(slideAcross(values, width), width - WINDOW + 1)
}

// Weighted means of every WINDOW values beside each other; each row becomes shorter.
function slideAcross(values, width) {
  const inside = width - WINDOW + 1
  const means = new Float64Array((values.length / width) * inside)
  for (let at = 0; at < means.length; at++) means[at] = weigh(values, Math.floor(at / inside) * width + (at % inside), 1)
  return means
}

// Weighted means of every WINDOW values below each other; there are fewer rows.
function slideDown(values, width) {
  const means = new Float64Array(values.length - (WINDOW - 1) * width)
  for (let at = 0; at < means.length; at++) means[at] = weigh(values, at, width)
  return means
}

function weigh(values, start, step) {
  let sum = 0
  for (let at = 0; at < WINDOW; at++) sum += BELL[at] * values[start + at * step]
  return sum
}

function bell(deviation) {
  const weights = Array.from({ length: WINDOW }, (_, at) => Math.exp(-((at - (WINDOW - 1) / 2) ** 2) / (2 * deviation ** 2)))
  const whole = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => weight / whole)
}
