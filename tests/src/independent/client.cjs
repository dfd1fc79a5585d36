// A client that shares no code with Wardlink: MQTT.js, with a token by Node's own cryptography.
// Reads a request (JSON) from its first argument, and writes what happened as JSON.
"use strict";
const crypto = require("node:crypto");
const mqtt = require("mqtt");

const request = JSON.parse(process.argv[2]);

const key = request.pkcs8
  ? crypto.createPrivateKey({ key: Buffer.from(request.pkcs8, "base64"), format: "der", type: "pkcs8" })
  : crypto.generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;

function token() {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const header = { alg: "ES256", typ: "JWT" };
  if (request.x5c) header.x5c = request.x5c;
  else header.jwk = crypto.createPublicKey(key).export({ format: "jwk" });
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    aud: `wss://${new URL(request.broker).host}/mqtt`,
    sub: request.device,
    client_id: request.client_id,
    iat: now,
    exp: now + 300,
    jti: crypto.randomUUID(),
  };
  const signed = `${encode(header)}.${encode(claims)}`;
  const signature = crypto.sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

function connect(password) {
  return new Promise((resolve) => {
    const client = mqtt.connect(request.broker, {
      protocolVersion: 4,
      clientId: request.client_id,
      username: request.device,
      password,
      reconnectPeriod: 0,
    });
    client.once("connect", () => resolve({ client }));
    client.once("error", (error) => resolve({ code: error.code }));
    client.once("close", () => resolve({ code: "closed" }));
  });
}

function act(client, [what, topic, payload]) {
  return new Promise((resolve) => {
    client.once("close", () => resolve("closed"));
    const done = (error, granted) => resolve(error ? "refused" : (granted?.[0]?.qos ?? "stored"));
    if (what === "subscribe") client.subscribe(topic, { qos: 1 }, done);
    else client.publish(topic, payload, { qos: 1 }, done);
  });
}

async function main() {
  const answers = [];
  for (const step of request.steps) {
    const { client, code } = await connect(token());
    answers.push(client ? await act(client, step) : code);
    client?.end(true);
  }
  const used = token();
  const first = await connect(used);
  const again = await connect(used);
  first.client?.end(true);
  again.client?.end(true);
  console.log(JSON.stringify({ answers, again: again.code ?? "connected" }));
}

main();
