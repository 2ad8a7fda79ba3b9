// The live panel: shows what LivePanel.update sends while a cell trains, and sends "stop" back.
function render({ model, el }) {
  const root = add(el, "div", { class: "eon eon-live" });
  const head = add(root, "div", { class: "eon-bar" });
  add(head, "b", {}, model.get("title"));
  const status = add(head, "span", { class: "eon-status" }, "starting …");
  const stop = keepKeys(add(head, "button", { type: "button", class: "eon-stop" }, "■ Stop"));
  const steps = model.get("steps");
  const progress = add(root, "progress", { max: steps, value: 0, "aria-label": "Training progress" });
  const main = add(root, "div", { class: "eon-main" });
  const svg = add(main, "svg", { class: "eon-chart", role: "img", "aria-label": "Loss so far" });
  const canvas = add(main, "canvas", { width: 0, height: 0, role: "img", "aria-label": "Reconstructions now" });
  const pen = canvas.getContext("2d");
  const curve = { name: "loss", steps: [], values: [], smooth: [] };
  const plot = chart(svg, [curve], "loss", 0);
  const draw = () => {
    plot.layout();
    plot.mark(curve.steps.at(-1), [curve.steps.at(-1)], [curve.values.at(-1)]);
  };
  const of = distinct("controls", model.get("title"));
  const leaveFull = fullScreen(root, { bar: head }, of.name, draw);

  stop.addEventListener("click", () => {
    model.send({ kind: "stop" });
    stop.disabled = true;
    stop.textContent = "Stopping …";
  });

  const show = async (message, buffers) => {
    progress.value = message.step;
    status.textContent = message.text;
    [curve.steps, curve.values, curve.smooth] = message.curve;
    draw();
    if (!buffers.length) return;
    const picture = await createImageBitmap(new Blob([bytes(buffers[0])], { type: "image/jpeg" }));
    const n = message.pictures, w = picture.width / n, h = picture.height;
    if (canvas.width !== n * (w + 4) - 4) Object.assign(canvas, { width: n * (w + 4) - 4, height: h });
    for (let k = 0; k < n; k++) pen.drawImage(picture, k * w, 0, w, h, k * (w + 4), 0, w, h);
    picture.close();
    if (!message.film) return;
    canvas.classList.toggle("eon-strip", w < 110); // small frames: as wide as there is room
    canvas.title = message.film;
    canvas.setAttribute("aria-label", message.film);
  };
  model.on("msg:custom", show);
  return () => {
    leaveFull();
    of.release();
    model.off("msg:custom", show);
  };
}
export default { render };
