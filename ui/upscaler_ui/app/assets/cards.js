// Preset cards: value = {chosen, changed, help, suggestion: {name, title, reason}, presets: [{name, title, sample}]}; a choice triggers 'choose' with the name.
const draw = () => {
  const value = props.value || { presets: [] };
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.preset : "";
  const known = value.presets.some((preset) => preset.name === value.chosen);
  element.querySelector(".cards").replaceChildren(...value.presets.map((preset, place) => {
    const card = document.createElement("button");
    const chosen = preset.name === value.chosen;
    card.type = "button";
    card.className = "card";
    card.dataset.preset = preset.name;
    card.setAttribute("role", "radio");
    card.setAttribute("aria-checked", chosen);
    card.tabIndex = chosen || (!known && place === 0) ? 0 : -1; // one stop for Tab, arrow keys within
    if (preset.sample) {
      const image = document.createElement("img");
      image.src = preset.sample;
      image.alt = "";
      card.append(image);
    }
    const title = document.createElement("span");
    title.textContent = preset.title + (chosen && value.changed ? " (changed)" : "");
    card.append(title);
    return card;
  }));
  element.querySelector(".about").textContent = value.help || "";
  const hint = value.suggestion, shown = element.querySelector(".suggestion");
  shown.hidden = !hint;
  if (hint) {
    const applies = hint.name !== value.chosen || value.changed;
    shown.querySelector("span").textContent = `${applies ? "Suggestion: " + hint.title : hint.title + " suits this picture"}, because ${hint.reason}.`;
    shown.querySelector("button").textContent = "Use " + hint.title;
    shown.querySelector("button").hidden = !applies;
    shown.querySelector("button").dataset.use = hint.name;
  }
  if (focused) element.querySelector(`[data-preset="${CSS.escape(focused)}"]`)?.focus();
};
element.addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  if (card) trigger("choose", { name: card.dataset.preset });
  if (event.target.dataset.use) trigger("choose", { name: event.target.dataset.use });
});
element.addEventListener("keydown", (event) => {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const cards = [...element.querySelectorAll(".card")];
  const place = cards.indexOf(event.target);
  if (place < 0 || !(event.key in steps)) return;
  event.preventDefault();
  const next = cards[(place + steps[event.key] + cards.length) % cards.length];
  next.focus();
  trigger("choose", { name: next.dataset.preset });
});
watch("value", draw);
draw();
