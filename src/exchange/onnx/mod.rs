//! Networks as ONNX graphs, written by hand.
//!
//! A text model reads `ids` (time, batch) from the states `h0` (layers, batch, H), and `c0` of an LSTM, and gives `logits`
//! (time, batch, outputs) with the states `h1` (and `c1`) after them. A word-vae is two graphs: an encoder from `ids` and
//! `lengths` (batch) to `mu` and `log_var` (batch, Z), and a decoder that is a text model which reads `z` (batch, Z) too.
//!
//! A row whose first id starts a word (`<bos>`) or a document (`<eos>`) forgets the states that it is given, as the
//! program's networks do.
//!
//! ONNX has the gates in another order than PyTorch: LSTM i, o, f, c for i, f, g, o; GRU z, r, h for r, z, n, where
//! `linear_before_reset` says that the reset gate comes after the product.

mod protobuf;

use crate::config::{Cell, NetworkConfig};
use crate::models::variational::LOG_VAR_LIMIT;
use crate::models::weights::{WeightError, Weights, values};
use crate::run::ModelHeader;
use crate::text::{Token, Vocabulary};

use self::protobuf::{Attribute, Dimension, Element, Graph};

/// The version of the format, and of the operators.
const IR_VERSION: u64 = 8;
const OPERATORS: u64 = 14;
const PRODUCER: &str = "textgen";
/// How a file of ours begins: its version and its producer.
const MARK: &[u8] = b"\x08\x08\x12\x07textgen";

const TIME: Dimension = Dimension::Named("time");
const BATCH: Dimension = Dimension::Named("batch");

/// Whether a file that begins like this is one that [`char_rnn`], [`encoder`] or [`decoder`] wrote.
pub fn is_ours(head: &[u8]) -> bool {
    head.starts_with(MARK)
}

/// A text model.
pub fn char_rnn(header: &ModelHeader, weights: &Weights) -> Result<Vec<u8>, WeightError> {
    let network = &header.network;
    let mut graph = Writer::new(network, weights);
    graph.read("ids", "embedding.weight")?;
    let start = network.eos.map(|eos| graph.start(eos, None));
    graph.predict("", "x", start)?;
    let usage = match network.eos {
        Some(eos) => format!(
            "Every text begins with id {eos}, <eos>, and a row whose first id is <eos> forgets h0 and c0; begin a new call there. The logits after <eos> are those of the first character."
        ),
        None => "h0 and c0 of a new text are zeros.".to_owned(),
    };
    Ok(graph.file("char-rnn", header, &usage))
}

/// The encoder of a word-vae with z.
pub fn encoder(header: &ModelHeader, weights: &Weights) -> Result<Vec<u8>, WeightError> {
    let network = &header.network;
    let mut graph = Writer::new(network, weights);
    graph.read("ids", "encoder.embedding.weight")?;
    graph.graph.input("lengths", Element::I64, &[BATCH]);
    graph.node_with(
        "Cast",
        &["lengths"],
        &["lengths_i32"],
        &[("to", Attribute::Number(6))],
    );
    let last = network.layers - 1;
    let both = network.is_bidirectional();
    let mut below = "x".to_owned();
    for layer in 0..network.layers {
        let layered = Layered {
            module: "encoder.rnn",
            layer,
            both,
            lengths: "lengths_i32",
            start: None,
        };
        below = graph.layer(&layered, &below)?;
    }
    // (directions, batch, H) → (batch, directions · H)
    graph.permuted(&format!("h_{last}"), "h_by_row", &[1, 0, 2]);
    graph.reshaped("h_by_row", "summary", &[0, -1]);
    graph.linear("encoder.mean", "summary", "mu")?;
    graph.linear("encoder.log_var", "summary", "log_var_free")?;
    graph.graph.floats("lowest", &[], &[-LOG_VAR_LIMIT]);
    graph.graph.floats("highest", &[], &[LOG_VAR_LIMIT]);
    graph.node("Clip", &["log_var_free", "lowest", "highest"], &["log_var"]);
    for output in ["mu", "log_var"] {
        let shape = [BATCH, Dimension::Size(network.latent())];
        graph.graph.output(output, Element::F32, &shape);
    }
    let usage = "ids are the letters of words, without <bos> and <eos>; lengths says how many of each, at least 1. z = mu + exp(log_var / 2) * noise.";
    Ok(graph.file("encoder", header, usage))
}

