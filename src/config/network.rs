//! The architecture of a network, which determines the layout of its weights.

use serde::{Deserialize, Serialize};

use super::{Cell, ModelKind, ZPlacement};

/// The largest hidden, embedding or latent size, and the most layers, that a file may ask for.
const LARGEST: usize = 1 << 16;

/// The architecture: with the vocabulary's sizes, it determines the layout of the weights.
///
/// In JSON it is one flat object with the keys of every kind, as model headers have had it since format 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Flat", try_from = "Flat")]
pub struct NetworkConfig {
    /// The kind of network, with the fields that only this kind has.
    pub kind: NetworkKind,
    /// The cell of every recurrent layer.
    pub cell: Cell,
    /// Hidden size H of every recurrent layer.
    pub hidden: usize,
    /// Number of recurrent layers L.
    pub layers: usize,
    /// Embedding size E; 0 is one-hot, which only a char-rnn can have.
    pub embedding: usize,
    /// Tokens that can be read, V: rows of the embedding.
    pub inputs: usize,
    /// Tokens that can be predicted: rows of the head. They come first in the vocabulary.
    pub outputs: usize,
    /// The token `<eos>` of a char-rnn that learnt documents: the state is zero before it is read.
    pub eos: Option<u32>,
}

/// The kinds of network, each with its own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    /// A character-level recurrent language model.
    CharRnn,
    /// A variational autoencoder over the letters of a word.
    WordVae(LatentConfig),
    /// The network of the original word-VAE article.
    Article {
        /// Latent size Z, at least 1.
        latent: usize,
    },
}

/// The latent vector of a word-vae.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatentConfig {
    /// Latent size Z; 0 is the decoder alone, without encoder and z.
    pub latent: usize,
    /// Where z enters the decoder.
    pub z: ZPlacement,
    /// Whether the encoder reads both ways.
    pub bidirectional: bool,
}

impl NetworkConfig {
    /// A char-rnn that reads and predicts the same tokens, one-hot.
    pub const fn char_rnn(cell: Cell, hidden: usize, layers: usize, tokens: usize) -> Self {
        Self {
            kind: NetworkKind::CharRnn,
            cell,
            hidden,
            layers,
            embedding: 0,
            inputs: tokens,
            outputs: tokens,
            eos: None,
        }
    }

    /// The kind of generator.
    pub const fn model(&self) -> ModelKind {
        match self.kind {
            NetworkKind::CharRnn => ModelKind::CharRnn,
            NetworkKind::WordVae(_) | NetworkKind::Article { .. } => ModelKind::WordVae,
        }
    }

    /// Latent size Z; 0 if there is no z.
    pub const fn latent(&self) -> usize {
        match self.kind {
            NetworkKind::CharRnn => 0,
            NetworkKind::WordVae(LatentConfig { latent, .. }) | NetworkKind::Article { latent } => {
                latent
            }
        }
    }

    /// Whether it writes words, not texts.
    pub const fn is_words(&self) -> bool {
        !matches!(self.kind, NetworkKind::CharRnn)
    }

    /// Whether it is the original article's network.
    pub const fn is_article(&self) -> bool {
        matches!(self.kind, NetworkKind::Article { .. })
    }

    /// Whether the encoder reads both ways.
    pub const fn is_bidirectional(&self) -> bool {
        matches!(
            self.kind,
            NetworkKind::WordVae(LatentConfig {
                bidirectional: true,
                ..
            })
        )
    }

    /// Where z enters the decoder; `both` for networks without a choice.
    pub const fn z(&self) -> ZPlacement {
        match self.kind {
            NetworkKind::WordVae(LatentConfig { z, .. }) => z,
            NetworkKind::CharRnn | NetworkKind::Article { .. } => ZPlacement::Both,
        }
    }

    /// Checks that the network can be built, since the numbers may come from an untrusted file.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [self.hidden, self.layers, self.embedding, self.latent()];
        if self.hidden == 0 || self.layers == 0 || self.outputs == 0 {
            return Err("hidden, layers and outputs must be at least 1".to_owned());
        }
        if sizes.iter().any(|&size| size > LARGEST) {
            return Err(format!("sizes out of range: {sizes:?}"));
        }
        if self.outputs > self.inputs {
            return Err(format!(
                "it predicts {} tokens, but reads only {}",
                self.outputs, self.inputs
            ));
        }
        if let Some(eos) = self.eos
            && (self.is_words() || eos as usize >= self.outputs)
        {
            return Err(format!("it has no token {eos} that ends a document"));
        }
        match self.kind {
            NetworkKind::CharRnn => Ok(()),
            _ if self.embedding == 0 => Err("a word-vae needs an embedding size".to_owned()),
            NetworkKind::Article { latent: 0 } => {
                Err("the article's network needs a latent size".to_owned())
            }
            NetworkKind::WordVae(LatentConfig { latent: 0, z, .. }) if z != ZPlacement::Both => {
                Err(format!("z cannot enter as {z} where there is none"))
            }
            NetworkKind::WordVae(_) | NetworkKind::Article { .. } => Ok(()),
        }
    }
}

