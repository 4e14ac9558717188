// One canvas for the picture, its growing result and the result.
// value = {id, size: [w, h], after, before, boxes, tiles, seams, places, region, hint}; `after` and `before` are {src} or, where
// they are large, {tiles, side, levels}: files TILES/LEVEL/X_Y.jpg, of which each level has half the size of the one
// before. Boxes are in pixels of the result, the region is in fractions of it. Triggers 'mark' with a region. brush.js paints.
const $ = (name) => element.querySelector("." + name);
const stage = $("stage"), view = $("view"), context = view.getContext("2d"), handle = $("handle");
const ratio = () => window.devicePixelRatio || 1;
let value = {}, zoom = 0, center = [0, 0]; // zoom: device pixels for a pixel of the result, 0 fits; center in pixels of it
let mode = "after", split = 0.5, holding = false, marking = false, region = null, asked = false;
const layers = { tiles: false, seams: false };
const down = new Map(); // pointers that are down, by their id

// pictures, by their address; the oldest ones go
const pictures = new Map();
const picture = (src) => {
  let found = pictures.get(src);
  if (!found) {
    found = new Image();
    found.onload = ask;
    found.src = src;
    pictures.set(src, found);
    for (const old of [...pictures.keys()].slice(0, -400)) pictures.delete(old);
  }
  return found.complete && found.naturalWidth ? found : null;
};

const ask = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };
const size = () => value.size || [1, 1];
const panes = () => mode === "side" && value.before ? 2 : 1;
const paneWidth = () => view.width / panes();
const fitting = () => Math.min(paneWidth() / size()[0], view.height / size()[1]);
const scale = () => zoom || fitting();
const clampCenter = () => {
  const s = scale();
  [paneWidth(), view.height].forEach((length, axis) => {
    const half = length / 2 / s, whole = size()[axis];
    center[axis] = whole <= 2 * half ? whole / 2 : Math.min(Math.max(center[axis], half), whole - half);
  });
};
const setZoom = (next, at) => { // `at`: the place that stays, in device pixels of its pane
  const s = scale(), place = at || [paneWidth() / 2, view.height / 2];
  const point = [0, 1].map((axis) => center[axis] + (place[axis] - (axis ? view.height : paneWidth()) / 2) / s);
  zoom = next && next > fitting() * 1.001 ? Math.min(next, 16) : (next && next >= 1 && fitting() > next ? next : 0);
  const t = scale();
  center = [0, 1].map((axis) => point[axis] - (place[axis] - (axis ? view.height : paneWidth()) / 2) / t);
  ask();
};

const drawSource = (source, left, top, right, bottom, s, originX, originY) => {
  if (!source) return;
  const [w, h] = size();
  if (source.src) {
    const image = picture(source.src);
    if (image) context.drawImage(image, originX, originY, w * s, h * s);
    return;
  }
  const wanted = Math.min(Math.max(Math.floor(Math.log2(1 / s)), 0), source.levels - 1);
  for (let level = source.levels - 1; level >= wanted; level--) { // coarse ones first, until the fine ones have come
    const step = source.side * 2 ** level;
    for (let y = Math.max(Math.floor(top / step), 0); y * step < Math.min(bottom, h); y++) {
      for (let x = Math.max(Math.floor(left / step), 0); x * step < Math.min(right, w); x++) {
        const image = picture(`${source.tiles}/${level}/${x}_${y}.jpg`);
        if (image) context.drawImage(image, originX + x * step * s, originY + y * step * s,
          Math.min(step, w - x * step) * s + 0.5, Math.min(step, h - y * step) * s + 0.5);
      }
    }
  }
};

