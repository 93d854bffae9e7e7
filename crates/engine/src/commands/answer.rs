//! `lightbox-engine answer`: a worker that keeps a model loaded and answers the Chat screen, whose child it is. The words
//! are in [`lightbox_core::chat`], the queue and `stop` in [`lightbox_core::chat::serve`]; here is what needs libtorch.
//!
//! Base and tuned model share one base in memory. An adapter lies beside the weights ([`crate::model::linear`]), so it is put
//! on, exchanged and taken off without touching or copying them. Several adapters are merged into the weights: for these, and
//! after these, the base is loaded from the disk again.

use super::ask::{Answer, Heard, Question, ask_together};
use super::kind;
use crate::generate::Memory;
use crate::guard::guarded_bare;
use crate::lora;
use crate::setup::{self, Ready};
use anyhow::{Result, anyhow, bail};
use lightbox_core::args::{Dtype, ResolvedModel};
use lightbox_core::chat::serve::{self, Respondent, Voice};
use lightbox_core::chat::{Ask, AskOptions, Done, Finish, Loading, ModelChoice, Reply};
use lightbox_core::data::ImageRef;
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::generation::Generation;
use lightbox_core::text::Conversation;
use lightbox_core::vision::PixelBudget;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};
use tch::{Cuda, Device, Kind, Tensor};

/// `batch`: so many questions are answered at once, if they wait; `num_threads`: CPU threads of every model.
pub fn run(batch: usize, num_threads: Option<usize>) -> Result<Exit> {
    serve::stdio(|| {
        setup::start_libtorch();
        super::set_threads(num_threads);
        Ok(Answers { batch, ..Answers::default() })
    })
}

/// Conversations kept in memory: as many as the Chat screen has sides. A token takes 29 KB in a 2B model in bf16.
const MEMORIES: usize = 2;

/// The engine as a [`Respondent`].
#[derive(Default)]
pub struct Answers {
    held: Option<Held>,
    /// Questions that are answered at once; 0 is one.
    pub batch: usize,
}

/// The loaded model and where it comes from.
struct Held {
    base: Folder,
    /// What is on it; more than one: all but the last are part of the weights.
    adapters: Vec<Folder>,
    ready: Ready,
    /// What was read last, for base and adapters apart; the newest comes last.
    memories: Vec<(Vec<Folder>, Memory)>,
}

/// A folder and when its files were written: a run writes its adapter anew under the same name, and the old one must not
/// answer then.
#[derive(Clone, PartialEq)]
struct Folder {
    path: PathBuf,
    written: Vec<Option<(SystemTime, u64)>>,
}

impl Folder {
    fn of(path: &Path) -> Self {
        let files = ["config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"];
        let adapter = ["adapter_config.json", "adapter_model.safetensors"];
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let written = |name: &&str| {
            let meta = std::fs::metadata(path.join(name)).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        let written = files.iter().chain(&adapter).map(written).collect();
        Self { path, written }
    }
}

impl Held {
    /// Whether the base weights in memory are those that are wanted.
    fn has_base(&self, base: &Folder, wanted: Dtype, device: Device) -> bool {
        let model = &self.ready.model;
        self.base == *base
            && model.device() == device
            && model.kind() == setup::kind(kind(wanted), model.config.dtype.as_deref(), device)
            && self.adapters.len() < 2
    }

    /// What was read under the adapters that are on now. If the answer fails it is lost, and with it the memory it takes.
    fn recall(&mut self) -> Memory {
        let at = self.memories.iter().position(|(adapters, _)| *adapters == self.adapters);
        at.map_or_else(Memory::default, |at| self.memories.remove(at).1)
    }

    fn remember(&mut self, memory: Memory) {
        self.memories.push((self.adapters.clone(), memory));
        let old = self.memories.len().saturating_sub(MEMORIES);
        self.memories.drain(..old);
    }

