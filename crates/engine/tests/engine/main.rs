//! The engine against golden data: transformers 5.17 + PEFT 0.21 (tests/golden) and a LLaMA-Factory 0.9.5 run
//! (tests/golden/llamafactory). One binary, so that libtorch is linked once.

mod answer;
mod chat;
mod export;
mod export_adapter;
mod export_readers;
mod forward;
mod generate;
mod golden;
mod llamafactory;
mod lora;
mod memory;
mod peft;
mod training;
