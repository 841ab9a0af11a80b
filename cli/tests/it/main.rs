//! The `switchboard` binary as scripts and people meet it: what it prints where, and how it ends.

mod addresses;
mod call;
mod check;
mod config;
mod connections;
mod drain_under_load;
mod forward;
mod health_reflection;
mod messages;
mod observability;
mod open_files;
mod reload;
mod serve;
mod serving;
mod stock_client;
mod systemd;
mod tls;
mod tunnel;
