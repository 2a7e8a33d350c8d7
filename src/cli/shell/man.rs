//! `textgen man`: manual pages, one per command, from the same texts as the help.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Arg, Args, Command};

use super::groups::{GROUPS, about};
use crate::cli::output::{counted, note};
use crate::cli::target::{Force, Format, check_output};
use crate::run::{RunError, atomic, disk};

/// How a page of ours begins.
const MARK: &str = ".\\\" A manual page of textgen\n";
/// The longest line of a paragraph, in bytes.
const WIDTH: usize = 78;

#[derive(Args)]
#[command(after_help = "\
The pages are textgen.1, and textgen-COMMAND.1 for each command. `man` finds them in a folder man1
below one of the folders that `manpath` lists.

Examples:
  textgen man ~/.local/share/man/man1
  textgen man pages && man pages/textgen-train.1")]
pub struct ManArgs {
    /// The folder to write to, which is created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    force: Force,
}

/// Whether a file is a page that this command wrote.
pub fn is_ours(head: &[u8]) -> bool {
    head.starts_with(MARK.as_bytes())
}

pub fn run(args: &ManArgs, command: Command) -> Result<()> {
    let pages = pages(command, &today());
    let folder = &args.folder;
    for (name, _) in &pages {
        check_output(&folder.join(name), Format::Manual, args.force, &[])?;
    }
    disk::create_folders(folder).map_err(RunError::write(folder))?;
    for (name, page) in &pages {
        atomic::write(&folder.join(name), &[page.as_bytes()])?;
    }
    note!("{}: {}", folder.display(), counted(pages.len(), "page"));
    Ok(())
}

/// The pages of the program and of its commands, each with the name of its file.
fn pages(command: Command, date: &str) -> Vec<(String, String)> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
    let all = std::iter::once(&command).chain(shown);
    all.map(|one| page(one, date)).collect()
}

/// The page of a command, and the name of its file.
fn page(command: &Command, date: &str) -> (String, String) {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    let about = about.trim_end_matches('.');
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let (title, version) = (escaped(&name.to_uppercase()), env!("CARGO_PKG_VERSION"));
    let mut page = format!("{MARK}.TH {title} 1 {date} \"textgen {version}\"\n.SH NAME\n");
    page += &filled(&format!("{name} - {about}"));
    let _ = writeln!(page, ".SH SYNOPSIS\n.B {}", escaped(usage));
    let _ = write!(page, ".SH DESCRIPTION\n{}", filled(about));
    if command.has_subcommands() {
        commands(command, &mut page);
    }
    let mut headings: Vec<&str> = Vec::new();
    let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    for arg in shown() {
        let heading = heading(arg);
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for one in headings {
        let _ = writeln!(page, ".SH {}", escaped(&one.to_uppercase()));
        shown()
            .filter(|arg| heading(arg) == one)
            .for_each(|arg| option(arg, &mut page));
    }
    let more = command.get_after_long_help().or(command.get_after_help());
    page += &more
        .map(|text| sections(&text.to_string()))
        .unwrap_or_default();
    if !command.has_subcommands() {
        page += ".SH SEE ALSO\n.BR textgen (1)\n";
    }
    (format!("{name}.1"), page)
}

/// The heading of an option, as in the help.
fn heading(arg: &Arg) -> &str {
    let usual = if arg.is_positional() {
        "Arguments"
    } else {
        "Options"
    };
    arg.get_help_heading().unwrap_or(usual)
}

/// An option: its names and its value, and what it does.
fn option(arg: &Arg, page: &mut String) {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names = short
        .into_iter()
        .chain(long)
        .map(|name| format!("\\fB{}\\fR", escaped(&name)));
    let names = names.collect::<Vec<_>>().join(", ");
    let takes_value = arg.get_action().takes_values();
    let values = arg
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .filter(|_| takes_value);
    let values = values.map(|value| format!("\\fI{}\\fR", escaped(value)));
    let values = values.collect::<Vec<_>>().join(" ");
    let values = match arg.get_num_args() {
        _ if values.is_empty() || arg.is_positional() => values,
        Some(range) if range.min_values() == 0 => format!("[={values}]"),
        _ => format!(" {values}"),
    };
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if takes_value {
        let join = |values: Vec<String>| Some(values.join(", ")).filter(|all| !all.is_empty());
        let defaults = arg.get_default_values().iter();
        let defaults = join(
            defaults
                .map(|value| value.to_string_lossy().into_owned())
                .collect(),
        );
        let names = arg
            .get_possible_values()
            .into_iter()
            .filter(|value| !value.is_hide_set());
        let names = names.map(|value| value.get_name().to_owned()).collect();
        let names = join(names).filter(|_| !arg.is_hide_possible_values_set());
        let variable = arg
            .get_env()
            .map(|name| name.to_string_lossy().into_owned());
        let facts = [
            ("env", variable),
            ("default", defaults),
            ("possible values", names),
        ];
        for (what, fact) in facts {
            help.extend(fact.map(|fact| format!(" [{what}: {fact}]")));
        }
    }
    let _ = write!(page, ".TP\n{names}{values}\n{}", filled(&help));
}

/// The commands under their headings.
fn commands(command: &Command, page: &mut String) {
    page.push_str(".SH COMMANDS\n");
    for (heading, names) in GROUPS {
        let _ = writeln!(page, ".SS {}", escaped(heading));
        for &name in names
            .iter()
            .filter(|name| command.find_subcommand(name).is_some())
        {
            let about = filled(&about(command, name));
            let _ = write!(page, ".TP\n.BR textgen\\-{} (1)\n{about}", escaped(name));
        }
    }
}

/// The text after the options: notes, then examples. What is indented there is laid out already.
fn sections(text: &str) -> String {
    let mut page = String::new();
    let mut heading = Some("NOTES");
    for block in text.split("\n\n") {
        let mut block = block.trim_matches('\n');
        if let Some(examples) = block.strip_prefix("Examples:\n") {
            (heading, block) = (Some("EXAMPLES"), examples);
        }
        match heading.take() {
            Some(heading) => page.extend([".SH ", heading, "\n"]),
            None => page += ".PP\n",
        }
        let mut is_laid_out = false;
        let mut lines = String::new();
        for line in block.lines().chain([""]) {
            let indented = line.strip_prefix("  ");
            if is_laid_out && indented.is_none() {
                page += ".EE\n";
            } else if !is_laid_out && (indented.is_some() || line.is_empty()) {
                page += &filled(&std::mem::take(&mut lines));
                page += if indented.is_some() { ".EX\n" } else { "" };
            }
            is_laid_out = indented.is_some();
            match indented {
                Some(line) => page.extend([&escaped(line), "\n"]),
                None => lines.extend([line, "\n"]),
            }
        }
    }
    page
}

/// A paragraph, in lines that are not too long for an input of roff.
fn filled(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace().map(escaped) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if width(line) + width(&word) < WIDTH => line.extend([" ", &word]),
            _ => lines.push(word),
        }
    }
    let lines = lines.iter().filter(|line| !line.is_empty());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The bytes of a text when mandoc has made `\[u2026]` of what is not ASCII.