/// The decoder of a word-vae.
pub fn decoder(header: &ModelHeader, weights: &Weights) -> Result<Vec<u8>, WeightError> {
    let network = &header.network;
    let (latent, placement) = (network.latent(), network.z());
    let mut graph = Writer::new(network, weights);
    graph.read("ids", "decoder.embedding.weight")?;
    let mut x = "x";
    if latent > 0 {
        let shape = [BATCH, Dimension::Size(latent)];
        graph.graph.input("z", Element::F32, &shape);
    }
    if latent > 0 && placement.at_steps() {
        graph.graph.integers("latent", &[1], &[latent as i64]);
        graph.node("Shape", &["ids"], &["time_and_batch"]);
        let axis = [("axis", Attribute::Number(0))];
        graph.node_with("Concat", &["time_and_batch", "latent"], &["z_shape"], &axis);
        graph.node("Expand", &["z", "z_shape"], &["z_steps"]);
        let axis = [("axis", Attribute::Number(2))];
        graph.node_with("Concat", &["x", "z_steps"], &["x_and_z"], &axis);
        x = "x_and_z";
    }
    let start = latent > 0 && placement.at_start();
    if start {
        graph.linear("decoder.init", "z", "init")?;
        graph.node("Tanh", &["init"], &["init_tanh"]);
        let shape = [0, network.layers as i64, network.hidden as i64];
        graph.reshaped("init_tanh", "init_by_row", &shape);
        graph.permuted("init_by_row", "h_of_z", &[1, 0, 2]);
    }
    let bos = header.vocabulary.bos().unwrap_or_default();
    let states = graph.start(bos, start.then_some("h_of_z"));
    graph.predict("decoder.", x, Some(states))?;
    let usage = format!(
        "Every word begins with id {bos}, <bos>, whose row starts from z and forgets h0 and c0, and ends with id {}, <eos>. z of a new word is standard normal.",
        header.vocabulary.eos().unwrap_or_default()
    );
    Ok(graph.file("decoder", header, &usage))
}

/// The tokens in the order of their ids, as JSON: texts, bytes as numbers, and special tokens by name.
fn tokens(vocabulary: &Vocabulary) -> String {
    let tokens = vocabulary.tokens().iter().map(|token| match token {
        Token::Byte(byte) => serde_json::Value::from(*byte),
        Token::Text(text) => text.clone().into(),
        special => special.visible().into(),
    });
    serde_json::Value::from(tokens.collect::<Vec<_>>()).to_string()
}

/// A layer of recurrent cells.
struct Layered<'a> {
    module: &'a str,
    layer: usize,
    /// Whether there is a second direction.
    both: bool,
    /// The input with the lengths of the rows; empty if all are as long.
    lengths: &'a str,
    /// The names of the states before the first token, without the number of the layer.
    start: Option<[&'a str; 2]>,
}

struct Writer<'w> {
    network: &'w NetworkConfig,
    weights: &'w Weights<'w>,
    graph: Graph,
    /// For the names of constants.
    shapes: usize,
}

impl<'w> Writer<'w> {
    fn new(network: &'w NetworkConfig, weights: &'w Weights<'w>) -> Self {
        Self {
            network,
            weights,
            graph: Graph::default(),
            shapes: 0,
        }
    }

    fn node(&mut self, operator: &str, inputs: &[&str], outputs: &[&str]) {
        self.node_with(operator, inputs, outputs, &[]);
    }

    fn node_with(
        &mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) {
        self.graph.node(operator, inputs, outputs, attributes);
    }

    fn permuted(&mut self, from: &str, to: &str, order: &[i64]) {
        let order = [("perm", Attribute::Numbers(order))];
        self.node_with("Transpose", &[from], &[to], &order);
    }

    /// 0 leaves a dimension as it is, −1 is what remains.
    fn reshaped(&mut self, from: &str, to: &str, shape: &[i64]) {
        let name = self.numbers(shape);
        self.node("Reshape", &[from, &name], &[to]);
    }

    /// A constant without a name that matters.
    fn numbers(&mut self, numbers: &[i64]) -> String {
        self.shapes += 1;
        let name = format!("numbers_{}", self.shapes);
        self.graph.integers(&name, &[numbers.len()], numbers);
        name
    }

