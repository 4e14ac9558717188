// Ctrl+Enter runs, Esc stops, and a pasted picture becomes the input.
document.addEventListener("keydown", (event) => {
  const press = (id) => { const button = document.querySelector(id); if (button && !button.disabled) button.click(); };
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); press("button#run"); }
  const listOpen = event.target.getAttribute && event.target.getAttribute("aria-expanded") === "true";
  if (event.key === "Escape" && !listOpen && document.body.dataset.page) return press("button#models-close");
  if (event.key === "Escape" && !listOpen && !document.fullscreenElement) press("button#stop");
}, true); // before a list closes at Esc
document.addEventListener("click", (event) => { // on a phone the picture lies below the form
  if (innerWidth > 900 || !(event.target.closest && event.target.closest("#run, #preview, #compare"))) return;
  setTimeout(() => document.querySelector("#viewer").scrollIntoView({ block: "start", behavior: "smooth" }), 300);
});
document.addEventListener("click", (event) => { // the page of models stands in place of all else
  const button = event.target.closest && event.target.closest("#models-open, #more-models, #models-close");
  if (!button) return;
  if (button.id !== "models-close") document.body.dataset.page = button.id;
  const left = document.body.dataset.page;
  if (button.id === "models-close") delete document.body.dataset.page;
  scrollTo(0, 0);
  document.querySelector(button.id === "models-close" ? "button#" + left : "button#models-close").focus();
});
document.addEventListener("click", (event) => { // what opens below the edge would not be seen
  const opener = event.target.closest && event.target.closest("#advanced > .label-wrap");
  if (opener) setTimeout(() => opener.classList.contains("open") && document.querySelector("#left").scrollBy({
    top: document.querySelector("#plan").getBoundingClientRect().top - document.querySelector("#left").getBoundingClientRect().top, behavior: "smooth" }), 100);
});
document.addEventListener("focusout", (event) => { // Gradio leaves a list open that Tab has left
  const field = event.target;
  if (field.getAttribute && field.getAttribute("role") === "combobox") setTimeout(() => field.dispatchEvent(new FocusEvent("blur")));
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData ? event.clipboardData.files : [])].filter((file) => file.type.startsWith("image/"));
  if (!files.length) return;
  event.preventDefault();
  const transfer = new DataTransfer();
  for (const file of files) transfer.items.add(file);
  let field = document.querySelector("#paste"); // Gradio puts the field before its button
  while (field && !field.matches("input[type=file]")) field = field.previousElementSibling;
  if (field) { field.files = transfer.files; field.dispatchEvent(new Event("change", { bubbles: true })); }
});
// Gradio has no tooltips for buttons; it names the one for pictures after a text that it lacks, and puts the one that does the work inside it
new MutationObserver(() => {
  document.querySelector("button#pause")?.setAttribute("title", "While paused, processor and graphics card are free; memory is not");
  document.querySelector("#input > .upload-container")?.setAttribute("aria-label", "Drop pictures here, or click to choose");
  for (const outer of document.querySelectorAll('[aria-label="common.upload"]')) {
    const inner = outer.querySelector("button");
    outer.title = "Choose other pictures";
    outer.setAttribute("aria-label", outer.title);
    if (!inner) continue;
    outer.setAttribute("role", "group");
    outer.tabIndex = -1;
    inner.setAttribute("aria-label", outer.title);
  }
}).observe(document.body, { childList: true, subtree: true });
