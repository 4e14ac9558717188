// Models: value = {folder, local, here: [{name, kind, family, size, place, purpose}], remote: [{name, purpose, about, licence, page,
// free, stage, fraction, text}]}. Triggers 'act' with {action: fetch, stop, folder or look, name, accepted}.
const make = (tag, words, kind) => {
  const made = document.createElement(tag);
  if (words) made.textContent = words;
  if (kind) made.className = kind;
  return made;
};
const press = (words, action, name, accepted) => {
  const button = make("button", words);
  button.type = "button";
  button.addEventListener("click", () => trigger("act", { action: action, name: name, accepted: accepted }));
  return button;
};
const buttons = (card, model) => {
  const row = card.querySelector(".buttons"), busy = model.stage === "waiting" || model.stage === "running";
  if (busy) return row.replaceChildren(press("Stop", "stop", model.name));
  const words = model.stage ? "Continue" : "Fetch";
  if (model.free) return row.replaceChildren(press(words, "fetch", model.name, true));
  const first = make("button", words);
  first.type = "button";
  first.addEventListener("click", () => {
    card.querySelector(".terms").hidden = false;
    const yes = press("I accept; fetch it", "fetch", model.name, true), no = make("button", "Do not fetch it");
    no.type = "button";
    no.addEventListener("click", () => { card.querySelector(".terms").hidden = true; row.replaceChildren(first); first.focus(); });
    row.replaceChildren(yes, no);
    yes.focus();
  });
  row.replaceChildren(first);
};
const cardOf = (model) => {
  const card = make("div", "", "model"), terms = make("div", "", "terms"), link = make("a", "read it");
  link.href = model.page;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  terms.append(`${model.name} is under ${model.licence}, which restricts what you may do with it: `, link, ".");
  terms.hidden = true;
  const bar = make("progress");
  bar.max = 1;
  bar.setAttribute("aria-label", "Progress of " + model.name);
  card.append(make("b", model.name), make("span", model.purpose), make("span", "", "about"), terms, bar, make("span", "", "text"), make("div", "", "buttons"));
  return card;
};
const cards = new Map(); // kept, so that a click survives the next look
const draw = () => {
  const value = props.value || {}, place = element.querySelector(".folder");
  const key = JSON.stringify([value.folder, value.local]);
  if (place.dataset.key !== key) {
    place.dataset.key = key;
    place.replaceChildren();
    if (value.folder) {
      place.append("Your own models, and those that are fetched, are in ", make("code", value.folder), ". ");
      if (value.local) place.append(press("Open the folder", "folder"), " ");
      place.append(press("Look again", "look"));
    }
  }
  element.querySelector("tbody").replaceChildren(...(value.here || []).map((model) => {
    const row = make("tr");
    row.append(...["name", "kind", "family", "size", "place", "purpose"].map((key) => make("td", model[key])));
    return row;
  }));
  const found = (value.remote || []).map((model) => {
    if (!cards.has(model.name)) cards.set(model.name, cardOf(model));
    const card = cards.get(model.name), bar = card.querySelector("progress");
    if (card.dataset.stage !== model.stage) { card.dataset.stage = model.stage; card.querySelector(".terms").hidden = true; buttons(card, model); }
    card.className = "model " + model.stage;
    bar.hidden = !["waiting", "running", "stopped"].includes(model.stage);
    bar.value = model.fraction;
    card.querySelector(".about").textContent = model.about;
    card.querySelector(".text").textContent = model.text;
    return card;
  });
  const list = element.querySelector(".remote");
  for (const card of [...list.children]) if (!found.includes(card)) card.remove();
  found.forEach((card, at) => { if (list.children[at] !== card) list.insertBefore(card, list.children[at] || null); });
  element.querySelector(".hub").hidden = !found.length;
};
watch("value", draw);
draw();
