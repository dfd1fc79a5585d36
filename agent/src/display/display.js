// Keeps the page up to date by server-sent events; without it the page reloads itself.
"use strict";

const body = document.body;
const base = body.dataset.base;
const language = document.documentElement.lang;
const place = (id) => document.getElementById(id);

/** Writes a text only where it changed, so that a screen reader says nothing twice. */
function write(id, text) {
  const element = place(id);
  if (element.textContent !== text) element.textContent = text;
}

let shownLink = place("qr").hasAttribute("src") ? undefined : null;

function showQr(link) {
  place("qr-box").hidden = link === null;
  if (link === shownLink) return;
  shownLink = link;
  if (link === null) place("qr").removeAttribute("src");
  else place("qr").src = `${base}/qr.svg?${Date.now()}`;
}

const digits = place("answer-digits");
// As the page came: what is said of that later takes the focus from nobody.
let wasAnswering = !place("answer").hidden;
if (wasAnswering) digits.focus();

function showAnswer(answering) {
  place("answer").hidden = !answering;
  if (!answering) digits.value = "";
  // Whoever stands there can type at once, also when the page was opened late.
  if (answering && !wasAnswering) digits.focus();
  wasAnswering = answering;
}

place("answer").addEventListener("submit", (event) => {
  event.preventDefault();
  fetch(`${base}/answer`, { method: "POST", body: digits.value });
  digits.value = "";
});
place("answer").addEventListener("click", (event) => {
  const key = event.target.closest("button[type=button]");
  if (!key) return;
  digits.value = "delete" in key.dataset ? digits.value.slice(0, -1) : (digits.value + key.dataset.digit).slice(0, 4);
});

function showAlarms(alarms) {
  const box = place("alarms");
  const wanted = alarms.map((alarm) => `${alarm.priority} ${alarm.text}`).join("\n");
  if (box.dataset.shown === wanted) return;
  box.dataset.shown = wanted;
  box.replaceChildren(...alarms.map((alarm) => {
    const line = document.createElement("p");
    line.className = alarm.priority;
    line.textContent = alarm.text;
    return line;
  }));
}

function show(view) {
  body.dataset.phase = view.phase;
  body.dataset.online = String(view.online);
  document.title = `${view.model} ${view.serial} – ${view.title}`;
  write("title", view.title);
  write("detail", view.detail);
  write("connection", view.connection);
  place("code-box").hidden = view.code === null;
  write("code", view.code ?? "");
  place("update").hidden = view.update === null;
  write("update", view.update ?? "");
  place("install").hidden = !view.confirming;
  place("version-box").hidden = view.version === null;
  write("version", view.version ?? "");
  place("couple").hidden = !view.button;
  showAnswer(view.answering);
  showQr(view.link);
  place("message-box").hidden = view.message === null;
  write("message", view.message ?? "");
  place("tone").hidden = view.tone === null;
  write("tone", view.tone ?? "");
  const infusion = view.infusion;
  place("infusion").hidden = infusion === null;
  place("battery-box").hidden = infusion === null;
  showAlarms(infusion?.alarms ?? []);
  if (infusion === null) return;
  for (const id of ["drug", "rate", "infused", "remaining", "pressure"]) write(id, infusion[id]);
  write("battery", `${infusion.battery} %`);
  place("progress").value = infusion.progress;
}

const events = new EventSource(`${base}/events?lang=${language}`);
events.onmessage = (event) => {
  place("lost").hidden = true;
  show(JSON.parse(event.data));
};
events.onerror = () => { place("lost").hidden = false; };

place("couple").addEventListener("click", () => fetch(`${base}/couple`, { method: "POST" }));

place("install").addEventListener("click", () => fetch(`${base}/install`, { method: "POST" }));

function tick() {
  write("clock", new Date().toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
}
tick();
setInterval(tick, 1000);
