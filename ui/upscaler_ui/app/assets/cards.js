// Preset cards: value = {chosen, presets: [{name, title, help, sample}]}; a click triggers 'choose' with the name.
const draw = () => {
  const value = props.value || { presets: [] };
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.preset : "";
  element.querySelector(".cards").replaceChildren(...value.presets.map((preset) => {
    const card = document.createElement("button");
    card.type = "button";
    card.className = "card";
    card.dataset.preset = preset.name;
    card.setAttribute("role", "radio");
    card.setAttribute("aria-checked", preset.name === value.chosen);
    card.title = preset.help;
    if (preset.sample) {
      const image = document.createElement("img");
      image.src = preset.sample;
      image.alt = "";
      card.append(image);
    }
    const title = document.createElement("span");
    title.textContent = preset.title;
    card.append(title);
    return card;
  }));
  if (focused) element.querySelector(`[data-preset="${CSS.escape(focused)}"]`)?.focus();
};
element.addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  if (card) trigger("choose", { name: card.dataset.preset });
});
watch("value", draw);
draw();
