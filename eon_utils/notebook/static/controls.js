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

// The grid of pictures: titles, then a label and a canvas for each of `spec.pictures` a row. An arrangement (see
// `arrange`) puts the rows one under the other or side by side.
function pictureGrid(main, spec) {
  const titled = spec.titles.length ? "eon-titled" : "";
  const grid = add(main, "div", { class: `eon-grid ${titled}`, role: "img" });
  grid.style.setProperty("--eon-n", spec.pictures);
  if (titled) add(grid, "div", { class: "eon-corner" });
  spec.titles.forEach((title) => add(grid, "div", { class: "eon-title", title }, title));
  return grid;
}

function pictureRow(grid, spec, name) {
  const [width, height] = spec.cell;
  const label = add(grid, "div", { class: "eon-row" });
  if (name) add(label, "b", { title: name }, name);
  const cell = { width, height, class: spec.pixelated ? "eon-pixels" : "" };
  const pens = Array.from({ length: spec.pictures }, () => add(grid, "canvas", cell).getContext("2d"));
  return { name, label, pens };
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

// Several on a page may be of the same models: a number tells them apart.
function distinct(kind, text) {
  const taken = (globalThis.eonNames ??= new Set());
  let name = text;
  for (let n = 2; taken.has(`${kind}: ${name}`); n++) name = `${text} (${n})`;
  taken.add(`${kind}: ${name}`);
  return { name, release: () => taken.delete(`${kind}: ${name}`) };
}

// A widget's outermost element. `of`: its name in the labels of its controls.
function widget(parent, kind, spec, of) {
  const group = distinct("group", spec.alt), controls = distinct("controls", of);
  const root = add(parent, "div", { class: `eon ${kind}`, role: "group", "aria-label": group.name });
  root.style.setProperty("--eon-w", `${spec.width}px`);
  return { root, of: controls.name, release: () => (group.release(), controls.release()) };
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
  const move = (by) => {
    pause();
    go(Math.min(Math.max(+range.value + by, 0), last));
    settle();
  };
  return { bar, range, pause, toggle, move, show };
}

// --- the size of the pictures ---

const LEAST = 56; // CSS pixels of a picture's width: with less there is nothing to see, and the page has to scroll
const PROBE = 100;

// The height in which a widget is to be seen as a whole
function roomHigh(root) {
  if (root.classList.contains("eon-full")) return window.innerHeight;
  if (root.dataset.room) return +root.dataset.room; // a slide knows what it has left
  const notebook = root.closest(".jp-WindowedPanel-outer, .jp-Notebook");
  if (notebook) return notebook.clientHeight - 16;
  if (window !== window.top) return 0.7 * screen.availHeight; // a frame that is as high as what is in it
  const header = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
  return window.innerHeight - header - 8;
}

// Of four arrangements (rows of pictures under each other or side by side, the chart beside or below them) takes the
// one with the largest pictures that leaves pictures, chart and sliders in view together.
function arrange(root, main, grid, svg, spec, rows) {
  const full = root.classList.contains("eon-full");
  const em = parseFloat(getComputedStyle(root).fontSize);
  const style = getComputedStyle(root);
  const wide = root.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  if (!(wide > 0)) return;
  root.classList.toggle("eon-narrow", wide < 36 * em);
  const high = roomHigh(root) - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  const longest = rows > 2 ? Math.min(8, 0.6 * Math.max(...spec.names.map((name) => name.length))) : 0;
  const gap = parseFloat(style.rowGap), aside = parseFloat(getComputedStyle(main).columnGap);
  const ratio = spec.cell[1] / spec.cell[0];
  const place = (down, beside, width) => {
    root.classList.toggle("eon-down", down);
    root.classList.toggle("eon-beside", beside);
    root.style.setProperty("--eon-w", `${width}px`);
  };
  let best = null;
  for (const down of [false, true])
    for (const beside of svg ? [true, false] : [false]) {
      place(down, beside, PROBE);
      const [columns, lines] = down ? [rows, spec.pictures] : [spec.pictures, rows];
      const bars = [...root.children].filter((part) => part !== main);
      let other = grid.offsetHeight - lines * PROBE * ratio; // height of all but the pictures
      for (const part of bars) other += part.offsetHeight + gap;
      if (svg && !beside) other += svg.clientHeight + parseFloat(getComputedStyle(main).rowGap);
      const left = wide - (grid.offsetWidth - columns * PROBE) - (beside ? (16 + longest) * em + aside : 0);
      const most = full ? Infinity : spec.width;
      const fits = Math.max((high - other) / (lines * ratio), Math.min(LEAST, spec.width));
      const width = Math.floor(Math.min(most, left / columns, fits));
      const missed = Math.max(0, lines * width * ratio + other - high);
      const texts = [...grid.querySelectorAll(".eon-row > :not(svg)")];
      const clipped = down ? Math.max(0, Math.max(...texts.map((text) => text.scrollWidth)) - width) : 0;
      const score = width - missed - 2 * clipped;
      if (width > 0 && (!best || score > 1.05 * best.score)) best = { down, beside, width, score };
    }
  if (best) place(best.down, best.beside, best.width);
}

// Calls `fit` now and whenever the room changes. Returns what ends that.
function whenResized(el, fit) {
  let width = 0;
  const observer = new ResizeObserver(() => el.clientWidth !== width && ((width = el.clientWidth), fit()));
  observer.observe(el);
  window.addEventListener("resize", fit);
  el.addEventListener("eon-room", fit); // what a slide says when it has given a widget another room
  return () => {
    observer.disconnect();
    window.removeEventListener("resize", fit);
    el.removeEventListener("eon-room", fit);
  };
}

// --- full screen, a step as a picture, all of them as a film ---

const ICONS = {
  full: "M1 6V1h5M10 1h5v5M15 10v5h-5M6 15H1v-5",
  save: "M8 1v9M4 6.5l4 4 4-4M1.5 11v4h13v-4",
  film: "M1.5 2.5h13v11h-13zM6.3 5.4v5.2l4.4-2.6z",
};

function tool(bar, icon, label, title) {
  const button = keepKeys(add(bar, "button", { type: "button", class: "eon-tool", "aria-label": label, title }));
  const svg = add(button, "svg", { viewBox: "0 0 16 16", "aria-hidden": "true", class: "eon-icon" });
  add(svg, "path", { d: ICONS[icon] });
  bar.parentNode.style.setProperty("--eon-tools", bar.querySelectorAll(".eon-tool").length);
  return button;
}

const MOVES = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -Infinity, End: Infinity };

