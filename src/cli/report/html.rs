//! Elements of a page. It is valid as HTML and as XML, and all text in it is escaped here.

pub use crate::cli::svg::escaped as text;

/// The start of every page.
const START: &str = "<!DOCTYPE html>\n<!-- a report by textgen -->\n";

/// Quiet, in the reader's own light or dark colours, from a phone to a wide screen.
const STYLE: &str = "
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; font: 1rem/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; font-weight: 600; margin: 2.2em 0 0.6em; }
h1 { font-size: 1.7rem; margin-top: 0; }
h2 { font-size: 1.35rem; border-top: 1px solid #7d7d7d66; padding-top: 1.2em; }
h3 { font-size: 1.05rem; }
p.about { color: #7d7d7d; margin-top: -0.4em; }
p.gap { border-left: 3px solid #c2660a; padding-left: 0.7em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.25em 1.2em 0.25em 0; vertical-align: top; border-bottom: 1px solid #7d7d7d33; overflow-wrap: anywhere; }
th { font-weight: 500; color: #7d7d7d; }
svg { max-width: 100%; height: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 0.9rem/1.5 ui-monospace, monospace; margin: 0.4em 0 1.4em; }
pre.sample { border-left: 3px solid #7d7d7d55; padding-left: 0.9em; }
pre i { font-style: normal; }
ul.words { columns: 9rem; list-style: none; padding: 0; margin: 0; }
@media print { body { max-width: none; } }
";

/// Whether a file that starts with these bytes is a page of textgen's.
pub fn is_ours(head: &[u8]) -> bool {
    head.starts_with(START.as_bytes())
}

/// A whole page. It loads nothing and runs nothing, whatever is in it.
pub fn document(title: &str, more_style: &str, body: &str) -> String {
    let (title, version) = (text(title), env!("CARGO_PKG_VERSION"));
    format!(
        "{START}<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">
<head>
<meta charset=\"utf-8\"/>
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>
<meta name=\"generator\" content=\"textgen {version}\"/>
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>
<title>{title}</title>
<style>{STYLE}{more_style}</style>
</head>
<body>
{body}</body>
</html>
"
    )
}

/// A table with a head, if it has one.
pub fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let mut table = "<div class=\"scroll\"><table>\n".to_owned();
    let row = |cells: &[String], first: &str, rest: &str| {
        let cell = |(place, cell): (usize, &String)| {
            let tag = if place == 0 { first } else { rest };
            format!("<{tag}>{}</{tag}>", text(cell))
        };
        let cells: String = cells.iter().enumerate().map(cell).collect();
        format!("<tr>{cells}</tr>\n")
    };
    if !head.is_empty() {
        table += &row(head, "th", "th");
    }
    for cells in rows {
        table += &row(cells, "th", "td");
    }
    table + "</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_element_or_turns_a_line_around() {
        let hostile = "</script><img onerror=\"x\">\u{202e}abc\0\r\nnext\tend";
        let want = "&lt;/script&gt;&lt;img onerror=&quot;x&quot;&gt;\\u{202e}abc\\u{0}\nnext\tend";
        assert_eq!(text(hostile), want);
    }

    #[test]
    fn a_page_is_known_again() {
        assert!(is_ours(document("t", "", "").as_bytes()));
        assert!(!is_ours(b"<!DOCTYPE html>\n<html>mine</html>"));
    }
}
