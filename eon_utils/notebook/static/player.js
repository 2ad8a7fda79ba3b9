// The player: all frames of all clips lie in one WebP atlas, a tile a frame and row; see scrubber.js. `spec` is
// written by player.py.
function render({ model, el }) {
  const spec = model.get("spec");
  const last = spec.frames.length - 1;
  const root = widget(el, `eon-player ${spec.given ? "eon-films" : ""}`, spec);
  root.style.cssText = `--eon-w:${spec.width}px;--eon-n:${spec.pictures}`;
  const grid = add(root, "div", { class: "eon-grid", role: "img" });
  const titles = () => spec.titles.forEach((title) => add(grid, "div", { class: "eon-title", title }, title));
  const rows = spec.names.map((name, r) => {
    if (name) add(add(grid, "div", { class: "eon-row" }), "b", {}, name);
    if (!r) titles();
    return canvases(grid, spec);
  });

  let atlas = null, gone = false;
  function draw() {
    const frame = Math.min(Math.max(model.get("frame"), 0), last);
    if (atlas) rows.forEach((pens, r) => paint(pens, atlas, spec, r * (last + 1) + frame));
    edge(root, spec, frame);
    bar.show(frame, spec.frames[frame], spec.frames[frame]);
    grid.setAttribute("aria-label", `${spec.alt} (${spec.frames[frame]})`);
  }
  const go = (i) => i === model.get("frame") || model.set("frame", i);
  const settle = () => model.save_changes(); // the kernel, if there is one, hears of a move once it is over
  const of = spec.alt.split(". ")[0];
  const bar = transport(root, { label: "frame", of, last, ms: 1000 / spec.fps, loop: true, go, settle });
  grid.addEventListener("click", bar.toggle);
  model.on("change:frame", draw);
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
    model.off("change:frame", draw);
    atlas?.close();
  };
}
export default { render };
