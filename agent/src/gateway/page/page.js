"use strict";
// Keeps the page up to date and presses its buttons; the focus stays where it was.
const main = document.querySelector("main");
const refresh = async () => {
  const answer = await fetch("/main" + location.search);
  if (!answer.ok) return;
  const focused = document.activeElement?.id;
  main.innerHTML = await answer.text();
  if (focused) document.getElementById(focused)?.focus();
};
main.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-order]");
  if (!button) return;
  button.disabled = true;
  await fetch(button.dataset.order, { method: "POST" }).catch(() => {});
  button.disabled = false;
});
const events = new EventSource("/events");
events.addEventListener("message", () => refresh().catch(() => {}));
