//! Tests of the models, the objective and the loop. Numbers of single functions are tested beside them.

mod commands;
mod cuda;
mod golden;
mod objective;
mod operators;
mod optimizer;
mod rate;
mod regularisation;
mod resume;
