// What is shown on a slide is enlarged, or made smaller, until it fills the room that is left.
const WIDE = 1.75; // a picture of another shape stands beside its text

const shownOn = (slide) => slide.querySelectorAll(".cell .eon, .cell table, pre");

function zoomToFit(slide, shown) {
  const scale = Reveal.getScale();
  const box = shown.getBoundingClientRect();
  const room = slide.getBoundingClientRect();
  const high = (room.bottom - box.top) / scale - 46, wide = (room.right - box.left) / scale - 56;
  const widget = shown.matches(".eon");
  for (let zoom = widget ? 1.3 : 1.2; zoom > 0.4; zoom -= widget ? 0.1 : 0.04) {
    shown.style.zoom = zoom;
    if (widget) {
      shown.dataset.room = Math.floor(high / zoom); // it arranges its pictures anew in this height
      shown.dispatchEvent(new Event("eon-room", { bubbles: true }));
    }
    const { width, height } = shown.getBoundingClientRect();
    if (height / scale <= high && Math.max(width / scale, shown.scrollWidth * zoom) <= wide + 1) return zoom;
  }
  return 0.4;
}

function fit(slide) {
  const pictures = [...slide.querySelectorAll(".cell img:not(.eon-widget img)")];
  slide.classList.toggle("beside", pictures.length === 1 && pictures[0].naturalWidth < WIDE * pictures[0].naturalHeight);
  for (const shown of shownOn(slide)) {
    if (zoomToFit(slide, shown) < 0.9 && shown.matches(".eon")) {
      slide.classList.add("beside");
      zoomToFit(slide, shown);
    }
  }
}

const fitCurrent = () => Reveal.isReady() && fit(Reveal.getCurrentSlide());
const ready = new MutationObserver(fitCurrent); // a widget is
for (const place of document.querySelectorAll(".eon-widget")) {
  place.dataset.preventSwipe = "";
  ready.observe(place, { attributeFilter: ["data-ready"] });
  // keys are those of the control that has the focus; the deck stays where it is
  place.addEventListener("keydown", (event) => event.stopPropagation());
}
for (const answer of document.querySelectorAll(".tag_answer")) answer.classList.add("fragment");
for (const event of ["ready", "slidechanged", "resize"]) Reveal.on(event, fitCurrent);
