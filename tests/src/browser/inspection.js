// Runs axe on the whole page; called with whether thumbs aim at it, and with the way to answer.
const [thumb, done] = arguments;
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];

axe.reset();
axe.configure({
  checks: [{
    id: "large-enough",
    evaluate: (node) => {
      const { width, height } = node.getBoundingClientRect();
      // A side that is laid out in fractions may miss by a rounding.
      return Math.min(width, height) > 55.9;
    },
    metadata: { impact: "serious", messages: { pass: "is 56 pixels wide and high", fail: "is smaller than 56 pixels" } },
  }],
  rules: [{
    id: "thumb-target",
    selector: "button, summary, input:not([type=radio], [type=checkbox]), select, label.choice, a.button, a.brand",
    any: ["large-enough"],
    tags: ["best-practice"],
    metadata: { description: "What a thumb aims at is large enough", help: "Targets are at least 56 pixels wide and high" },
  }],
});

axe.run(document, {
  runOnly: { type: "tag", values: tags },
  // The rules of WCAG 2.2 are off unless asked for.
  rules: { "target-size": { enabled: true }, "thumb-target": { enabled: thumb } },
  resultTypes: ["violations"],
}).then(
  ({ violations }) => done(violations.map(({ id, impact, nodes }) => ({
    rule: id,
    impact,
    places: nodes.map(({ target, failureSummary }) => `${target.join(" ")}: ${failureSummary}`),
  }))),
  (error) => done(String(error)),
);
