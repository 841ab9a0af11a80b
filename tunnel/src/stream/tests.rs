//! Tests of the stream over in-memory connections: written next.
