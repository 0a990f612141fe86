/**
 * One plot: uPlot draws axes, cursor and selection; the lines are ours, each with its own xs.
 *
 * uPlot wants one x for all of its series. Fifty jobs share hardly any, so its data are two corners
 * that span what is in sight, and `painter.js` draws over them.
 */

import { fixed, number } from "./format.js";
import { palette } from "./colours.js";
import { inSight, scaleOf, strokeLine, strokeMarks, strokeNonfinite } from "./painter.js";

const FONT = '11px ui-sans-serif, system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

const EDGE = 4; // pixels around a plot, so that dots and marks at its very edge are whole

export class Plot {
  /**
   * @param host the element to be in, whose width it takes.
   * @param options `{kind, log, height}`: of the axes; a change needs a new plot.
   * @param on `{zoom(from, to), reset(), cursor(x | null)}`
   */
  constructor(host, options, on) {
    this.host = host;
    this.options = options;
    this.on = on;
    this.lines = [];
    this.marks = [];
    this.range = null;
    this.focus = null;
    this.colours = palette();
    this.u = new uPlot(this.uOptions(), this.corners(), host);
    this.u.over.addEventListener("dblclick", () => on.reset());
  }

  destroy() {
    this.u.destroy();
  }

  /**
   * Draw these.
   *
   * @param lines `[{xs, ys, length, smooth, colour, dash, dots, faint}]`; `smooth` in place of `ys`,
   *   which stays behind it, faint.
   * @param marks `[{x, kind, level}]`
   * @param range `[from, to]` of the x axis, or null for all there is.
   */
  show(lines, marks, range) {
    this.lines = lines;
    this.marks = marks;
    this.range = range;
    this.u.setData(this.corners());
  }

  resize(width, height) {
    if (width > 0 && (width !== this.u.width || height !== this.u.height)) this.u.setSize({ width, height });
  }

  /** Take the colours of the theme that is on now. */
  recolour() {
    this.colours = palette();
    this.u.redraw(false, true);
  }

  /** Put one line in front of the others; null for none. */
  highlight(id) {
    if (this.focus === id) return;
    this.focus = id;
    this.u.redraw(false, false);
  }

  /** Place the cursor at an x, or nowhere; whoever does it knows, and is not told. */
  point(x) {
    const left = x === null ? -10 : this.u.valToPos(x, "x");
    this.u.setCursor({ left, top: x === null ? -10 : 10 }, false);
  }

  // ---------------------------------------------------------------- what is in sight

  corners() {
    const [x0, x1] = this.xRange();
    return [
      [x0, x1],
      this.yRange(x0, x1),
    ];
  }

  xRange() {
    if (this.range) return this.range;
    let [low, high] = [Infinity, -Infinity];
    for (const { xs, length } of this.lines) {
      if (length === 0) continue;
      low = Math.min(low, xs[0]);
      high = Math.max(high, xs[length - 1]);
    }
    if (low > high) return this.options.kind === "time" ? [Date.now() / 1000 - 60, Date.now() / 1000] : [0, 1];
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  }

