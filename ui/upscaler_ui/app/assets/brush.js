// The mask that is brushed over a picture: what is painted is redrawn. Comes before viewer.js, whose functions it calls when used.
// Triggers 'paint' with the mask, white on black, as a data URI; an empty one clears it.
const LONGEST = 1024; // pixels of the mask along its longer side
const brush = { on: false, erases: false, width: 0.08, sheet: null, number: 0, id: null, at: null };
const BRUSH_HINT = "Paint what is to be redrawn; the rest stays as enlarged. Zoom with the wheel or two fingers.";

const sheetOf = () => { // transparent where nothing is painted
  const [w, h] = size(), s = LONGEST / Math.max(w, h);
  const [width, height] = [w, h].map((side) => Math.max(Math.round(side * s), 1));
  if (!brush.sheet || Math.abs(brush.sheet.width - width) > 1 || Math.abs(brush.sheet.height - height) > 1) {
    brush.sheet = Object.assign(document.createElement("canvas"), { width, height });
  }
  return brush.sheet;
};
const paintLine = (from, to) => { // fractions of the picture
  const sheet = sheetOf(), pen = sheet.getContext("2d"), at = (point) => [point[0] * sheet.width, point[1] * sheet.height];
  pen.globalCompositeOperation = brush.erases ? "destination-out" : "source-over";
  pen.strokeStyle = "#e5484d";
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = brush.width * Math.min(sheet.width, sheet.height);
  pen.beginPath();
  pen.moveTo(...at(from));
  pen.lineTo(...at(to));
  pen.stroke();
};
const sendMask = () => {
  const sheet = sheetOf(), made = Object.assign(document.createElement("canvas"), { width: sheet.width, height: sheet.height });
  const pen = made.getContext("2d");
  pen.drawImage(sheet, 0, 0);
  const painted = pen.getImageData(0, 0, made.width, made.height).data.some((value, index) => index % 4 === 3 && value > 0);
  if (!painted) brush.sheet = null;
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, made.width, made.height);
  pen.globalCompositeOperation = "destination-over";
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, made.width, made.height);
  trigger("paint", { mask: painted ? made.toDataURL("image/png") : "" });
};
const drawMask = (pen, s, x, y) => {
  const [w, h] = size();
  if (brush.sheet && value.paintable && (brush.on || !value.before)) {
    pen.globalAlpha = 0.45;
    pen.drawImage(brush.sheet, x, y, w * s, h * s);
    pen.globalAlpha = 1;
  }
  if (brush.on && brush.at) {
    pen.beginPath();
    pen.arc(x + brush.at[0] * w * s, y + brush.at[1] * h * s, brush.width * Math.min(w, h) * s / 2, 0, 2 * Math.PI);
    pen.lineWidth = 3 * ratio(); pen.strokeStyle = "rgba(0, 0, 0, .6)"; pen.stroke();
    pen.lineWidth = 1.5 * ratio(); pen.strokeStyle = "#fff"; pen.stroke();
  }
};
const setPainting = (on) => {
  brush.on = on && Boolean(value.paintable);
  if (brush.on) setMarking(false);
  element.querySelector(".painter").setAttribute("aria-pressed", brush.on);
  element.querySelector(".brush").hidden = !brush.on;
  element.querySelector(".stage").classList.toggle("painting", brush.on);
  refresh();
};
const refreshBrush = () => {
  if (!value.mask && brush.number) brush.sheet = null; // another picture was chosen
  brush.number = value.mask || 0;
  element.querySelector(".painter").disabled = !value.paintable;
  const changed = brush.id !== value.id;
  brush.id = value.id;
  if (brush.on && (changed || !value.paintable)) setPainting(false); // what was asked for is on show
};
element.querySelector(".painter").addEventListener("click", () => setPainting(!brush.on));
element.querySelector(".eraser").addEventListener("click", (event) => {
  brush.erases = !brush.erases;
  event.target.setAttribute("aria-pressed", brush.erases);
});
element.querySelector(".clear").addEventListener("click", () => { brush.sheet = null; sendMask(); ask(); });
element.querySelector(".brush input").addEventListener("input", (event) => { brush.width = Number(event.target.value) / 100; ask(); });
