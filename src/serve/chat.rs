//! `POST /v1/chat/completions`: from the bytes of a request to the bytes of its answer.

use super::Server;
use super::desk::{Heard, Ticket};
use super::error::ApiError;
use super::log::{Line, unix_seconds};
use super::request::ChatRequest;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lightbox_core::chat::{Ask, Conversation, Done, Finish, Message};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tempfile::NamedTempFile;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_secs(60);

/// The handler. Dropping its future, or the body that it returns, stops the answer: that is how hyper tells that the
/// client is gone.
pub async fn completions(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Response, ApiError> {
    let line = request.extensions().get::<Line>().cloned().unwrap_or_else(|| Line::new("POST"));
    let deadline = server.limits.timeout.map(|time| Instant::now() + time);
    // Before anything is read: a full line costs nothing.
    let place = server.desk.place()?;
    let body = read(request, server.limits.body_bytes).await?;

    // Decoding pictures takes time and memory, so a few at once and not on the threads that serve.
    let permit = server.preparing.clone().acquire_owned().await;
    let (preparer, for_log) = (server.clone(), line.clone());
    let prepare = move || {
        let _permit = permit;
        prepare(&preparer, &body, &for_log)
    };
    let prepared = tokio::task::spawn_blocking(prepare).await;
    let Prepared { ask, pictures, model, stream, include_usage } = prepared.unwrap_or_else(|_| {
        Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "a fault inside the program; please report it",
        ))
    })?;

    let ticket = server.desk.ask(ask, pictures, place)?;
    let mut answer = Answer { id: completion_id(ticket.id()), created: unix_seconds(), model, ticket, deadline, line };
    // Status and headers wait for this: a question that fails before its first word fails with its own status.
    let first = answer.next().await?;
    if stream {
        return Ok(answer.stream(first, include_usage));
    }
    let mut heard = first;
    loop {
        match heard {
            Heard::Done(done) => return Ok(Json(answer.whole(&done)).into_response()),
            Heard::Failed(error) => return Err(error),
            Heard::Started | Heard::Text(_) => heard = answer.next().await?,
        }
    }
}

