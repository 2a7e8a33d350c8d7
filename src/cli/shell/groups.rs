//! The commands under headings, for the help and for manual pages. Clap lists them under one.

use std::fmt::Write as _;

use clap::Command;

/// Every command that is not hidden, under the heading that it belongs to.
pub const GROUPS: [(&str, &[&str]); 6] = [
    ("Training", &["vocab", "train", "sweep", "runs", "report"]),
    ("Text and words", &["generate", "eval", "score"]),
    (
        "Text (char-lstm)",
        &["chat", "novelty", "compress", "decompress"],
    ),
    (
        "Words (word-vae)",
        &[
            "encode",
            "reconstruct",
            "interpolate",
            "analogy",
            "neighbours",
            "vary",
            "map",
        ],
    ),
    ("Models", &["export", "import"]),
    (
        "Settings and shell",
        &["config", "completions", "man", "doctor", "help"],
    ),
];

/// A command's line in a list.
pub fn about(command: &Command, name: &str) -> String {
    let about = command.find_subcommand(name).and_then(Command::get_about);
    match about {
        Some(about) => about.to_string().trim_end_matches('.').to_owned(),
        // Clap adds the command after this is called.
        None if name == "help" => "Print the help of a command".to_owned(),
        None => String::new(),
    }
}

/// Gives the program's help the list of its commands by groups.
pub fn grouped(command: Command) -> Command {
    let header = *command.get_styles().get_header();
    let literal = *command.get_styles().get_literal();
    let names = GROUPS.iter().flat_map(|(_, names)| *names);
    let width = names.map(|name| name.len()).max().unwrap_or(0);
    let mut list = String::new();
    for (heading, names) in GROUPS {
        let _ = writeln!(list, "{header}{heading}:{header:#}");
        for &name in names {
            let about = about(&command, name);
            let _ = writeln!(list, "  {literal}{name:<width$}{literal:#}  {about}");
        }
        list.push('\n');
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}{header}Options:{header:#}\n{{options}}{{after-help}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group_once() {
        let mut command = crate::cli::command();
        command.build();
        let visible = command.get_subcommands().filter(|one| !one.is_hide_set());
        let mut visible: Vec<&str> = visible.map(Command::get_name).collect();
        let mut listed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        visible.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, visible, "GROUPS is the list in the program's help");
    }
}