/// [`NetworkConfig`] in files: one flat object with the keys of all kinds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Flat {
    model: ModelKind,
    cell: Cell,
    hidden: usize,
    layers: usize,
    embedding: usize,
    latent: usize,
    // Models from before this setting existed use both.
    #[serde(default, skip_serializing_if = "ZPlacement::is_default")]
    z: ZPlacement,
    bidirectional: bool,
    article: bool,
    inputs: usize,
    outputs: usize,
    // Only networks that learnt documents have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eos: Option<u32>,
}

impl From<NetworkConfig> for Flat {
    fn from(network: NetworkConfig) -> Self {
        Self {
            model: network.model(),
            cell: network.cell,
            hidden: network.hidden,
            layers: network.layers,
            embedding: network.embedding,
            latent: network.latent(),
            z: network.z(),
            bidirectional: network.is_bidirectional(),
            article: network.is_article(),
            inputs: network.inputs,
            outputs: network.outputs,
            eos: network.eos,
        }
    }
}

impl TryFrom<Flat> for NetworkConfig {
    type Error = String;

    fn try_from(flat: Flat) -> Result<Self, String> {
        let latent = flat.latent;
        let without = flat.z == ZPlacement::Both && !flat.bidirectional;
        let kind = match (flat.model, flat.article) {
            (ModelKind::CharRnn, false) if latent == 0 && without => NetworkKind::CharRnn,
            (ModelKind::CharRnn, _) => return Err("a char-lstm has no z".to_owned()),
            (ModelKind::WordVae, true) if without => NetworkKind::Article { latent },
            (ModelKind::WordVae, true) => {
                let what = "the article's network reads one way, and z enters its decoder as both";
                return Err(what.to_owned());
            }
            (ModelKind::WordVae, false) => NetworkKind::WordVae(LatentConfig {
                latent,
                z: flat.z,
                bidirectional: flat.bidirectional,
            }),
        };
        let network = Self {
            kind,
            cell: flat.cell,
            hidden: flat.hidden,
            layers: flat.layers,
            embedding: flat.embedding,
            inputs: flat.inputs,
            outputs: flat.outputs,
            eos: flat.eos,
        };
        network.check().map(|()| network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As headers have had it since format 1.
    const ARTICLE: &str = r#"{"model":"word-vae","cell":"gru","hidden":20,"layers":1,"embedding":20,"latent":10,"bidirectional":false,"article":true,"inputs":65,"outputs":63}"#;
    const ONE_Z: &str = r#"{"model":"word-vae","cell":"gru","hidden":8,"layers":1,"embedding":4,"latent":2,"z":"steps","bidirectional":true,"article":false,"inputs":9,"outputs":7}"#;
    const TEXT: &str = r#"{"model":"char-lstm","cell":"lstm","hidden":8,"layers":2,"embedding":0,"latent":0,"bidirectional":false,"article":false,"inputs":9,"outputs":9}"#;

    fn read(json: &str) -> Result<NetworkConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_header_is_written_as_it_was_read() {
        for json in [ARTICLE, ONE_Z, TEXT] {
            let network = read(json).expect("valid");
            assert_eq!(serde_json::to_string(&network).expect("json"), json);
        }
        assert_eq!(read(ONE_Z).expect("valid").z(), ZPlacement::Steps);
        assert!(read(ARTICLE).expect("valid").is_article());
    }

    #[test]
    fn a_network_that_cannot_be_built_is_refused() {
        for (json, from, to, why) in [
            (TEXT, "\"latent\":0", "\"latent\":3", "has no z"),
            (TEXT, "\"hidden\":8", "\"hidden\":0", "at least 1"),
            (TEXT, "\"hidden\":8", "\"hidden\":99999", "out of range"),
            (TEXT, "\"outputs\":9", "\"outputs\":10", "reads only 9"),
            (TEXT, "\"article\":false", "\"article\":true", "has no z"),
            (ONE_Z, "\"latent\":2", "\"latent\":0", "where there is none"),
            (ONE_Z, "\"embedding\":4", "\"embedding\":0", "embedding"),
            (ARTICLE, "\"latent\":10", "\"latent\":0", "latent size"),
            (
                ARTICLE,
                "\"bidirectional\":false",
                "\"bidirectional\":true",
                "one way",
            ),
        ] {
            assert!(json.contains(from));
            let error = read(&json.replace(from, to)).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
