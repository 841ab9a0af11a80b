// Loads the page crate, and runs its scenarios by name. What a scenario returns is JSON, or numbers.

import { sockets } from "./recorder.js";
import { down_us, echo_us, up_us } from "./echo.js";
import init, * as scenarios from "./switchboard_test_page.js";

// A panic leaves promises that are never kept: whoever waits for a scenario is told here.
let fail;
const failed = new Promise((_, reject) => { fail = reject; });
failed.catch(() => {});
globalThis.panicked = (text) => {
  console.error(text);
  fail(new Error(text));
};
globalThis.addEventListener("error", (event) => {
  fail(event.error ?? new Error(event.message));
  // Of a worker the page would hear twice, and of this first.
  if (!globalThis.document) event.preventDefault();
});

const ready = init();

// What is not for Rust to tell: the page itself, and messages without gRPC.
const extras = {
  sockets: () => sockets,
  memory_bytes: async () => (await ready).memory.buffer.byteLength,
  down_us,
  echo_us,
  up_us,
};

async function begun(name, args) {
  await ready;
  if (extras[name]) return extras[name](...args);
  if (!scenarios[name]) throw new Error(`no scenario ${name}`);
  const outcome = await scenarios[name](...args);
  return typeof outcome === "string" ? JSON.parse(outcome) : Array.from(outcome ?? []);
}

export const run = (name, args) => Promise.race([begun(name, args), failed]);
