// Puts a recorder before the browser's WebSocket: what was sent and received, how much waited to be
// sent, how it ended. Imported first, by the page and by its worker; `?plain` in the address leaves
// it out, for measurements.

export const sockets = [];

class RecordedWebSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    this.record = {
      url: String(url), offered: [protocols ?? []].flat(), agreed: null, sent: 0, received: 0, received_bytes: 0,
      sent_bytes_max: 0, received_bytes_max: 0, buffered_bytes_max: 0, code: null, reason: null, clean: null,
    };
    sockets.push(this.record);
    this.addEventListener("open", () => { this.record.agreed = this.protocol; });
    this.addEventListener("message", ({ data }) => {
      this.record.received += 1;
      const bytes = data.byteLength ?? data.length;
      this.record.received_bytes += bytes;
      this.record.received_bytes_max = Math.max(this.record.received_bytes_max, bytes);
    });
    this.addEventListener("close", ({ code, reason, wasClean }) => {
      Object.assign(this.record, { code, reason, clean: wasClean });
    });
  }

  send(data) {
    super.send(data);
    this.record.sent += 1;
    this.record.sent_bytes_max = Math.max(this.record.sent_bytes_max, data.byteLength);
    this.record.buffered_bytes_max = Math.max(this.record.buffered_bytes_max, this.bufferedAmount);
  }
}

if (!globalThis.location.search.includes("plain")) globalThis.WebSocket = RecordedWebSocket;