fn width(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 9 }).sum()
}

/// A text as roff takes it.
fn escaped(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '\\' => plain += "\\e",
            '-' => plain += "\\-",
            '\'' => plain += "\\(aq",
            '`' => plain += "\\(ga",
            '^' => plain += "\\(ha",
            '~' => plain += "\\(ti",
            // At the start of a line it would begin a request.
            '.' if plain.is_empty() => plain += "\\&.",
            _ => plain.push(c),
        }
    }
    plain
}

/// Today's date, or that of SOURCE_DATE_EPOCH, by which packages are made reproducible.
fn today() -> String {
    let set = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    };
    date(set.unwrap_or_else(now) / 86_400)
}

/// The date so many days after 1 January 1970, in the Gregorian calendar.
fn date(days: u64) -> String {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // 400 years have 146,097 days.
    let (mut year, mut day) = (1970 + days / 146_097 * 400, days % 146_097);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (20_783, "2026-11-26"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
            (157_113, "2400-02-29"),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn notes_are_filled_and_examples_are_laid_out() {
        let text = "Some text\nof two lines.\n\n  a  table\n  .b\n\nMore.\n\nExamples:\n  textgen man --force 'x\\y'";
        let page = ".SH NOTES\nSome text of two lines.\n.PP\n.EX\na  table\n\\&.b\n.EE\n.PP\nMore.\n.SH EXAMPLES\n.EX\ntextgen man \\-\\-force \\(aqx\\ey\\(aq\n.EE\n";
        assert_eq!(sections(text), page);
    }

    #[test]
    fn every_command_has_a_page() {
        let pages = pages(crate::cli::command(), "2026-01-01");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert!(
            names.contains(&"textgen.1") && names.contains(&"textgen-train.1"),
            "{names:?}"
        );
        assert!(
            !names
                .iter()
                .any(|name| name.contains("__") || name.contains("help")),
            "{names:?}"
        );
        for (name, page) in &pages {
            assert!(is_ours(page.as_bytes()), "{name}");
            let examples = page.contains(".SH EXAMPLES") || page.contains("first session");
            assert!(examples, "{name}");
        }
    }
}
