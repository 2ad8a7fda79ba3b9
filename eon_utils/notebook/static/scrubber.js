// The scrubber: every step's pictures lie in one WebP atlas, decoded once; a move copies the tiles of that step
// to the canvases. It needs no kernel, no network and no library. `spec` is written by scrubber.py. For films
// (`spec.frames`) a second slider moves over time; the frames of a step are tiles in sequence, and those that
// were given, with the targets after them, lie in the same atlas from tile `spec.film` on.
function render({ model, el }) {
  const spec = model.get("spec");
  const last = spec.steps.length - 1;
  const kind = `eon-scrub ${spec.frames ? "eon-films" : ""}`;
  const { root, of, release } = widget(el, kind, spec, spec.names.join(", "));
  const main = add(root, "div", { class: "eon-main" });
  const grid = pictureGrid(main, spec);
  const target = { ...pictureRow(grid, spec, "target"), text: "" };
  const rows = spec.names.map((name, m) => {
    const row = pictureRow(grid, spec, name);
    const key = add(row.label, "svg", { class: "eon-key", viewBox: "0 0 26 10" });
    row.label.prepend(key);
    add(key, "line", { x1: 0, x2: 26, y1: 5, y2: 5, ...stroke(spec.looks?.[m]) });
    return { ...row, values: [add(row.label, "span"), add(row.label, "span")] };
  });

  const curves = spec.curves.map(([steps, values], m) => {
    return { name: spec.names[m], look: spec.looks?.[m], steps, values, smooth: spec.smooth?.[m] };
  });
  const said = spec.smooth ? `${spec.alt} The curves are smoothed, the faint ones are as measured.` : spec.alt;
  const svg = add(main, "svg", { class: "eon-chart", role: "img", "aria-label": said });
  const plot = chart(svg, curves, spec.metric, spec.steps[0], spec.axis);

  let atlas = null, gone = false;
  let seen = 0; // the furthest place of the slider: where the reader guesses, the curve ends there
  let where = "";
  const within = (name, top) => Math.min(Math.max(model.get(name), 0), top);

  function draw() {
    const i = within("index", last);
    const step = spec.steps[i];
    const frame = film ? within("frame", spec.frames.length - 1) : 0;
    const ahead = film ? frame - spec.given : 0; // below 0: a frame that was given, the same for all
    const words = rows.map((r, m) => {
      const value = spec.values[m][i], share = spec.accuracy[m]?.[i] ?? null;
      const texts = [`${spec.metric} ${digits(value)}`];
      if (share !== null) texts.push(`${share.toFixed(1)} % accuracy`);
      if (step > spec.ends[m]) texts.push(`ends at ${whole(spec.ends[m])}`);
      r.values[0].textContent = texts[0];
      r.values[1].textContent = texts.slice(1).join(" · ");
      r.text = texts.join(" · ");
      if (atlas) paint(r.pens, atlas, spec, ahead < 0 ? spec.film + frame : spec.tiles[m][i] + ahead);
      return `${spec.names[m]}: ${r.text}`;
    });
    seen = Math.max(seen, i);
    if (spec.guess) plot.reveal(spec.steps[seen]);
    plot.mark(step, spec.ends.map((end) => Math.min(step, end)), spec.values.map((v) => v[i]));
    where = `${spec.axis.replace("training ", "")} ${whole(step)}`;
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
  const steps = { label: spec.axis, of, what: spec.frames ? " the training" : "", last };
  const ms = spec.frames ? Math.max(80, 4000 / (last + 1)) : 80; // films have fewer steps
  const bar = transport(root, { ...steps, ms, go: go("index"), settle });
  const time = { label: "frame", of, what: " the film", last: spec.frames?.length - 1, ms: 125, loop: true };
  const film = spec.frames && transport(root, { ...time, go: go("frame"), settle });
  const file = model.get("name") || of;
  const now = () => ({ rows: [target, ...rows], where });
  saving(bar, of, spec, file, now);
  filming(bar, of, spec, file, { last, ms, at: () => within("index", last), go: go("index"), now });

  svg.addEventListener("pointerdown", (event) => {
    bar.pause();
    svg.setPointerCapture(event.pointerId);
    go("index")(plot.nearest(event, spec.steps));
  });
  svg.addEventListener("pointermove", (event) => event.buttons && go("index")(plot.nearest(event, spec.steps)));
  svg.addEventListener("pointerup", settle);
  const moved = ["change:index", "change:frame"];
  moved.forEach((event) => model.on(event, draw));
  const fit = () => (arrange(root, main, grid, svg, spec, rows.length + 1), plot.layout(), draw());
  const leaveFull = fullScreen(root, bar, of, fit);
  const unfit = whenResized(el, fit);
  const redrawn = new ResizeObserver(() => (plot.layout(), draw())); // a slide makes it another size by itself
  redrawn.observe(svg);

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
    unfit();
    redrawn.disconnect();
    leaveFull();
    release();
    moved.forEach((event) => model.off(event, draw));
    atlas?.close();
  };
}
export default { render };
