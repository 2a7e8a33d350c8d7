//! The command line of textgen.

fn main() {}