const outline = (box, s, x, y) => [x + box[0] * s, y + box[1] * s, (box[2] - box[0]) * s, (box[3] - box[1]) * s];
const drawLayers = (s, x, y) => {
  const line = ratio();
  if (layers.tiles) for (const box of value.tiles || []) {
    const place = outline(box, s, x, y);
    context.fillStyle = "rgba(80, 140, 255, .16)"; // overlaps add up, so that they can be seen
    context.fillRect(...place);
    context.lineWidth = line;
    context.strokeStyle = "rgba(255, 255, 255, .8)";
    context.strokeRect(...place);
  }
  if (layers.seams) for (const seam of value.seams || []) {
    const heat = Math.min(seam.score / Math.max(2 * seam.limit, 0.01), 1);
    context.fillStyle = `rgba(${Math.round(48 + 181 * heat)}, ${Math.round(164 - 92 * heat)}, ${Math.round(108 - 31 * heat)}, .7)`;
    context.fillRect(...outline(seam.box, s, x, y));
  }
  if (!holding) for (const box of value.boxes || []) {
    context.lineWidth = 2 * line;
    context.strokeStyle = "#ffb300";
    context.strokeRect(...outline(box, s, x, y));
  }
  for (const [left, top, right, bottom, words] of value.paintable && !holding ? value.places || [] : []) {
    const [w, h] = size(), place = outline([left * w, top * h, right * w, bottom * h], s, x, y);
    context.lineWidth = 3 * line; context.strokeStyle = "rgba(0, 0, 0, .6)"; context.strokeRect(...place);
    context.lineWidth = 1.5 * line; context.strokeStyle = "#7fd4ff"; context.strokeRect(...place);
    context.font = `${12 * line}px sans-serif`;
    const wide = Math.min(context.measureText(words).width + 8 * line, place[2]);
    context.fillStyle = "rgba(0, 0, 0, .62)"; context.fillRect(place[0], place[1], wide, 18 * line);
    context.fillStyle = "#fff"; context.fillText(words, place[0] + 4 * line, place[1] + 13 * line, wide);
  }
  if (region) {
    const [w, h] = size(), place = outline([region[0] * w, region[1] * h, region[2] * w, region[3] * h], s, x, y);
    context.setLineDash([6 * line, 4 * line]);
    context.lineWidth = 3 * line; context.strokeStyle = "rgba(0, 0, 0, .8)"; context.strokeRect(...place);
    context.lineWidth = 1.5 * line; context.strokeStyle = "#fff"; context.strokeRect(...place);
    context.setLineDash([]);
  }
};

const drawPane = (start, width, source, clipFrom, clipTo) => {
  const s = scale(), x = start + width / 2 - center[0] * s, y = view.height / 2 - center[1] * s;
  context.save();
  context.beginPath();
  context.rect(clipFrom, 0, clipTo - clipFrom, view.height);
  context.clip();
  context.imageSmoothingEnabled = source === value.before || s < 2;
  context.imageSmoothingQuality = "high";
  const edge = width / 2 / s, rise = view.height / 2 / s;
  drawSource(source, center[0] - edge, center[1] - rise, center[0] + edge, center[1] + rise, s, x, y);
  drawLayers(s, x, y);
  drawMask(context, s, x, y);
  context.restore();
};

const drawOverview = () => {
  const map = $("overview"), brush = map.getContext("2d"), [w, h] = size();
  const s = Math.min(map.width / w, map.height / h), x = (map.width - w * s) / 2, y = (map.height - h * s) / 2;
  brush.clearRect(0, 0, map.width, map.height);
  const after = value.after || {};
  const image = picture(after.src || `${after.tiles}/${after.levels - 1}/0_0.jpg`);
  if (image) brush.drawImage(image, x, y, w * s, h * s);
  const half = [paneWidth() / 2 / scale(), view.height / 2 / scale()];
  brush.lineWidth = 2;
  brush.strokeStyle = "#ffb300";
  brush.strokeRect(x + (center[0] - half[0]) * s, y + (center[1] - half[1]) * s, 2 * half[0] * s, 2 * half[1] * s);
};

