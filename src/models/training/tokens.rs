//! The tokens that a layer reads: one-hot or embedded, and some of them dropped.
//!
//! The input product of embedded tokens is computed by token where the vocabulary is smaller than the
//! batch: W_ih·e of each token is a column of another matrix (G·H, V), whose gradient leads to those of both
//! factors. Otherwise the tokens' vectors are looked up.

use crate::kernels::training::{Input, Linear, LinearGradients, Workers};
use crate::models::noise::Noise;

/// Dropout of tokens: a dropped token is a vector of zeros, the others are scaled up by 1 / (1 − rate).
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenDropout {
    pub noise: Noise,
    pub rate: f64,
}

/// How the tokens of one pass enter a layer, with the buffers that this needs.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenInput {
    /// V.
    vocabulary: usize,
    /// E; 0 is one-hot.
    size: usize,
    /// Columns of the layer's W_ih for something else, after those for the tokens.
    others: usize,
    form: Form,
    /// The factor of tokens that were not dropped.
    scale: f32,
    /// The tokens (N); V is a dropped one.
    tokens: Vec<i64>,
    /// W_ih without the other columns (G·H, E), and its gradient.
    own: [Vec<f32>; 2],
    /// The matrix by token (G·H, V), or (G·H, V + 1) with the column of a dropped one.
    table: Vec<f32>,
    /// Its gradient, or that of W_ih without the other columns.
    gradient: Vec<f32>,
    /// W_ih·e of every token (G·H, V) before it is scaled, or its gradient.
    by_token: Vec<f32>,
    /// (V, E).
    d_embedding: Vec<f32>,
    /// The tokens' vectors (N, E), and their gradient.
    vectors: [Vec<f32>; 2],
}

/// The form in which a layer reads tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// Columns of W_ih itself.
    #[default]
    OneHot,
    /// Columns of a matrix of its own.
    Table,
    /// Vectors.
    Vectors,
}

impl TokenInput {
    /// For a layer that reads one of `vocabulary` tokens, with vectors of `size` numbers or one-hot, and
    /// `others` numbers besides.
    ///
    /// # Panics
    /// If one-hot tokens are read with other numbers.
    pub fn new(vocabulary: usize, size: usize, others: usize) -> Self {
        assert!(size > 0 || others == 0, "one-hot tokens are read alone");
        Self {
            vocabulary,
            size,
            others,
            ..Self::default()
        }
    }

    /// Columns of the table.
    const fn columns(&self) -> usize {
        // The last one is that of a dropped token.
        self.vocabulary + if self.scale == 1.0 { 0 } else { 1 }
    }

    /// Prepares to read `tokens` (N), whose positions in the whole batch are `at`, given the layer's
    /// W_ih and the embedding (V, E), empty if there is none.
    pub fn prepare(
        &mut self,
        workers: Workers,
        weight_ih: &[f32],
        embedding: &[f32],
        tokens: &[i64],
        dropout: Option<(TokenDropout, &dyn Fn(usize) -> u64)>,
    ) {
        let dropout = dropout.filter(|(dropout, _)| dropout.rate > 0.0);
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
        self.scale = 1.0;
        if let Some((TokenDropout { noise, rate }, at)) = dropout {
            self.scale = 1.0 / (1.0 - rate as f32);
            for (index, token) in self.tokens.iter_mut().enumerate() {
                if f64::from(noise.uniform(at(index))) < rate {
                    *token = self.vocabulary as i64;
                }
            }
        }
        self.form = match self.size {
            0 if dropout.is_none() => Form::OneHot,
            0 => Form::Table,
            _ if tokens.len() < self.vocabulary => Form::Vectors,
            _ => Form::Table,
        };
        if self.others > 0 {
            let rows = weight_ih.chunks_exact(self.size + self.others);
            self.own[0].clear();
            self.own[0].extend(rows.flat_map(|row| &row[..self.size]));
        }
        match self.form {
            Form::OneHot => (),
            Form::Table => self.fill_table(workers, weight_ih, embedding),
            Form::Vectors => {
                let (size, scale) = (self.size, self.scale);
                self.vectors[0].resize(tokens.len() * size, 0.0);
                let rows = self.vectors[0].chunks_exact_mut(size);
                for (to, &token) in rows.zip(&self.tokens) {
                    match embedding.get(token as usize * size..(token as usize + 1) * size) {
                        Some(from) => copy_scaled(from, scale, to),
                        None => to.fill(0.0),
                    }
                }
            }
        }
    }

