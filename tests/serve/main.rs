//! `lightbox serve` from the outside: raw HTTP to the built program, over the fake engine and, where they are there, the real
//! one and OpenAI's own Python client.

mod answers;
mod hostile;
mod life;
mod openai;
mod rig;
