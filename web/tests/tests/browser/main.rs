//! The client in a real browser, against a real host, other servers and servers that misbehave.
