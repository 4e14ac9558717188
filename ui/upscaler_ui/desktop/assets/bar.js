// What is chosen, and the window's own dialogs: value = {window, names, folder, place, watched, number}; 'look' asks for what was chosen.
const show = (name, on) => { element.querySelector(name).style.display = on ? "" : "none"; };
let opening = 0;
const draw = () => {
  clearTimeout(opening);
  show(".opening", false);
  const value = props.value || {};
  const names = value.names || [];
  element.querySelector(".names").textContent = names.join(", ");
  element.querySelector(".folder").textContent = value.folder || "";
  element.querySelector(".place:not(.more) span").textContent =
    value.place ? "Results go to " + value.place + "." : "Results are saved beside each picture.";
  const look = value.watched && (value.watched[1] ? "in the look " + value.watched[1] : "with the settings of the last run");
  element.querySelector(".more").textContent = value.watched ? "What lands in " + value.watched[0] + " is enlarged " + look + "." : "";
  show(".more", value.watched);
  element.querySelector("[data-call=open]").classList.toggle("first", names.length === 0);
  show(".chosen", names.length > 0);
  show(".empty", names.length === 0 && value.window);
  show(".row", value.window);
  show(".place:not(.more) button", value.window);
  element.closest("#bar").style.display = value.window || names.length ? "" : "none";
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-call]");
  if (button && window.upscaler) window.upscaler[button.dataset.call]();
});
window.addEventListener("upscaler-look", (event) => {
  if (event.detail) opening = setTimeout(() => show(".opening", true), 400); // large ones take seconds
  trigger("look", {});
});
watch("value", draw);
draw();