// Button and key F; Escape leaves. Where a browser has no full screen for it, the widget covers the page. While it is
// on, keys move the slider, if `bar` has one, wherever the focus is. Returns what ends it for good.
function fullScreen(root, bar, of, fit) {
  const button = tool(bar.bar, "full", `Full screen: ${of}`, "Full screen (F)");
  const isFull = () => root.classList.contains("eon-full");
  const turn = (on) => {
    if (on === isFull()) return;
    root.classList.toggle("eon-full", on);
    button.setAttribute("aria-label", `${on ? "Leave full screen" : "Full screen"}: ${of}`);
    button.title = on ? "Leave full screen (Esc)" : "Full screen (F)";
    window[on ? "addEventListener" : "removeEventListener"]("keydown", keys, true);
    (on && bar.range ? bar.range : button).focus({ preventScroll: true });
    fit();
  };
  const toggle = async () => {
    if (document.fullscreenElement === root) return document.exitFullscreen();
    if (isFull()) return turn(false);
    try {
      await root.requestFullscreen();
    } catch {
      turn(true);
    }
  };
  const changed = () => turn(document.fullscreenElement === root);
  const handled = (event) => (event.preventDefault(), event.stopPropagation());
  const plain = (event) => !(event.ctrlKey || event.metaKey || event.altKey);
  function keys(event) {
    if (!plain(event)) return;
    if (event.key === "Escape" && !document.fullscreenElement) return handled(event), turn(false);
    if (event.key === "f" || event.key === "F") return handled(event), toggle();
    if (!bar.range || (root.contains(event.target) && /^(INPUT|BUTTON)$/.test(event.target.tagName))) return;
    if (event.key === " ") return handled(event), bar.toggle();
    if (event.key in MOVES) return handled(event), bar.move(MOVES[event.key]);
  }
  const ask = (event) => {
    if (!isFull() && plain(event) && (event.key === "f" || event.key === "F")) handled(event), toggle();
  };
  button.addEventListener("click", toggle);
  root.addEventListener("keydown", ask);
  document.addEventListener("fullscreenchange", changed);
  return () => {
    window.removeEventListener("keydown", keys, true);
    document.removeEventListener("fullscreenchange", changed);
  };
}

