// Where the result on show was put, and what can be done with it: value = {window, id, name, folder, complete}.
const draw = () => {
  const value = props.value || {};
  element.closest("#saved").style.display = value.id && (value.window || value.name) ? "" : "none";
  element.querySelector(".where b").textContent = value.name ? "Saved as " + value.name : "";
  element.querySelector(".where span").textContent = value.name ? "in " + value.folder
    : value.complete ? "In the history; not saved elsewhere yet." : "What was finished is in the history.";
  element.querySelector("[data-call=saveAs]").classList.toggle("first", !value.name);
  element.querySelector(".row").style.display = value.window ? "" : "none";
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-call]");
  if (button && window.upscaler) window.upscaler[button.dataset.call]();
});
watch("value", draw);
draw();
