//! Tests of the upgrade, both halves: written next.
