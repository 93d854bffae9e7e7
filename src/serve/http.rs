//! Connections, routes, and who may ask. What costs memory or a thread has a limit here: connections, the time for a head,
//! the time that a client may leave its answer unread.

use super::Server;
use super::chat;
use super::error::{ApiError, Said};
use super::log::Line;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

/// Connections at once; further ones wait in the kernel's line.
const CONNECTIONS: usize = 512;
/// How long a client may take for the head of a request, and keep a connection without one.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long it may leave what was sent unread.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// Headers of browsers and proxies stay far below.
const HEAD_BYTES: usize = 64 << 10;
/// After an error of accept(2), most often too many open files: time for some to close.
const BREATH: Duration = Duration::from_millis(100);

/// Takes connections until `end`. Returns the open ones, to wait for.
pub async fn accept(listener: TcpListener, server: Arc<Server>, end: impl Future<Output = ()>) -> GracefulShutdown {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let service = TowerToHyperService::new(routes(server));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES);
    tokio::pin!(end);
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            () = &mut end => return graceful,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        // A piece of a stream is shown when it comes, not when the packet is full.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIME));
        let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            // A client that breaks off is no news; its request has its own line.
            let _ = connection.await;
        });
    }
}

fn routes(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/health", get(health))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(server.clone(), guard))
        .with_state(server)
}

async fn models(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(server.models.json())
}

/// Names may have slashes, as on the Hub.
async fn model(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    server.models.one(&name).map(Json)
}

async fn health(State(server): State<Arc<Server>>) -> (StatusCode, Json<Value>) {
    let (loaded, open) = server.desk.health();
    let (status, word) =
        if loaded { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "no model loaded") };
    (status, Json(json!({"status": word, "open_requests": open})))
}

async fn nowhere() -> ApiError {
    let message = "there is no such address; there are POST /v1/chat/completions, GET /v1/models and GET /health";
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn wrong_method() -> ApiError {
    let message = "this address has another method: POST /v1/chat/completions, GET /v1/models, GET /health";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// Around every request: its line in the log, and whether it may come in.
async fn guard(State(server): State<Arc<Server>>, mut request: Request<Body>, next: Next) -> Response {
    let line = Line::new(&format!("{} {}", request.method(), request.uri().path()));
    request.extensions_mut().insert(line.clone());
    let mut response = match admit(&server, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let mut response = error.into_response();
            // Its body is not read; nothing in it is taken for another request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    };
    line.status(response.status().as_u16());
    if let Some(Said(message)) = response.extensions_mut().remove() {
        line.note(&message);
    }
    response
}

fn admit(server: &Server, request: &Request<Body>) -> Result<(), ApiError> {
    let headers = request.headers();
    // Two lengths for one body: a proxy in front may read the other one (request smuggling).
    if headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH) {
        let message = "a request has Content-Length or Transfer-Encoding, not both";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "two_lengths", message));
    }
    // Without a key the address is the protection. A web page that was loaded from a name which then points to 127.0.0.1
    // (DNS rebinding) would get around it; numbers and localhost cannot be made to point elsewhere.
    if server.only_local_names && !is_local_name(headers) {
        let message = "without an API key this server answers under localhost or an IP address only; start it with \
                       LIGHTBOX_API_KEY to use another name";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "host_not_allowed", message));
    }
    let open_to_all = request.uri().path() == "/health";
    if let Some(key) = &server.api_key
        && !open_to_all
        && !has_key(headers, key)
    {
        let message = "the API key is missing or wrong; send it as Authorization: Bearer KEY";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message));
    }
    // A form on a web page can send everything but this without asking first, and nobody here answers such a question.
    if request.method() == Method::POST && !is_json(headers) {
        let message = "the Content-Type has to be application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message));
    }
    Ok(())
}

fn has_key(headers: &HeaderMap, key: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let is_bearer = given.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    is_bearer && given[7..].trim_ascii().ct_eq(key.as_bytes()).into()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn is_local_name(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}
