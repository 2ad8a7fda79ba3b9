// The scrubber: every step's pictures lie in one WebP atlas, decoded once; a move copies the tiles of that step
// to the canvases. It needs no kernel, no network and no library. `spec` is written by scrubber.py. For films
// (`spec.frames`) a second slider moves over time; the frames of a step are tiles in sequence, and those that
// were given, with the targets after them, lie in the same atlas from tile `spec.film` on.
function render({ model, el }) {
  const spec = model.get("spec");
  const last = spec.steps.length - 1;
  const root = widget(el, `eon-scrub ${spec.frames ? "eon-films" : ""}`, spec);
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
    return { value, pens: canvases(grid, spec) };
  };
  const target = row("target");
  const rows = spec.names.map(row);

  const svg = add(main, "svg", { class: "eon-chart", role: "img", "aria-label": spec.alt });
  const curves = spec.curves.map(([steps, values], m) => ({ name: spec.names[m], steps, values }));
  const plot = chart(svg, curves, spec.metric, spec.steps[0], spec.axis);

  let atlas = null, gone = false;
  const within = (name, top) => Math.min(Math.max(model.get(name), 0), top);

  function draw() {
    const i = within("index", last);
    const step = spec.steps[i];
    const frame = film ? within("frame", spec.frames.length - 1) : 0;
    const ahead = film ? frame - spec.given : 0; // below 0: a frame that was given, the same for all
    const words = rows.map((r, m) => {
      const value = spec.values[m][i], share = spec.accuracy[m]?.[i] ?? null;
      let text = `${spec.metric} ${digits(value)}`;
      if (share !== null) text += ` · ${share.toFixed(1)} % accuracy`;
      if (step > spec.ends[m]) text += ` · stopped at step ${whole(spec.ends[m])}`;
      r.value.textContent = text;
      if (atlas) paint(r.pens, atlas, spec, ahead < 0 ? spec.film + frame : spec.tiles[m][i] + ahead);
      return `${spec.names[m]}: ${text}`;
    });
    plot.mark(step, spec.ends.map((end) => Math.min(step, end)), spec.values.map((v) => v[i]));
    let where = `${spec.axis.replace("training ", "")} ${whole(step)}`;
    bar.show(i, where, `${where}; ${words.join("; ")}`);
    if (film) {
      if (atlas) paint(target.pens, atlas, spec, spec.film + frame);
      edge(root, spec, frame);
      film.show(frame, spec.frames[frame], spec.frames[frame]);
      where += `, ${spec.frames[frame]}`;
    }
    const what = film ? "Predictions" : "Reconstructions";
    grid.setAttribute("aria-label", `${what} under their targets at ${where}. ${words.join("; ")}`);
  }

  // a move draws, here and in every other view of this scrubber
  const go = (name) => (i) => i === model.get(name) || model.set(name, i);
  const settle = () => model.save_changes(); // the kernel, if there is one, hears of a move once it is over
  const of = spec.names.join(", ");
  const steps = { label: spec.axis, of, what: spec.frames ? " the training" : "", last };
  const ms = spec.frames ? Math.max(80, 4000 / (last + 1)) : 80; // films have fewer steps
  const bar = transport(root, { ...steps, ms, go: go("index"), settle });
  const time = { label: "frame", of, what: " the film", last: spec.frames?.length - 1, ms: 125, loop: true };
  const film = spec.frames && transport(root, { ...time, go: go("frame"), settle });

  svg.addEventListener("pointerdown", (event) => {
    bar.pause();
    svg.setPointerCapture(event.pointerId);
    go("index")(plot.nearest(event, spec.steps));
  });
  svg.addEventListener("pointermove", (event) => event.buttons && go("index")(plot.nearest(event, spec.steps)));
  svg.addEventListener("pointerup", settle);
  const moved = ["change:index", "change:frame"];
  moved.forEach((event) => model.on(event, draw));
  const resized = new ResizeObserver(() => (plot.layout(), draw()));
  resized.observe(svg);

  if (!film)
    decode(model.get("targets")).then((strip) => {
      paint(target.pens, strip, spec, 0);
      strip.close();
    });
  decode(model.get("atlas")).then((bitmap) => {
    if (gone) return bitmap.close();
    atlas = bitmap;
    draw();
    root.dataset.ready = "true";
  });
  draw();

  return () => {
    gone = true;
    bar.pause();
    film?.pause();
    resized.disconnect();
    moved.forEach((event) => model.off(event, draw));
    atlas?.close();
  };
}
export default { render };