async fn read(request: Request<Body>, most: usize) -> Result<Vec<u8>, ApiError> {
    let too_large = || {
        let message = format!(
            "the body has more than {most} bytes; send fewer or smaller pictures, or start the server with a larger --max-body"
        );
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > most as u64) {
        return Err(too_large());
    }
    let late = || {
        let message = format!("the body did not come within {} seconds", BODY_TIME.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    };
    let body = timeout(BODY_TIME, to_bytes(request.into_body(), most)).await.map_err(|_| late())?;
    // A connection that broke hears no answer, whichever.
    body.map(Into::into).map_err(|_| too_large())
}

struct Prepared {
    ask: Ask,
    pictures: Vec<NamedTempFile>,
    /// As the client called it.
    model: String,
    stream: bool,
    include_usage: bool,
}

/// Reads the request, fetches and checks its pictures.
fn prepare(server: &Server, body: &[u8], line: &Line) -> Result<Prepared, ApiError> {
    let request = ChatRequest::parse(body)?;
    line.model(&request.model);
    let model = server.models.find(&request.model)?.clone();
    let mut options = request.options;
    let most = server.limits.tokens;
    if let Some(asked) = options.max_new_tokens.filter(|&n| n > most) {
        let message = format!("max_tokens is {asked}; this server gives at most {most} (--max-tokens)");
        return Err(ApiError::field("max_tokens", message));
    }
    (options.image_min_pixels, options.image_max_pixels) = server.image_pixels;
    let count: usize = request.messages.iter().map(|message| message.pictures.len()).sum();
    if count > server.pictures.most {
        let most = server.pictures.most;
        let message = format!("the request has {count} pictures; this server takes at most {most} (--max-pictures)");
        return Err(ApiError::field("messages", message));
    }
    let (mut pictures, mut messages) = (Vec::new(), Vec::new());
    for message in request.messages {
        let copies = message.pictures.iter().map(|picture| server.pictures.take(picture));
        let copies = copies.collect::<Result<Vec<_>, _>>()?;
        let images = copies.iter().map(|copy| copy.path().to_owned()).collect();
        messages.push(Message { role: message.role, content: message.content, images });
        pictures.extend(copies);
    }
    let conversation = Conversation { system: request.system, messages };
    let (stream, include_usage) = (request.stream, request.include_usage);
    Ok(Prepared {
        ask: Ask { id: 0, model, conversation, options },
        pictures,
        model: request.model,
        stream,
        include_usage,
    })
}

/// Unique beyond this process: clients keep them.
fn completion_id(number: u64) -> String {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("chatcmpl-{nanos:x}-{:x}-{number:x}", std::process::id())
}

/// An answer on its way to the client.
struct Answer {
    id: String,
    created: u64,
    model: String,
    ticket: Ticket,
    deadline: Option<Instant>,
    line: Line,
}

/// Where a stream is.
enum Next {
    Head(Heard),
    Word(Heard),
    Listen,
    Usage(Done),
    End,
    Over,
}

impl Answer {
    /// # Errors
    /// 504: too late. The answer stops when this is dropped.
    async fn next(&mut self) -> Result<Heard, ApiError> {
        let Some(deadline) = self.deadline else { return Ok(self.ticket.next().await) };
        timeout_at(deadline, self.ticket.next()).await.map_err(|_| {
            let message = "the answer was not complete within the server's time limit (--timeout)";
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
        })
    }

    fn whole(&self, done: &Done) -> Value {
        self.line.tokens(done.prompt_tokens, done.tokens);
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": done.text, "refusal": null},
                "logprobs": null,
                "finish_reason": finish_reason(done.finish),
            }],
            "usage": usage(done),
        })
    }

    /// Server-sent events: a chunk for each piece of text (whole characters, as the worker gives them), `[DONE]` last. After
    /// an error there is no `[DONE]`: what was said is not the answer.
    fn stream(self, first: Heard, include_usage: bool) -> Response {
        let events = futures_util::stream::unfold((self, Next::Head(first)), move |(mut answer, next)| async move {
            let (event, next) = answer.event(next, include_usage).await?;
            Some((Ok::<_, Infallible>(event), (answer, next)))
        });
        let mut response = Body::from_stream(events).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx would collect the pieces otherwise.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    async fn event(&mut self, next: Next, include_usage: bool) -> Option<(String, Next)> {
        let chunk = |answer: &Self, choices: Value, usage: Value| {
            let mut chunk = json!({
                "id": answer.id,
                "object": "chat.completion.chunk",
                "created": answer.created,
                "model": answer.model,
                "choices": choices,
            });
            if include_usage {
                chunk["usage"] = usage;
            }
            event(&chunk)
        };
        let delta = |delta: Value, finish: Option<&str>| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        let mut heard = match next {
            Next::Head(first) => {
                let role = delta(json!({"role": "assistant", "content": ""}), None);
                return Some((chunk(self, role, Value::Null), Next::Word(first)));
            }
            Next::Usage(done) => return Some((chunk(self, json!([]), usage(&done)), Next::End)),
            Next::End => return Some(("data: [DONE]\n\n".to_owned(), Next::Over)),
            Next::Over => return None,
            Next::Word(heard) => Ok(heard),
            Next::Listen => self.next().await,
        };
        loop {
            match heard {
                Ok(Heard::Started) => heard = self.next().await,
                Ok(Heard::Text(text)) => {
                    return Some((chunk(self, delta(json!({"content": text}), None), Value::Null), Next::Listen));
                }
                Ok(Heard::Done(done)) => {
                    self.line.tokens(done.prompt_tokens, done.tokens);
                    let last = chunk(self, delta(json!({}), Some(finish_reason(done.finish))), Value::Null);
                    return Some((last, if include_usage { Next::Usage(done) } else { Next::End }));
                }
                Ok(Heard::Failed(error)) | Err(error) => {
                    self.line.note(&error.message);
                    return Some((event(&error.json()), Next::Over));
                }
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.ticket.ended() {
            self.line.note("stopped: the client went away, or the time was over");
        }
    }
}

fn event(json: &Value) -> String {
    format!("data: {json}\n\n")
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        // Nobody else stops answers here, so nobody reads `cancelled`.
        Finish::Stop | Finish::Cancelled => "stop",
        Finish::Length => "length",
    }
}

fn usage(done: &Done) -> Value {
    json!({
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.tokens,
        "total_tokens": done.prompt_tokens + done.tokens,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
    })
}
