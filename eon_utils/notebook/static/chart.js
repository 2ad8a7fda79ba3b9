// The loss chart of the scrubber and the live panel, put in front of the code of both. It is SVG: sharp at
// every zoom and on paper, in the text colour of whatever theme surrounds it, and a move of the marker changes
// a few attributes without drawing anything again.
const PLAIN = { colour: "#0072B2", dashes: [] }; // of a curve that stands alone

// A curve's colour and dashes, which looks.py gives the same name in all lessons and figures
function stroke({ colour, dashes } = PLAIN) {
  const dasharray = dashes.map((part) => 2 * part).join(" "); // widths of the line
  return { stroke: colour, "stroke-dasharray": dasharray, "stroke-width": 2, fill: "none" };
}

function short(v) {
  if (v >= 1e4) return `${+(v / 1e3).toPrecision(3)}k`;
  return v >= 1e-4 || v === 0 ? String(+v.toPrecision(3)) : v.toExponential(2).replace(/\.?0+e/, "e");
}
function digits(v) {
  if (v === null) return "not finite";
  return v >= 1e-4 && v < 1e3 ? v.toPrecision(3) : v.toExponential(2);
}

function ticks(low, high, dense, most) {
  // powers of ten, of more than there is room for every second, third, ...; 2 and 5 between them, or every digit,
  // where the powers alone are too few to read a value
  const every = Math.ceil((high - low) / most);
  for (const digits of [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    const found = [];
    for (let e = every * Math.floor(low / every); e <= high; e += every)
      for (const d of digits) {
        const at = e + Math.log10(d);
        if (at >= low && at <= high) found.push(d * 10 ** e);
      }
    if (found.length >= dense) return found;
  }
  return [10 ** low, 10 ** high];
}

// Round numbers between two, so many at most: 1, 2 or 5 times a power of ten apart
function evenTicks(low, high, most) {
  const decade = 10 ** Math.floor(Math.log10((high - low) / most));
  const apart = [1, 2, 5, 10].map((d) => d * decade).find((step) => (high - low) / step <= most);
  const found = [];
  for (let k = Math.ceil(low / apart); k * apart <= high; k++) found.push(k * apart);
  return found;
}

// curves: [{name, look, steps, values, smooth}], positive values only; `smooth`, where there is one, are the values to
// draw, with `values` faint behind. Names are written at the ends when there are several. Decibels are a logarithm
// already; all else stands on a logarithmic axis.
function chart(svg, curves, ylabel, firstStep, axis = "training step") {
  const even = ylabel.includes("[dB]");
  const height = (value) => (even ? value : Math.log10(value));
  const lx = (step) => Math.log10(Math.max(step, 0.5)); // step 0 stands half a step left of 1
  let px, py, marker, dots, lines = [];

  function layout() {
    const width = svg.clientWidth, tall = svg.clientHeight;
    const u = parseFloat(getComputedStyle(svg).fontSize) / 13; // all distances grow with the letters
    const values = curves.flatMap((c) => c.values);
    svg.replaceChildren();
    px = null;
    if (!width || !values.length) return;
    const names = curves.length > 1 ? curves.map((c) => nameOf(c.name, 0.4 * width)) : [];
    const label = Math.max(8, ...names.flatMap((n) => n.rows.map((r) => r.getComputedTextLength() + 18 * u)));
    const left = 48 * u, right = width - label, top = 24 * u, bottom = tall - 40 * u;
    const x0 = lx(firstStep), x1 = Math.max(x0 + 0.3, ...curves.map((c) => lx(c.steps.at(-1) ?? 0)));
    const ys = values.map(height), pad = 0.04 * (Math.max(...ys) - Math.min(...ys)) + 0.01;
    const y0 = Math.min(...ys) - pad, y1 = Math.max(...ys) + pad;
    px = (step) => left + ((right - left) * (lx(step) - x0)) / (x1 - x0);
    py = (value) => bottom - ((bottom - top) * (height(value) - y0)) / (y1 - y0);

    const room = (bottom - top) / (16 * u); // for numbers, one below the other
    for (const v of even ? evenTicks(y0, y1, room) : ticks(y0, y1, 2, room)) {
      add(svg, "line", { x1: left, x2: right, y1: py(v), y2: py(v), class: "eon-rule" });
      add(svg, "text", { x: left - 6 * u, y: py(v) + 4 * u, "text-anchor": "end" }, short(v));
    }
    for (const s of [...(firstStep < 1 ? [0] : []), ...ticks(Math.max(x0, 0), x1, 2, (right - left) / (40 * u))]) {
      add(svg, "line", { x1: px(s), x2: px(s), y1: bottom, y2: bottom + 4, class: "eon-axis" });
      add(svg, "text", { x: px(s), y: bottom + 17 * u, "text-anchor": "middle" }, short(s));
    }
    add(svg, "line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "eon-axis" });
    const quantity = add(svg, "text", { x: 0, y: 12 * u }, even ? ylabel : `${ylabel} (log)`);
    const beside = width - quantity.getComputedTextLength() - 12 * u;
    if (curves.some((c) => c.smooth)) {
      const note = add(svg, "text", { x: width, y: 12 * u, "text-anchor": "end", class: "eon-note" });
      note.textContent = "smoothed; faint: as measured";
      if (note.getComputedTextLength() > beside) note.textContent = "smoothed";
    }
    add(svg, "text", { x: right, y: tall - 4, "text-anchor": "end" }, `${axis} (log)`);

    marker = add(svg, "line", { y1: top, y2: bottom, class: "eon-marker" });
    const line = (c, values, style) => {
      const within = c.steps.map((s, i) => [s, values[i]]).filter(([s]) => s >= firstStep);
      const points = within.map(([s, value]) => `${px(s).toFixed(1)},${py(value).toFixed(1)}`);
      const drawn = add(svg, "polyline", { points: points.join(" "), ...style, "stroke-linejoin": "round" });
      lines.push({ drawn, points, steps: within.map(([s]) => s) });
    };
    lines = [];
    const faint = { "stroke-width": u, "stroke-dasharray": "", "stroke-opacity": 0.35 };
    curves.forEach((c) => c.smooth && line(c, c.values, { ...stroke(c.look), ...faint }));
    curves.forEach((c) => line(c, c.smooth ?? c.values, { ...stroke(c.look), "stroke-width": 2 * u }));
    dots = curves.map((c) => add(svg, "circle", { r: 4.5 * u, fill: stroke(c.look).stroke, class: "eon-dot" }));
    spread(names, top, bottom, right, u);
  }

  // A name no wider than `most`: in two rows, broken at the space nearest to its middle, and cut where that is not
  // enough.
  function nameOf(name, most) {
    const text = add(svg, "text", { class: "eon-name" });
    const whole = add(text, "tspan", {}, name);
    if (whole.getComputedTextLength() <= most) return { text, rows: [whole] };
    const spaces = [...name].flatMap((letter, i) => (letter === " " ? [i] : []));
    const middle = spaces.sort((a, b) => Math.abs(2 * a - name.length) - Math.abs(2 * b - name.length))[0];
    const parts = middle ? [name.slice(0, middle), name.slice(middle + 1)] : [name];
    whole.remove();
    const rows = parts.map((part) => add(text, "tspan", {}, part));
    for (const row of rows)
      while (row.getComputedTextLength() > most) row.textContent = `${row.textContent.slice(0, -2)}…`;
    return { text, rows };
  }

  function spread(names, top, bottom, right, u) {
    // the names stand at the heights where their curves end, pushed apart to their rows of text
    const ends = curves.map((c, m) => ({ m, x: px(c.steps.at(-1) ?? firstStep), y: py(c.values.at(-1) ?? 1) }));
    const order = ends.filter((e) => names[e.m] && curves[e.m].values.length).sort((a, b) => a.y - b.y);
    const rows = Math.max(1, ...names.map((n) => n.rows.length));
    const gap = Math.min(15 * u * rows, (bottom - top) / order.length);
    order.forEach((e, i) => (e.at = Math.max(e.y, i ? order[i - 1].at + gap : top)));
    for (let i = order.length - 1, limit = bottom; i >= 0; i--, limit -= gap) {
      order[i].at = Math.min(order[i].at, limit);
      limit = order[i].at;
    }
    for (const { m, x, y, at } of order) {
      const leader = `M${x + 2},${y}L${right + 2},${y}L${right + 10 * u},${at}`;
      add(svg, "path", { d: leader, stroke: stroke(curves[m].look).stroke, fill: "none" });
      names[m].rows.forEach((row, i) => {
        row.setAttribute("x", right + 14 * u);
        row.setAttribute("y", at + 4 * u + 14 * u * (i - (names[m].rows.length - 1) / 2));
      });
    }
    names.forEach((n, m) => curves[m].values.length || n.text.remove());
  }

  function mark(step, reached, values) {
    if (!px) return;
    marker.setAttribute("x1", px(step));
    marker.setAttribute("x2", px(step));
    dots.forEach((dot, m) => {
      dot.setAttribute("visibility", values[m] > 0 ? "visible" : "hidden");
      if (!(values[m] > 0)) return;
      dot.setAttribute("cx", px(reached[m]));
      dot.setAttribute("cy", py(values[m]));
    });
  }

  // Draws the curves as far as a step alone
  function reveal(step) {
    for (const { drawn, points, steps } of lines)
      drawn.setAttribute("points", points.filter((_, i) => steps[i] <= step).join(" "));
  }

  const nearest = (event, steps) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) * svg.clientWidth) / box.width; // a slide may be enlarged
    let best = 0;
    for (let i = 1; px && i < steps.length; i++)
      if (Math.abs(px(steps[i]) - x) < Math.abs(px(steps[best]) - x)) best = i;
    return best;
  };
  return { layout, mark, reveal, nearest };
}
