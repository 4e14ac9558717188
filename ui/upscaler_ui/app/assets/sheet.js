// Looks side by side: value = {items: [{name, title, text, src}]}; a click triggers 'choose' with the name.
const draw = () => element.querySelector(".sheet").replaceChildren(...((props.value || {}).items || []).map((item) => {
  const card = document.createElement("button");
  card.type = "button";
  card.dataset.look = item.name;
  const picture = document.createElement(item.src ? "img" : "i");
  if (item.src) { picture.src = item.src; picture.alt = ""; }
  const text = document.createElement("span");
  text.textContent = item.title + (item.text ? " · " + item.text : "");
  card.append(picture, text);
  return card;
}));
element.addEventListener("click", (event) => {
  const card = event.target.closest("button[data-look]");
  if (card) trigger("choose", { name: card.dataset.look });
});
watch("value", draw);
draw();
