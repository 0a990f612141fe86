/** A curve as small as a word. */

const WIDTH = 96;
const HEIGHT = 22;
const SVG = "http://www.w3.org/2000/svg";

/** The values as a line; what is not finite is a gap. */
export function sparkline(values) {
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("class", "sparkline");
  picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  picture.setAttribute("aria-hidden", "true");
  const finite = values.filter(Number.isFinite);
  if (finite.length < 2) return picture;
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const x = (i) => 1 + (i / (values.length - 1)) * (WIDTH - 5);
  const y = (value) => HEIGHT - 3 - ((value - low) / (high - low || 1)) * (HEIGHT - 6);
  let path = "";
  let down = false;
  values.forEach((value, i) => {
    if (Number.isFinite(value)) path += `${down ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
    down = Number.isFinite(value);
  });
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  const last = values.findLastIndex(Number.isFinite);
  const end = document.createElementNS(SVG, "circle");
  for (const [name, value] of [["cx", x(last)], ["cy", y(values[last])], ["r", 1.8]]) end.setAttribute(name, value);
  picture.append(line, end);
  return picture;
}
