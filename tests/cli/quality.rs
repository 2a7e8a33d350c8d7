//! Every figure of docs/quality.md has its command, and `textgen train` takes it.

use std::fs;

use super::common::{Home, repository};

/// A row of a table with the command that its table's rows begin with, and the flags in its cells.
struct Row {
    line: usize,
    begins: String,
    flags: Option<String>,
}

fn rows(text: &str) -> Vec<Row> {
    let mut begins = String::new();
    let mut flags: Option<String> = None;
    let mut in_table = false;
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("    textgen ") {
            command.clone_into(&mut begins);
        }
        if !line.starts_with('|') {
            in_table = false;
            flags = None;
            continue;
        }
        let is_head = !in_table;
        in_table = true;
        if is_head || line.starts_with("| ---") || line.starts_with("| | ---") {
            continue;
        }
        let own = line.split('`').skip(1).step_by(2);
        let own: Vec<&str> = own.filter(|cell| cell.starts_with("--")).collect();
        // A row without flags goes on with those above.
        if let [own] = own[..] {
            flags = Some(own.to_owned());
        }
        rows.push(Row {
            line: index + 1,
            begins: begins.clone(),
            flags: flags.clone(),
        });
    }
    rows
}

#[test]
fn every_row_of_the_document_has_a_command_that_is_understood() {
    let home = Home::new();
    let text = fs::read_to_string(repository("docs/quality.md")).expect("the document");
    let rows = rows(&text);
    assert!(rows.len() > 30, "{} rows", rows.len());
    let mut tried = std::collections::BTreeSet::new();
    for Row {
        line,
        begins,
        flags,
    } in rows
    {
        let flags = flags.unwrap_or_else(|| panic!("line {line} has no command"));
        assert!(begins.starts_with("train --model char-"), "{begins}");
        // With --help everything before it is read and checked, and nothing is trained.
        let command = format!("{begins} {flags} --help");
        if tried.insert(command.clone()) {
            home.textgen(&command).succeeded();
        }
    }
}