    /// W_ih·e of every token, scaled, and zeros for a dropped one.
    fn fill_table(&mut self, workers: Workers, weight_ih: &[f32], embedding: &[f32]) {
        let (columns, vocabulary) = (self.columns(), self.vocabulary);
        let inputs = if self.size > 0 {
            self.size + self.others
        } else {
            vocabulary
        };
        let rows = weight_ih.len() / inputs;
        let Self {
            table, by_token, ..
        } = self;
        table.resize(rows * columns, 0.0);
        let from = if self.size > 0 {
            let own = if self.others > 0 {
                &self.own[0]
            } else {
                weight_ih
            };
            let product = Linear {
                inputs: self.size,
                outputs: vocabulary,
                x: own,
                weight: embedding,
                bias: &[],
            };
            if columns == vocabulary {
                return product.forward(workers, table);
            }
            by_token.resize(rows * vocabulary, 0.0);
            product.forward(workers, by_token);
            by_token
        } else {
            weight_ih
        };
        let to = table.chunks_exact_mut(columns);
        for (from, to) in from.chunks_exact(vocabulary).zip(to) {
            copy_scaled(from, self.scale, &mut to[..vocabulary]);
            to[vocabulary..].fill(0.0);
        }
    }

    /// What the layer reads, and the matrix in place of its W_ih, if there is one.
    pub fn read(&self) -> (Input<'_>, Option<&[f32]>) {
        let own = (self.others > 0).then_some(&self.own[0][..]);
        match self.form {
            Form::OneHot => (Input::Tokens(&self.tokens), None),
            Form::Table => (Input::Tokens(&self.tokens), Some(&self.table)),
            Form::Vectors => (Input::Vectors(&self.vectors[0]), own),
        }
    }

    /// Buffers for the gradients of what the layer reads, to be handed to [`TokenInput::finish`].
    pub fn gradients(&mut self) -> TokenGradients {
        let mut gradients = TokenGradients {
            table: std::mem::take(&mut self.gradient),
            vectors: std::mem::take(&mut self.vectors[1]),
        };
        let (_, table) = self.read();
        let table = table.map_or(0, <[f32]>::len);
        let vectors = match self.form {
            Form::Vectors => self.vectors[0].len(),
            Form::OneHot | Form::Table => 0,
        };
        gradients.table.resize(table, 0.0);
        gradients.vectors.resize(vectors, 0.0);
        gradients
    }

    /// The gradients of W_ih, but for its other columns, and of the embedding, from those of what the
    /// layer read. Those of the embedding are added to what is there.
    pub fn finish(
        &mut self,
        workers: Workers,
        weight_ih: &[f32],
        embedding: &[f32],
        mut gradients: TokenGradients,
        d_weight_ih: &mut [f32],
        d_embedding: &mut [f32],
    ) {
        let scale = self.scale;
        match self.form {
            Form::OneHot => (),
            Form::Table if self.size == 0 => {
                let rows = gradients.table.chunks_exact(self.columns());
                for (from, to) in rows.zip(d_weight_ih.chunks_exact_mut(self.vocabulary)) {
                    copy_scaled(from, scale, to);
                }
            }
            Form::Table => {
                let columns = self.columns();
                let mut of_product = &gradients.table;
                if columns > self.vocabulary {
                    let rows = gradients.table.chunks_exact(columns);
                    let to = self.by_token.chunks_exact_mut(self.vocabulary);
                    for (from, to) in rows.zip(to) {
                        copy_scaled(from, scale, to);
                    }
                    of_product = &self.by_token;
                }
                let [own, d_own] = &mut self.own;
                self.d_embedding.resize(embedding.len(), 0.0);
                d_own.resize(own.len(), 0.0);
                let product = Linear {
                    inputs: self.size,
                    outputs: self.vocabulary,
                    x: if self.others > 0 { own } else { weight_ih },
                    weight: embedding,
                    bias: &[],
                };
                let to = LinearGradients {
                    x: if self.others > 0 {
                        d_own
                    } else {
                        &mut *d_weight_ih
                    },
                    weight: &mut self.d_embedding,
                    bias: &mut [],
                };
                product.backward(workers, of_product, to);
                for (to, from) in d_embedding.iter_mut().zip(&self.d_embedding) {
                    *to += from;
                }
                if self.others > 0 {
                    self.spread(d_weight_ih);
                }
            }
            Form::Vectors => {
                let rows = gradients.vectors.chunks_exact(self.size);
                for (from, &token) in rows.zip(&self.tokens) {
                    let to = token as usize * self.size..(token as usize + 1) * self.size;
                    for (to, from) in d_embedding.get_mut(to).into_iter().flatten().zip(from) {
                        *to += scale * from;
                    }
                }
                if self.others > 0 {
                    std::mem::swap(&mut self.own[1], &mut gradients.table);
                    self.spread(d_weight_ih);
                }
            }
        }
        self.gradient = gradients.table;
        self.vectors[1] = gradients.vectors;
    }

    /// Copies the gradient of W_ih's columns for the tokens to where it belongs.
    fn spread(&self, d_weight_ih: &mut [f32]) {
        let to = d_weight_ih.chunks_exact_mut(self.size + self.others);
        for (from, to) in self.own[1].chunks_exact(self.size).zip(to) {
            to[..self.size].copy_from_slice(from);
        }
    }
}

/// The gradients of what a layer reads.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenGradients {
    /// Of the matrix in place of W_ih; empty if there is none.
    pub table: Vec<f32>,
    /// Of the vectors (N, E); empty if tokens are read.
    pub vectors: Vec<f32>,
}

fn copy_scaled(from: &[f32], scale: f32, to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = scale * from;
    }
}
