// What the widgets share, put in front of their own code: elements, pictures, the play bar.
function add(parent, tag, attributes = {}, text = "") {
  const svg = tag === "svg" || parent.namespaceURI.endsWith("svg");
  const space = svg ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const node = document.createElementNS(space, tag);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  node.textContent = text;
  return parent.appendChild(node);
}

function bytes(view) {
  return view.buffer ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array(view);
}

const whole = (n) => n.toLocaleString("en");

const decode = (data) => createImageBitmap(new Blob([bytes(data)], { type: "image/webp" }));

// A canvas for each of `spec.pictures` pictures, in the grid's next row
function canvases(grid, spec) {
  const [width, height] = spec.cell;
  const cell = { width, height, class: spec.pixelated ? "eon-pixels" : "" };
  return Array.from({ length: spec.pictures }, () => add(grid, "canvas", cell).getContext("2d"));
}

// The pictures of a tile (they stand side by side in it) onto their canvases; tiles fill the atlas row by row
function paint(pens, atlas, spec, tile) {
  const [width, height] = spec.cell, pad = spec.pad ?? 0;
  const x = (tile % spec.columns) * spec.pictures, y = Math.floor(tile / spec.columns);
  pens.forEach((pen, k) => {
    const left = (x + k) * (width + 2 * pad) + pad, top = y * (height + 2 * pad) + pad;
    pen.drawImage(atlas, left, top, width, height, 0, 0, width, height);
  });
}

// Over frames: whether the one that is shown was given to the models, for the colour of the pictures' upper edge
function edge(root, spec, frame) {
  if (spec.given) root.dataset.frame = frame < spec.given ? "given" : "predicted";
}

// JupyterLab takes keys for its own commands. While a control has the focus it gets those with Ctrl or Cmd alone, to
// save with; the others are the control's. Lumino looks at the attribute before the control hears of the key.
function keepKeys(control) {
  const decide = (event) => control.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey));
  control.addEventListener("focus", () => window.addEventListener("keydown", decide, true));
  control.addEventListener("blur", () => window.removeEventListener("keydown", decide, true));
  return control;
}

// A widget's outermost element, with a name: several on a page are told apart.
function widget(parent, kind, spec) {
  return add(parent, "div", { class: `eon ${kind}`, role: "group", "aria-label": spec.alt });
}

// Play button, slider from 0 to `last`, caption. `go(i)` moves, `settle()` follows when a move is over; `loop`:
// play begins again at the end. `what` is played, where there is more than one bar; `of`: a name of the widget.
function transport(parent, { label, what = "", of, last, ms, loop = false, go, settle }) {
  const bar = add(parent, "div", { class: "eon-bar" });
  const title = `Play or pause${what} (space)`;
  const button = { type: "button", class: "eon-play", "aria-label": `Play${what}: ${of}`, title };
  const play = keepKeys(add(bar, "button", button, "▶"));
  const ends = { min: 0, max: last, step: 1 };
  const range = keepKeys(add(bar, "input", { type: "range", ...ends, "aria-label": `${label}: ${of}` }));
  const caption = add(bar, "span", { class: "eon-caption" });
  let timer = null;

  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", `Play${what}: ${of}`);
  };
  const next = () => {
    if (+range.value < last) go(+range.value + 1);
    else if (loop) go(0);
    else pause(), settle();
  };
  const toggle = () => {
    if (timer) return pause(), settle();
    if (!loop && +range.value === last) go(0);
    play.textContent = "⏸";
    play.setAttribute("aria-label", `Pause${what}: ${of}`);
    timer = setInterval(next, ms);
  };
  play.addEventListener("click", toggle);
  range.addEventListener("input", () => (pause(), go(+range.value)));
  range.addEventListener("change", settle);
  range.addEventListener("keydown", (event) => event.key === " " && (event.preventDefault(), toggle()));

  const show = (i, text, spoken) => {
    range.value = i;
    caption.textContent = text;
    range.setAttribute("aria-valuetext", spoken);
  };
  return { pause, toggle, show };
}