    /// `x`, the embedding of ids or their one-hots.
    fn read(&mut self, ids: &str, embedding: &str) -> Result<(), WeightError> {
        self.graph.input(ids, Element::I64, &[TIME, BATCH]);
        let &NetworkConfig {
            embedding: size,
            inputs,
            ..
        } = self.network;
        if size > 0 {
            let values = values(self.weights, embedding)?;
            self.graph.floats(embedding, &[inputs, size], &values);
            self.node("Gather", &[embedding, ids], &["x"]);
        } else {
            self.graph.integers("tokens", &[], &[inputs as i64]);
            self.graph.floats("zero_and_one", &[2], &[0.0, 1.0]);
            let axis = [("axis", Attribute::Number(-1))];
            self.node_with("OneHot", &[ids, "tokens", "zero_and_one"], &["x"], &axis);
        }
        Ok(())
    }

    /// The states before the first token: of rows that begin with `first` they are `h`, or zeros.
    fn start(&mut self, first: u32, h: Option<&str>) -> [&'static str; 2] {
        self.graph.integers("first", &[], &[i64::from(first)]);
        self.graph.integers("front", &[], &[0]);
        if h.is_none() || self.network.cell == Cell::Lstm {
            self.graph.floats("zero", &[], &[0.0]);
        }
        let axes = self.numbers(&[0, 2]);
        self.node("Gather", &["ids", "front"], &["first_ids"]);
        self.node("Equal", &["first_ids", "first"], &["row_begins"]);
        self.node("Unsqueeze", &["row_begins", &axes], &["begins"]);
        self.node(
            "Where",
            &["begins", h.unwrap_or("zero"), "h0"],
            &["h_start"],
        );
        if self.network.cell == Cell::Lstm {
            self.node("Where", &["begins", "zero", "c0"], &["c_start"]);
        }
        ["h_start", "c_start"]
    }

    /// The recurrent layers on `x` and the head, with their states as inputs and outputs.
    fn predict(
        &mut self,
        prefix: &str,
        x: &str,
        start: Option<[&str; 2]>,
    ) -> Result<(), WeightError> {
        let &NetworkConfig {
            cell,
            hidden,
            layers,
            outputs,
            ..
        } = self.network;
        let kinds = &["h", "c"][..if cell == Cell::Lstm { 2 } else { 1 }];
        let state = [Dimension::Size(layers), BATCH, Dimension::Size(hidden)];
        let from = start.unwrap_or(["h0", "c0"]);
        for (kind, from) in kinds.iter().zip(from) {
            self.graph.input(&format!("{kind}0"), Element::F32, &state);
            let parts: Vec<String> = (0..layers).map(|layer| format!("{from}_{layer}")).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            self.node_with("Split", &[from], &parts, &[("axis", Attribute::Number(0))]);
        }
        let mut below = x.to_owned();
        for layer in 0..layers {
            let layered = Layered {
                module: &format!("{prefix}rnn"),
                layer,
                both: false,
                lengths: "",
                start: Some(from),
            };
            below = self.layer(&layered, &below)?;
        }
        let (weight, bias) = (format!("{prefix}head.weight"), format!("{prefix}head.bias"));
        let values_of = |name: &str| values(self.weights, name);
        let (matrix, offsets) = (values_of(&weight)?, values_of(&bias)?);
        let column = |column: usize| matrix.iter().skip(column).step_by(hidden).copied();
        let transposed: Vec<f32> = (0..hidden).flat_map(column).collect();
        self.graph.floats(&weight, &[hidden, outputs], &transposed);
        self.graph.floats(&bias, &[outputs], &offsets);
        self.node("MatMul", &[&below, &weight], &["product"]);
        self.node("Add", &["product", &bias], &["logits"]);
        let logits = [TIME, BATCH, Dimension::Size(outputs)];
        self.graph.output("logits", Element::F32, &logits);
        for kind in kinds {
            let parts: Vec<String> = (0..layers).map(|layer| format!("{kind}_{layer}")).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let output = format!("{kind}1");
            self.node_with(
                "Concat",
                &parts,
                &[&output],
                &[("axis", Attribute::Number(0))],
            );
            self.graph.output(&output, Element::F32, &state);
        }
        Ok(())
    }

