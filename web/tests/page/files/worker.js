// The same scenarios in a dedicated worker.

import { run } from "./scenarios.js";

onmessage = async ({ data: { id, name, args } }) => {
  try {
    postMessage({ id, value: await run(name, args) });
  } catch (error) {
    postMessage({ id, error: String(error) });
  }
};
