// The keyboard's way through the page, one stop after another. `arguments[0]` says which part runs.
const stopsOf = (root) => [...root.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
  .filter((element) => element.tabIndex >= 0 && !element.matches(":disabled") && !element.closest("[inert]"))
  .filter((element) => element.checkVisibility({ visibilityProperty: true }))
  // Of a group of radio buttons the chosen one is a stop, or the first.
  .filter((element, _, all) => {
    if (element.type !== "radio") return true;
    const group = all.filter((other) => other.type === "radio" && other.name === element.name);
    return element === (group.find((other) => other.checked) ?? group[0]);
  });

const named = (element) => {
  const said = element.getAttribute("aria-label") ?? element.innerText ?? "";
  const what = element.dataset.testid ?? element.name ?? element.id;
  return `${element.localName}${what ? `[${what}]` : ""} "${said.trim().slice(0, 40)}"`;
};

/** Everything by which an element or what is around it may show the focus. */
const look = (element) => {
  const parts = [element, element.previousElementSibling, ...(element.previousElementSibling?.children ?? [])];
  for (let outer = element.parentElement, level = 0; outer && level < 4; outer = outer.parentElement, level += 1) parts.push(outer);
  return parts.filter(Boolean).map((part) => {
    const style = getComputedStyle(part);
    const outline = style.outlineStyle === "none" ? "" : `${style.outlineStyle} ${style.outlineWidth} ${style.outlineColor}`;
    return [outline, style.boxShadow, style.borderColor, style.backgroundColor].join("|");
  }).join("\n");
};

/** Whether something else lies over the middle of an element. */
const isHidden = (element) => {
  const box = element.getBoundingClientRect();
  const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  return !hit || !(element.contains(hit) || hit.contains(element) || hit.closest("label")?.contains(element));
};

/** What holds elements whose order can be compared. */
const place = (element) => element.closest("dialog, nav, header, aside, footer, form, li, main, body");

const begin = () => {
  const root = document.querySelector("dialog[open]") ?? document.body;
  const had = root.getAttribute("tabindex");
  root.tabIndex = -1;
  root.focus();
  if (had === null) root.removeAttribute("tabindex");
  window.walk = { root, stops: stopsOf(root), before: null };
  return window.walk.stops.length;
};

const step = () => {
  const { stops, before } = window.walk;
  const element = document.activeElement;
  const faults = [];
  if (before && before.element !== element && before.element.isConnected && look(before.element) === before.look) {
    faults.push(`nothing shows that the focus is on ${named(before.element)}`);
  }
  if (!element || element === document.body || element === window.walk.root) {
    window.walk.before = null;
    return { at: null, faults };
  }
  const at = stops.indexOf(element);
  if (isHidden(element)) faults.push(`${named(element)} has the focus and is hidden by something else`);
  if (before && place(before.element) === place(element)) {
    const [a, b] = [before.element.getBoundingClientRect(), element.getBoundingClientRect()];
    const sameColumn = a.left < b.right && b.left < a.right;
    const sameRow = a.top < b.bottom && b.top < a.bottom;
    if ((sameColumn && b.bottom <= a.top) || (sameRow && b.right <= a.left)) {
      faults.push(`${named(element)} comes after ${named(before.element)} and stands before it`);
    }
  }
  // A field for a date has its day, its month and so on inside: each is a press of Tab, and all of them one stop.
  const within = before?.element === element && element.matches("input:is([type=date], [type=time], [type=datetime-local])");
  window.walk.before = { element, look: look(element) };
  return { at, name: named(element), within, faults };
};

return arguments[0] === "begin" ? begin() : arguments[0] === "name" ? named(window.walk.stops[arguments[1]]) : step();