const draw = () => {
  asked = false;
  const width = Math.round(view.clientWidth * ratio()), height = Math.round(view.clientHeight * ratio());
  if (!width || !height) return;
  if (view.width !== width || view.height !== height) { view.width = width; view.height = height; }
  context.clearRect(0, 0, width, height);
  if (!value.after) return;
  clampCenter();
  const shown = value.before ? mode : "after";
  if (shown === "side") {
    const half = width / 2;
    drawPane(0, half, value.before, 0, half - ratio());
    drawPane(half, half, holding ? value.before : value.after, half + ratio(), width);
  } else if (shown === "split" && !holding) {
    drawPane(0, width, value.before, 0, split * width);
    drawPane(0, width, value.after, split * width, width);
  } else {
    drawPane(0, width, holding && value.before ? value.before : value.after, 0, width);
  }
  const zoomed = zoom > 0 && zoom > fitting() * 1.001;
  stage.classList.toggle("zoomed", zoomed);
  stage.dataset.zoom = Math.round(scale() * 100);
  stage.dataset.shown = holding ? "original" : shown;
  handle.style.display = shown === "split" && !holding ? "block" : "none";
  handle.style.left = split * 100 + "%";
  handle.setAttribute("aria-valuenow", Math.round(split * 100));
  for (const name of element.querySelectorAll(".name")) name.style.display = shown === "after" && !holding ? "none" : "block";
  $("right").style.display = shown === "after" || holding ? "none" : "block";
  $("zoom").textContent = Math.round(scale() * 100) + "%";
  for (const button of element.querySelectorAll("button[data-zoom]")) {
    const wanted = button.dataset.zoom;
    button.setAttribute("aria-pressed", wanted === "fit" ? zoom === 0 : zoom !== 0 && Math.abs(scale() - Number(wanted)) < 0.005);
  }
  if (zoomed) drawOverview();
};

const refresh = () => {
  const next = props.value || {}, before = value;
  value = next;
  element.classList.toggle("empty", !value.after);
  stage.dataset.id = value.id || "";
  if (before.id !== value.id || String(before.size) !== String(value.size)) { zoom = 0; center = size().map((side) => side / 2); }
  if (!down.size) region = value.region || null;
  const compares = Boolean(value.before);
  $("hold").disabled = element.querySelector("select").disabled = !compares;
  if (value.compare && compares && (before.id !== value.id || !before.compare)) setMode("split");
  refreshBrush();
  $("hint").textContent = brush.on ? BRUSH_HINT : layers.seams && value.seamsHint ? value.seamsHint : value.hint || "";
  ask();
};
const setMode = (next) => { mode = next; element.querySelector("select").value = next; ask(); };

// pointers: one moves or marks, two pinch
let start = null;
const place = (event) => { // in device pixels of the canvas, and of the pane
  const frame = view.getBoundingClientRect();
  const x = (event.clientX - frame.left) * ratio(), y = (event.clientY - frame.top) * ratio();
  return [x % paneWidth(), y];
};
const fraction = (event) => place(event).map((at, axis) => {
  const middle = (axis ? view.height : paneWidth()) / 2;
  return Math.min(Math.max((center[axis] + (at - middle) / scale()) / size()[axis], 0), 1);
});
view.addEventListener("pointerdown", (event) => {
  if (event.button || !value.after) return;
  stage.focus({ preventScroll: true });
  try { view.setPointerCapture(event.pointerId); } catch (error) { /* a synthetic pointer */ }
  down.set(event.pointerId, place(event));
  const marks = (marking || event.shiftKey) && down.size === 1;
  start = { at: fraction(event), marks: marks, paints: brush.on && !marks && down.size === 1 };
});
view.addEventListener("pointermove", (event) => {
  const last = down.get(event.pointerId);
  if (brush.on) { brush.at = fraction(event); ask(); }
  if (!last) return;
  const now = place(event);
  if (down.size === 2) {
    const other = [...down].find(([id]) => id !== event.pointerId)[1];
    const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    setZoom(scale() * distance(now, other) / Math.max(distance(last, other), 1), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
  } else if (start && start.marks) {
    const end = fraction(event);
    region = [0, 1].map((axis) => Math.min(start.at[axis], end[axis])).concat([0, 1].map((axis) => Math.max(start.at[axis], end[axis])));
  } else if (start && start.paints) {
    const to = fraction(event);
    paintLine(start.at, to);
    start = { ...start, at: to, painted: true };
  } else if (!brush.on) {
    center = center.map((middle, axis) => middle - (now[axis] - last[axis]) / scale());
  }
  down.set(event.pointerId, now);
  ask();
});
const up = (event) => {
  if (!down.delete(event.pointerId) || !start) return;
  if (start.marks && event.type === "pointerup") {
    if (region && (region[2] - region[0] < 0.004 || region[3] - region[1] < 0.004)) region = null;
    setMarking(false);
    trigger("mark", { region: region });
  }
  if (start.paints) {
    if (!start.painted && event.type === "pointerup") paintLine(start.at, start.at);
    sendMask();
  }
  if (!down.size) start = null;
  ask();
};
view.addEventListener("pointerup", up);
view.addEventListener("pointercancel", up);
stage.addEventListener("wheel", (event) => { // over the handle too
  if (!value.after) return;
  event.preventDefault();
  setZoom(scale() * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), place(event));
}, { passive: false });
view.addEventListener("pointerleave", () => { brush.at = null; ask(); });
view.addEventListener("dblclick", (event) => !brush.on && setZoom(stage.classList.contains("zoomed") ? 0 : Math.max(1, fitting() * 2), place(event)));

