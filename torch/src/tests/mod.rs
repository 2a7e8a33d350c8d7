//! Tests of the models, the objective and the loop. Single functions are tested in their own modules.

mod commands;
mod cuda;
mod golden;
mod objective;
mod operators;
mod optimizer;
mod regularisation;
