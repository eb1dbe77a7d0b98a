// Takes webhooks of Tandem: checks the signature over the body as it came, answers
// at once, and works each event off once. Nothing but Node.js is needed (18 or later).
//
//   WEBHOOK_SECRET=whsec_… node receiver.mjs 127.0.0.1:8090

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const secret = process.env.WEBHOOK_SECRET ?? "";
const at = (process.argv[2] ?? "").lastIndexOf(":");
if (!secret.startsWith("whsec_") || at < 0) {
  console.error("usage: WEBHOOK_SECRET=whsec_… node receiver.mjs HOST:PORT");
  process.exit(2);
}
const key = Buffer.from(secret.slice("whsec_".length), "base64");
const seen = new Set(); // a real receiver keeps these in its database, for a few days

// Several signatures may stand in the header while a secret is being rotated; one of
// them must be right.
function verified(id, timestamp, signatures, body) {
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) return false;
  const want = Buffer.from("v1," + createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64"));
  return signatures.split(" ").some((signature) => {
    const got = Buffer.from(signature);
    return got.length === want.length && timingSafeEqual(got, want);
  });
}

function answer(response, status, text = "") {
  response.writeHead(status, { "Content-Type": "text/plain" }).end(text);
}

function receive(request, response, body) {
  const { "webhook-id": id = "", "webhook-timestamp": timestamp = "", "webhook-signature": signatures = "" } = request.headers;
  if (!verified(id, timestamp, signatures, body)) return answer(response, 401, "the signature is not right");
  if (!seen.has(id)) {
    let event;
    try {
      event = JSON.parse(body.toString("utf8"));
    } catch {
      return answer(response, 400, "no event");
    }
    seen.add(id);
    console.log("event", id, event.type); // here: hand it to a queue of your own
  }
  answer(response, 204);
}

const server = createServer((request, response) => {
  const parts = [];
  let size = 0;
  request.on("data", (part) => {
    size += part.length;
    if (size > 1 << 20) request.destroy();
    else parts.push(part);
  });
  request.on("end", () => receive(request, response, Buffer.concat(parts)));
});
server.listen(Number(process.argv[2].slice(at + 1)), process.argv[2].slice(0, at), () => {
  const { address, port } = server.address();
  console.log("listening on", `${address}:${port}`);
});