    /// A layer on `below` (time, batch, columns); returns the name of its hidden states (time, batch, directions · H).
    /// Those after the last token are `h_{layer}` and `c_{layer}` (directions, batch, H).
    fn layer(&mut self, layered: &Layered, below: &str) -> Result<String, WeightError> {
        let &NetworkConfig { cell, hidden, .. } = self.network;
        let (operator, order): (_, &[usize]) = match cell {
            Cell::Lstm => ("LSTM", &[0, 3, 1, 2]),
            Cell::Gru => ("GRU", &[1, 0, 2]),
            Cell::Rnn => ("RNN", &[0]),
        };
        let Layered {
            module,
            layer,
            both,
            lengths,
            start,
        } = *layered;
        let suffixes = &["", "_reverse"][..if both { 2 } else { 1 }];
        let rows = order.len() * hidden;
        let mut names = Vec::new();
        for (short, parts) in [
            ("W", &["weight_ih"][..]),
            ("R", &["weight_hh"]),
            ("B", &["bias_ih", "bias_hh"]),
        ] {
            let mut all = Vec::new();
            for suffix in suffixes {
                for part in parts {
                    let name = format!("{module}.{part}_l{layer}{suffix}");
                    let values = values(self.weights, &name)?;
                    let size = values.len() / order.len();
                    let gate = |&gate: &usize| values[gate * size..][..size].iter().copied();
                    all.extend(order.iter().flat_map(gate));
                }
            }
            let name = format!("{module}.{short}_{layer}");
            let columns = all.len() / (suffixes.len() * rows);
            let shape = [suffixes.len(), rows, columns];
            match short {
                "B" => self.graph.floats(&name, &[suffixes.len(), 2 * rows], &all),
                _ => self.graph.floats(&name, &shape, &all),
            }
            names.push(name);
        }
        let start = start.map(|start| start.map(|name| format!("{name}_{layer}")));
        let mut inputs = vec![below, &names[0], &names[1], &names[2], lengths];
        if let Some([h, c]) = &start {
            inputs.push(h);
            if cell == Cell::Lstm {
                inputs.push(c);
            }
        }
        let outputs = [
            format!("y_{layer}_all"),
            format!("h_{layer}"),
            format!("c_{layer}"),
        ];
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let outputs = &outputs[..if cell == Cell::Lstm { 3 } else { 2 }];
        let direction = if both { "bidirectional" } else { "forward" };
        let mut attributes = vec![
            ("hidden_size", Attribute::Number(hidden as i64)),
            ("direction", Attribute::Text(direction)),
        ];
        if cell == Cell::Gru {
            attributes.push(("linear_before_reset", Attribute::Number(1)));
        }
        self.node_with(operator, &inputs, outputs, &attributes);
        let above = format!("y_{layer}");
        if both {
            let by_row = format!("y_{layer}_by_row");
            self.permuted(outputs[0], &by_row, &[0, 2, 1, 3]);
            self.reshaped(&by_row, &above, &[0, 0, -1]);
        } else {
            let axes = self.numbers(&[1]);
            self.node("Squeeze", &[outputs[0], &axes], &[&above]);
        }
        Ok(above)
    }

    /// A linear layer on rows.
    fn linear(&mut self, module: &str, from: &str, to: &str) -> Result<(), WeightError> {
        let (weight, bias) = (format!("{module}.weight"), format!("{module}.bias"));
        let (matrix, offsets) = (values(self.weights, &weight)?, values(self.weights, &bias)?);
        let rows = offsets.len();
        let shape = [rows, matrix.len() / rows.max(1)];
        self.graph.floats(&weight, &shape, &matrix);
        self.graph.floats(&bias, &[rows], &offsets);
        let transposed = [("transB", Attribute::Number(1))];
        self.node_with("Gemm", &[from, &weight, &bias], &[to], &transposed);
        Ok(())
    }

    fn file(self, name: &str, header: &ModelHeader, usage: &str) -> Vec<u8> {
        let about = serde_json::to_string(header).unwrap_or_default();
        let tokens = tokens(&header.vocabulary);
        let metadata = [("textgen", &*about), ("tokens", &tokens), ("usage", usage)];
        self.graph.file(name, usage, &metadata)
    }
}
