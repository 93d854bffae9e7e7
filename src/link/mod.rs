//! What the screens are joined to: other processes, each behind a handle that never makes a screen wait.
// The Chat screen is their user; until it is there only tests call them.
#![allow(dead_code)]

pub mod answer;
