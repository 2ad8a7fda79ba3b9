// The scrubber: every step's pictures lie in one WebP atlas, decoded once; a move copies the tiles of that step
// to the canvases. It needs no kernel, no network and no library. `spec` is written by widgets.py.
function render({ model, el }) {
  const spec = model.get("spec");
  const [width, height] = spec.cell;
  const last = spec.steps.length - 1;
  const root = add(el, "div", { class: "eon eon-scrub" });
  const main = add(root, "div", { class: "eon-main" });
  const grid = add(main, "div", { class: "eon-grid", role: "img" });
  grid.style.cssText = `--eon-w:${spec.width}px;--eon-n:${spec.pictures}`;

  const row = (name, m) => {
    const label = add(grid, "div", { class: "eon-row" });
    const key = m === undefined ? null : add(label, "svg", { class: "eon-key" });
    if (key) add(key, "line", { x1: 0, x2: 26, y1: 5, y2: 5, ...look(m) });
    add(label, "b", {}, name);
    const value = add(label, "span");
    if (!key) spec.titles.forEach((title) => add(grid, "div", { class: "eon-title", title }, title));
    const cell = { width, height, class: spec.pixelated ? "eon-pixels" : "" };
    const pens = Array.from({ length: spec.pictures }, () => add(grid, "canvas", cell).getContext("2d"));
    return { value, pens };
  };
  const target = row("target");
  const rows = spec.names.map(row);

  const svg = add(main, "svg", { class: "eon-chart", role: "img", "aria-label": spec.alt });
  const curves = spec.curves.map(([steps, values], m) => ({ name: spec.names[m], steps, values }));
  const plot = chart(svg, curves, spec.metric, spec.steps[0], spec.axis);

  const bar = add(root, "div", { class: "eon-bar" });
  const quiet = { "data-lm-suppress-shortcuts": "true" }; // else JupyterLab takes the keys for its own commands
  const title = "Play or pause (space)";
  const play = add(bar, "button", { type: "button", class: "eon-play", "aria-label": "Play", title, ...quiet }, "▶");
  const ends = { min: 0, max: last, step: 1 };
  const range = add(bar, "input", { type: "range", ...ends, "aria-label": spec.axis, ...quiet });
  const caption = add(bar, "span", { class: "eon-caption" });

  let atlas = null, timer = null, gone = false;
  const copy = (pen, from, x, y) => pen.drawImage(from, x, y, width, height, 0, 0, width, height);

  function draw() {
    const i = Math.min(Math.max(model.get("index"), 0), last);
    const step = spec.steps[i];
    const words = rows.map((r, m) => {
      const value = spec.values[m][i], share = spec.accuracy[m]?.[i] ?? null;
      let text = `${spec.metric} ${digits(value)}`;
      if (share !== null) text += ` · ${share.toFixed(1)} % accuracy`;
      if (step > spec.ends[m]) text += ` · stopped at step ${whole(spec.ends[m])}`;
      r.value.textContent = text;
      const tile = spec.tiles[m][i];
      const x = (tile % spec.columns) * spec.pictures * width, y = Math.floor(tile / spec.columns) * height;
      if (atlas) r.pens.forEach((pen, k) => copy(pen, atlas, x + k * width, y));
      return `${spec.names[m]}: ${text}`;
    });
    plot.mark(step, spec.ends.map((end) => Math.min(step, end)), spec.values.map((v) => v[i]));
    range.value = i;
    const where = `${spec.axis.replace("training ", "")} ${whole(step)}`;
    caption.textContent = where;
    range.setAttribute("aria-valuetext", `${where}; ${words.join("; ")}`);
    grid.setAttribute("aria-label", `Reconstructions under their targets at ${where}. ${words.join("; ")}`);
  }

  const go = (i) => {
    if (i === model.get("index")) return;
    model.set("index", i); // draws, here and in every other view of this scrubber
  };
  const settle = () => model.save_changes(); // the kernel, if there is one, hears of a move once it is over
  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "Play");
  };
  const toggle = () => {
    if (timer) return pause(), settle();
    if (+range.value === last) go(0);
    play.textContent = "⏸";
    play.setAttribute("aria-label", "Pause");
    timer = setInterval(() => (+range.value < last ? go(+range.value + 1) : (pause(), settle())), 80);
  };

  play.addEventListener("click", toggle);
  range.addEventListener("input", () => (pause(), go(+range.value)));
  range.addEventListener("change", settle);
  range.addEventListener("keydown", (event) => event.key === " " && (event.preventDefault(), toggle()));
  svg.addEventListener("pointerdown", (event) => {
    pause();
    svg.setPointerCapture(event.pointerId);
    go(plot.nearest(event, spec.steps));
  });
  svg.addEventListener("pointermove", (event) => event.buttons && go(plot.nearest(event, spec.steps)));
  svg.addEventListener("pointerup", settle);
  model.on("change:index", draw);
  const resized = new ResizeObserver(() => (plot.layout(), draw()));
  resized.observe(svg);

  const decode = (name) => createImageBitmap(new Blob([bytes(model.get(name))], { type: "image/webp" }));
  decode("targets").then((strip) => {
    target.pens.forEach((pen, k) => copy(pen, strip, k * width, 0));
    strip.close();
  });
  decode("atlas").then((bitmap) => {
    if (gone) return bitmap.close();
    atlas = bitmap;
    draw();
    root.dataset.ready = "true";
  });
  draw();

  return () => {
    gone = true;
    pause();
    resized.disconnect();
    model.off("change:index", draw);
    atlas?.close();
  };
}
export default { render };
