//! Finds a recurrent network among tensors: by PyTorch's names for its recurrent layers, and by shape for the rest.

use std::collections::{BTreeSet, HashSet};

use super::ImportError;
use super::checkpoint::Checkpoint;
use super::pickle::{Dtype, Id, Tensor, Value, Values};
use crate::config::Cell;
use crate::models::weights::{Array, Weights};

/// The most dictionaries and instances that are looked at for weights, and how deep.
const MOST_LOOKED_AT: usize = 100_000;
const DEEPEST: usize = 16;
/// The most tensors that a message lists.
const MOST_LISTED: usize = 40;
/// Where checkpoints keep the weights, the most telling first.
const KNOWN: [&str; 8] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "tensors",
];
/// What authors call the layer before and the layer after.
const EMBEDDINGS: [&str; 7] = ["emb", "encoder", "wte", "lookup", "i2e", "in", "drop"];
const HEADS: [&str; 10] = [
    "decoder", "fc", "linear", "out", "head", "proj", "dense", "classif", "h2o", "i2o",
];

/// What a file holds.
#[derive(Debug)]
pub struct Found {
    pub cell: Cell,
    pub hidden: usize,
    pub layers: usize,
    pub embedding: usize,
    /// Rows of the last layer.
    pub tokens: usize,
    pub weights: Weights<'static>,
    pub notes: Vec<String>,
    /// The key, or the keys with dots, under which the weights are; empty if the file is nothing else.
    pub path: String,
}

/// Tensors with names.
#[derive(Default)]
struct Set {
    path: String,
    tensors: Vec<(String, Tensor)>,
    /// The activation of a plain recurrent layer, if a module says so.
    mode: Option<String>,
}

/// Looks for sets of tensors.
struct Search<'v> {
    values: &'v Values,
    looked_at: usize,
    seen: HashSet<Id>,
    sets: Vec<Set>,
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

impl Search<'_> {
    /// Counts a value; false if that is enough.
    fn goes_on(&mut self, depth: usize) -> bool {
        self.looked_at += 1;
        self.looked_at < MOST_LOOKED_AT && depth < DEEPEST
    }

    fn look(&mut self, id: Id, path: &str, depth: usize) {
        if !self.goes_on(depth) || !self.seen.insert(id) {
            return;
        }
        let values = self.values;
        if is_module(values, id) {
            let mut set = Set {
                path: path.to_owned(),
                ..Set::default()
            };
            self.module(id, "", depth, &mut set);
            self.sets.push(set);
            return;
        }
        let entries = [values.entries(id), values.attributes(id)].concat();
        let named = entries.iter().filter_map(|&(key, value)| {
            let Value::Tensor(tensor) = values.get(value) else {
                return None;
            };
            Some((values.text(key)?.to_owned(), tensor.clone()))
        });
        let tensors: Vec<_> = named.collect();
        if !tensors.is_empty() {
            self.sets.push(Set {
                path: path.to_owned(),
                tensors,
                mode: None,
            });
        }
        for (key, value) in entries {
            if let Some(key) = values.text(key)
                && values.has_entries(value)
            {
                self.look(value, &joined(path, key), depth + 1);
            }
        }
    }

    /// The parameters and buffers of a module that was saved as a whole, under the names that `state_dict()` gives them.
    fn module(&mut self, id: Id, prefix: &str, depth: usize, set: &mut Set) {
        if !self.goes_on(depth) {
            return;
        }
        let values = self.values;
        let attributes = values.attributes(id);
        if let Some(mode) = values
            .under(attributes, "mode")
            .and_then(|id| values.text(id))
        {
            set.mode = Some(mode.to_owned());
        }
        for part in ["_parameters", "_buffers"] {
            let part = values.under(attributes, part);
            for &(key, value) in part.map_or(&[][..], |part| values.entries(part)) {
                if let (Some(key), Value::Tensor(tensor)) = (values.text(key), values.get(value)) {
                    set.tensors.push((joined(prefix, key), tensor.clone()));
                }
            }
        }
        let modules = values.under(attributes, "_modules");
        for &(key, value) in modules.map_or(&[][..], |modules| values.entries(modules)) {
            if let Some(key) = values.text(key) {
                self.module(value, &joined(prefix, key), depth + 1, set);
            }
        }
    }
}