const setMarking = (on) => {
  marking = on;
  if (on) setPainting(false);
  $("marker").setAttribute("aria-pressed", on);
  stage.classList.toggle("marking", on);
};
$("marker").addEventListener("click", () => {
  if (region) { region = null; trigger("mark", { region: null }); setMarking(false); ask(); } else setMarking(!marking);
});

// the slider between original and result
const slide = (to) => { split = Math.min(Math.max(to, 0), 1); ask(); };
handle.addEventListener("pointerdown", (event) => { handle.setPointerCapture(event.pointerId); event.stopPropagation(); });
handle.addEventListener("pointermove", (event) => {
  if (!handle.hasPointerCapture(event.pointerId)) return;
  const frame = view.getBoundingClientRect();
  slide((event.clientX - frame.left) / frame.width);
});
handle.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  event.stopPropagation();
  slide(split + steps[event.key]);
});

stage.addEventListener("keydown", (event) => {
  if (event.target !== stage || event.ctrlKey || event.metaKey || event.altKey || !value.after) return;
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const zooms = { "+": scale() * 1.25, "=": scale() * 1.25, "-": scale() / 1.25, 0: 0, 1: 1, 2: 2 };
  if (event.key in moves) {
    center = center.map((middle, axis) => middle + moves[event.key][axis] * 60 * ratio() / scale());
    ask();
  } else if (event.key in zooms) setZoom(zooms[event.key]);
  else return;
  event.preventDefault();
});
$("overview").addEventListener("pointerdown", (event) => {
  const map = $("overview"), frame = map.getBoundingClientRect(), [w, h] = size();
  const s = Math.min(map.width / w, map.height / h);
  center = [(event.clientX - frame.left - (map.width - w * s) / 2) / s, (event.clientY - frame.top - (map.height - h * s) / 2) / s];
  ask();
});

element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-zoom]");
  if (button) setZoom(button.dataset.zoom === "fit" ? 0 : Number(button.dataset.zoom));
});
element.addEventListener("change", (event) => {
  if (event.target.matches("select")) setMode(event.target.value);
  if (event.target.dataset.layer) { layers[event.target.dataset.layer] = event.target.checked; refresh(); }
});

// the original, as long as the button or space is held
const hold = (on) => { if (holding !== on && (value.before || !on)) { holding = on; ask(); } };
$("hold").addEventListener("pointerdown", () => hold(true));
for (const end of ["pointerup", "pointerleave", "pointercancel"]) $("hold").addEventListener(end, () => hold(false));
$("hold").addEventListener("contextmenu", (event) => event.preventDefault());
const typing = (event) => event.target.closest && event.target.closest("input, textarea, select, button:not(.hold), summary, [role=radio]");
document.addEventListener("keydown", (event) => {
  if (event.code === "Space" && !typing(event) && value.before) { event.preventDefault(); hold(true); }
});
document.addEventListener("keyup", (event) => { if (event.code === "Space") hold(false); });
window.addEventListener("blur", () => hold(false));

new ResizeObserver(ask).observe(view);
watch("value", refresh);
refresh();
