// Times the measured code in WebAssembly, in Node's engine, which is the platform's: `node measure.cjs <module> updates <json> <rounds>`,
// or `messages <channel> <count>`. Prints milliseconds as JSON.
const { readFileSync } = require("node:fs");
const [module_, what, subject, number] = process.argv.slice(2);
const { Updates, Channel } = require(module_);
const count = Number(number);
const timed = (work) => {
  const begun = performance.now();
  work();
  return performance.now() - begun;
};

if (what === "updates") {
  const updates = new Updates(readFileSync(subject, "utf8"));
  // The engine compiles for good what it has run for a while.
  for (let round = 0; round < 5; round += 1) updates.verify();
  console.log(JSON.stringify(Array.from({ length: count }, () => timed(() => updates.verify()))));
} else {
  const warm = new Channel(subject);
  warm.protect(200);
  warm.open();
  const channel = new Channel(subject);
  console.log(JSON.stringify([timed(() => channel.protect(count)), timed(() => channel.open())]));
}
