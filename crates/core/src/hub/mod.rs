//! Models and data sets from a Hub: what a repository holds, the files themselves, and what is here already.
//!
//! The cache is the one of Python's huggingface_hub. The transfer is ours, because the Rust client (hf-hub 1.0) begins
//! again after a broken connection, stores error pages as weights and compares no checksums: here a file gets its name
//! when its size and hash are what the Hub says, and what is half is gone on with.
//!
//! Everything blocks. [`download`] tells its progress at least ten times a second, also while nothing comes, and stops as
//! soon as it is told to; so does [`push`], which sends a folder. No login is in here: the token is read where Python's tools
//! put it.
//!
//! ```no_run
//! use lightbox_core::hub::{self, Client, Filters, Kind, Repo};
//! use std::ops::ControlFlow;
//! let client = Client::from_env()?;
//! let listing = hub::list(&Repo::new(Kind::Model, "Qwen/Qwen2-VL-2B-Instruct"), &client)?;
//! let folder = hub::download(&listing, &Filters::default(), &mut |progress| {
//!     println!("{} of {} bytes", progress.done_bytes, progress.total_bytes);
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), hub::HubError>(())
//! ```
//!
//! What a profile or an option names by its name on a Hub becomes files in [`wanted`], for every command alike.
//!
//! Read next: [`transfer`], [`push`](mod@push).

mod address;
mod answer;
mod background;
mod cache;
mod client;
mod commit;
mod download;
mod error;
mod folder;
mod hash;
mod lfs;
mod modelscope;
mod part;
mod progress;
mod push;
mod remove;
mod repo;
mod retry;
mod source;
mod transfer;
mod url;
mod wanted;

pub use address::{SCHEME, cached_file, cached_file_in};
pub use cache::{Cached, cache_dir, cached, cached_in, cached_name};
pub use client::Client;
pub use download::{download, lay_out, missing_bytes};
pub use error::HubError;
pub use folder::{Folder, LocalFile};
pub use hash::Hash;
pub use part::DataPart;
pub use progress::{Phase, Progress};
pub use push::{Destination, Push, Pushed, destination, push};
pub use remove::{remove, remove_from};
pub use repo::{Filters, Kind, Listing, RemoteFile, Repo, list};
pub use source::Source;
pub use wanted::{DataFiles, NotHere, Offer, Wanted, What, folder};
