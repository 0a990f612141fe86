/** Lines, points and marks on a chart's canvas; everything in its device pixels. */

import { lowerBound } from "./series.js";

const DENSE = 3; // points a pixel beyond which a column shows only its extremes
const SPARSE = 1 / 7; // points a pixel below which each gets a dot
const STROKE = 64; // points a stroke: one of a thousand that go up and down costs three times as much

/** From values to pixels: `{x(v), y(v), left, right, top, bottom, pixel}`. */
export function scaleOf(u) {
  const { left, top, width, height } = u.bbox;
  const { min: x0, max: x1 } = u.scales.x;
  const log = u.scales.y.distr === 3;
  const level = log ? Math.log10 : (v) => v;
  const y0 = level(u.scales.y.min);
  const y1 = level(u.scales.y.max);
  return {
    x: (v) => left + ((v - x0) / (x1 - x0)) * width,
    y: (v) => top + height - ((level(v) - y0) / (y1 - y0)) * height,
    drawn: log ? (v) => v > 0 && v < Infinity : Number.isFinite,
    x0,
    x1,
    left,
    right: left + width,
    top,
    bottom: top + height,
    pixel: devicePixelRatio,
  };
}

/** Which points of a line are in sight, with one beyond each end for the line to come from. */
export function inSight(line, x0, x1) {
  const from = Math.max(lowerBound(line.xs, line.length, x0) - 1, 0);
  const to = Math.min(lowerBound(line.xs, line.length, x1) + 2, line.length);
  return [from, to];
}

/** A line through `ys`, broken where a value cannot be drawn. */
export function strokeLine(context, scale, line, ys, style) {
  const [from, to] = inSight(line, scale.x0, scale.x1);
  context.save();
  context.strokeStyle = style.colour;
  context.globalAlpha = style.alpha ?? 1;
  context.lineWidth = (style.width ?? 1.5) * scale.pixel;
  context.lineJoin = "round";
  context.setLineDash((style.dash ?? []).map((length) => length * scale.pixel));
  if (to - from > (scale.right - scale.left) * DENSE) columns(context, scale, line.xs, ys, from, to);
  else polyline(context, scale, line.xs, ys, from, to);
  context.restore();
  if (style.dots || to - from === 1) dots(context, scale, line, ys, from, to, style);
}

function polyline(context, scale, xs, ys, from, to) {
  const pen = penOf(context);
  for (let i = from; i < to; i += 1) {
    if (scale.drawn(ys[i])) pen.to(scale.x(xs[i]), scale.y(ys[i]));
    else pen.lift();
  }
  pen.end();
}

/** Draws a line in strokes of some points each; of dashes, which would begin anew, in one. */
function penOf(context) {
  const most = context.getLineDash().length ? Infinity : STROKE;
  let points = 0;
  let down = false;
  context.beginPath();
  return {
    to(x, y) {
      if (down) context.lineTo(x, y);
      else context.moveTo(x, y);
      down = true;
      points += 1;
      if (points < most) return;
      context.stroke();
      context.beginPath();
      context.moveTo(x, y);
      points = 0;
    },
    lift() {
      down = false;
    },
    end: () => context.stroke(),
  };
}

/** Where many points share a column of pixels: its first, lowest, highest and last, so no spike is lost. */
function columns(context, scale, xs, ys, from, to) {
  const pen = penOf(context);
  let column = null;
  const flush = () => {
    if (column === null) return;
    for (const value of [column.first, column.low, column.high, column.last]) pen.to(column.x, scale.y(value));
  };
  for (let i = from; i < to; i += 1) {
    const value = ys[i];
    if (!scale.drawn(value)) {
      flush();
      column = null;
      pen.lift();
      continue;
    }
    const x = Math.round(scale.x(xs[i]));
    if (column !== null && column.x === x) {
      if (value < column.low) column.low = value;
      if (value > column.high) column.high = value;
      column.last = value;
    } else {
      flush();
      column = { x, first: value, low: value, high: value, last: value };
    }
  }
  flush();
  pen.end();
}

function dots(context, scale, line, ys, from, to, style) {
  if ((to - from) / ((scale.right - scale.left) / scale.pixel) > SPARSE) return;
  context.save();
  context.fillStyle = style.colour;
  context.globalAlpha = style.alpha ?? 1;
  for (let i = from; i < to; i += 1) {
    if (!scale.drawn(ys[i])) continue;
    context.beginPath();
    context.arc(scale.x(line.xs[i]), scale.y(ys[i]), 2.25 * scale.pixel, 0, 2 * Math.PI);
    context.fill();
  }
  context.restore();
}

/** NaN as a cross at the lower edge, infinities as triangles at theirs. */
export function strokeNonfinite(context, scale, line, colour) {
  const [from, to] = inSight(line, scale.x0, scale.x1);
  const size = 3.5 * scale.pixel;
  context.save();
  context.strokeStyle = colour;
  context.fillStyle = colour;
  context.lineWidth = 1.5 * scale.pixel;
  let before = -Infinity;
  for (let i = from; i < to; i += 1) {
    const value = line.ys[i];
    if (Number.isFinite(value)) continue;
    const x = scale.x(line.xs[i]);
    if (x < scale.left || x > scale.right || x - before < 1) continue;
    before = x;
    context.beginPath();
    if (Number.isNaN(value)) {
      const y = scale.bottom - size - scale.pixel;
      context.moveTo(x - size, y - size);
      context.lineTo(x + size, y + size);
      context.moveTo(x + size, y - size);
      context.lineTo(x - size, y + size);
      context.stroke();
    } else {
      const up = value > 0;
      const y = up ? scale.top + scale.pixel : scale.bottom - scale.pixel;
      context.moveTo(x, y);
      context.lineTo(x - size, y + (up ? 2 : -2) * size);
      context.lineTo(x + size, y + (up ? 2 : -2) * size);
      context.fill();
    }
  }
  context.restore();
}

/** Events, checkpoints and attempts: a hairline each, with a foot that tells its kind. */
export function strokeMarks(context, scale, marks, colours) {
  context.save();
  for (const mark of marks) {
    if (!(mark.x >= scale.x0 && mark.x <= scale.x1)) continue;
    const x = Math.round(scale.x(mark.x)) + 0.5;
    const colour = { error: colours.bad, warning: colours.warn }[mark.level] ?? colours.muted;
    context.strokeStyle = colour;
    context.fillStyle = colour;
    context.globalAlpha = mark.kind === "checkpoint" ? 0.35 : 0.5;
    context.lineWidth = scale.pixel;
    context.setLineDash(mark.kind === "attempt" ? [4 * scale.pixel, 3 * scale.pixel] : []);
    context.beginPath();
    context.moveTo(x, mark.kind === "checkpoint" ? scale.bottom - 8 * scale.pixel : scale.top);
    context.lineTo(x, scale.bottom);
    context.stroke();
    if (mark.kind === "checkpoint") {
      context.globalAlpha = 0.9;
      const size = 3 * scale.pixel;
      context.beginPath();
      context.moveTo(x, scale.bottom - 7 * scale.pixel);
      context.lineTo(x + size, scale.bottom - 4 * scale.pixel);
      context.lineTo(x, scale.bottom - scale.pixel);
      context.lineTo(x - size, scale.bottom - 4 * scale.pixel);
      context.fill();
    }
  }
  context.restore();
}
