//! The native engine.
