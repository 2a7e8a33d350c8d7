//! Corpus → normal form → vocabulary → tokens → batches.
