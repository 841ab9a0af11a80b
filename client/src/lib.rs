//! A gRPC channel, native and in browsers: over TCP, TLS or a WebSocket tunnel.