fn is_module(values: &Values, id: Id) -> bool {
    let attributes = values.attributes(id);
    values.under(attributes, "_parameters").is_some()
        && values.under(attributes, "_modules").is_some()
}

/// The names of what a checkpoint has besides the weights at `path`.
pub fn besides(checkpoint: &Checkpoint, path: &str) -> Vec<String> {
    let values = &checkpoint.values;
    let first = path.split('.').next().unwrap_or_default();
    let entries = values.entries(checkpoint.root).iter();
    let names = entries.filter_map(|&(key, _)| values.text(key));
    let names = names.filter(|&name| !path.is_empty() && name != first);
    names.map(str::to_owned).collect()
}

/// A tensor of a recurrent layer: the module's name, the part, and the layer.
fn recurrent(name: &str) -> Option<(&str, &str, usize)> {
    let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
    let (part, layer) = match leaf.rsplit_once("_l") {
        Some((part, layer)) => (
            part,
            layer
                .strip_suffix("_reverse")
                .unwrap_or(layer)
                .parse()
                .ok()?,
        ),
        None => (leaf, 0),
    };
    let parts = ["weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"];
    parts.contains(&part).then_some((module, part, layer))
}

/// Finds the network.
pub fn find(checkpoint: &mut Checkpoint) -> Result<Found, ImportError> {
    let mut search = Search {
        values: &checkpoint.values,
        looked_at: 0,
        seen: HashSet::new(),
        sets: Vec::new(),
    };
    search.look(checkpoint.root, "", 0);
    let set = chosen(search.sets)?;
    Plan::of(&set)?.fill(checkpoint, set)
}

/// The only set with recurrent layers, or the one of the most usual name.
fn chosen(sets: Vec<Set>) -> Result<Set, ImportError> {
    let is_recurrent = |set: &Set| {
        set.tensors
            .iter()
            .any(|(name, _)| recurrent(name).is_some())
    };
    let (mut recurrent, others): (Vec<Set>, Vec<Set>) = sets.into_iter().partition(is_recurrent);
    if recurrent.is_empty() {
        return Err(no_recurrence(others));
    }
    let last = |set: &Set| set.path.rsplit('.').next().unwrap_or_default().to_owned();
    for known in KNOWN {
        let mut named = recurrent
            .iter()
            .enumerate()
            .filter(|(_, set)| last(set) == known);
        if let (Some((at, _)), None) = (named.next(), named.next()) {
            return Ok(recurrent.swap_remove(at));
        }
    }
    if recurrent.len() > 1 {
        let paths: Vec<&str> = recurrent.iter().map(|set| &*set.path).collect();
        return Err(ImportError::new(
            format!("it holds several networks: {}", paths.join(", ")),
            "save the one that you mean: torch.save(checkpoint[NAME], \"weights.pt\")",
        ));
    }
    recurrent.pop().ok_or_else(|| no_recurrence(others))
}

fn described((name, tensor): &(String, Tensor)) -> String {
    let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
    format!("{name} ({})", shape.join("×"))
}

