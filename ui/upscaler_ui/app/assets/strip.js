// Jobs or results: value = {local, empty, items: [{id, title, text, state, fraction, thumb, shown}]}; buttons trigger 'act'.
const ACTIONS = {
  waiting: [["stop", "Remove from the queue", "✕"]],
  running: [["stop", "Stop", "■"]],
  failed: [["remove", "Remove from the list", "✕"]],
  stopped: [],
  finished: [["rerun", "Run again with the settings above", "↻"], ["restore", "Use its settings", "⚙"],
    ["input", "Use the result as input", "⤒"], ["reveal", "Show in its folder", "↗"], ["remove", "Delete", "✕"]],
};
ACTIONS.partial = ACTIONS.finished;
const make = (item, local) => {
  const card = document.createElement("div");
  card.dataset.id = item.id;
  const face = document.createElement("button");
  face.type = "button";
  face.className = "face";
  face.dataset.action = "show";
  if (item.thumb) {
    const image = document.createElement("img");
    image.src = item.thumb;
    image.alt = item.title;
    face.append(image);
    face.draggable = true;
  }
  const bar = document.createElement("i");
  const title = document.createElement("b");
  title.textContent = item.title;
  const text = document.createElement("span");
  face.append(bar, title, text);
  const row = document.createElement("div");
  row.className = "row";
  for (const [action, help, sign] of ACTIONS[item.state] || []) {
    if (action === "reveal" && !local) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.action = action;
    button.title = help;
    button.setAttribute("aria-label", help);
    button.textContent = sign;
    row.append(button);
  }
  card.append(face, row);
  return card;
};
const cards = new Map(); // kept as long as they are the same, so that a click, the focus or a drag survives a tick
const draw = () => {
  const value = props.value || { items: [] };
  const found = value.items.map((item) => {
    const key = JSON.stringify([item.id, item.state, item.title, value.local]);
    if (!cards.has(key)) cards.set(key, make(item, value.local));
    const card = cards.get(key);
    card.className = "item " + item.state + (item.shown ? " shown" : "");
    card.querySelector(".face").title = card.querySelector("span").textContent = item.text;
    card.querySelector("i").style.width = Math.round(100 * (item.fraction || 0)) + "%";
    return [key, card];
  });
  const kept = new Map(found);
  for (const key of [...cards.keys()]) if (!kept.has(key)) cards.delete(key);
  const list = element.querySelector(".items");
  for (const card of [...list.children]) if (![...kept.values()].includes(card)) card.remove();
  [...kept.values()].forEach((card, place) => {
    if (list.children[place] !== card) list.insertBefore(card, list.children[place] || null);
  });
  element.querySelector(".none").textContent = value.items.length ? "" : value.empty || "";
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button) trigger("act", { action: button.dataset.action, id: button.closest(".item").dataset.id });
});
element.addEventListener("dragstart", (event) => {
  const item = event.target.closest(".item");
  if (item) event.dataTransfer.setData("application/x-upscaler", item.dataset.id);
});
const ours = (event) => event.dataTransfer && event.dataTransfer.types.includes("application/x-upscaler");
document.addEventListener("dragover", (event) => {
  if (ours(event)) { event.preventDefault(); event.stopPropagation(); }
}, true);
document.addEventListener("drop", (event) => {
  if (!ours(event)) return;
  event.preventDefault();
  event.stopPropagation();
  const id = event.dataTransfer.getData("application/x-upscaler");
  const own = [...element.querySelectorAll(".item")].some((item) => item.dataset.id === id);
  if (own && event.target.closest("#input")) trigger("act", { action: "input", id: id });
}, true);
watch("value", draw);
draw();
