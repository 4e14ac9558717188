// Jobs or results: value = {local, empty, tools, more, undo, items: [{id, title, text, state, fraction, thumb, shown}]}; buttons
// and the filter trigger 'act'.
const ACTIONS = {
  left: [["go on", "Continue"], ["drop", "Delete"]],
  waiting: [["stop", "Remove from the queue"]],
  running: [["stop", "Stop"]],
  failed: [["remove", "Remove from the list"]],
  stopped: [],
  finished: [["rerun", "Run again with the current settings"], ["restore", "Use its settings"],
    ["input", "Use as input"], ["reveal", "Show in its folder"], ["remove", "Delete"]],
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
    image.alt = "";
    face.append(image);
    face.draggable = true;
  }
  const bar = document.createElement("i");
  const title = document.createElement("b");
  title.textContent = item.title;
  const text = document.createElement("span");
  face.append(bar, title, text);
  card.append(face);
  const actions = (ACTIONS[item.state] || []).filter(([action]) => action !== "reveal" || local);
  const buttons = actions.map(([action, words]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.action = action;
    button.textContent = words;
    return button;
  });
  if (buttons.length <= 2) {
    const row = document.createElement("div");
    row.className = "row";
    for (const button of buttons) { button.className = "opener"; row.append(button); }
    card.append(row);
    return card;
  }
  const menu = document.createElement("div");
  menu.className = "menu";
  menu.popover = "auto";
  menu.id = "menu-" + item.id;
  menu.append(...buttons);
  const opener = document.createElement("button");
  opener.type = "button";
  opener.className = "opener";
  opener.textContent = "Actions";
  opener.setAttribute("aria-label", "Actions for " + item.title);
  opener.setAttribute("aria-haspopup", "true");
  opener.addEventListener("click", () => {
    menu.togglePopover();
    const place = opener.getBoundingClientRect(), size = menu.getBoundingClientRect();
    menu.style.left = Math.max(Math.min(place.left, innerWidth - size.width - 8), 8) + "px";
    menu.style.top = Math.max(Math.min(place.bottom + 4, innerHeight - size.height - 8), 8) + "px";
    buttons[0].focus();
  });
  menu.addEventListener("click", () => menu.hidePopover());
  menu.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length].focus();
  });
  card.append(opener, menu);
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
    card.querySelector(".face span").textContent = item.text;
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
  element.querySelector(".tools").hidden = !value.tools;
  element.querySelector(".more").hidden = !value.more;
  const undo = element.querySelector(".undo");
  undo.hidden = !value.undo;
  if (value.undo) undo.querySelector("span").textContent = `"${value.undo.title}" was deleted.`;
  element.querySelector(".none").textContent = value.items.length ? "" : value.empty || "";
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  const value = props.value || {};
  if (button) trigger("act", { action: button.dataset.action, id: button.closest(".item")?.dataset.id || value.undo?.id || "" });
});
let typed = 0;
element.querySelector("input").addEventListener("input", (event) => {
  clearTimeout(typed);
  typed = setTimeout(() => trigger("act", { action: "filter", id: "", text: event.target.value }), 250);
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