fn listed(tensors: &[(String, Tensor)]) -> String {
    let shown: Vec<String> = tensors.iter().take(MOST_LISTED).map(described).collect();
    let more = tensors.len().saturating_sub(MOST_LISTED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    shown.join(", ") + &more
}

/// Says what a file without recurrent layers holds.
fn no_recurrence(sets: Vec<Set>) -> ImportError {
    let largest = sets.into_iter().max_by_key(|set| set.tensors.len());
    let Some(set) = largest.filter(|set| !set.tensors.is_empty()) else {
        return ImportError::new(
            "it holds no tensors under names",
            "save the weights: torch.save(model.state_dict(), \"weights.pt\")",
        );
    };
    let has = |part: &str| set.tensors.iter().any(|(name, _)| name.contains(part));
    let kind = if has("attn") || has("attention") || has("wte") || has("transformer") {
        "a transformer"
    } else if has("conv") {
        "a convolutional network"
    } else {
        "a network without recurrent layers"
    };
    let (first, count) = (described(&set.tensors[0]), set.tensors.len());
    ImportError::new(
        format!(
            "it holds {kind} of {count} tensors, such as {first}: textgen has recurrent networks only"
        ),
        "give an LSTM, a GRU or a plain recurrent network of characters; textgen train makes one from text",
    )
}

/// Which tensor is which.
struct Plan {
    cell: Cell,
    hidden: usize,
    layers: usize,
    /// The recurrent module's name.
    module: String,
    /// Names of weight matrices; the biases of the head are beside it.
    embedding: Option<String>,
    head: String,
    /// Columns of the first layer's input weights.
    inputs: usize,
    tokens: usize,
}

impl Set {
    fn get(&self, name: &str) -> Option<&Tensor> {
        let mut named = self.tensors.iter().filter(|(found, _)| found == name);
        named.next().map(|(_, tensor)| tensor)
    }

    /// The name of a part of a recurrent layer.
    fn name(&self, module: &str, part: &str, layer: usize) -> String {
        let numbered = joined(module, &format!("{part}_l{layer}"));
        if layer == 0 && self.get(&numbered).is_none() {
            return joined(module, part);
        }
        numbered
    }

    fn matrix(&self, name: &str) -> Result<[usize; 2], ImportError> {
        match self.get(name).map(|tensor| &tensor.shape[..]) {
            Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok([rows, columns]),
            Some(_) => Err(ImportError::damaged(format_args!("{name} is no matrix"))),
            None => Err(ImportError::new(
                format!("it has a recurrent layer without {name}"),
                "save all of the weights: torch.save(model.state_dict(), \"weights.pt\")",
            )),
        }
    }
}

/// The name of a tensor here and in the file, if it is there, and its shape.
type Source = (String, Option<String>, Vec<usize>);

/// Recurrent layers that have all their weights have all their biases, or none.
fn check_biases(sources: &[Source], set: &Set) -> Result<(), ImportError> {
    let is_there = |name: &String| set.get(name).is_some();
    let mut named = sources.iter().filter_map(|(_, from, _)| from.as_ref());
    if !named.all(is_there) {
        return Ok(());
    }
    let biases = sources.iter().filter(|(part, ..)| part.contains("bias_"));
    let (with, without): (Vec<_>, Vec<_>) = biases.partition(|(_, from, _)| from.is_some());
    let (Some(_), Some((part, ..))) = (with.first(), without.first()) else {
        return Ok(());
    };
    Err(ImportError::new(
        format!("it has some biases of its recurrent layers, but not {part}"),
        "save all of the weights: torch.save(model.state_dict(), \"weights.pt\")",
    ))
}

impl Plan {
    fn of(set: &Set) -> Result<Self, ImportError> {
        let layers: Vec<_> = set
            .tensors
            .iter()
            .filter_map(|(name, _)| recurrent(name))
            .collect();
        let modules: BTreeSet<&str> = layers.iter().map(|&(module, ..)| module).collect();
        let modules: Vec<&str> = modules.into_iter().collect();
        let &[module] = &modules[..] else {
            return Err(ImportError::new(
                format!(
                    "it has {} recurrent modules: {}",
                    modules.len(),
                    modules.join(", ")
                ),
                "textgen has one stack: nn.LSTM, nn.GRU or nn.RNN with num_layers",
            ));
        };
        let named = |part: &str| set.tensors.iter().find(|(name, _)| name.contains(part));
        if let Some(tensor) = named("_reverse") {
            return Err(ImportError::new(
                format!(
                    "it reads both ways ({}), so it cannot predict what comes next",
                    described(tensor)
                ),
                "textgen has networks that read forwards",
            ));
        }
        if let Some(tensor) = named("weight_hr") {
            return Err(ImportError::new(
                format!(
                    "it projects its state ({}, from proj_size), which textgen has not",
                    described(tensor)
                ),
                "train one without proj_size",
            ));
        }
        if set.mode.as_deref() == Some("RNN_RELU") {
            return Err(ImportError::new(
                "it is a plain recurrent network with ReLU, and textgen has tanh",
                "train one with nonlinearity=\"tanh\", or an LSTM or a GRU",
            ));
        }
        let last = layers.iter().map(|&(.., layer)| layer).max().unwrap_or(0);
        if last >= layers.len() {
            let what = format_args!("layer {last} of a network of {} tensors", layers.len());
            return Err(ImportError::damaged(what));
        }
        let [rows, hidden] = set.matrix(&set.name(module, "weight_hh", 0))?;
        let [input_rows, inputs] = set.matrix(&set.name(module, "weight_ih", 0))?;
        let cell = match (rows % hidden, rows / hidden) {
            (0, 4) => Cell::Lstm,
            (0, 3) => Cell::Gru,
            (0, 1) => Cell::Rnn,
            _ => {
                let what = format_args!("{rows} rows are no gates of {hidden} units");
                return Err(ImportError::damaged(what));
            }
        };
        if input_rows != rows {
            let what = format_args!("its input weights have {input_rows} rows and not {rows}");
            return Err(ImportError::damaged(what));
        }
        let is_rest = |tensor: &&(String, Tensor)| recurrent(&tensor.0).is_none();
        let rest: Vec<_> = set.tensors.iter().filter(is_rest).cloned().collect();
        let (embedding, head, tokens) = around(&rest, inputs, hidden)?;
        Ok(Self {
            cell,
            hidden,
            layers: last + 1,
            module: module.to_owned(),
            embedding,
            head,
            inputs,
            tokens,
        })
    }

    /// Copies the tensors. None may be much more than the file holds: several may share a storage.
    fn fill(self, checkpoint: &mut Checkpoint, set: Set) -> Result<Found, ImportError> {
        let mut notes = Vec::new();
        let mut sources: Vec<Source> = Vec::new();
        if let Some(name) = &self.embedding {
            let shape = vec![self.tokens, self.inputs];
            sources.push(("embedding.weight".to_owned(), Some(name.clone()), shape));
        }
        let gates = self.cell.gates().saturating_mul(self.hidden);
        for layer in 0..self.layers {
            let width = if layer == 0 { self.inputs } else { self.hidden };
            for (part, shape) in [
                ("weight_ih", vec![gates, width]),
                ("weight_hh", vec![gates, self.hidden]),
                ("bias_ih", vec![gates]),
                ("bias_hh", vec![gates]),
            ] {
                let name = set.name(&self.module, part, layer);
                let has = part.starts_with("weight") || set.get(&name).is_some();
                sources.push((format!("rnn.{part}_l{layer}"), has.then_some(name), shape));
            }
        }
        check_biases(&sources, &set)?;
        let bias = bias_of(&self.head);
        let bias = set.get(&bias).is_some().then_some(bias);
        sources.push((
            "head.weight".to_owned(),
            Some(self.head),
            vec![self.tokens, self.hidden],
        ));
        sources.push(("head.bias".to_owned(), bias, vec![self.tokens]));
        if sources.iter().any(|(_, from, _)| from.is_none()) {
            notes.push("its layers without bias have one of zeros".to_owned());
        }
        if self.cell == Cell::Rnn && set.mode.is_none() {
            notes.push(
                "its activation is taken for tanh, which names and shapes do not say".to_owned(),
            );
        }
        let mut weights = Weights::new();
        let (mut elements, mut storages, mut stored, mut rounded) =
            (0_usize, HashSet::new(), 0_usize, false);
        for (name, from, shape) in sources {
            let Some(from) = from else {
                let zeros = vec![0.0; shape.iter().product()];
                weights.insert(name, Array::f32(shape, zeros));
                continue;
            };
            let Some(tensor) = set.get(&from) else {
                set.matrix(&from)?;
                continue;
            };
            if tensor.shape != shape {
                let found = &tensor.shape;
                let what = format_args!("{from} has the shape {found:?}, where {shape:?} belongs");
                return Err(ImportError::damaged(what));
            }
            if let Value::Storage(storage) = checkpoint.values.get(tensor.storage) {
                rounded |= storage.dtype == Dtype::F64;
                let key = checkpoint.values.text(storage.key).unwrap_or_default();
                if storages.insert(key.to_owned()) {
                    stored = stored.saturating_add(storage.count);
                }
            }
            let size = shape
                .iter()
                .fold(1, |all: usize, &size| all.saturating_mul(size));
            elements = elements.saturating_add(size);
            if elements > stored.saturating_mul(2) {
                let what = "its tensors are parts of each other";
                return Err(ImportError::damaged(what));
            }
            weights.insert(name, Array::f32(shape, checkpoint.numbers(tensor)?));
        }
        if rounded {
            notes.push("its double precision is rounded to single precision".to_owned());
        }
        Ok(Found {
            cell: self.cell,
            hidden: self.hidden,
            layers: self.layers,
            embedding: if self.embedding.is_some() {
                self.inputs
            } else {
                0
            },
            tokens: self.tokens,
            weights,
            notes,
            path: set.path,
        })
    }
}

/// The name of the bias beside a weight.
fn bias_of(weight: &str) -> String {
    let module = weight.strip_suffix("weight").unwrap_or(weight);
    format!("{module}bias")
}

/// What comes before and after the recurrent layers, of tensors that are not theirs: the embedding, the head, and its rows.
fn around(
    rest: &[(String, Tensor)],
    inputs: usize,
    hidden: usize,
) -> Result<(Option<String>, String, usize), ImportError> {
    let size = |name: &str| {
        let found = rest.iter().find(|(other, _)| other == name);
        found.map(|(_, tensor)| tensor.shape.clone())
    };
    let matrices: Vec<(&str, usize, usize)> = rest
        .iter()
        .filter(|(name, _)| name.ends_with("weight"))
        .filter_map(|(name, tensor)| match tensor.shape[..] {
            [rows, columns] => Some((&**name, rows, columns)),
            _ => None,
        })
        .collect();
    let mut ways = Vec::new();
    for &(head, tokens, columns) in &matrices {
        let bias = size(&bias_of(head));
        if columns != hidden || tokens == 0 || bias.as_ref().is_some_and(|bias| *bias != [tokens]) {
            continue;
        }
        let count = 1 + usize::from(bias.is_some());
        if inputs == tokens && rest.len() == count {
            ways.push((1, None, head, tokens));
        }
        for &(embedding, rows, columns) in &matrices {
            let fits = embedding != head && rows == tokens && columns == inputs;
            if fits && size(&bias_of(embedding)).is_none() && rest.len() == count + 1 {
                let is = |name: &str, known: &[&str]| {
                    known.iter().any(|part| name.to_lowercase().contains(part))
                };
                let score = usize::from(bias.is_some()) * 4
                    + usize::from(is(embedding, &EMBEDDINGS))
                    + usize::from(is(head, &HEADS));
                ways.push((score, Some(embedding), head, tokens));
            }
        }
    }
    ways.sort_by_key(|&(score, ..)| std::cmp::Reverse(score));
    match ways[..] {
        [(score, embedding, head, tokens), ref others @ ..]
            if others.iter().all(|other| other.0 < score) =>
        {
            Ok((embedding.map(str::to_owned), head.to_owned(), tokens))
        }
        [_, ..] => Err(ImportError::new(
            format!(
                "which of these comes before its recurrent layers, and which after: {}?",
                listed(rest)
            ),
            "name them embedding.weight and decoder.weight in the state_dict",
        )),
        [] if rest.is_empty() => Err(ImportError::new(
            "it has no linear layer after its recurrent layers",
            "save all of the weights: torch.save(model.state_dict(), \"weights.pt\")",
        )),
        [] => Err(ImportError::new(
            format!(
                "besides recurrent layers of {hidden} units that read {inputs}, it has what textgen cannot place: {}",
                listed(rest)
            ),
            "textgen has one embedding or one-hot input, one recurrent stack, and one linear layer",
        )),
    }
}
