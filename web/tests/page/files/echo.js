// Messages over a WebSocket without HTTP/2 and gRPC in them, in plain JavaScript: what a call in a
// tunnel is compared with. The times are in microseconds, as those of the page crate.

const since_us = (begun) => (performance.now() - begun) * 1000;

async function connected(url) {
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`cannot connect to ${url}`));
  });
  return socket;
}

// Messages to an echo and back, one after the other: the time of each.
export async function echo_us(url, count, size_bytes) {
  const socket = await connected(url);
  const message = new Uint8Array(size_bytes).fill(7);
  const times = [];
  for (let i = 0; i < count; i += 1) {
    const begun = performance.now();
    const answer = await new Promise((resolve) => {
      socket.onmessage = ({ data }) => resolve(data);
      socket.send(message);
    });
    times.push(since_us(begun));
    if (answer.byteLength !== size_bytes) throw new Error(`${answer.byteLength} bytes came back`);
  }
  socket.close();
  return times;
}

// Messages from a server, as fast as they come: the time of all.
export async function down_us(url, count, size_bytes) {
  const socket = await connected(url);
  const begun = performance.now();
  await new Promise((resolve) => {
    let received = 0;
    socket.onmessage = ({ data }) => {
      received += data.byteLength;
      if (received === count * size_bytes) resolve();
    };
    socket.send(`${count} ${size_bytes}`);
  });
  socket.close();
  return [since_us(begun)];
}

// Messages to a server, until it has counted them all: the time of all.
export async function up_us(url, count, size_bytes) {
  const socket = await connected(url);
  const message = new Uint8Array(size_bytes).fill(7);
  const begun = performance.now();
  const total = await new Promise((resolve) => {
    socket.onmessage = ({ data }) => resolve(data);
    for (let i = 0; i < count; i += 1) socket.send(message);
    socket.send("total");
  });
  socket.close();
  if (total !== String(count * size_bytes)) throw new Error(`${total} bytes came`);
  return [since_us(begun)];
}
