#![no_main]
textgen_fuzz::with_coverage!(import);
