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

async function moveWidgets(store) {
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
}

const saved = document.getElementById("eon-widgets");
if (saved) moveWidgets(JSON.parse(saved.textContent));
