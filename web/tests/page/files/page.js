// The page: what the harness calls.

import { run as runHere } from "./scenarios.js";

let worker;
const waiting = new Map();

// Runs a scenario in a dedicated worker, the same one each time.
function runInWorker(name, args) {
  if (!worker) {
    worker = new Worker(`worker.js${location.search}`, { type: "module" });
    worker.onmessage = ({ data: { id, value, error } }) => {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      error === undefined ? resolve(value) : reject(new Error(error));
    };
    worker.onerror = ({ message }) => {
      for (const { reject } of waiting.values()) reject(new Error(message));
      waiting.clear();
    };
  }
  return new Promise((resolve, reject) => {
    const id = crypto.randomUUID();
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, name, args });
  });
}

globalThis.run = (name, args) => (name === "in_worker" ? runInWorker(...args) : runHere(name, args));
