// The player: all frames of all clips lie in one WebP atlas, a tile a frame and row; see scrubber.js. `spec` is
// written by player.py.
function render({ model, el }) {
  const spec = model.get("spec");
  const last = spec.frames.length - 1;
  const kind = `eon-player ${spec.given ? "eon-films" : ""}`;
  const { root, of, release } = widget(el, kind, spec, spec.alt.split(". ")[0]);
  const main = add(root, "div", { class: "eon-main" });
  const grid = pictureGrid(main, spec);
  const rows = spec.names.map((name) => ({ ...pictureRow(grid, spec, name), text: "" }));

  let atlas = null, gone = false;
  const now = () => Math.min(Math.max(model.get("frame"), 0), last);
  function draw() {
    const frame = now();
    if (atlas) rows.forEach((row, r) => paint(row.pens, atlas, spec, r * (last + 1) + frame));
    edge(root, spec, frame);
    bar.show(frame, spec.frames[frame], spec.frames[frame]);
    grid.setAttribute("aria-label", `${spec.alt} (${spec.frames[frame]})`);
  }
  const go = (i) => i === model.get("frame") || model.set("frame", i);
  const settle = () => model.save_changes(); // the kernel, if there is one, hears of a move once it is over
  const bar = transport(root, { label: "frame", of, last, ms: 1000 / spec.fps, loop: true, go, settle });
  const file = model.get("name") || of;
  const page = () => ({ rows, where: spec.frames[now()] });
  saving(bar, of, spec, file, page);
  filming(bar, of, spec, file, { last, ms: 1000 / spec.fps, at: now, go, now: page });
  grid.addEventListener("click", bar.toggle);
  model.on("change:frame", draw);
  const fit = () => arrange(root, main, grid, null, spec, rows.length);
  const leaveFull = fullScreen(root, bar, of, fit);
  const unfit = whenResized(el, fit);
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
    unfit();
    leaveFull();
    release();
    model.off("change:frame", draw);
    atlas?.close();
  };
}
export default { render };
