//! A byte stream over one WebSocket: HTTP/2 travels in binary messages whose boundaries mean nothing.