    fn describe(&self, model: &ModelChoice, seconds: f64) -> Reply {
        let bytes = |t: &Tensor| (t.numel() * t.kind().elt_size_in_bytes()) as u64;
        let held = &self.ready.model;
        let weights = held.named_weights().into_iter().chain(lora::named_parameters(held));
        Reply::Loaded {
            model: model.clone(),
            seconds,
            device: match held.device() {
                Device::Cuda(index) => format!("cuda:{index}"),
                _ => "cpu".to_owned(),
            },
            dtype: match held.kind() {
                Kind::BFloat16 => Dtype::Bf16,
                Kind::Half => Dtype::F16,
                _ => Dtype::F32,
            },
            memory_bytes: weights.map(|(_, t)| bytes(&t)).sum(),
        }
    }
}

impl Answers {
    /// Makes the wanted model the held one.
    ///
    /// Returns it, and [`Reply::Loaded`] if there was something to do.
    fn hold(
        &mut self,
        model: &ModelChoice,
        resolved: &ResolvedModel,
        voice: &Voice,
    ) -> Result<(&mut Held, Option<Reply>)> {
        let started = Instant::now();
        // Config, not Device: that code is kept for a GPU that is lost.
        let device = setup::device(resolved.device).because(Exit::Config)?;
        let base = Folder::of(&resolved.model);
        let adapters: Vec<Folder> = resolved.adapters.iter().map(|dir| Folder::of(dir)).collect();
        let stays = self.held.as_ref().is_some_and(|held| held.has_base(&base, resolved.dtype, device));
        let same = self.held.as_ref().is_some_and(|held| held.adapters == adapters);
        // Taken out: after a panic half-way nothing is held, rather than a model with half an adapter.
        let held = match self.held.take() {
            Some(held) if stays && same => return Ok((self.held.insert(held), None)),
            Some(mut held) if stays && adapters.len() < 2 => {
                voice.tell(&Reply::Loading { model: model.clone(), what: Loading::Adapter });
                lora::detach(&mut held.ready.model);
                held.adapters.clear();
                if let Err(error) = setup::attach(&mut held.ready.model, &resolved.adapters) {
                    lora::detach(&mut held.ready.model);
                    self.held = Some(held);
                    return Err(error).because(Exit::Model);
                }
                Held { adapters, ..held }
            }
            other => {
                let what = if adapters.len() > 1 { Loading::Merge } else { Loading::Base };
                voice.tell(&Reply::Loading { model: model.clone(), what });
                // Before the new one comes: there may be room for one only.
                drop(other);
                free_cache();
                Held { base, adapters, ready: super::load(resolved)?, memories: Vec::new() }
            }
        };
        let held = self.held.insert(held);
        let loaded = held.describe(model, started.elapsed().as_secs_f64());
        Ok((held, Some(loaded)))
    }
}

impl Respondent for Answers {
    fn ready(&self) -> Reply {
        let gpus = if Cuda::is_available() { Cuda::device_count() } else { 0 };
        let devices = std::iter::once("cpu".to_owned()).chain((0..gpus).map(|i| format!("cuda:{i}"))).collect();
        Reply::Ready { version: concat!("lightbox-engine ", env!("CARGO_PKG_VERSION")).into(), devices }
    }

    fn load(&mut self, model: &ModelChoice, voice: &Voice) -> Result<Reply> {
        guarded_bare(|| {
            let resolved = model.resolve(&AskOptions::default()).because(Exit::Config)?;
            let (held, loaded) = self.hold(model, &resolved, voice)?;
            Ok(loaded.unwrap_or_else(|| held.describe(model, 0.0)))
        })
    }

    fn unload(&mut self) {
        self.held = None;
        free_cache();
    }

    fn answer(&mut self, question: &Ask, voice: &Voice) -> Result<Done> {
        let (asks, voices) = (std::slice::from_ref(question), std::slice::from_ref(voice));
        let outcome = self.guarded(asks, voices, &mut false);
        outcome?.pop().unwrap_or_else(|| bail!("a question without an answer"))
    }

    fn batch(&self) -> usize {
        self.batch.max(1)
    }

    fn answer_together(&mut self, asks: &[Ask], voices: &[Voice]) -> Vec<Result<Done>> {
        let mut spoken = false;
        let error = match self.guarded(asks, voices, &mut spoken) {
            Ok(outcomes) => return outcomes,
            Err(error) => error,
        };
        let code = exit::code(&error);
        if code == Exit::OutOfMemory && !spoken {
            // Too much at once. Nothing has been said yet, so each can be asked alone.
            return asks.iter().zip(voices).map(|(ask, voice)| self.answer(ask, voice)).collect();
        }
        let text = format!("{error:#}");
        asks.iter().map(|_| Err(anyhow!("{text}")).because(code)).collect()
    }

