/**
 * The exponential moving average, debiased: a constant stays that constant from its first point on.
 *
 * What is not finite is skipped: it is left as it is, and the average goes on behind it.
 */

/**
 * Smooth `values[from…to)` into `out`, going on from `state`.
 *
 * @param weight how much of the average before each point is kept, 0 up to but not 1.
 * @param state `{sum, weights}` as the last call left it; begin with `begun()`.
 */
export function smooth(values, from, to, weight, out, state) {
  let { sum, weights } = state;
  for (let i = from; i < to; i += 1) {
    const value = values[i];
    if (!Number.isFinite(value)) {
      out[i] = value;
      continue;
    }
    sum = sum * weight + value * (1 - weight);
    weights = weights * weight + (1 - weight);
    out[i] = sum / weights;
  }
  state.sum = sum;
  state.weights = weights;
  return out;
}

/** The state before the first point. */
export function begun() {
  return { sum: 0, weights: 0 };
}
