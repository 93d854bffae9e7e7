//! Keys and values of the tokens so far, so that a token is computed once. The room is taken ahead and filled in place: a
//! step of decoding copies one token's keys and values and nothing else.
//!
//! b rows · g key/value heads · s tokens so far · t tokens of this call · k head size

use tch::Tensor;

/// Tokens of room beyond the first ones; later the room doubles.
const FIRST_ROOM: i64 = 128;

pub struct KvCache {
    /// Per layer keys and values `[b, g, room, k]`, after rotary embedding; the first `len` of `room` are filled.
    layers: Vec<Option<(Tensor, Tensor)>>,
    len: i64,
}

impl KvCache {
    pub fn new(layers: usize) -> Self {
        Self { layers: (0..layers).map(|_| None).collect(), len: 0 }
    }

    /// Tokens in it.
    pub fn len(&self) -> i64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes the keys and values of the next tokens of one layer. They count once every layer has them ([`Self::advance`]).
    ///
    /// # Shape
    /// k, v [b, g, t, k] → views [b, g, s + t, k]
    pub(super) fn append(&mut self, layer: usize, k: &Tensor, v: &Tensor) -> (Tensor, Tensor) {
        let (start, t) = (self.len, k.size()[2]);
        let (keys, values) = match self.layers[layer].take() {
            Some((keys, values)) if keys.size()[2] >= start + t => (keys, values),
            Some((keys, values)) => {
                let room = (2 * keys.size()[2]).max(start + t);
                (wider(&keys, start, room), wider(&values, start, room))
            }
            None => (wider(k, 0, t + FIRST_ROOM), wider(v, 0, t + FIRST_ROOM)),
        };
        keys.narrow(2, start, t).copy_(k);
        values.narrow(2, start, t).copy_(v);
        let filled = (keys.narrow(2, 0, start + t), values.narrow(2, 0, start + t));
        self.layers[layer] = Some((keys, values));
        filled
    }

    /// All layers have `t` tokens more.
    pub(super) fn advance(&mut self, t: i64) {
        self.len += t;
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: i64) {
        self.len = self.len.min(len);
    }

    /// Keeps only these rows, in this order. `rows` [b'] i64, on the cache's device.
    pub fn keep_rows(&mut self, rows: &Tensor) {
        for layer in self.layers.iter_mut().flatten() {
            *layer = (layer.0.index_select(0, rows), layer.1.index_select(0, rows));
        }
    }
}

/// The same with more room: [b, g, s, k] → [b, g, room, k]. Only the first `filled` tokens are carried over.
fn wider(x: &Tensor, filled: i64, room: i64) -> Tensor {
    let (b, g, _, k) = x.size4().unwrap_or_default();
    let wide = Tensor::empty([b, g, room, k], (x.kind(), x.device()));
    wide.narrow(2, 0, filled).copy_(&x.narrow(2, 0, filled));
    wide
}