    fn explain(&self, error: &anyhow::Error) -> (String, Option<String>) {
        let hint = match exit::code(error) {
            Exit::OutOfMemory => {
                "Lower the pixel limit or the longest answer, ask with fewer pictures or less history, choose bf16, or close what else uses the memory"
            }
            Exit::Device => {
                "The worker has ended, because it cannot use the GPU any more; ask again, and a new one starts"
            }
            Exit::Internal => "A fault inside the program: please report it with the question. The worker goes on",
            _ => "",
        };
        let text = torch_shim::without_backtrace(&format!("{error:#}")).to_owned();
        (text, Some(hint.to_owned()).filter(|hint| !hint.is_empty()))
    }
}

impl Answers {
    fn guarded(&mut self, asks: &[Ask], voices: &[Voice], spoken: &mut bool) -> Result<Vec<Result<Done>>> {
        let outcome = guarded_bare(|| self.answer_unguarded(asks, voices, spoken));
        if outcome.as_ref().is_err_and(|error| exit::code(error) == Exit::OutOfMemory) {
            if let Some(held) = &mut self.held {
                held.memories.clear();
            }
            free_cache();
        }
        outcome
    }

    /// All questions go to one model. What is wrong with one of them is its own outcome; what is wrong with the model, or
    /// happens while it computes, is the outcome of all.
    fn answer_unguarded(&mut self, asks: &[Ask], voices: &[Voice], spoken: &mut bool) -> Result<Vec<Result<Done>>> {
        let mut outcomes: Vec<Result<Done>> =
            asks.iter().map(|ask| Ok(Done::unsaid(ask.id, 0, Finish::Cancelled))).collect();
        let mut understood: Vec<(usize, Understood)> = Vec::new();
        for (i, (ask, voice)) in asks.iter().zip(voices).enumerate() {
            let resolved = match ask.model.resolve(&ask.options).because(Exit::Config) {
                Ok(resolved) => resolved,
                Err(why) => {
                    outcomes[i] = Err(why);
                    continue;
                }
            };
            let (held, loaded) = self.hold(&ask.model, &resolved, voice)?;
            if let Some(loaded) = loaded {
                voice.tell(&loaded);
            }
            match understand(ask, &resolved, held) {
                // Else it was stopped while it was loading.
                Ok(question) if voice.go_on().is_continue() => understood.push((i, question)),
                Ok(_) => {}
                Err(why) => outcomes[i] = Err(why),
            }
        }
        let Some(held) = self.held.as_mut().filter(|_| !understood.is_empty()) else { return Ok(outcomes) };
        let questions: Vec<Question> = understood.iter().map(|(_, question)| question.borrowed()).collect();
        let questions: Vec<&Question> = questions.iter().collect();
        // What was read is kept for a conversation that goes on alone.
        let mut memory = (questions.len() == 1).then(|| held.recall());
        let answers = ask_together(&held.ready, &questions, memory.as_mut(), &mut |number, heard| {
            let voice = &voices[understood[number].0];
            match heard {
                Heard::Started { prompt_tokens, image_tokens } => voice.started(prompt_tokens, image_tokens),
                Heard::Text(piece) => {
                    *spoken = true;
                    voice.text(piece)
                }
            }
        })?;
        if let Some(memory) = memory {
            held.remember(memory);
        }
        for ((i, _), answer) in understood.iter().zip(answers) {
            outcomes[*i] = answer.map(|answer| done(asks[*i].id, answer));
        }
        Ok(outcomes)
    }
}

/// A question, with all that it is put with.
struct Understood {
    conversation: Conversation,
    images: Vec<ImageRef>,
    budget: PixelBudget,
    generation: Generation,
    number_pictures: bool,
}

impl Understood {
    fn borrowed(&self) -> Question<'_> {
        Question {
            conversation: &self.conversation,
            images: &self.images,
            budget: self.budget,
            generation: &self.generation,
            number_pictures: self.number_pictures,
        }
    }
}

fn understand(ask: &Ask, resolved: &ResolvedModel, held: &Held) -> Result<Understood> {
    let (conversation, images) = ask.conversation.for_template();
    if conversation.messages.is_empty() {
        return Err(anyhow!("the conversation is empty: there is no question")).because(Exit::Data);
    }
    // Without the profile of the adapter's run: base and tuned model answer under the same settings.
    let generation = ask.options.settle(None, &held.ready.defaults).because(Exit::Config)?;
    let number_pictures = ask.options.number_pictures;
    Ok(Understood { conversation, images, budget: resolved.budget, generation, number_pictures })
}

fn done(id: u64, answer: Answer) -> Done {
    Done {
        id,
        tokens: answer.ids.len(),
        tokens_per_second: answer.tokens_per_second(),
        prompt_tokens: answer.prompt_tokens,
        cached_tokens: answer.cached_tokens,
        finish: answer.finish,
        seconds: answer.seconds,
        first_token_seconds: answer.first_token_seconds,
        text: answer.text,
    }
}

/// Gives memory that libtorch keeps for later back to the GPU; without one there is none, and the error says so.
fn free_cache() {
    let _ = torch_shim::cuda::empty_cache();
}
