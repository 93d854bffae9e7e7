//! Runs one after another on one GPU: `queue.json` in the state folder ([`super::registry`]).
