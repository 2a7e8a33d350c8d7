//! The models that come with the program. `models/README.md` says how each was made.

use super::{ModelFile, RunError};

/// A model that comes with the program.
#[derive(Debug, PartialEq, Eq)]
pub struct Bundled {
    /// Its name, which commands take like the name of a run.
    pub name: &'static str,
    bytes: &'static [u8],
}

/// A char-lstm of English prose.
pub static ENGLISH: Bundled = Bundled {
    name: "english",
    bytes: include_bytes!("../../models/english.safetensors"),
};

impl Bundled {
    /// All of them.
    pub const ALL: [&'static Self; 1] = [&ENGLISH];

    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|model| model.name == name)
    }

    /// Opens it.
    pub fn open(&self) -> Result<ModelFile, RunError> {
        ModelFile::bundled(self.name, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_models_open_by_name() {
        for model in Bundled::ALL {
            assert_eq!(Bundled::named(model.name), Some(model));
            model.open().expect("a whole model");
        }
        assert_eq!(Bundled::named("latin"), None);
    }
}