// A page with the pictures that are shown, their labels and where the sliders stand. `rows`: as `pictureRow` gives
// them, with `text`: what is said of each. `least`: its width, at least, since texts of other steps may be longer.
function drawStep(spec, rows, where, least = 0) {
  const zoom = Math.max(1, Math.ceil(240 / spec.cell[0]));
  const width = zoom * spec.cell[0], height = zoom * spec.cell[1];
  const line = 34, gap = 8, edge = 24, titles = spec.titles.length ? line : 0;
  const page = document.createElement("canvas"), pen = page.getContext("2d");
  const bold = "bold 22px system-ui, sans-serif", normal = "20px system-ui, sans-serif";
  let wide = spec.pictures * (width + gap) - gap;
  const measure = (font, text) => ((pen.font = font), pen.measureText(text).width);
  for (const row of rows) wide = Math.max(wide, measure(bold, `${row.name} `) + measure(normal, row.text));
  wide = Math.max(wide, measure(bold, where));
  page.width = Math.max(least, Math.ceil(wide) + 2 * edge);
  page.height = line + titles + rows.reduce((sum, row) => sum + (row.name ? line : 0) + height + gap, 2 * edge);
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, page.width, page.height);
  pen.textBaseline = "middle";
  pen.imageSmoothingEnabled = !spec.pixelated;
  const write = (font, colour, text, x, y, most) => {
    pen.font = font;
    pen.fillStyle = colour;
    pen.fillText(text, x, y, most);
  };
  let y = edge + line / 2 - 4;
  write(bold, "#222", where, edge, y);
  y += line / 2 + 4;
  pen.textAlign = "center";
  spec.titles.forEach((title, k) => write(normal, "#444", title, edge + k * (width + gap) + width / 2, y + 14, width));
  pen.textAlign = "left";
  y += titles;
  for (const row of rows) {
    if (row.name) {
      write(bold, "#222", row.name, edge, y + 16);
      write(normal, "#444", row.text, edge + measure(bold, `${row.name} `) + 6, y + 16);
      y += line;
    }
    row.pens.forEach((from, k) => pen.drawImage(from.canvas, edge + k * (width + gap), y, width, height));
    y += height + gap;
  }
  return page;
}

function download(blob, ...words) {
  const plain = (text) => text.toLowerCase().replace(/[^a-z0-9_+]+/g, "-").replace(/^-|-$/g, "");
  const ending = blob.type.split("/")[1].split(";")[0];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${words.map(plain).join("_")}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A button that saves what `now()` gives: rows and where the sliders stand
function saving(bar, of, spec, file, now) {
  const button = tool(bar.bar, "save", `Save this step as PNG: ${of}`, "Save this step as PNG");
  button.addEventListener("click", () => {
    const { rows, where } = now();
    drawStep(spec, rows, where).toBlob((blob) => download(blob, file, where), "image/png");
  });
}

const FILMS = ["video/webm;codecs=vp9", "video/webm", "video/mp4"];
const REST = 1500; // ms for which the last page of a film stays

// A button that records the page of each place of the slider as a film, in as long as playing them takes. A browser
// that can't record has none; there, Python's eon.export does it. `at()`: where the slider stands.
function filming(bar, of, spec, file, { last, ms, at, go, now }) {
  const type = FILMS.find((kind) => window.MediaRecorder?.isTypeSupported(kind));
  if (!type || !HTMLCanvasElement.prototype.captureStream) return;
  const button = tool(bar.bar, "film", `Save as a film: ${of}`, "Save as a film, in as long as playing takes");
  const wait = (time) => new Promise((done) => setTimeout(done, time));

  const record = async () => {
    const film = document.createElement("canvas"), pen = film.getContext("2d");
    const page = (i, least) => {
      go(i);
      const { rows, where } = now();
      return drawStep(spec, rows, where, least);
    };
    for (let i = 0; i <= last; i++) {
      const { width, height } = page(i);
      film.width = Math.max(film.width, 2 * Math.ceil(width / 2)); // codecs halve the resolution of colours
      film.height = 2 * Math.ceil(height / 2);
    }
    const draw = (i) => {
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, film.width, film.height);
      pen.drawImage(page(i, film.width), 0, 0);
    };
    draw(0);
    const recorder = new MediaRecorder(film.captureStream(), { mimeType: type, videoBitsPerSecond: 6e6 });
    const parts = [];
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    const stopped = new Promise((done, failed) => {
      recorder.addEventListener("stop", done);
      recorder.addEventListener("error", failed);
    });
    recorder.start();
    for (let i = 0; i <= last; i++) {
      draw(i);
      await wait(ms);
    }
    await wait(REST);
    draw(last); // a recorder hears of pages that are drawn: this one ends the film
    await wait(100);
    recorder.stop();
    await stopped;
    return new Blob(parts, { type });
  };

  button.addEventListener("click", async () => {
    const before = at();
    bar.pause();
    button.disabled = true;
    try {
      download(await record(), file);
    } catch (error) {
      button.title = `This browser could not record it (${error.message ?? error.error}): use eon.export`;
    } finally {
      button.disabled = false;
      go(before);
    }
  });
}
