// Of a page opened from the disk the browser lets no script read another: the search then finds, but quotes nothing.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object")
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What scrolls can be scrolled by keys.
for (const formula of document.querySelectorAll(".formula"))
  if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;

// Words of the glossary: the theme's Bootstrap shows what they mean. Under a finger the first tap does that, the second
// one follows the link; Escape puts the meaning away.
let explained = null;
const tooltip = (term) => window.bootstrap?.Tooltip.getInstance(term);
for (const term of document.querySelectorAll(".eon-term")) {
  let finger = false;
  term.addEventListener("pointerdown", (event) => (finger = event.pointerType === "touch"));
  term.addEventListener("click", (event) => {
    if (!finger || term === explained || !tooltip(term)) return;
    event.preventDefault();
    tooltip(term).show();
    explained = term;
  });
  term.addEventListener("hidden.bs.tooltip", () => (explained = null));
  term.addEventListener("keydown", (event) => event.key === "Escape" && tooltip(term)?.hide());
}

// Anywidgets from their saved state: a page needs no kernel, no widget manager and no network to move them.

function bytes(base64) {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return new DataView(out.buffer);
}

function makeModel({ state, buffers }) {
  for (const { path, data } of buffers) {
    const last = path[path.length - 1];
    path.slice(0, -1).reduce((node, key) => node[key], state)[last] = bytes(data);
  }
  const listeners = {};
  const fire = (name, ...rest) => (listeners[name] ?? []).slice().forEach((call) => call(...rest));
  const model = {
    get: (key) => state[key],
    set(key, value) {
      if (state[key] === value) return;
      state[key] = value;
      fire("change:" + key, model, value);
      fire("change", model);
    },
    save_changes() {},
    send() {},
    on: (names, call) => names.split(/\s+/).forEach((name) => (listeners[name] ??= []).push(call)),
    off(name, call) {
      if (!name) Object.keys(listeners).forEach((key) => delete listeners[key]);
      else listeners[name] = call ? (listeners[name] ?? []).filter((other) => other !== call) : [];
    },
  };
  return model;
}

async function load(source) {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const module = await import(url);
  URL.revokeObjectURL(url);
  const widget = module.default ?? module;
  return typeof widget === "function" ? widget() : widget;
}

// Where the sliders stand is in the page's address: #02_scrubber=340 names a scrubber and its step, 04_scrubber=45/7
// also the frame, 06_moves=3 a player's frame. Several are joined by &; the last one is the one that moved last.
const places = new Map();

let writing = null; // browsers allow some hundred changes a minute
function writeAddress() {
  writing ??= setTimeout(() => {
    writing = null;
    history.replaceState(history.state, "", "#" + [...places].map((pair) => pair.join("=")).join("&"));
  }, 400);
}

const nearest = (steps, step) =>
  steps.reduce((best, at, i) => (Math.abs(at - step) < Math.abs(steps[best] - step) ? i : best), 0);

function moveTo(model, at) {
  const { steps, frames } = model.get("spec") ?? {};
  const numbers = at.split("/").map(Number);
  if (steps) model.set("index", nearest(steps, numbers.shift()));
  if (frames && numbers.length) model.set("frame", Math.min(Math.max(numbers[0], 1), frames.length) - 1);
}

function whereIs(model) {
  const { steps, frames } = model.get("spec");
  const numbers = [];
  if (steps) numbers.push(steps[model.get("index")]);
  if (frames) numbers.push(model.get("frame") + 1);
  return numbers.join("/");
}

// Moves the sliders to where the address says. Returns the name of the one to be scrolled to.
function followAddress(models) {
  const pairs = [...new URLSearchParams(location.hash.slice(1))];
  const named = pairs.filter(([name, at]) => models.has(name) && /^\d+(\/\d+)?$/.test(at));
  for (const [name, at] of named) {
    moveTo(models.get(name), at);
    places.delete(name);
    places.set(name, at);
  }
  return named.at(-1)?.[0];
}

// Calls `moved` when a widget of ours moves; others have no steps or frames.
function whenMoved(model, moved) {
  const spec = model.get("spec") ?? {};
  if (spec.steps || spec.frames) model.on("change:index change:frame", moved);
}

async function moveWidgets(store) {
  const named = new Map();
  const modules = {};
  const models = {};
  const style = document.head.appendChild(document.createElement("style"));
  style.textContent = Object.values(store.css).join("\n");
  for (const place of document.querySelectorAll(".eon-widget")) {
    const saved = store.models[place.dataset.model];
    const signal = new AbortController().signal;
    try {
      const widget = await (modules[saved.esm] ??= load(store.esm[saved.esm]));
      let model = models[place.dataset.model];
      if (!model) {
        model = models[place.dataset.model] = makeModel(saved);
        await widget.initialize?.({ model, signal });
        named.set(place.id, model);
      }
      const el = document.createElement("div");
      place.prepend(el); // in the page before it renders, so that it can measure its width
      await widget.render({ model, el, signal });
      place.replaceChildren(el);
      place.dataset.ready = "true";
    } catch (error) {
      console.error("This widget stays a still picture:", error);
    }
  }
  const show = (name) => document.getElementById(name)?.scrollIntoView();
  const first = followAddress(named);
  for (const [name, model] of named)
    whenMoved(model, () => {
      places.delete(name);
      places.set(name, whereIs(model));
      writeAddress();
    });
  window.addEventListener("hashchange", () => show(followAddress(named)));
  if (document.readyState !== "complete") await new Promise((done) => window.addEventListener("load", done));
  const [visit] = performance.getEntriesByType("navigation");
  if (visit?.type === "navigate") show(first); // a page that is loaded again stays where it was
}

const saved = document.getElementById("eon-widgets");
if (saved) moveWidgets(JSON.parse(saved.textContent));
