// The workers on this machine, as the files of the working directory that wrangler reads describe them: in one workerd, with their storage
// in a folder. There is no proxy in front: that of `wrangler dev` ends everything when a request is broken off at the wrong moment.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";

// Both are CommonJS. Node would read them twice for an import: a second of each start.
const require = createRequire(import.meta.url);
const { Miniflare } = require("miniflare");
const { unstable_getMiniflareWorkerOptions: optionsOf, unstable_readConfig: read } = require("wrangler");

const CONFIGURATIONS = ["wrangler.toml", "wrangler.distribution.toml"];

const { values: given } = parseArgs({
  options: {
    ip: { type: "string", default: "127.0.0.1" },
    port: { type: "string" },
    // The folder of everything that is stored.
    "persist-to": { type: "string" },
    // The secrets; without it those of `.dev.vars`.
    "env-file": { type: "string" },
    // PEM files. With them it speaks https.
    "https-key-path": { type: "string" },
    "https-cert-path": { type: "string" },
    // More variables, each as NAME:VALUE.
    var: { type: "string", multiple: true, default: [] },
  },
});

const envFiles = given["env-file"] && [given["env-file"]];
const more = Object.fromEntries(given.var.map((text) => text.split(/:(.*)/s, 2)));

const workers = CONFIGURATIONS.map((file) => {
  const config = read({ config: file });
  const { main, workerOptions } = optionsOf(config, undefined, { envFiles });
  const folder = dirname(main);
  const modules = [
    { type: "ESModule", path: main },
    { type: "CompiledWasm", path: join(folder, "index_bg.wasm") },
  ];
  return { ...workerOptions, name: config.name, modules, modulesRoot: folder, bindings: { ...workerOptions.bindings, ...more } };
});

let ending = false;
const end = async (code) => {
  if (ending) return;
  ending = true;
  await host.dispose();
  process.exit(code);
};

const host = new Miniflare({
  workers,
  host: given.ip,
  port: Number(given.port),
  httpsKeyPath: given["https-key-path"],
  httpsCertPath: given["https-cert-path"],
  defaultPersistRoot: join(given["persist-to"], "v3"),
  // Nothing is asked of anybody outside.
  cf: false,
  telemetry: { enabled: false },
  handleRuntimeStdio(output, errors) {
    output.pipe(process.stdout);
    errors.pipe(process.stderr);
    output.once("end", () => {
      if (!ending) console.error("workerd has ended by itself");
      end(1);
    });
  },
});

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end(0));
await host.ready;
