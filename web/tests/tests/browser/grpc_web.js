// One call by gRPC-Web with nothing but fetch, as docs/clients.md has it: binary, or base64 as text.
window.call = async (url, message, { text = false, headers = {}, signal, onMessage } = {}) => {
  const request = new Uint8Array(5 + message.length);
  new DataView(request.buffer).setUint32(1, message.length);
  request.set(message, 5);
  const type = text ? "application/grpc-web-text+proto" : "application/grpc-web+proto";
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": type, "x-grpc-web": "1", ...headers },
    body: text ? btoa(String.fromCharCode(...request)) : request,
    signal,
  });
  const outcome = {
    http: response.status,
    type: response.headers.get("content-type"),
    seen: [...response.headers.keys()],
    status: response.headers.get("grpc-status"),
    message: response.headers.get("grpc-message"),
    messages: [],
  };
  let bytes = new Uint8Array();
  let encoded = "";
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return outcome;
    let piece = value;
    if (text) {
      encoded += String.fromCharCode(...value);
      const whole = encoded.length - (encoded.length % 4);
      const quanta = encoded.slice(0, whole).match(/.{4}/g) ?? [];
      encoded = encoded.slice(whole);
      piece = Uint8Array.from(quanta.map(atob).join(""), (char) => char.charCodeAt(0));
    }
    const joined = new Uint8Array(bytes.length + piece.length);
    joined.set(bytes);
    joined.set(piece, bytes.length);
    bytes = joined;
    while (bytes.length >= 5) {
      const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
      if (bytes.length < 5 + length) break;
      const body = bytes.subarray(5, 5 + length);
      if (bytes[0] & 0x80) {
        for (const line of new TextDecoder().decode(body).trim().split("\r\n")) {
          const [name, value] = line.split(/: ?(.*)/);
          if (name === "grpc-status") outcome.status = value;
          if (name === "grpc-message") outcome.message = value;
        }
      } else {
        outcome.messages.push([...body]);
        if (onMessage) onMessage(outcome.messages.length);
      }
      bytes = bytes.slice(5 + length);
    }
  }
};
