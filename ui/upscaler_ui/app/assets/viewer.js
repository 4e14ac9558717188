// The growing canvas: value = {src, original, boxes, grid, ratio, seams, region, hint}. Boxes are fractions of the picture.
// Dragging marks a region and triggers 'mark'; holding space, or the button, shows the original.
const $ = (name) => element.querySelector("." + name);
const rectangle = (box, kind) => {
  const mark = document.createElement("div");
  mark.className = kind;
  mark.style.left = box[0] * 100 + "%";
  mark.style.top = box[1] * 100 + "%";
  mark.style.width = (box[2] - box[0]) * 100 + "%";
  mark.style.height = (box[3] - box[1]) * 100 + "%";
  return mark;
};
let region = null;
let showing = false;

const draw = () => {
  const value = props.value || {};
  const stage = $("stage");
  element.classList.toggle("empty", !value.src);
  if (value.src) {
    const src = showing && value.original ? value.original : value.src;
    if ($("picture").src !== src) $("picture").src = src;
    stage.style.setProperty("--ratio", value.ratio || 1);
  }
  const overlay = $("overlay");
  overlay.replaceChildren(
    ...(value.grid || []).map((box) => rectangle(box, "cell")),
    ...(value.seams || []).map((seam) => {
      const mark = rectangle(seam.box, "joint");
      mark.style.setProperty("--heat", Math.min(seam.score / Math.max(2 * seam.limit, 0.01), 1));
      mark.title = "joint " + seam.score.toFixed(2) + ", inside tiles " + seam.limit.toFixed(2) + " (of 255)";
      return mark;
    }),
    ...(showing ? [] : (value.boxes || []).map((box) => rectangle(box, "working"))),
    ...(region ? [rectangle(region, "region")] : []),
  );
  $("hint").textContent = value.hint || "";
};

const at = (event) => {
  const frame = $("picture").getBoundingClientRect();
  const inside = (part, whole) => Math.min(Math.max(part / whole, 0), 1);
  return [inside(event.clientX - frame.left, frame.width), inside(event.clientY - frame.top, frame.height)];
};
const send = () => trigger("mark", { region: region });
const onStage = (event) => event.target.closest && event.target.closest(".stage") && element.contains(event.target);
let start = null;
element.addEventListener("pointerdown", (event) => {
  if (!onStage(event) || event.button || !(props.value || {}).src) return;
  event.preventDefault();
  start = at(event);
  try { element.setPointerCapture(event.pointerId); } catch (error) { /* a synthetic pointer */ }
});
element.addEventListener("pointermove", (event) => {
  if (!start) return;
  const end = at(event);
  region = [Math.min(start[0], end[0]), Math.min(start[1], end[1]), Math.max(start[0], end[0]), Math.max(start[1], end[1])];
  draw();
});
element.addEventListener("pointerup", (event) => {
  if (!start) return;
  start = null;
  if (region && (region[2] - region[0] < 0.01 || region[3] - region[1] < 0.01)) region = null;
  draw();
  send();
});
element.addEventListener("pointercancel", () => { start = null; });
const original = (on) => { if (showing !== on) { showing = on; draw(); } };
const typing = (event) => /^(INPUT|TEXTAREA|SELECT|BUTTON)$/.test(event.target.tagName) || event.target.isContentEditable;
document.addEventListener("keydown", (event) => {
  if (event.code === "Space" && !typing(event) && (props.value || {}).original) { event.preventDefault(); original(true); }
});
document.addEventListener("keyup", (event) => { if (event.code === "Space") original(false); });
window.addEventListener("blur", () => original(false));

watch("value", () => {
  if (!start) region = (props.value || {}).region || null;
  draw();
});
draw();
