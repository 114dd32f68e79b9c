// Keys and image tools of pages with one item in work.
"use strict";
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const work = document.getElementById("work");
  const control = work && work.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!control || control.disabled || (event.key === "Enter" && event.target.matches("button, a, summary, input"))) return;
  event.preventDefault();
  for (let around = control.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
  const field = control.matches("summary") ? control.parentElement.querySelector("input") : null;
  if (control.matches("summary")) { if (field) field.focus(); }
  else if (control.matches("input:not([type=checkbox]), textarea, select")) control.focus();
  else if (!event.repeat) control.click();
});
document.addEventListener("click", event => {
  const control = event.target.closest("[data-do]");
  if (!control) return;
  act(control.dataset.do, control.closest(".seen"));
});