  yRange(x0, x1) {
    let [low, high] = [Infinity, -Infinity];
    const drawn = this.options.log ? (v) => v > 0 && v < Infinity : Number.isFinite;
    for (const line of this.lines) {
      const [from, to] = inSight(line, x0, x1);
      for (let i = from; i < to; i += 1) {
        const value = line.ys[i];
        if (!drawn(value) || line.xs[i] < x0 || line.xs[i] > x1) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low > high) return this.options.log ? [0.1, 1] : [0, 1];
    return this.options.log ? logPadded(low, high) : padded(low, high);
  }

  // ---------------------------------------------------------------- uPlot

  uOptions() {
    const { kind, log, height } = this.options;
    const colours = () => this.colours;
    const axis = {
      stroke: () => colours().muted,
      font: FONT,
      ticks: { show: false },
      grid: { stroke: () => colours().grid, width: 1 },
    };
    return {
      width: Math.max(this.host.clientWidth, 50),
      height,
      padding: [8, 20, 0, 0],
      legend: { show: false },
      select: { show: true },
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: 5 },
        bind: { dblclick: () => null },
      },
      scales: {
        x: { time: kind === "time", range: (u, min, max) => [min, max] },
        y: { distr: log ? 3 : 1, range: (u, min, max) => [min, max] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 24, gap: 6, space: 64, ...xLabels(kind) },
        { ...axis, size: axisWidth, gap: 8, space: 34, values: (u, splits) => (log ? splits.map(round) : alike(splits)) },
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        drawAxes: [(u) => this.clipped(u, (context, scale) => strokeMarks(context, scale, this.marks, this.colours))],
        draw: [(u) => this.clipped(u, (context, scale) => this.drawLines(context, scale))],
        setCursor: [(u) => this.on.cursor(u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : null)],
        setSelect: [(u) => this.selected(u)],
      },
    };
  }

  clipped(u, draw) {
    const { left, top, width, height } = u.bbox;
    u.ctx.save();
    u.ctx.beginPath();
    const edge = EDGE * devicePixelRatio;
    u.ctx.rect(left - edge, top - edge, width + 2 * edge, height + 2 * edge);
    u.ctx.clip();
    draw(u.ctx, scaleOf(u));
    u.ctx.restore();
  }

  drawLines(context, scale) {
    const many = this.lines.length > 12;
    const order = this.focus === null ? this.lines : [...this.lines].sort((a, b) => (a.owner === this.focus) - (b.owner === this.focus));
    for (const line of order) {
      const away = this.focus !== null && line.owner !== this.focus;
      const style = {
        colour: this.colourOf(line),
        dash: line.dash,
        dots: line.dots,
        width: line.faint || many || this.crowded(line) ? 1 : 1.5, // one pixel is quick to draw
        alpha: (line.faint ? 0.45 : many ? 0.85 : 1) * (away ? 0.18 : 1),
      };
      if (line.smooth) {
        strokeLine(context, scale, line, line.ys, { ...style, width: 1, dots: false, alpha: style.alpha * 0.26 });
        strokeLine(context, scale, line, line.smooth, style);
      } else strokeLine(context, scale, line, line.ys, style);
    }
    for (const line of this.lines) {
      strokeNonfinite(context, scale, line, this.colourOf(line));
      if (line.lost) strokeNonfinite(context, scale, line.lost, this.colourOf(line));
    }
  }

  /** Whether a line has more points in sight than the plot has pixels. */
  crowded(line) {
    const [from, to] = inSight(line, this.u.scales.x.min, this.u.scales.x.max);
    return to - from > this.u.over.clientWidth;
  }

  colourOf(line) {
    if (line.colour === "train") return this.colours.train;
    return line.colour === "eval" ? this.colours.eval : this.colours.lines[line.colour];
  }

  selected(u) {
    const { left, width } = u.select;
    if (width <= 0) return;
    const [from, to] = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (to > from) this.on.zoom(from, to);
  }
}

// ---------------------------------------------------------------- axes

/** Splits as uPlot adds them up carry the dust of binary fractions. */
function tidy(value) {
  return Number(value.toPrecision(6));
}

function axisWidth(u, values) {
  // The same for all but the widest, so that the plots of a column stand exactly below each other.
  const longest = (values ?? []).reduce((most, text) => Math.max(most, text?.length ?? 0), 0);
  return Math.max(52, Math.ceil(longest * 6.4) + 12);
}

/** On a logarithmic axis only what has one digit is named. */
function round(value) {
  if (value === null) return "";
  const mantissa = tidy(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
  return Number.isInteger(mantissa) ? number(tidy(value)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "") : "";
}

/** Numbers with as many decimals as the one of them that needs most. */
function alike(splits) {
  const largest = Math.max(...splits.map(Math.abs));
  if (largest !== 0 && (largest < 1e-2 || largest >= 1e7)) return splits.map((v) => number(tidy(v)));
  const needed = splits.map((v) => (String(tidy(v)).split(".")[1] ?? "").length);
  const decimals = Math.min(Math.max(...needed), 8);
  return splits.map((v) => fixed(tidy(v), decimals));
}

function xLabels(kind) {
  if (kind === "time") return {};
  if (kind === "relative") return { incrs: DURATIONS, values: (u, splits) => splits.map(shortDuration) };
  if (kind === "epoch") return { values: (u, splits) => splits.map((v) => String(tidy(v))) };
  return {
    incrs: WHOLE,
    values: (u, splits) => splits.map(shortCount),
  };
}

const WHOLE = Array.from({ length: 16 }, (_, i) => [1, 2, 5].map((n) => n * 10 ** i)).flat();
const DURATIONS = [0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200].concat(
  [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map((days) => days * 86400),
);

function shortCount(value) {
  if (Math.abs(value) >= 1e6) return `${tidy(value / 1e6)}M`;
  if (Math.abs(value) >= 1e4) return `${tidy(value / 1e3)}k`;
  return String(tidy(value));
}

function shortDuration(seconds) {
  const size = Math.abs(seconds);
  if (size < 60) return `${tidy(seconds)}s`;
  if (size < 3600) return `${tidy(seconds / 60)}m`;
  if (size < 86400) return `${tidy(seconds / 3600)}h`;
  return `${tidy(seconds / 86400)}d`;
}

function padded(low, high) {
  const room = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * 0.06;
  // Nothing is below zero that never was: a loss's axis does not suggest otherwise.
  const floor = low >= 0 && low - room < 0 ? 0 : low - room;
  return [floor, high + room];
}

function logPadded(low, high) {
  const room = low === high ? 1.5 : (high / low) ** 0.06;
  return [low / room, high * room];
}
